"""import_catalog: what becomes of clean rows, of dirty rows, of a second run, and of files it cannot use."""

import gzip
import os
import unicodedata
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection

from inventory.catalog_import import loader
from inventory.catalog_import.brands import MIN_PRODUCTS, SELECT_SHOP, Brands
from inventory.listing import list_in_bulk
from inventory.models import Movement, Stock
from shop.models import Category, Option, Product, Store, User
from tests.support.invariants import assert_books_balance

pytestmark = pytest.mark.django_db

HEADER = "id,gender,masterCategory,subCategory,articleType,baseColour,season,year,usage,productDisplayName"
TEE = "1163,Men,Apparel,Topwear,Tshirts,Navy Blue,Summer,2011.0,Sports,Nike Sahara Round Neck Jersey"
KIDS = "2,Girls,Apparel,Topwear,Tshirts,Pink,Summer,2012.0,Casual,Gini and Jony Girls Pink Tee"
SAREE = "3,Women,Apparel,Saree,Sarees,Red,Summer,2012.0,Ethnic,Fabindia Women Red Saree"
BELT = "4,Men,Accessories,Belts,Belts,Brown,Summer,2012.0,Casual,Lino Perros Men Brown Belt"
MEN = "5,Men,Footwear,Shoes,Casual Shoes,Black,Fall,2012.0,Casual,Puma Men Black Shoes"
WOMEN = "6,Women,Footwear,Shoes,Heels,Black,Fall,2012.0,Casual,Catwalk Women Black Heels"
CLEAN = [TEE, KIDS, SAREE, BELT, MEN, WOMEN]

MakeFile = Callable[..., Path]


@pytest.fixture
def styles(tmp_path: Path) -> MakeFile:
    """`styles(*rows)` is a file with these rows below the header."""

    def make(*rows: str, header: str = HEADER, name: str = "styles.csv") -> Path:
        path = tmp_path / name
        data = "\n".join([header, *rows, ""]).encode()
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return path

    return make


def run(path: Path, *options: str, out: StringIO | None = None) -> str:
    out = out or StringIO()
    call_command("import_catalog", str(path), *options, stdout=out, stderr=StringIO())
    return out.getvalue()


def sizes_of(number: int) -> list[str]:
    options = Option.objects.filter(product__source_id=f"styles:{number}").order_by("id")
    return list(options.values_list("size", flat=True))


@pytest.mark.parametrize("name", ["styles.csv", "styles.csv.gz"])
def test_loads_products_with_options_and_stock(styles: MakeFile, name: str) -> None:
    assert "6 products loaded" in run(styles(*CLEAN, name=name))

    product = Product.objects.get(source_id="styles:1163")
    assert product.name == "Nike Sahara Round Neck Jersey"
    assert product.category.name == "Tshirts"
    assert product.store.status == Store.Status.ACCEPTED
    assert not product.store.owner.has_usable_password()
    assert 9_900 <= product.price <= 299_000
    assert product.price % 1000 in (0, 900)

    option = product.options.get(size="XL")
    assert (option.sku, option.color) == ("TSHIRTS-1163-NAVY-BLUE-XL", "Navy Blue")
    assert Stock.objects.count() == Option.objects.count()
    assert all(0 <= stock.on_hand <= 40 for stock in Stock.objects.all())
    assert set(Movement.objects.values_list("kind", "reference")) == {("receive", "import:styles")}
    assert_books_balance()


def test_sizes_fit_what_is_sold(styles: MakeFile) -> None:
    run(styles(*CLEAN))
    assert sizes_of(1163) == ["S", "M", "L", "XL", "XXL"]
    assert sizes_of(2) == ["110", "120", "130", "140", "150"]
    assert sizes_of(3) == sizes_of(4) == ["FREE"]
    assert sizes_of(5)[0] == "250"
    assert sizes_of(5)[-1] == "290"
    assert sizes_of(6)[0] == "230"
    assert sizes_of(6)[-1] == "260"


def test_the_tree_has_unique_slugs_and_keeps_what_was_there(styles: MakeFile) -> None:
    before = set(Category.objects.values_list("slug", "name"))
    stray = "7,Men,Accessories,Belts,Tshirts,Red,Summer,2012.0,Casual,A tee that was filed under belts"
    run(styles(stray, TEE, KIDS, BELT))
    assert before <= set(Category.objects.values_list("slug", "name"))
    assert Product.objects.get(source_id="styles:1163").category.slug == "tshirts"
    assert Product.objects.get(source_id="styles:7").category.slug == "belts-tshirts"
    assert Product.objects.get(source_id="styles:4").category.slug == "belts-belts"
    assert Category.objects.get_parent(Category.objects.get(slug="tshirts")).slug == "topwear"
    assert Category.objects.find_problems() == ([], [], [], [], [])


