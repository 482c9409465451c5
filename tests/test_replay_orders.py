"""Real invoices as orders: what is kept, what is skipped, and that no run does anything twice."""

import gzip
import os
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import CommandError

from inventory.models import Movement, Stock
from orders.models import (
    MAX_LINES,
    Order,
    OrderEvent,
    OrderLine,
    Payment,
    Refund,
    SettlementEntry,
    Status,
)
from orders.placement.numbers import placed_at
from orders.replay import values
from orders.replay.reader import survey
from orders.replay.run import Replay
from shop.models import Product, Store, User
from tests.support.invariants import assert_books_balance
from tests.support.replay import COLUMNS, line, lines_of, order, replay_file, state

pytestmark = pytest.mark.django_db

REAL_FILE = (
    Path(os.environ.get("YOUSINSA_DATA", Path(settings.BASE_DIR).parent / "shared" / "data"))
    / "orders_2010-12_2011-01.csv.gz"
)


# --- What an invoice becomes ------------------------------------------------------------------------


def test_an_invoice_becomes_a_delivered_order(replay: Callable[..., str]) -> None:
    said = replay(
        line(536365, "85123A", 6, "2.55"),
        line(536365, "71053", 120, "3.39", name="WHITE METAL LANTERN"),
        line(536365, "85123a", 2, "2.55", name="OTHER WORDS"),
    )
    placed = order("536365")
    assert (placed.status, placed.total) == (Status.DELIVERED, 8 * 4590 + 120 * 6102)
    assert lines_of("536365") == [("REPLAY-71053", 120, 6102, 0), ("REPLAY-85123A", 8, 4590, 0)]
    assert placed.note == "Invoice 536365 of 2010-12-01 08:26"
    assert (placed.address1, placed.recipient) == ("United Kingdom", "Customer 17850")
    assert (placed.carrier, placed.tracking_number) == ("replay", "536365")
    assert placed.buyer.email == "customer-17850@replay.yousinsa.test"
    assert not placed.buyer.has_usable_password()
    # Everything is of the invoice's own time, which is the shop's (Seoul).
    then = datetime(2010, 11, 30, 23, 26, tzinfo=UTC)
    assert {placed.created_at, placed_at(placed.pk), placed.expires_at - timedelta(minutes=15)} == {then}
    for model in (OrderEvent, Payment, Movement, SettlementEntry, Product):
        assert set(model.objects.values_list("created_at", flat=True)) == {then}, model
    payment = Payment.objects.get()
    assert (payment.provider, payment.amount) == ("imported", placed.total)
    assert list(Product.objects.order_by("source_id").values_list("source_id", "name")) == [
        ("replay:71053", "WHITE METAL LANTERN"),
        ("replay:85123A", "WHITE HANGING HEART"),
    ]
    # Goods arrive by the hundred.
    assert dict(Stock.objects.values_list("option__sku", "on_hand")) == {
        "REPLAY-71053": 80,
        "REPLAY-85123A": 92,
    }
    assert "3 lines of 1 invoice and 0 cancellations: 3 sold, 0 returned, 0 skipped" in said
    assert "1 order placed and delivered (128 units, 768,960 won)" in said
    assert "at 1,800 won a pound" in said.splitlines()[-1]
    assert_books_balance()


def test_an_invoice_without_a_customer_has_a_guest_of_its_own(replay: Callable[..., str]) -> None:
    replay(line(1, customer=""), line(2, customer=""), line(3, customer="17850.0"), line(4))
    buyers = dict(Order.objects.values_list("idempotency_key", "buyer__email"))
    assert buyers == {
        "replay:1": "guest-1@replay.yousinsa.test",
        "replay:2": "guest-2@replay.yousinsa.test",
        "replay:3": "customer-17850@replay.yousinsa.test",
        "replay:4": "customer-17850@replay.yousinsa.test",
    }
    assert not any(user.has_usable_password() for user in User.objects.all())


def test_every_order_has_the_price_of_its_invoice(replay: Callable[..., str]) -> None:
    said = replay(line(1, price="2.55"), line(2, price="4.95"), line(3, price="2.55"))
    totals = dict(Order.objects.values_list("idempotency_key", "total"))
    assert totals == {"replay:1": 4590, "replay:2": 8910, "replay:3": 4590}
    assert Product.objects.get().price == 4590
    assert "cost another sum" not in said


