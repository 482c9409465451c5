"""Receipts and counts from CSV and XLSX: looked at before they are applied, as a whole or not at all."""

import gc
import io
import weakref
import zipfile

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from openpyxl import Workbook

from inventory import documents, ledger
from inventory.admin.documents import rows
from inventory.models import MAX_UNITS, Delivery, DeliveryLine, Movement, Stocktake, StocktakeLine
from shop.desk import uploads
from tests.support.desk import said, signed_in, staff, text, url
from tests.support.factories import make_options, make_order, stock_of
from tests.support.invariants import assert_books_balance

pytestmark = pytest.mark.django_db


def as_csv(*lines, name="stock.csv") -> SimpleUploadedFile:
    content = "\n".join(",".join(str(cell) for cell in line) for line in lines)
    return SimpleUploadedFile(name, content.encode())


def as_xlsx(*lines, name="Stock.XLSX") -> SimpleUploadedFile:
    book, file = Workbook(), io.BytesIO()
    for line in lines:
        book.active.append(list(line))
    book.save(file)
    return SimpleUploadedFile(name, file.getvalue())


def send(desk, model, upload, stocktake=None):
    address = url(Stocktake, "counts", stocktake.pk) if stocktake else url(model, "import")
    return desk.post(address, {"file": upload}, follow=True)


def errors(page) -> list[tuple[int, str, str]]:
    return [tuple(error) for error in page.context["errors"]]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("kind", [as_csv, as_xlsx])
def test_receipts_are_looked_at_and_then_received_once(operator, buyer, kind):
    shirt, coat = make_options([10, 0])
    make_order(buyer, (shirt, 4))
    desk = signed_in(operator)
    upload = kind(
        ("SKU", "Units", "Reference", "Note", "Supplier"),
        (shirt.sku, 5, "DN-7", "Autumn", "Acme"),
        ("", "", "", "", ""),
        (coat.sku, 2, "", "", ""),
    )
    page = send(desk, Delivery, upload)
    delivery = Delivery.objects.get()
    assert (delivery.status, delivery.created_by, delivery.source) == ("draft", operator, upload.name)
    assert "+5 10 → 15 4 → 4 6 → 11 DN-7 Autumn" in text(page)
    assert "+2 0 → 2 0 → 0 0 → 2" in text(page)
    assert "2 options, 7 units in all." in text(page)
    assert (stock_of(shirt), stock_of(coat)) == ((10, 4), (0, 0))

    for _ in range(2):
        page = desk.post(url(Delivery, "apply", delivery.pk), {"version": 0}, follow=True)
    assert said(page)[-1] == "It has been applied or discarded already. Nothing was changed."
    assert (stock_of(shirt), stock_of(coat)) == ((15, 4), (2, 0))
    first, second = Movement.objects.order_by("-id")[:2][::-1]
    assert (first.kind, first.reference, first.reason) == ("receive", "DN-7", "Autumn")
    assert second.reference == second.reason == delivery.reference
    assert {first.actor, second.actor} == {operator}
    assert_books_balance()