def test_a_second_run_changes_nothing(styles: MakeFile) -> None:
    path = styles(*CLEAN)
    run(path)
    Product.objects.filter(source_id="styles:4").update(name="Renamed by its owner")

    def everything() -> list[list[tuple[object, ...]]]:
        models = (User, Store, Category, Product, Option, Stock, Movement)
        return [list(model.objects.order_by("pk").values_list()) for model in models]

    before = everything()
    assert "0 products loaded (0 options, 0 units), 6 unchanged, 0 skipped" in run(path)
    assert everything() == before


def test_dirty_rows_are_mended_or_skipped_with_their_reason(styles: MakeFile) -> None:
    out = run(
        styles(
            TEE,  # row 2
            TEE.replace("Nike", "Again"),
            SAREE.replace("Red Saree", "Red, Silk Saree"),
            BELT.replace("Lino Perros Men Brown Belt", " "),
            "8,Men,Apparel,Topwear",
            "x9,Men,Apparel,Topwear,Tshirts,Red,Summer,2012.0,Casual,No number",
            "10,Men,Apparel,,Tshirts,Red,Summer,2012.0,Casual,No sub-category",
            '11,Men,Apparel,Topwear,Tshirts,Red,Summer,2012.0,Casual,"Open quote',
            "12,Men,Apparel,Topwear,Tshirts,Red, White,Summer,2012.0,Casual,Comma in the colour",
            "",
            MEN.replace("Puma", "Pu\x07ma"),
            MEN.replace("Puma", "Puma" * 60),
            '7491,Women,Apparel,Bottomwear,Shorts,NA,Summer,2011.0,Sports,"Nike 3.5"" Short"',
        )
    )
    assert "3 products loaded" in out
    assert "9 skipped" in out
    assert "skipped 1: its id was used by a row above (row 3)" in out
    assert "skipped 1: no productDisplayName (row 5)" in out
    assert "skipped 1: fewer columns than the header (row 6)" in out
    assert "skipped 1: id is not a whole number (row 7)" in out
    assert "skipped 1: no subCategory (row 8)" in out
    assert "skipped 1: a quote is not closed, or text follows it (row 9)" in out
    assert "skipped 1: more columns than the header (row 10)" in out
    assert (
        "skipped 1: productDisplayName has control characters or others that cannot be seen (row 12)" in out
    )
    assert "skipped 1: productDisplayName is longer than 200 characters (row 13)" in out
    assert "1 name with an unquoted comma" in out
    assert Product.objects.get(source_id="styles:3").name == "Fabindia Women Red, Silk Saree"
    short = Product.objects.get(source_id="styles:7491")
    assert short.name == 'Nike 3.5" Short'
    assert set(short.options.values_list("color", flat=True)) == {""}


def test_the_list_of_skipped_rows_is_bounded(styles: MakeFile) -> None:
    out = StringIO()
    with pytest.raises(CommandError, match=r"Only 0 of 500 rows .* read as UTF-8"):
        run(styles(*["nonsense"] * 500), out=out)
    assert (
        "skipped 500: fewer columns than the header (row 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, …)" in out.getvalue()
    )


KOREAN = [
    "21,Men,의류,상의,셔츠,검정,Summer,2024,Casual,서울상회 데님셔츠",
    "22,Women,의류,하의,청바지,파랑,Summer,2024,Casual,서울상회 청바지",
    "23,Women,의류,하의,셔츠,파랑,Summer,2024,Casual,서울상회 바지",
]


@pytest.mark.parametrize(
    ("encoding", "name"), [("cp949", "CP949 (EUC-KR)"), ("utf-16", "UTF-16"), ("utf-8-sig", "UTF-8")]
)
def test_a_korean_file_is_read_in_its_letters_and_its_slugs_can_be_read(
    tmp_path: Path, encoding: str, name: str
) -> None:
    path = tmp_path / "styles.csv"
    path.write_bytes("\n".join([HEADER, *KOREAN]).encode(encoding))
    out = run(path)
    assert f"read as {name}" in out
    assert "3 products loaded" in out
    product = Product.objects.get(source_id="styles:21")
    assert product.name == "서울상회 데님셔츠"
    assert (product.category.slug, product.category.name) == ("syeocheu", "셔츠")
    assert product.options.filter(sku__startswith="SYEOCHEU-21-GEOMJEONG").exists()
    assert set(Category.objects.filter(depth__gt=1).values_list("slug", flat=True)) == {
        "sangui", "haui", "syeocheu", "cheongbaji", "haui-syeocheu",
    }  # fmt: skip


@pytest.mark.parametrize("hint", ["", "sep=;\n"])
def test_a_file_divided_by_semicolons_is_read(tmp_path: Path, hint: str) -> None:
    path = tmp_path / "styles.csv"
    path.write_text(hint + "\n".join([HEADER, *CLEAN]).replace(",", ";"))
    assert "6 products loaded" in run(path)