def test_an_article_at_two_prices_in_one_invoice_makes_a_second_order(replay: Callable[..., str]) -> None:
    replay(
        line(1, "A1", 2, "1.00"), line(1, "B1", 1, "5.00"), line(1, "A1", 3, "0.50"), line(1, "A1", 1, "1.00")
    )
    assert lines_of("1") == [("REPLAY-A1", 3, 1800, 0), ("REPLAY-B1", 1, 9000, 0)]
    assert lines_of("1/2") == [("REPLAY-A1", 3, 900, 0)]
    assert sum(Order.objects.values_list("total", flat=True)) == 3 * 1800 + 9000 + 3 * 900
    assert_books_balance()


def test_an_invoice_longer_than_the_api_takes_makes_several_orders(replay: Callable[..., str]) -> None:
    articles = 2 * MAX_LINES + 1
    replay(*(line(1, f"A{n}", n, "0.01") for n in range(1, articles + 1)))
    placed = Order.objects.order_by("idempotency_key").values_list("idempotency_key", "total")
    sizes = Counter(OrderLine.objects.values_list("order__idempotency_key", flat=True))
    assert sizes == {"replay:1": MAX_LINES, "replay:1/2": MAX_LINES, "replay:1/3": 1}
    assert sum(total for _, total in placed) == sum(range(1, articles + 1)) * 18
    # More counters than one statement writes.
    units = {f"REPLAY-A{n}": -n % 100 for n in range(1, articles + 1)}
    assert dict(Stock.objects.values_list("option__sku", "on_hand")) == units
    assert_books_balance()


def test_the_rate_is_the_callers_and_rounding_is_told(replay: Callable[..., str]) -> None:
    said = replay(line(1, "A1", 3, "0.01"), line(2, "A1", 1, "1.00"), rate=Decimal(1750))
    assert lines_of("1") == [("REPLAY-A1", 3, 18, 0)]  # 17.5 won each, 52.5 together
    assert lines_of("2") == [("REPLAY-A1", 1, 1750, 0)]
    assert "1 invoice cost another sum than in the file: unit prices are rounded to whole won" in said
    assert "at 1,750 won a pound" in said


def test_limit_counts_invoices(replay: Callable[..., str]) -> None:
    lines = [line(1, "A1"), line(1, "B1"), line("C2", "A1", -1), line(3, "A1"), line("C4", "B1", -1)]
    said = replay(*lines, limit=2)
    assert "3 lines of 1 invoice and 1 cancellation: 2 sold, 1 returned, 0 skipped" in said
    said = replay(*lines)
    assert "5 lines of 2 invoices and 2 cancellations: 3 sold, 2 returned, 0 skipped" in said
    assert (order("1").status, order("3").status) == (Status.RETURNED, Status.DELIVERED)
    assert_books_balance()


# --- What is skipped ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (line(9, "POST", 1, "18.00"), "not an article"),
        (line(9, "m", 1, "1.25"), "not an article"),
        (line(9, "BANK CHARGES", 1, "15.00"), "not an article"),
        (line(9, "gift_0001_20", 1, "17.02"), "a gift voucher"),
        (line(9, price="0.0"), "no price"),
        (line(9, price="-11.06"), "a price below zero"),
        (line(9, quantity=-10, price="0.0", name=""), "units below zero in an invoice"),
        (line(9, quantity=0), "no units"),
        (line(9, quantity=1_000_001), "more than 1,000,000 units"),
        (line(9, price="900000000"), "a unit price above"),
        (line("C9", quantity=1), "units above zero in a cancellation"),
        (line("A9"), "InvoiceNo is neither"),
        (line(""), "InvoiceNo is neither"),
        (line(9, code=""), "StockCode is missing"),
        (line(9, code="<b>"), "StockCode is missing or has other"),
        (line(9, quantity="6.5"), "Quantity is not a whole number"),
        (line(9, quantity="٣"), "Quantity is not a whole number"),
        (line(9, price="2,,55"), "UnitPrice is not an amount"),
        (line(9, price="NaN"), "UnitPrice is not an amount"),
        (line(9, date="1 Dec 2010"), "InvoiceDate is not like"),
        (line(9, customer="a@b"), "CustomerID has other characters"),
        ("9,85123A,too short\n", "more or fewer columns"),
        ('9,85123A,"no end,1,2010-12-01 08:26:00,1,1,UK\n', "a quote is not closed"),
        (b"9,85123A,\x81,1,2010-12-01 08:26:00,1,1,UK\n", "not UTF-8"),
        (line(9, name="x" * 20_000), "longer than 10,000 bytes"),
    ],
    ids=lambda value: value if isinstance(value, str) and "\n" not in value else "",
)
def test_a_line_that_is_no_sale_is_skipped_and_named(
    replay: Callable[..., str], row: str | bytes, reason: str
) -> None:
    said = replay(line(1), row, line(10))
    assert f"skipped 1: {reason}" in said
    assert "(row 3" in said
    assert "3 lines of" in said
    assert "2 sold, 0 returned, 1 skipped" in said
    assert set(Order.objects.values_list("idempotency_key", flat=True)) == {"replay:1", "replay:10"}
    assert_books_balance()