def test_every_wrong_row_is_told_with_its_column_and_what_to_do_and_none_is_imported(desk):
    fine, full = make_options([1, 1])
    ledger.receive(option_id=full.pk, quantity=MAX_UNITS - 1)
    page = send(
        desk, Delivery,
        as_csv(
            ("sku", "units", "reference", "note"),
            (fine.sku, 5, "", ""),
            ("no-such", 1, "", ""),
            (fine.sku, 3, "", ""),
            ("", "", "r" * 41, "n" * 201),
            (full.sku, 1, "", ""),
            ("x", "5.5", "", ""),
            ("y", "-3", "", ""),
            ("z", "", "", ""),
            ("z", "1e3", "", ""),
        ),
    )  # fmt: skip
    told = errors(page)
    digits = "write it in digits alone, such as 1200."
    assert told == [
        (3, "sku", "There is no option with the SKU no-such: look at how it is written."),
        (4, "sku", f"{fine.sku} is in row 2 already: give each SKU once."),
        (5, "sku", "Missing: give the option's SKU."),
        (5, "units", "Missing: give a whole number."),
        (5, "reference", "Too long: at most 40 characters."),
        (5, "note", "Too long: at most 200 characters."),
        (6, "units", f"With what is on hand this would be more than {MAX_UNITS}."),
        (7, "sku", "There is no option with the SKU x: look at how it is written."),
        (7, "units", f"5.5 is no whole number: {digits}"),
        (8, "sku", "There is no option with the SKU y: look at how it is written."),
        (8, "units", f"-3: give a number from 1 to {MAX_UNITS}."),
        (9, "sku", "There is no option with the SKU z: look at how it is written."),
        (9, "units", "Missing: give a whole number."),
        (10, "sku", "There is no option with the SKU z: look at how it is written."),
        (10, "units", f"1e3 is no whole number: {digits}"),
    ]
    assert "15 mistakes. Nothing was imported" in text(page)
    assert not Delivery.objects.exists()


def test_only_the_first_mistakes_are_listed(desk, monkeypatch):
    monkeypatch.setattr(rows, "SHOWN", 2)
    monkeypatch.setattr(rows, "BATCH", 2)
    (option,) = make_options([1])
    page = send(desk, Delivery, as_csv(("sku", "units"), (option.sku, 1), *[("?", 1)] * 5))
    assert len(errors(page)) == 2
    assert "5 mistakes." in text(page)
    assert "And 3 more." in text(page)
    assert not Delivery.objects.exists()


def test_a_sku_that_is_repeated_in_another_batch_is_found(desk, monkeypatch):
    monkeypatch.setattr(rows, "BATCH", 1)
    (option,) = make_options([1])
    page = send(desk, Delivery, as_xlsx(("sku", "units"), (option.sku, 1.0), (option.sku, 2)))
    assert errors(page) == [(3, "sku", f"{option.sku} is in row 2 already: give each SKU once.")]


def refusal(page) -> str:
    (said_there,) = page.context["form"].errors["file"]
    return said_there


def zipped(**parts: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name.replace("__", "."), content)
    return file.getvalue()


BILLION_LAUGHS = b"""<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]><x>&b;</x>"""


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.txt", b"sku,units\n", "Send a .csv or an .xlsx file."),
        ("a.csv", b"sku,units\n", "There are no rows below the head."),
        ("a.csv", b"\n\n", "The first row must name the columns: sku, units is missing among –."),
        ("a.csv", b"sku;qty\nA;1\n", "The first row must name the columns: units is missing among sku, qty."),
        ("a.csv", b"sku,units,SKU\nA,1,B\n", "The first row names the column sku twice."),
        ("a.csv", "sku,units\n한국,1".encode("cp949"), "The file is not in UTF-8"),
        ("a.csv", b'sku,units\n"A"x,1\n', "Line 2 cannot be read"),
        ("a.csv", b'sku,units\n"' + b"x" * 140_000 + b'",1\n', "cannot be read"),
        ("a.xlsx", b"PK no archive", "This is no XLSX file"),
        ("a.xlsx", zipped(hello__txt=b"hello"), "This is no workbook that can be read"),
        ("a.xlsx", zipped(**{"xl/workbook__xml": BILLION_LAUGHS}), "This is no XLSX file"),
        ("a.xlsx", zipped(big=b"0" * (uploads.MAX_UNPACKED + 1)), "The workbook unpacks to more than 96 MB"),
    ],
)
def test_a_file_that_cannot_be_taken_is_refused_in_words(desk, name, content, told):
    page = send(desk, Delivery, SimpleUploadedFile(name, content))
    assert refusal(page).startswith(told) or told in refusal(page)
    assert not Delivery.objects.exists()