def test_names_with_letters_that_cannot_be_seen_are_skipped_and_others_composed(styles: MakeFile) -> None:
    out = run(
        styles(*CLEAN, "31,Men,Apparel,Topwear,Tshirts,Red,Summer,2012.0,Casual,\u200bTee",
               "32,Men,Apparel,Topwear,Tshirts,Red,Summer,2012.0,Casual,"
               + unicodedata.normalize("NFD", "청바지"))
    )  # fmt: skip
    assert "skipped 1: productDisplayName has control characters or others that cannot be seen (row 8)" in out
    assert Product.objects.get(source_id="styles:32").name == "청바지"


def test_a_file_of_which_little_can_be_used_ends_in_failure_and_keeps_what_could(styles: MakeFile) -> None:
    with pytest.raises(CommandError, match="Only 1 of 20 rows"):
        run(styles(TEE, *["nonsense"] * 19))
    assert Product.objects.filter(source_id="styles:1163").exists()


def test_a_taken_sku_costs_its_product_only(styles: MakeFile) -> None:
    run(styles(TEE))
    Product.objects.update(source_id=None)
    out = run(styles(TEE, KIDS))
    assert "1 product loaded" in out
    assert "skipped 1: another product has its SKU (row 2)" in out


def test_an_interrupted_import_goes_on(styles: MakeFile, monkeypatch: pytest.MonkeyPatch) -> None:
    path = styles(*CLEAN)
    monkeypatch.setattr(loader, "BATCH", 2)
    with monkeypatch.context() as patched:
        written = []

        def write(*arguments: Any, **named: Any) -> None:
            if len(written) == 2:
                raise KeyboardInterrupt
            written.append(arguments)
            list_in_bulk(*arguments, **named)

        patched.setattr(loader, "list_in_bulk", write)
        with pytest.raises(CommandError, match="Run the import again"):
            run(path)
    assert Product.objects.count() == 4
    assert_books_balance()

    assert "2 products loaded (16 options" in run(path)
    assert Product.objects.count() == 6
    assert_books_balance()


def test_limit_reads_the_first_rows_only(styles: MakeFile) -> None:
    assert "2 products loaded" in run(styles(*CLEAN), "--limit", "2")
    assert set(Product.objects.values_list("source_id", flat=True)) == {"styles:1163", "styles:2"}


def test_files_that_cannot_be_used_are_refused_with_the_remedy(styles: MakeFile, tmp_path: Path) -> None:
    def refusal(path: Path) -> str:
        with pytest.raises(CommandError) as refused:
            run(path)
        assert str(path) in str(refused.value)
        return str(refused.value)

    assert "no such file" in refusal(tmp_path / "absent.csv")
    assert "not a regular file" in refusal(tmp_path)
    assert "no column baseColour" in refusal(styles(TEE, header=HEADER.replace("baseColour", "colour")))
    empty = tmp_path / "empty.csv"
    empty.touch()
    assert "is empty" in refusal(empty)
    plain = styles(TEE).rename(tmp_path / "plain.csv.gz")
    assert "rename it to .csv" in refusal(plain)
    cut_off = styles(*CLEAN, name="cut-off.csv.gz")
    cut_off.write_bytes(cut_off.read_bytes()[:-20])
    assert "cut off or damaged" in refusal(cut_off)
    assert not Product.objects.exists()


def test_a_brand_is_what_many_names_begin_with() -> None:
    brands = Brands()
    names = [f"Lino Perros Men {n}" for n in range(MIN_PRODUCTS)] + ["Levi's Jeans"] * 9 + ["Levis Tee"] * 11
    for name in [*names, "Lino Ventura Hat", "Rare Tee"]:
        brands.add(name)
    brands.decide()
    assert brands.of("Lino Perros Women Bag").name == "Lino Perros"
    assert brands.of("Levi's Jacket") == brands.of("Levis Jacket")
    assert brands.of("Levis Jacket").slug == "levis"
    assert brands.of("Lino Ventura Hat") == brands.of("Rare Tee") == SELECT_SHOP


def test_the_real_catalogue() -> None:
    folder = Path(os.environ.get("YOUSINSA_DATA") or Path(settings.BASE_DIR).parent / "shared" / "data")
    path = folder / "styles.csv.gz"
    if not path.exists():
        pytest.skip("styles.csv.gz is not here; YOUSINSA_DATA names the folder it is in")
    assert "300 products loaded" in run(path, "--limit", "300")
    assert Store.objects.filter(name="Nike").exists()
    assert_books_balance()


@pytest.mark.django_db(transaction=True)
def test_a_row_that_the_database_refuses_keeps_no_other_out(styles: MakeFile) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE TRIGGER no_sarees BEFORE INSERT ON shop_product "
            + (
                "FOR EACH ROW IF NEW.name LIKE '%Saree%' THEN SIGNAL SQLSTATE '45000'; END IF"
                if connection.vendor == "mysql"
                else "WHEN NEW.name LIKE '%Saree%' BEGIN SELECT RAISE(ABORT, 'no sarees'); END"
            )
        )
    try:
        said = run(styles(*CLEAN))
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP TRIGGER no_sarees")
    assert Product.objects.count() == 5
    assert "it cannot be written, see the log" in said
    assert_books_balance()