def replayed(replay: Callable[..., str], tmp_path: Path, text: str, encoding: str = "utf-8") -> str:
    path = tmp_path / "other.csv"
    path.write_bytes(text.encode(encoding))
    return replay_file(path)


def test_lines_as_spreadsheets_of_other_countries_save_them(
    replay: Callable[..., str], tmp_path: Path
) -> None:
    text = (
        f"sep=;\n{COLUMNS}\n".replace(",", ";")
        + "1;85123A;Caf\u00e9 cr\u00e8me \u00a3;1,000;12/1/2010 8:26;2,55;17850;United Kingdom\n"
        + "2;85124A;PLAIN;2;12/13/2010 18:26;1.234,50;17850;Espa\u00f1a\n"
    )
    said = replayed(replay, tmp_path, text, "latin-1")
    assert "read as Latin-1 (CP1252)" in said
    assert "2 sold, 0 returned, 0 skipped" in said
    assert order("1").note.startswith("Invoice 1 of 2010-12-01 08:26")
    assert lines_of("1") == [("REPLAY-85123A", 1000, 4590, 0)]
    assert lines_of("2") == [("REPLAY-85124A", 2, 2_222_100, 0)]
    assert Product.objects.get(source_id="replay:85123A").name == "Caf\u00e9 cr\u00e8me \u00a3"


def test_a_file_of_which_no_line_can_be_used_ends_in_failure(replay: Callable[..., str]) -> None:
    with pytest.raises(CommandError, match="No line of"):
        replay(line(1, price="none"))


@pytest.mark.parametrize(
    ("text", "day_first", "month", "day"),
    [
        ("12/1/2010 8:26", False, 12, 1),
        ("12/1/2010 8:26", True, 1, 12),
        ("13.12.2010", True, 12, 13),
        ("2010-12-01 08:26:00", True, 12, 1),
        ("2010. 12. 1. 08:26", True, 12, 1),
        ("2010/12/01", False, 12, 1),
    ],
)
def test_dates_in_other_notations(text: str, day_first: bool, month: int, day: int) -> None:
    read = values.Dates(day_first=day_first).read(text)
    assert read is not None
    assert (read.year, read.month, read.day) == (2010, month, day)


@pytest.mark.parametrize(
    "text", ["13/13/2010", "1 Dec 2010", "", "12/2010", "1/2/3", "31/2/2010", "٣/1/2010"]
)
def test_what_is_no_date_is_none(text: str) -> None:
    assert values.Dates().read(text) is None


@pytest.mark.parametrize(
    ("texts", "day_first"),
    [
        (["1/12/2010", "13/12/2010"], True),
        (["1/12/2010", "12/13/2010"], False),
        (["1/12/2010"], False),
        (["1.12.2010"], True),
        (["2010-12-13", "x"], False),
        ([], False),
    ],
)
def test_all_dates_of_a_file_tell_which_comes_first(texts: list[str], day_first: bool) -> None:
    assert values.Dates.of(texts).day_first is day_first


def test_lines_are_skipped_alone_and_a_bad_one_does_not_part_an_invoice(replay: Callable[..., str]) -> None:
    said = replay(
        line(1, "A1"), "rubbish\n", line(1, "POST"), line(1, "B1", customer=99), "\n", line(1, "C1", name="")
    )
    assert [sku for sku, *_ in lines_of("1")] == ["REPLAY-A1", "REPLAY-C1"]
    assert Product.objects.get(source_id="replay:C1").name == "C1"
    assert "another customer than the invoice's first line (row 5: 1 B1 " in said
    assert "2 sold, 0 returned, 3 skipped" in said