def test_files_are_limited_in_size_and_in_rows(desk, monkeypatch):
    (option,) = make_options([1])
    monkeypatch.setattr(uploads, "MAX_ROWS", 2)
    lines = [("sku", "units"), (option.sku, 1), ("?", 1), ("?", 1)]
    for kind in (as_csv, as_xlsx):
        assert refusal(send(desk, Delivery, kind(*lines))) == "At most 2 rows a file: split it."
        assert len(errors(send(desk, Delivery, kind(*lines[:3])))) == 1
    monkeypatch.setattr(uploads, "MAX_BYTES", 10)
    assert refusal(send(desk, Delivery, as_csv(*lines))).startswith("At most 0 MB a file")
    assert send(desk, Delivery, "").context["form"].errors["file"]


def changed(upload, old: bytes, new: bytes) -> SimpleUploadedFile:
    """A workbook with other words in its first worksheet."""
    file = io.BytesIO()
    with zipfile.ZipFile(upload) as archive, zipfile.ZipFile(file, "w") as copy:
        for name in archive.namelist():
            content = archive.read(name)
            if name == "xl/worksheets/sheet1.xml":
                assert old in content
                content = content.replace(old, new)
            copy.writestr(name, content)
    return SimpleUploadedFile("a.xlsx", file.getvalue())


def test_a_worksheet_that_lies_about_its_size_is_read_to_its_end_and_no_further(desk):
    one, two = make_options([1, 1])
    sheet = [("sku", "units"), (one.sku, 1), (two.sku, 2)]
    send(desk, Delivery, changed(as_xlsx(*sheet), b'ref="A1:B3"', b'ref="A1:A1"'))
    assert sorted(DeliveryLine.objects.values_list("units", flat=True)) == [1, 2]
    far_away = changed(as_xlsx(*sheet), b'<row r="3"', b'<row r="99999999999"')
    send(desk, Delivery, far_away)
    assert Delivery.objects.first().lines.count() == 1


class Cells(list):
    """A row's cells of which can be seen whether anybody still holds them."""


def test_rows_that_were_read_are_let_go(monkeypatch):
    """Every row has mistakes of its own: all are counted, the first are kept, and memory holds a batch."""
    monkeypatch.setattr(rows, "BATCH", 50)
    made, most = [], 0

    def lines():
        nonlocal most
        yield 1, ["sku", "units", "reference", "note"]
        for i in range(1_000):
            cells = Cells([f"no-such-{i}", "many", "", "n" * 300])
            made.append(weakref.ref(cells))
            yield i, cells
            del cells
            if i % 100 == 99:
                gc.collect()
                most = max(most, sum(ref() is not None for ref in made))

    good, told, count = rows.read(rows.ReceiptRows(), lines())
    assert (good, len(told), count) == ([], rows.SHOWN, 3_000)
    assert 0 < most <= 2 * rows.BATCH


def test_spreadsheets_with_other_delimiters_and_quoted_formulas_are_read(desk):
    (option,) = make_options([1])
    option.sku = "=danger"
    option.save()
    content = "\ufeffsku\tunits\n'=danger\t 3 \n".encode()
    send(desk, Delivery, SimpleUploadedFile("a.csv", content))
    assert DeliveryLine.objects.values_list("stock", "units").get() == (option.stock.pk, 3)


@pytest.mark.django_db(transaction=True)
def test_a_delivery_that_no_longer_fits_is_refused_as_a_whole(operator):
    fine, full = make_options([1, 1])
    desk = signed_in(operator)
    send(desk, Delivery, as_csv(("sku", "units"), (fine.sku, 1), (full.sku, MAX_UNITS - 1)))
    delivery = Delivery.objects.get()
    ledger.receive(option_id=full.pk, quantity=5)
    told = f"{full.sku}: +{MAX_UNITS - 1} with 6 on hand now would be more than {MAX_UNITS}."
    assert told in text(desk.get(url(Delivery, "change", delivery.pk)))
    page = desk.post(url(Delivery, "apply", delivery.pk), {"version": 0}, follow=True)
    assert said(page) == [told]
    assert (stock_of(fine), stock_of(full)) == ((1, 0), (6, 0))
    page = desk.post(url(Delivery, "discard", delivery.pk), follow=True)
    assert said(page) == [f"{delivery.reference}: discarded. Nothing was changed."]
    assert_books_balance()


