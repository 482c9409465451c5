"""Rows from before the border was watched: written as they would be stored now, or named."""

import unicodedata
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
from django.apps import apps
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from shop.models import Category, Option, Product, SearchTerm, Store, User
from tests.support.factories import make_category, make_options, make_store, make_user
from yousinsa.text.keys import key

pytestmark = pytest.mark.django_db

NFD = unicodedata.normalize("NFD", "데님셔츠")


def write(table: str, column: str, value: str, pk: int) -> None:
    """As it was written before, or by hand."""
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE {table} SET {column} = %s WHERE id = %s", [value, pk])


def check(*arguments: str) -> tuple[str, bool]:
    """What check_text says, and whether all is well."""
    out = StringIO()
    try:
        call_command("check_text", *arguments, stdout=out)
    except CommandError as exc:
        return f"{out.getvalue()}{exc}", False
    return out.getvalue(), True


def test_what_can_be_is_written_and_search_finds_it() -> None:
    (option,) = make_options([1], name="x")
    user = make_user("kim@example.com")
    write("shop_product", "name", f" {NFD}\u200b", option.product_id)
    write("shop_option", "size", "S\x01", option.pk)
    write("shop_option", "sku", NFD, option.pk)
    write("shop_user", "email", "Kim@Example.com", user.pk)
    write("shop_user", "name", "\u202e김", user.pk)
    said, fine = check()
    assert not fine
    assert "3 left" in said or "4 left" in said
    assert not Product.objects.filter(search_terms__term="셔츠").exists()

    said, fine = check("--fix")
    assert fine, said
    option.refresh_from_db()
    user.refresh_from_db()
    assert option.product.name == "데님셔츠"
    assert (option.sku, option.sku_key, option.size, option.look_key) == (
        "데님셔츠", "데님셔츠", "S", key("S", ""),
    )  # fmt: skip
    assert (user.email, user.name) == ("kim@example.com", "김")
    assert set(SearchTerm.objects.filter(product=option.product).values_list("term", flat=True)) == {
        "데님셔츠", "님셔츠", "셔츠",
    }  # fmt: skip
    assert check() == (check()[0], True)


def test_rows_that_would_be_the_same_stay_and_are_named() -> None:
    one, other = make_options([1, 1])
    write("shop_option", "sku", "가", one.pk)
    write("shop_option", "sku", unicodedata.normalize("NFD", "가"), other.pk)
    kim, also_kim = make_user("kim@example.com"), make_user("x@example.com")
    write("shop_user", "email", "KIM@example.com", also_kim.pk)
    category = make_category("shirts")
    said, fine = check("--fix")
    assert not fine
    assert f"Option {other.pk}: sku as '가'" in said
    assert f"User {also_kim.pk}: email as 'kim@example.com' (stays" in said
    assert "2 left" in said
    other.refresh_from_db()
    assert not unicodedata.is_normalized("NFC", other.sku)
    assert User.objects.get(email="Kim@example.com") == kim
    assert Category.objects.get(slug="Shirts") == category
    write("shop_option", "sku", "나", other.pk)
    write("shop_user", "email", "k@example.com", also_kim.pk)
    assert check("--fix")[1]


def test_search_terms_are_written_again_after_rows_were_written_by_hand() -> None:
    (option,) = make_options([1], name="청바지")
    SearchTerm.objects.all().delete()
    assert "1 products are not found" in check()[0]
    assert check("--fix")[1]
    assert Product.objects.get(search_terms__term="바지").pk == option.product_id


def test_a_look_and_a_store_s_name_are_unique_by_code_points_on_every_database() -> None:
    owner = make_user()
    make_store(owner=owner, name="Café")
    make_store(owner=owner, name="Cafe")
    (option,) = make_options([1])
    for size, color in [("😀", ""), ("😁", ""), ("é", ""), ("e", "")]:
        Option.objects.create(product=option.product, sku=f"{size}{color}", size=size, color=color)
    assert Option.objects.filter(product=option.product).count() == 5
    assert Store.objects.filter(owner=owner).count() == 2


BEFORE = ("shop", "0004_store_commission")


@pytest.fixture
def migrated_back(transactional_db: None) -> Iterator[Any]:
    """The models as they were before; the tests after this one find the tables as they are now."""
    executor = MigrationExecutor(connection)
    latest = executor.loader.graph.leaf_nodes()
    executor.migrate([BEFORE])
    yield executor.loader.project_state([BEFORE]).apps
    MigrationExecutor(connection).migrate(latest)


def test_a_populated_database_is_migrated(migrated_back: Any, capfd: pytest.CaptureFixture[str]) -> None:
    def old(name: str) -> Any:
        return migrated_back.get_model("shop", name).objects

    owner = old("User").create(email="Owner@Example.com", password="x")
    store = old("Store").create(owner=owner, name=f"{NFD} ")
    category = old("Category").create(name="Old", slug="Old-Ones", path="000Z", depth=1, numchild=0)
    product = old("Product").create(store=store, category=category, name=f"{NFD}\u200b", price=1)
    options = [
        old("Option").create(product=product, sku=sku, size=size)
        for sku, size in [
            ("가", "S"),
            (unicodedata.normalize("NFD", "가"), "M"),
            ("x", "straße"),
            ("y", "strasse"),
        ]
    ]

    executor = MigrationExecutor(connection)
    executor.migrate(executor.loader.graph.leaf_nodes())
    assert User.objects.get(pk=owner.pk).email == "owner@example.com"
    assert Category.objects.get(pk=category.pk).slug == "old-ones"
    assert Product.objects.get(search_terms__term="셔츠").name == "데님셔츠"
    assert Store.objects.get(pk=store.pk).name_key == "데님셔츠"
    looks = list(Option.objects.order_by("pk").values_list("look_key", flat=True))
    assert looks[:3] == [key("S", ""), key("M", ""), key("strasse", "")]
    assert looks[3] not in looks[:3]
    said = capfd.readouterr().out
    assert f"Option {options[1].pk}: sku as '가'" in said
    assert f"Option {options[3].pk}: look_key as" in said
    assert said.count("stays as it is") == 2


def test_every_model_with_text_is_tidied() -> None:
    """A column of cleaned text that the check does not know would stay as it is for ever."""
    from shop.tidying import COLUMNS, KEYS
    from yousinsa.text.fields import KeyField

    for model in apps.get_app_config("shop").get_models():
        cleaned = {field.name for field in model._meta.concrete_fields if hasattr(field, "tidy_with")}
        assert cleaned == set(COLUMNS.get(model.__name__, {})), model
        for name, tidy in COLUMNS.get(model.__name__, {}).items():
            assert model._meta.get_field(name).tidy_with is tidy
        keys = {f.name: f.of for f in model._meta.concrete_fields if isinstance(f, KeyField)}
        assert keys == dict(KEYS.get(model.__name__, {})), model