def test_names_are_cleaned_and_cut(replay: Callable[..., str]) -> None:
    name = "LONG\x00  \tNAME " + "X" * 300
    replay(line(1, name=name, country="Y" * 300))
    assert Product.objects.get().name == ("LONG NAME " + "X" * 300)[:200]
    assert order("1").address1 == "Y" * 200


def test_only_a_few_examples_are_named(replay: Callable[..., str]) -> None:
    said = replay(*(line(n, "POST", 1, "18.00", name="POSTAGE") for n in range(1, 6)))
    assert "skipped 5: not an article" in said
    assert "(row 2: 1 POST 'POSTAGE' 1 x 18.00; row 3: " in said
    assert said.count("'POSTAGE'") == 3
    assert "; …)" in said
    assert "Nothing changed: 0 orders" in said


def test_a_number_that_comes_again_with_other_lines_is_skipped(replay: Callable[..., str]) -> None:
    again = [line(1, "A1"), line(2, "A1"), line(1, "B1")]
    said = replay(*again)
    assert "skipped 1: an order with this invoice number has other lines (row 4: 1 B1" in said
    before = state()
    assert "Nothing changed: 2 orders" in replay(*again)
    assert state() == before
    # The same in a later run, with an invoice of two orders: neither is guessed at.
    said = replay(line(2, "A1", 2), line(2, "A1", 1, "9.99"))
    assert "skipped 2: an order with this invoice number has other lines" in said
    assert state() == before


def test_a_file_is_looked_through_before_it_is_replayed(tmp_path: Path) -> None:
    path = tmp_path / "invoices.csv"
    rows = [
        line(1, date="1/12/2010"),
        line(1, "B1", date="13/12/2010"),
        "\n",
        "rubbish\n",
        line("C2"),
        line(3),
    ]
    path.write_text(f"{COLUMNS}\n" + "".join(rows))
    assert [survey(path, limit=limit).rows for limit in (None, 1, 2, 9)] == [5, 3, 4, 5]
    assert survey(path, limit=1).dates.day_first


def test_progress_is_told_in_lines(replay: Callable[..., str], tmp_path: Path) -> None:
    path = tmp_path / "invoices.csv"
    rows = [
        line(1),
        "rubbish\n",
        line(1, "B1"),
        line(2, "POST"),
        line(3, date="2010-12-02"),
        line("C4", "A", -1),
    ]
    path.write_text(f"{COLUMNS}\n" + "".join(rows))
    told: list[int] = []
    Replay(path, survey(path).dates, limit=None, rate=Decimal(1800)).run(told.append)
    assert sum(told) == 6


# --- Returns ------------------------------------------------------------------------------------------


def test_a_cancellation_is_a_return_of_what_was_bought_before(replay: Callable[..., str]) -> None:
    said = replay(
        line(1, "A1", 6, "2.00"), line(1, "B1", 4, "1.00"), line(2, "A1", 5, "1.00"),
        line("C3", "A1", -2, "2.00"), line("C4", "A1", -1, "1.00"), line("C4", "B1", -4, "1.00"),
    )  # fmt: skip
    assert lines_of("1") == [("REPLAY-A1", 6, 3600, 2), ("REPLAY-B1", 4, 1800, 4)]
    assert lines_of("2") == [("REPLAY-A1", 5, 1800, 1)]
    assert order("1").status == Status.DELIVERED
    refunds = Refund.objects.order_by("reason", "amount").values_list("reason", "amount", "status")
    assert list(refunds) == [
        ("replay:C3", 7200, "done"),
        ("replay:C4", 1800, "done"),
        ("replay:C4", 7200, "done"),
    ]
    assert "6 lines of 2 invoices and 2 cancellations: 3 sold, 3 returned, 0 skipped" in said
    assert "3 returns (7 units, 16,200 won)" in said
    assert_books_balance()


def test_the_last_unit_back_makes_an_order_returned(replay: Callable[..., str]) -> None:
    replay(line(1, "A1", 2), line("C2", "A1", -1), line("C3", "A1", -1))
    assert order("1").status == Status.RETURNED
    assert sum(Refund.objects.values_list("amount", flat=True)) == order("1").total
    assert dict(Stock.objects.values_list("option__sku", "on_hand")) == {"REPLAY-A1": 100}


def test_units_come_back_from_several_orders_the_latest_first(replay: Callable[..., str]) -> None:
    said = replay(
        line(1, "A1", 5, "2.00"), line(2, "A1", 5, "1.00"), line(3, "A1", 5, "1.00"),
        line("C4", "A1", -12, "1.00"),
    )  # fmt: skip
    assert [lines_of(str(n))[0][3] for n in (1, 2, 3)] == [2, 5, 5]
    assert "1 line came back at another price: what was paid is refunded" in said
    assert "3 returns (12 units, 25,200 won)" in said


