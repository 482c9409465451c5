"""Fill the shop with demo data: logins, products, buyers, and a history of orders."""

import os
import time
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.core.management.base import BaseCommand, CommandError
from django.db import IntegrityError, reset_queries
from django.db.models import F
from django.db.models.functions import Coalesce
from django.utils import timezone

from inventory.ledger import Entry, post
from inventory.locks import lock_stock
from inventory.models import MAX_UNITS, Kind, Movement, Stock
from orders.demo import people
from orders.demo.catalog import OPTIONS_PER_PRODUCT, SOURCE, ensure_products
from orders.demo.history import NUMBER_PREFIX, REFERENCE, Good, History
from orders.demo.plan import DAYS, Period, Plan
from orders.models import Order
from shop.bulk import in_batches
from shop.models import Product
from yousinsa.db.transactions import transact
from yousinsa.errors import Busy
from yousinsa.progress import progress

DEFAULT_PASSWORD = "demo-yousinsa"  # noqa: S105
# Orders of one transaction, at least: it holds whole periods.
ORDERS_PER_COMMIT = 2000
STOCKS_PER_COMMIT = 250


def _number(most: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if not text.isdigit() or int(text) > most:
            raise ArgumentTypeError(f"must be a whole number from 0 to {most:,}")
        return int(text)

    return number


class Command(BaseCommand):
    help = (
        f"Makes demo data: logins buyer@, owner@ and operator@{people.DOMAIN} (the password is in the "
        f"environment variable DEMO_PASSWORD, {DEFAULT_PASSWORD} where it is unset), a store with products "
        f"of {OPTIONS_PER_PRODUCT} options each, buyers with the same password, and a history of orders in "
        f"every status, with its ledger, that began {DAYS} days ago and ends now. Run again, it adds what is "
        "missing up to the numbers given (new orders are dated after those that are there), and sets the "
        "stock of the demo products to --stock again, by movements. Nothing is ever deleted."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        count = _number(10_000_000)
        parser.add_argument("--products", type=count, default=60, metavar="N", help="Demo products (60).")
        parser.add_argument("--buyers", type=count, default=20, metavar="N", help="Buyers: buyer1@… (20).")
        parser.add_argument(
            "--stock",
            type=_number(MAX_UNITS // 2),
            default=50,
            metavar="N",
            help="Units of each option that can be bought once the command is done (50).",
        )
        parser.add_argument("--orders", type=count, default=0, metavar="N", help="Orders in the history (0).")
        parser.add_argument(
            "--if-empty", action="store_true", help="Do nothing where the shop has any product already."
        )

    def handle(
        self, *args: Any, products: int, buyers: int, stock: int, orders: int, if_empty: bool, **options: Any
    ) -> None:
        if if_empty and Product.objects.exists():
            self.stdout.write("The shop has products: no demo data was added.")
            return
        started = time.monotonic()
        try:
            counts = self._seed(products, buyers, stock, orders)
        except (Busy, IntegrityError) as exc:
            raise CommandError(
                f"Somebody else is writing the same data ({exc}). Run seed_demo again once they are done: "
                "it goes on where it stopped."
            ) from exc
        except KeyboardInterrupt as exc:
            raise CommandError("Interrupted. Run seed_demo again: it goes on here.", returncode=130) from exc
        self.stdout.write(
            f"{counts[0]:,} products, {counts[1]:,} buyers and {counts[2]:,} orders added, the stock of "
            f"{counts[3]:,} options set to {stock:,} in {time.monotonic() - started:.1f} s"
        )

    def _seed(self, products: int, buyers: int, stock: int, orders: int) -> tuple[int, int, int, int]:
        """Returns how many products, buyers and orders are new, and how many stock rows were filled up."""
        before_history = timezone.now() - timedelta(days=DAYS + 1)
        password = self._password()
        logins = people.ensure_logins(password=password, joined=before_history)
        buyer_ids, new_buyers = people.ensure_buyers(buyers, password=password, joined=before_history)
        with progress("Products", products, self.stderr) as advance:
            new_products = ensure_products(
                products, store_id=logins.store, created_at=before_history, advance=advance
            )
        new_orders = self._write_history(orders, [logins.buyer, *buyer_ids], logins.operator, stock)
        return new_products, new_buyers, new_orders, self._fill_stock(stock, logins.operator)

    def _password(self) -> str:
        password = os.environ.get("DEMO_PASSWORD", "")
        if not password and not settings.DEBUG:
            self.stderr.write(
                f"Note: operator@{people.DOMAIN} may do everything, and its password is the well-known one. "
                "On a shop that others can reach, set DEMO_PASSWORD before the first run."
            )
        # One hash for all: a good one takes a tenth of a second to make.
        return make_password(password or DEFAULT_PASSWORD)

    def _write_history(self, orders: int, buyer_ids: list[int], operator_id: int, level: int) -> int:
        last = Order.objects.filter(number__startswith=NUMBER_PREFIX).order_by("-number").first()
        first = int(last.number.removeprefix(NUMBER_PREFIX)) if last else 0
        if orders <= first:
            return 0
        goods = list(_goods())
        if not goods:
            raise CommandError("Orders need something to buy: give --products a number above 0.")
        start, end = _span(last, goods)
        plan = Plan(
            first=first,
            count=orders - first,
            start=start.timestamp(),
            end=end.timestamp(),
            options=len(goods),
            buyers=len(buyer_ids),
            hold=settings.ORDER_HOLD_MINUTES * 60,
        )
        history = History(goods, buyer_ids, operator_id=operator_id, level=level)
        with progress("Orders", plan.count, self.stderr) as advance:
            for periods in _commits(plan):
                history.write(periods)
                advance(sum(len(period.orders) for period in periods))
                reset_queries()  # with DEBUG on, Django would keep the text of these long statements
        return plan.count

    def _fill_stock(self, level: int, operator_id: int) -> int:
        """Bring every demo option to `level` available units, through the ledger; returns how many moved."""
        off = (
            Stock.objects.filter(option__product__source_id__startswith=SOURCE)
            .exclude(on_hand=F("reserved") + level)
            .order_by("id")
        )
        stock_ids = list(off.values_list("id", flat=True))
        with progress("Stock", len(stock_ids), self.stderr) as advance:
            for batch in in_batches(stock_ids, STOCKS_PER_COMMIT):
                transact(partial(_fill, batch, level, operator_id))
                advance(len(batch))
                reset_queries()
        return len(stock_ids)


def _goods() -> Iterator[Good]:
    """The options of all demo products, in the order of their ids."""
    rows = (
        Stock.objects.filter(option__product__source_id__startswith=SOURCE)
        .order_by("option_id")
        .values_list(
            "option_id", "id", "option__product__name", "option__product__price", "option__product__store",
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


def _fill(stock_ids: list[int], level: int, operator_id: int) -> None:
    locked = lock_stock(stock_ids)
    entries = []
    for row in locked.values():
        missing = level - row.available
        if missing > 0:
            entries.append(Entry(row.id, Kind.RECEIVE, missing, 0, REFERENCE, operator_id))
        elif missing < 0:
            reason = f"Set to {level:,} available units by seed_demo."
            entries.append(Entry(row.id, Kind.ADJUST, missing, 0, REFERENCE, operator_id, reason))
    post(locked, entries)
