"""The bench's day: people do what was measured, and what they were told is held against the books."""

import asyncio
import contextlib
import gzip
import json
import random
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from django.db import connection
from django.utils import timezone

from inventory.models import Movement
from orders.drops.schedule import run_due
from orders.errors import PaymentUnknown
from orders.lifecycle import cancel_order, deliver_order, expire_due, return_order, ship_order
from orders.models import Order, OrderLine, Payment, Refund, Status
from orders.payments.services import pay
from orders.selectors import numbered_views
from tests.load.day import audit, staff
from tests.load.day.habits import BUILT_IN, Habits, Weighted, measure, read
from tests.load.day.journal import Journal, Listing, Purchase
from tests.load.day.run import endpoints
from tests.load.day.shoppers import Day, Market, Shopper
from tests.load.day.wire import LOST, Line, Timings, Wire
from tests.load.scenarios import SHIPPING
from tests.support.factories import make_options, make_order, stock_of

# --- Habits -----------------------------------------------------------------------------------------

ROWS = [
    ("1", "A", "6", "kim"), ("1", "B", "1", "kim"), ("2", "A", "1", "kim"), ("3", "A", "2", "lee"),
    ("C4", "A", "-6", "kim"), ("5", "C", "-3", ""), ("6", "D", "much", ""),
]  # fmt: skip


def test_habits_are_measured_from_invoices() -> None:
    found = measure(ROWS)
    assert found.lines.mean == pytest.approx(4 / 3)
    assert found.units.mean == 2.5
    assert found.orders.mean == 1.5
    assert list(found.popularity) == [3.0, 1.0]
    assert (found.returns, found.returned_lines.mean) == (pytest.approx(1 / 3), 1)


def test_habits_are_read_from_the_file_that_replay_orders_takes(tmp_path: Path) -> None:
    header = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"
    path = tmp_path / "orders.csv.gz"
    path.write_bytes(gzip.compress((header + "1,A,Shirt,2,2010-12-01 08:26:00,1.5,kim,\n").encode()))
    assert read(path).units.mean == 2
    for text, complaint in (("a,b\n1,2\n", "no column InvoiceNo"), (header, "no sale")):
        wrong = tmp_path / "wrong.csv"
        wrong.write_text(text)
        with pytest.raises(ValueError, match=complaint):
            read(wrong)


def test_what_is_built_in_has_the_measured_parameters() -> None:
    dice = random.Random(1)
    lines = [BUILT_IN.lines.pick(dice) for _ in range(20_000)]
    assert sum(lines) / len(lines) == pytest.approx(20.7, rel=0.05)
    assert (min(lines), max(lines)) == (1, 100)
    assert sorted(lines)[10_000] == pytest.approx(14, abs=1)
    assert BUILT_IN.units.mean == pytest.approx(10, rel=0.1)
    assert len(BUILT_IN.popularity) == 2996
    assert sum(BUILT_IN.popularity[:300]) == pytest.approx(0.40, abs=0.01)
    orders = [BUILT_IN.orders.pick(dice) for _ in range(20_000)]
    assert sum(n > 1 for n in orders) / len(orders) == pytest.approx(0.374, abs=0.02)


