"""Any list as CSV or XLSX: what is filtered, all of it, as text that no spreadsheet runs."""

import csv
import io
import tracemalloc

import pytest
from django.contrib import admin
from django.db import connection
from django.test.utils import CaptureQueriesContext
from openpyxl import load_workbook

from inventory.models import Movement, Stock
from orders.models import Hold, Order, Payment
from shop.desk import export
from shop.desk.base import DeskAdmin
from shop.models import Option, Product, User
from tests.support.books import make_rows
from tests.support.desk import said, signed_in, staff, url
from tests.support.factories import make_options, make_order, make_store
from yousinsa.files.cells import as_typed

pytestmark = pytest.mark.django_db

LISTS = [model for model, page in admin.site._registry.items() if isinstance(page, DeskAdmin)]


def as_csv(client, model, **filters) -> list[list[str]]:
    answer = client.get(url(model, "export", "csv"), filters)
    assert answer.status_code == 200
    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    assert answer["Content-Disposition"].startswith('attachment; filename="')
    content = answer.getvalue()
    assert content.startswith(b"\xef\xbb\xbf")
    return list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline="")))


def as_xlsx(client, model, **filters) -> list[list]:
    answer = client.get(url(model, "export", "xlsx"), filters)
    assert answer.status_code == 200
    sheet = load_workbook(io.BytesIO(answer.getvalue())).active
    return [list(row) for row in sheet.iter_rows(values_only=True)]


@pytest.mark.parametrize("model", LISTS, ids=lambda model: model._meta.label)
def test_every_list_is_exported_with_all_its_rows_and_no_secret(desk, model):
    make_rows(2)
    lines = as_csv(desk, model)
    assert len(lines) == 1 + model._default_manager.count() > 1
    assert {len(line) for line in lines} == {len(lines[0])}
    assert len(as_xlsx(desk, model)) == len(lines)
    assert not {"password", "card token", "fingerprint"} & set(lines[0])
    page = desk.get(url(model)).content.decode()
    assert f'href="{url(model, "export", "csv")}"' in page
    assert f'href="{url(model, "export", "xlsx")}"' in page


def test_what_the_list_shows_is_what_is_exported_newest_first(desk, buyer):
    plenty, sold_out = make_options([5, 3], name="Linen shirt")
    order = make_order(buyer, (sold_out, 3))
    head = ["sku", "product", "size", "colour", "on hand", "reserved", "available", "movements"]
    rows = [[sold_out.sku, "Linen shirt", "1", "", "3", "3", "0", "2"]]
    assert as_csv(desk, Stock, availability="sold-out") == [head, *rows]
    assert [line[0] for line in as_csv(desk, Stock)] == ["sku", sold_out.sku, plenty.sku]
    assert as_xlsx(desk, Stock, q=plenty.sku)[1][4:7] == [5, 0, 5]
    movements = as_csv(desk, Movement, q=order.number)
    assert [line[3] for line in movements] == ["kind", "reserve"]
    assert as_csv(desk, Order, status__exact="paid")[1:] == []
    page = desk.get(url(Stock), {"availability": "sold-out", "p": "1"}).content.decode()
    assert f'href="{url(Stock, "export", "csv")}?availability=sold-out' in page


def test_text_that_a_spreadsheet_would_run_is_neutralised_and_read_back(desk):
    store = make_store(name='=HYPERLINK("http://example.com";"x")')
    for sku in ("=1+1", "+82", "-5", "@SUM(A1)", "plain", "'quoted", "한국"):
        (option,) = make_options(
            [1], store=store, name=f"{sku} shirt\x0b" if sku == "plain" else f"{sku} shirt"
        )
        Option.objects.filter(pk=option.pk).update(sku=sku)
    cells = [line[0] for line in as_csv(desk, Option)][1:][::-1]
    assert cells == ["'=1+1", "'+82", "'-5", "'@SUM(A1)", "plain", "'quoted", "한국"]
    assert [as_typed(cell) for cell in cells] == [
        "=1+1", "+82", "-5", "@SUM(A1)", "plain", "'quoted", "한국",
    ]  # fmt: skip
    assert as_csv(desk, Product)[1][2] == '\'=HYPERLINK("http://example.com";"x")'
    answer = desk.get(url(Option, "export", "xlsx"))
    sheet = load_workbook(io.BytesIO(answer.getvalue())).active
    assert "f" not in {cell.data_type for row in sheet.iter_rows() for cell in row}  # formulas
    assert "plain shirt" in {cell.value for cell in sheet["B"]}  # what XLSX cannot hold is left out