@pytest.mark.parametrize(
    ("cancellation", "reason"),
    [
        (line("C5", "A1", -1, customer=""), "a cancellation without a customer"),
        (line("C5", "A1", -1, customer=4711), "has not bought before"),
        (line("C5", "B1", -1), "has not bought before"),
        (line("C5", "NEVER", -1), "has not bought before"),
        (line("C5", "A1", -4), "more units than the customer has bought before"),
        (line("C0", "A1", -1), "has not bought before"),
        (line("C5", "POST", -1, "18.00"), "not an article"),
        (line("C5", "D", -1, "27.50"), "not an article"),
    ],
    ids=lambda value: value.strip().replace(",", " ")[:12] if value.startswith("C") else value,
)
def test_a_cancellation_that_matches_nothing_is_skipped(
    replay: Callable[..., str], cancellation: str, reason: str
) -> None:
    said = replay(line(1, "A1", 3), cancellation, line(9, "B1", 1))
    assert reason in said
    assert "skipped 1:" in said
    assert "2 sold, 0 returned, 1 skipped" in said
    assert not Refund.objects.exists()
    assert_books_balance()


def test_what_came_back_cannot_come_back_again(replay: Callable[..., str]) -> None:
    said = replay(line(1, "A1", 3), line("C2", "A1", -3), line("C3", "A1", -3))
    assert "skipped 1: a cancellation of units that came back before (row 4: C3 A1" in said
    assert "1 return (3 units" in said


# --- Files that cannot be replayed --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent.csv", None, r"absent\.csv: there is no such file\. Name a"),
        ("empty.csv", b"", r"empty\.csv is empty\. Its first line must name"),
        (
            "other.csv",
            b"Invoice,StockCode,Quantity\n",
            r"other\.csv: no column InvoiceNo, Description, .*It says",
        ),
        ("binary.csv", b"\xff\xfe\x00", r"not comma-separated UTF-8 text.*Save it as CSV"),
        ("sheet.csv", b"PK\x03\x04rest", r"zip archive .*save it as CSV"),
        ("plain.gz", COLUMNS.encode(), r"not compressed with gzip: rename it"),
        ("cut.csv.gz", gzip.compress(line(1).encode() * 9, mtime=0)[:-9], r"cut off or damaged.*again"),
    ],
    ids=lambda value: value if isinstance(value, str) and value.endswith((".csv", ".gz")) else "",
)
def test_a_file_that_cannot_be_used_is_named_with_the_remedy(
    tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CommandError, match=message):
        replay_file(path)
    assert not User.objects.exists()


def test_a_directory_is_not_a_file(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="is not a regular file"):
        replay_file(tmp_path)


@pytest.mark.parametrize("options", [{"rate": "0"}, {"rate": "much"}, {"rate": "nan"}, {"limit": "0"}])
def test_numbers_that_make_no_sense_are_refused(tmp_path: Path, options: dict[str, str]) -> None:
    (name, value), *_ = options.items()
    with pytest.raises(CommandError, match=f"argument --{name}: must be"):
        call_command("replay_orders", str(tmp_path), f"--{name}", value)


def test_a_closed_store_is_named(replay: Callable[..., str]) -> None:
    replay(line(1))
    Store.objects.update(status=Store.Status.CLOSED)
    with pytest.raises(CommandError, match=r"The store 'Replayed orders' is closed.*accepted in the admin"):
        replay(line(2))


# --- The real file ------------------------------------------------------------------------------------


@pytest.mark.skipif(not REAL_FILE.exists(), reason=f"{REAL_FILE.name} is not there (see YOUSINSA_DATA)")
def test_the_first_real_invoices() -> None:
    said = replay_file(REAL_FILE, limit=60)
    assert "cost another sum" not in said
    assert order("536365").total == round(139.12 * 1800)
    assert set(Order.objects.values_list("status", flat=True)) <= {Status.DELIVERED, Status.RETURNED}
    assert Payment.objects.exclude(status=Payment.Status.APPROVED).count() == 0
    assert_books_balance()
    before = state()
    assert "Nothing changed" in replay_file(REAL_FILE, limit=60).splitlines()[-1]
    assert state() == before
