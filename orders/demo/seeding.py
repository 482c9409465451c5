"""Everything that a demo shop needs, up to the numbers that are asked for; what is there already stays."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import partial
from typing import Any, NamedTuple

from django.conf import settings
from django.core.management.base import CommandError
from django.db import reset_queries
from django.db.models import F
from django.db.models.functions import Coalesce
from django.utils import timezone

from inventory.ledger import Entry, post
from inventory.locks import lock_stock
from inventory.models import Kind, Movement, Stock
from inventory.reasons import SET_TO
from orders.demo import people
from orders.demo.catalog import SOURCE, ensure_products
from orders.demo.history import NUMBER_PREFIX, REFERENCE, Good, History
from orders.demo.plan import DAYS, Period, Plan
from orders.models import Order
from shop.bulk import in_batches
from yousinsa.commands.progress import progress
from yousinsa.db.transactions import transact

# Orders of one transaction, at least: it holds whole periods.
ORDERS_PER_COMMIT = 2000
STOCKS_PER_COMMIT = 250


class Seeded(NamedTuple):
    """How many products, buyers and orders are new, and how many stock rows were filled up."""

    products: int
    buyers: int
    orders: int
    stocks: int


def seed(*, products: int, buyers: int, stock: int, orders: int, password: str, out: Any) -> Seeded:
    """Add what is missing; `password` is a hash, `out` where progress is shown.

    Raises CommandError (orders without any product), `Busy` and IntegrityError (somebody else seeds as well).
    """
    before_history = timezone.now() - timedelta(days=DAYS + 1)
    logins = people.ensure_logins(password=password, joined=before_history)
    buyer_ids, new_buyers = people.ensure_buyers(buyers, password=password, joined=before_history)
    with progress("Products", products, out) as advance:
        new_products = ensure_products(
            products, store_id=logins.store, created_at=before_history, advance=advance
        )
    new_orders = _write_history(orders, [logins.buyer, *buyer_ids], logins.operator, stock, out)
    return Seeded(new_products, new_buyers, new_orders, _fill_stock(stock, logins.operator, out))


# --- Orders -----------------------------------------------------------------------------------------------


def _write_history(orders: int, buyer_ids: list[int], operator_id: int, level: int, out: Any) -> int:
    last = Order.objects.filter(number__startswith=NUMBER_PREFIX).order_by("-number").first()
    first = int(last.number.removeprefix(NUMBER_PREFIX)) if last else 0
    if orders <= first:
        return 0
    goods = list(_goods())
    if not goods:
        raise CommandError("Orders need something to buy: give --products a number above 0.")
    start, end = _span(last, goods)
    plan = Plan(
        first=first, count=orders - first, start=start.timestamp(), end=end.timestamp(),
        options=len(goods), buyers=len(buyer_ids), hold=settings.ORDER_HOLD_MINUTES * 60,
    )  # fmt: skip
    history = History(goods, buyer_ids, operator_id=operator_id, level=level)
    with progress("Orders", plan.count, out) as advance:
        for periods in _commits(plan):
            history.write(periods)
            advance(sum(len(period.orders) for period in periods))
            reset_queries()  # with DEBUG on, Django would keep the text of these long statements
    return plan.count


def _goods() -> Iterator[Good]:
    """The options of all demo products, in the order of their ids."""
    rows = (
        Stock.objects.filter(option__product__source_id__startswith=SOURCE)
        .order_by("option_id")
        .values_list(
            "option_id", "id", "option__product__name", "option__sku", "option__size", "option__color",
            "option__product__price", "option__product__store",
            Coalesce("option__product__store__commission_rate", settings.COMMISSION_RATE),
        )
    )  # fmt: skip
    return (Good(*row) for row in rows.iterator(chunk_size=2000))


def _span(last_order: Order | None, goods: list[Good]) -> tuple[datetime, datetime]:
    """When the history begins and ends: `DAYS` ago until now, but not before what has happened already."""
    end = timezone.now()
    stock_ids = [good.stock_id for good in goods]
    last_movement = (
        Movement.objects.filter(stock_id__gte=min(stock_ids), stock_id__lte=max(stock_ids))
        .order_by("-id")
        .values_list("created_at", flat=True)
        .first()
    )
    last_placed = last_order.created_at if last_order else None
    start = max(filter(None, [end - timedelta(days=DAYS), last_placed, last_movement]))
    return start, max(end, start + timedelta(milliseconds=1))


def _commits(plan: Plan) -> Iterator[list[Period]]:
    """The plan's periods, as many at a time as one transaction shall hold."""
    periods: list[Period] = []
    for period in plan.periods():
        periods.append(period)
        if sum(len(p.orders) for p in periods) >= ORDERS_PER_COMMIT:
            yield periods
            periods = []
    if periods:
        yield periods


# --- Stock ------------------------------------------------------------------------------------------------


def _fill_stock(level: int, operator_id: int, out: Any) -> int:
    """Bring every demo option to `level` available units, through the ledger; returns how many moved."""
    off = (
        Stock.objects.filter(option__product__source_id__startswith=SOURCE)
        .exclude(on_hand=F("reserved") + level)
        .order_by("id")
    )
    stock_ids = list(off.values_list("id", flat=True))
    with progress("Stock", len(stock_ids), out) as advance:
        for batch in in_batches(stock_ids, STOCKS_PER_COMMIT):
            transact(partial(_fill, batch, level, operator_id))
            advance(len(batch))
            reset_queries()
    return len(stock_ids)


def _fill(stock_ids: list[int], level: int, operator_id: int) -> None:
    locked = lock_stock(stock_ids)
    entries = []
    for row in locked.values():
        missing = level - row.available
        if missing > 0:
            entries.append(Entry(row.id, Kind.RECEIVE, missing, 0, REFERENCE, operator_id))
        elif missing < 0:
            reason = SET_TO % {"level": level}
            entries.append(Entry(row.id, Kind.ADJUST, missing, 0, REFERENCE, operator_id, reason))
    post(locked, entries)