# --- The driver -------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def server(answer: Callable[[bytes, asyncio.StreamWriter], Any]) -> Any:
    """Something that answers every request with `answer(request, writer)`."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while not writer.is_closing():
                head = await reader.readuntil(b"\r\n\r\n")
                length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
                body = await reader.readexactly(int(length or 0))
                await answer(head + body, writer)
        writer.close()

    running = await asyncio.start_server(serve, "127.0.0.1", 0)
    wire = Wire(f"http://127.0.0.1:{running.sockets[0].getsockname()[1]}")
    try:
        yield wire
    finally:
        wire.close()
        running.close()


def http(status: int, body: bytes, more: str = "") -> bytes:
    return f"HTTP/1.1 {status} X\r\n{more}Content-Length: {len(body)}\r\n\r\n".encode() + body


def test_an_answer_that_comes_in_pieces_is_put_together_and_a_lost_one_is_told() -> None:
    async def answer(request: bytes, writer: asyncio.StreamWriter) -> None:
        if b"/pieces" in request:
            for byte in http(409, b'{"code": "busy"}', "Connection: close\r\n"):
                writer.write(bytes([byte]))
                await writer.drain()
        elif b"/nothing" in request:
            writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        else:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Le")
            writer.close()

    async def ask() -> Wire:
        async with server(answer) as wire:
            line = Line(wire)
            assert await line.get("a", "/pieces") == (409, b'{"code": "busy"}')
            assert await line.get("a", "/nothing", (204,)) == (204, b"")  # on a connection of its own
            assert (await line.post("b", "/cut", b"{}")).status == LOST
            assert await line.get("a", "/pieces", (409,)) == (409, b'{"code": "busy"}')
            return wire

    wire = asyncio.run(ask())
    assert wire.timings["a"].statuses == {409: 2, 204: 1}
    assert (wire.timings["a"].errors, wire.timings["b"].errors) == (1, 1)


def test_a_rate_is_of_the_day_and_a_latency_of_everything() -> None:
    timings = Timings(in_time=90)
    timings.took.extend(range(100))
    timings.statuses[200] = 100
    one, everything = endpoints({"buy": timings}, 10.0)
    assert (one.name, one.requests, one.rate, one.p50, one.p99) == ("buy", 100, 9.0, 50.0, 99.0)
    assert (everything.name, everything.requests, everything.rate) == ("all", 100, 9.0)
    assert endpoints({}, 10.0)[0].p99 == 0.0


# --- The mix ----------------------------------------------------------------------------------------

CARDS = {"ok": 200, "decline": 402, "timeout": 503, "timeout-charged": 503}


class Plenty:
    """A shop that has everything: counts what it is asked for."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.orders: dict[str, dict[str, Any]] = {}

    async def __call__(self, request: bytes, writer: asyncio.StreamWriter) -> None:
        head, _, raw = request.partition(b"\r\n\r\n")
        method, path, _ = head.split(b"\r\n")[0].decode().split(" ")
        status, answer = self.answer(method, path, json.loads(raw or b"{}"))
        writer.write(http(status, json.dumps(answer).encode()))

    def answer(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        name = f"{method} {path.partition('?')[0].removeprefix('/api/v1/')}"
        if name == "POST orders/":
            self.asked["buy"] += 1
            number = str(len(self.orders))
            lines = [{**line, "returned": 0} for line in body["lines"]]
            self.orders[number] = {"number": number, "status": "pending", "lines": lines, "total": 1}
            return 201, self.orders[number]
        if "orders/" not in path:
            self.asked["search" if "search=" in path else "browse"] += 1
            return 200, {"next": "http://x/api/v1/products/?cursor=2", "results": []}
        order = self.orders[path.split("/")[4]]
        if path.endswith("/pay/"):
            self.asked[body["token"]] += 1
            status = CARDS[body["token"]]
            order["status"] = "paid" if status == 200 else order["status"]
            code = {402: "payment_declined", 503: "payment_unknown"}.get(status)
            return status, {"code": code} if code else order
        if path.endswith("/cancel/"):
            order["status"] = "cancelled"
        self.asked[path.split("/")[5] or "look"] += 1
        return 200, order


def test_people_look_around_seven_times_out_of_ten_and_pay_as_was_meant() -> None:
    shop, requests = Plenty(), 6000

    async def live() -> Journal:
        async with server(shop) as wire:
            market = Market(range(1, 3000), range(1, 400), ["shirt"], 0, 0, float("inf"))
            journal = Journal("mix")
            day = Day(wire=wire, journal=journal, habits=BUILT_IN, market=market, ends=float("inf"), think=0)
            people = [Shopper(day, "token", buyer, 1.0) for buyer in range(20)]
            living = [asyncio.create_task(person.live()) for person in people]
            while shop.asked.total() < requests:
                await asyncio.sleep(0.01)
            day.ends = time.monotonic()
            await asyncio.gather(*living)
            return journal

    journal = asyncio.run(live())
    shares = {name: count / shop.asked.total() for name, count in shop.asked.items()}
    assert shares["browse"] == pytest.approx(0.70, abs=0.04)
    assert shares["search"] == pytest.approx(0.10, abs=0.02)
    cards = {token: shop.asked[token] / shop.asked["buy"] for token in CARDS}
    assert cards["decline"] == pytest.approx(0.9 * 0.08, abs=0.04)
    assert cards["timeout"] + cards["timeout-charged"] == pytest.approx(0.9 * 0.03, abs=0.03)
    assert shop.asked["ok"] + shop.asked["decline"] < shop.asked["buy"]  # some are abandoned
    assert not [purchase.wrong for purchase in journal.purchases if purchase.wrong]
    assert len(journal.purchases) == shop.asked["buy"]
    assert {p.number: p.status for p in journal.told() if p.status != "pending"} == {
        number: order["status"] for number, order in shop.orders.items() if order["status"] != "pending"
    }


# --- What was told against the books ----------------------------------------------------------------


def query(sql: str) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return list(cursor.fetchall())


class Told:
    """A small day: of each kind of order one, and what its buyer was told."""

    def __init__(self, buyer: Any) -> None:
        self.buyer = buyer
        self.journal = Journal("told")
        self.options = make_options([50, 50], price=1000)
        self.purchases = {
            name: self._buy() for name in ("paid", "delivered", "returned", "cancelled", "expired")
        }
        for name in ("paid", "delivered", "returned", "cancelled"):
            pay(order_id=self._id(name), provider="sandbox", shipping=SHIPPING | {"address2": ""},
                actor_id=buyer.pk)  # fmt: skip
        for name in ("delivered", "returned"):
            ship_order(order_id=self._id(name), carrier="C", tracking_number="T", actor_id=None)
            deliver_order(order_id=self._id(name), actor_id=None)
        return_order(order_id=self._id("returned"), units={self.options[0].pk: 2}, actor_id=None)
        cancel_order(order_id=self._id("cancelled"), actor_id=None)
        for purchase in self.purchases.values():
            view = numbered_views([purchase.number])[purchase.number]
            purchase.told(msgspec.to_builtins(view))
        later = Order.objects.get(pk=self._id("expired")).expires_at
        assert expire_due(now=later) == 1

    def _buy(self) -> Purchase:
        lines = {self.options[0].pk: 2, self.options[1].pk: 1}
        purchase = self.journal.purchase(0, lines)
        placed = make_order(self.buyer, *zip(self.options, (2, 1), strict=True), key=purchase.key)
        purchase.number = placed.number
        return purchase

    def _id(self, name: str) -> int:
        return Order.objects.values_list("id", flat=True).get(number=self.purchases[name].number)

    def order(self, name: str) -> Any:
        return Order.objects.filter(pk=self._id(name))

    def compare(self) -> list[str]:
        books = audit.read_orders(query, 0)
        return audit.compare(self.journal, books, buyers=[self.buyer.pk])


@pytest.fixture
def told(buyer: Any) -> Told:
    return Told(buyer)


@pytest.mark.django_db(transaction=True)
def test_what_was_told_and_the_books_agree(told: Told) -> None:
    assert told.compare() == []
    assert told.purchases["returned"].refunded == 2000
    assert "5 orders" in audit.in_words(told.journal, audit.read_orders(query, 0), 0)


def _lose(told: Told) -> None:
    order = told.order("expired")
    OrderLine.objects.filter(order__in=order).delete()
    order.delete()


def _forget(told: Told) -> None:
    told.journal.purchases.remove(told.purchases["paid"])


PLANTED: dict[str, Callable[[Told], Any]] = {
    "told pending, and lost": _lose,
    "nobody was told of this order": _forget,
    "told paid, it is expired": lambda told: told.order("paid").update(status=Status.EXPIRED),
    "told delivered, it is shipped": lambda told: told.order("delivered").update(status=Status.SHIPPED),
    "told cancelled, it is paid": lambda told: told.order("cancelled").update(status=Status.PAID),
    "told a total of 3000, it is 2999": lambda told: told.order("paid").update(total=2999),
    "told a refund of 2000, it is 1999": lambda told: Refund.objects.filter(
        payment__order__in=told.order("returned")
    ).update(amount=1999),
    "3000 was taken and 0 went back, for goods of 0": lambda told: Refund.objects.filter(
        payment__order__in=told.order("cancelled")
    ).delete(),
    "charged 0 times": lambda told: Payment.objects.filter(order__in=told.order("paid")).delete(),
    "not what was bought": lambda told: OrderLine.objects.filter(
        order__in=told.order("paid"), quantity=2
    ).update(quantity=3),
    "came back, it is": lambda told: OrderLine.objects.filter(
        order__in=told.order("returned"), returned=2
    ).update(returned=1),
    "refused, and there is an order": lambda told: setattr(told.purchases["paid"], "refused", True),
    "it was delivered and is paid": lambda told: told.purchases["delivered"].move("paid"),
}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("difference", PLANTED)
def test_a_planted_difference_is_found(told: Told, difference: str) -> None:
    PLANTED[difference](told)
    assert difference in " ".join(told.compare())


@pytest.mark.django_db(transaction=True)
def test_an_answer_that_was_lost_leaves_a_doubt_and_no_more_than_that(told: Told) -> None:
    paid = told.purchases["paid"]
    paid.doubts.add("cancel")
    assert told.compare() == []
    cancel_order(order_id=Order.objects.get(number=paid.number).pk, actor_id=None)
    assert told.compare() == []
    paid.doubts.clear()
    assert any("told paid, it is cancelled" in text for text in told.compare())
    # Nobody ever heard of this order, but somebody did ask for it.
    unheard = told.journal.purchase(0, {told.options[1].pk: 1})
    order = make_order(told.buyer, (told.options[1], 1), key=unheard.key)
    expire_due(now=order.expires_at)
    assert not any(order.number in text for text in told.compare())


@pytest.mark.django_db(transaction=True)
def test_what_an_operator_was_told_must_be_so(told: Told) -> None:
    books = audit.read_orders(query, 0)
    shown = {name: purchase.number for name, purchase in told.purchases.items()}
    for name, status, right in (("delivered", "shipped", True), ("paid", "shipped", False)):
        found = audit.compare(told.journal, books, buyers=[told.buyer.pk], told=[(shown[name], status)])
        assert found == ([] if right else [f"{shown[name]}: an operator was told shipped, it is paid"])


@pytest.mark.django_db(transaction=True)
def test_what_is_open_at_the_end_of_a_day_is_settled(on_redis: Any, buyer: Any, api: Any) -> None:
    options = make_options([5, 500, 5])
    goods = staff.prepare(articles=3, catalog="")
    assert sorted(goods["options"]) == [option.pk for option in options]
    assert {stock_of(option)[0] for option in options} == {staff.PLENTY}
    limited = goods["options"].pop()
    drop = staff.plan_drop(option=limited, units=2, limit=1, opens=timezone.now().isoformat())["drop"]
    assert run_due() == 1
    body = {"drop": drop, "lines": [{"option": limited, "quantity": 1}]}
    accepted = api(buyer).post("orders/", body)
    assert accepted.status_code == 202
    abandoned, unanswered = (
        make_order(buyer, (option, 1)) for option in options if option.pk in goods["options"]
    )
    with pytest.raises(PaymentUnknown):
        pay(order_id=unanswered.pk, provider="sandbox", token="timeout-charged",
            shipping=SHIPPING | {"address2": ""}, actor_id=buyer.pk)  # fmt: skip
    assert staff.settle(drop=drop) == {"differences": [], "unanswered": 1}
    ends = dict(Order.objects.values_list("number", "status"))
    numbers = (accepted.json()["number"], abandoned.number, unanswered.number)
    assert [ends[number] for number in numbers] == [Status.EXPIRED, Status.EXPIRED, Status.PAID]
    assert {stock_of(option)[1] for option in options} == {0, 1}


@pytest.mark.django_db(transaction=True)
def test_what_owners_received_is_compared_to_the_unit() -> None:
    (option,) = make_options([20])
    type(option).objects.filter(pk=option.pk).update(sku="DAY-1")
    assert audit.read_units(query) == {"DAY-1": 20}
    received = Movement.objects.filter(kind="receive").count()
    assert received == 1
    cases = {20: [], 19: ["DAY-1: told of 19 units (0 in doubt), 20 were received"]}
    for units, right in cases.items():
        listing = Listing({"DAY-1": units}, told=True)
        assert audit.compare_units([listing], audit.read_units(query)) == right
    doubtful = Listing({"DAY-1": 0}, told=True, doubtful=Counter({"DAY-1": 20}))
    assert audit.compare_units([doubtful], audit.read_units(query)) == []
    assert audit.compare_units([Listing({"DAY-2": 1}, told=True)], {}) == [
        "DAY-2: told that it is listed, and it is not there"
    ]
    assert audit.compare_units([], {"DAY-3": 1}) == ["DAY-3: nobody listed it"]


def test_habits_without_a_known_customer_are_everybodys() -> None:
    found: Habits = measure([("1", "A", "1", "")])
    assert found.orders.pick(random.Random(0)) == 1
    assert Weighted({3: 1.0}).pick(random.Random(0)) == 3