def test_no_control_character_hides_a_formula_from_either_file(desk, buyer):
    (option,) = make_options([3], name="plain")
    order = make_order(buyer, (option, 1))
    wicked = '\x01=HYPERLINK("http://example.com")'
    with connection.cursor() as cursor:  # as rows from before the border was watched have it
        cursor.execute("UPDATE shop_product SET name = %s", [wicked])
        cursor.execute("UPDATE orders_order SET recipient = %s WHERE id = %s", ["\x0b=1+1", order.pk])
    for model, shown in ((Product, "'=HYPERLINK"), (Order, "'=1+1")):
        lines = as_csv(desk, model)
        cells = [cell for line in lines for cell in line]
        if model is Product:
            assert any(cell.startswith(shown) for cell in cells)
        assert not any(cell.lstrip("\x01\x0b\t ").startswith("=") for cell in cells)
        book = load_workbook(io.BytesIO(desk.get(url(model, "export", "xlsx")).getvalue()))
        sheet = [cell for row in book.active.iter_rows() for cell in row]
        assert "f" not in {cell.data_type for cell in sheet}
        assert not any(str(cell.value).lstrip().startswith("=") for cell in sheet)


def test_texts_that_differ_by_a_quote_are_exported_apart_and_read_back(desk):
    plain, quoted = make_options([1, 1])
    for option, sku in ((plain, "-A"), (quoted, "'-A")):
        option.sku = sku
        option.save()
    cells = [line[0] for line in as_csv(desk, Stock)][1:]
    assert cells == ["''-A", "'-A"]
    assert [as_typed(cell) for cell in cells] == ["'-A", "-A"]


def test_rows_are_fetched_in_chunks_and_none_is_lost_between_them(desk, monkeypatch):
    monkeypatch.setattr(export, "CHUNK", 3)
    make_options([1] * 7)
    with CaptureQueriesContext(connection) as captured:
        skus = [line[0] for line in as_csv(desk, Stock)[1:]]
    assert skus == list(Option.objects.order_by("-id").values_list("sku", flat=True))
    fetched = [q["sql"] for q in captured if "inventory_stock" in q["sql"] and "COUNT(" not in q["sql"]]
    assert fetched
    assert all("LIMIT" in sql or " IN (" in sql for sql in fetched), fetched


def test_memory_does_not_grow_with_the_rows():
    """A hundred thousand rows pass; a chunk of them is all that is kept."""
    tracemalloc.start()
    try:
        rows = ((i, "x" * 20) for i in range(100_000))
        size = sum(len(part) for part in export.csv_lines(["id", "text"], rows))
        _now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size > 2_500_000
    assert peak < 1_000_000


def test_a_worksheet_has_an_end_and_a_file_has_a_kind(desk, monkeypatch):
    monkeypatch.setattr(export, "MAX_XLSX_ROWS", 1)
    make_options([1, 1])
    page = desk.get(url(Stock, "export", "xlsx"), follow=True)
    assert said(page) == ["XLSX is for up to 1 rows: filter the list, or export it as CSV."]
    assert desk.get(url(Stock, "export", "pdf")).status_code == 302
    unknown = desk.get(url(Stock, "export", "csv"), {"no_such_field__exact": "1"})  # no filter of the list's
    assert len(unknown.getvalue().decode().splitlines()) == 3


def test_who_may_not_see_a_list_may_not_export_it(desk, buyer):
    (option,) = make_options([5])
    make_order(buyer, (option, 1))
    clerk = staff("inventory.view_stock")
    assert len(as_csv(clerk, Stock)) == 2
    for model in (Order, Hold, User, Payment, Movement):
        for kind in ("csv", "xlsx"):
            assert clerk.get(url(model, "export", kind)).status_code == 403
    assert signed_in(buyer).get(url(Stock, "export", "csv")).status_code == 302
    assert len(as_csv(staff("orders.view_order"), Hold)) == 2