@pytest.mark.django_db(transaction=True)
def test_counts_from_a_file_begin_a_stocktake_and_are_applied_from_its_preview(operator, buyer):
    more, fewer = make_options([10, 10])
    desk = signed_in(operator)
    make_order(buyer, (fewer, 4))
    wrong = send(desk, Stocktake, as_csv(("sku", "counted"), (more.sku, 12), (fewer.sku, 3)))
    told = "3 counted, but 4 are reserved: count again, or cancel orders."
    assert errors(wrong) == [(3, "counted", told)]
    page = send(desk, Stocktake, as_xlsx(("sku", "counted"), (more.sku, 12), (fewer.sku, 4)))
    stocktake = Stocktake.objects.get()
    assert "10 12 +2 10 → 12" in text(page)
    desk.post(url(Stocktake, "apply", stocktake.pk), {"version": stocktake.version})
    assert (stock_of(more), stock_of(fewer)) == ((12, 0), (4, 4))
    again = send(desk, Stocktake, as_csv(("sku", "counted"), (more.sku, 12)))
    assert again.context["title"].startswith("Preview")
    assert_books_balance()


@pytest.mark.django_db(transaction=True)
def test_the_list_of_a_stocktake_is_exported_filled_in_and_read_back(operator):
    one, two, other = make_options([5, 6, 7])
    desk = signed_in(operator)
    stocktake = documents.begin_stocktake(stock_ids=[one.stock.pk, two.stock.pk], actor_id=operator.pk)
    ledger.receive(option_id=one.pk, quantity=1)
    page = desk.get(url(Stocktake, "change", stocktake.pk))
    listed = desk.get(page.context["list_url"]).getvalue().decode("utf-8-sig").splitlines()
    assert listed[0] == "sku,product,size,colour,on hand when counting began,counted"
    filled = [listed[0], *(line + "4" for line in listed[1:])]
    send(desk, Stocktake, SimpleUploadedFile("counts.csv", "\n".join(filled).encode()), stocktake)
    counts = StocktakeLine.objects.order_by("id").values_list("on_hand", "counted")
    assert list(counts) == [(5, 4), (6, 4)]

    page = send(desk, Stocktake, as_csv(("sku", "counted"), (other.sku, 1)), stocktake)
    assert errors(page) == [(2, "sku", "This option is not counted in this stocktake: take the row out.")]
    stocktake.refresh_from_db()
    documents.apply_stocktake(stocktake_id=stocktake.pk, version=stocktake.version, actor_id=operator.pk)
    assert (stock_of(one), stock_of(two)) == ((5, 0), (4, 0))
    late = send(desk, Stocktake, as_csv(("sku", "counted"), (one.sku, 1)), stocktake)
    assert "This stocktake has ended" in text(late)


def test_an_import_needs_the_permission_of_what_it_does(desk):
    receiver, counter = staff("inventory.receive_stock"), staff("inventory.count_stock")
    for client, may, may_not in ((receiver, Delivery, Stocktake), (counter, Stocktake, Delivery)):
        assert client.get(url(may, "import")).status_code == 200
        assert client.get(url(may_not, "import")).status_code == 403
        assert send(client, may_not, as_csv(("sku", "units"), ("?", 1))).status_code == 403
    looker = staff("inventory.view_stock")
    assert url(Delivery, "import") not in looker.get(url(Delivery)).content.decode()
    assert url(Delivery, "import") in receiver.get(url(Delivery)).content.decode()
    assert desk.get(url(Stocktake, "counts", 42)).status_code == 302
    assert desk.get(url(Delivery), {"q": "DELIVERY-7"}).context["cl"].result_count == 0
