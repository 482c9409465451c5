"""The one durable transaction that every lane feeds: many orders, each decided on its own.

Read `place_batch` first, then `write_under_lock`: lock the stock rows (ordered), decide, insert orders,
lines and movements, move each stock row once, commit. docs/placement.md says what each lane promises on top.
"""

import logging
import random
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import Protocol

from django.conf import settings
from django.db import DatabaseError, connection, transaction
from django.utils import timezone
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy

from inventory import ledger
from inventory.errors import InsufficientStock, Shortage
from inventory.locks import lock_stock
from inventory.models import Kind
from inventory.selectors import Offer, offers
from orders.errors import IdempotencyKeyReused, OutcomeUnknown, UnknownOption
from orders.models import Order, OrderLine, Status
from orders.placement.blocked import LockedOut
from orders.placement.metrics import count_batch
from orders.placement.numbers import new_order_id, renew_order_ids
from orders.placement.requests import Outcome, Placed, PlaceRequest
from orders.schemas import LineView, OrderView
from orders.selectors import order_views
from yousinsa.db.errors import (
    STATEMENT_TIMEOUT,
    error_code,
    is_connection_lost,
    is_duplicate,
    is_lock_conflict,
)
from yousinsa.db.rows import insert_rows
from yousinsa.db.transactions import BACKOFF_SECONDS, MAX_ATTEMPTS, reading
from yousinsa.errors import Busy

logger = logging.getLogger(__name__)

Offers = dict[int, Offer]
Outcomes = dict[str, Outcome]
Key = tuple[int, str]

_ORDER_FIELDS = (
    "id", "number", "buyer", "status", "total", "idempotency_key", "fingerprint", "expires_at", "created_at",
    "drop",
)  # fmt: skip
_LINE_FIELDS = ("order", "option", "product_name", "quantity", "unit_price", "store", "commission_rate")


class Write(Protocol):
    """Decides requests and writes the accepted ones, inside the transaction that `_commit` opened.

    Returns the outcomes, and for the requests that repeat a placed order that order's number.
    """

    def __call__(
        self, requests: list[PlaceRequest], on_sale: Offers, *, look_up_numbers: bool
    ) -> tuple[Outcomes, dict[str, str]]: ...


def place_batch(
    requests: Sequence[PlaceRequest],
    write: Write | None = None,
    look_up: Callable[[Iterable[int]], Offers] = offers,
) -> list[Outcome]:
    """Place what can be placed, durably, and say of every request what became of it, in the same order.

    A request that cannot be met (`UnknownOption`, `InsufficientStock`, `IdempotencyKeyReused`) is refused
    alone. `Busy`: a lock was not had in time, certainly not placed. `OutcomeUnknown`: the connection was
    lost at COMMIT and the database did not come back to be asked. Anything else is raised.

    `write` is what happens inside the transaction; `write_under_lock` unless a lane compares another way.
    `look_up` finds what is on sale among option ids; a drop sells its own options at its own prices.
    """
    write = write or write_under_lock
    begun = time.monotonic()
    wanted = {option_id for request in requests for option_id, _ in request.lines}
    on_sale = reading(lambda: look_up(wanted))
    outcomes: Outcomes = {}
    hopeful: list[PlaceRequest] = []
    short: list[PlaceRequest] = []
    for request in requests:
        unknown = [option_id for option_id, _ in request.lines if option_id not in on_sale]
        if unknown:
            outcomes[request.number] = _unknown_option(unknown)
        elif any(units > on_sale[option_id].available for option_id, units in request.lines):
            short.append(request)
        else:
            hopeful.append(request)

    # What is certainly sold out is refused before it waits for the lock, unless it repeats a placed order.
    placed = placed_under_keys(short)
    for request in short:
        if (request.buyer_id, request.idempotency_key) in placed:
            hopeful.append(request)
        else:
            available = {option_id: on_sale[option_id].available for option_id, _ in request.lines}
            outcomes[request.number] = InsufficientStock(_shortages(request, available))

    if hopeful:
        outcomes.update(_commit(hopeful, on_sale, write))
    count_batch(outcomes.values(), time.monotonic() - begun)
    return [outcomes[request.number] for request in requests]


def _commit(requests: list[PlaceRequest], on_sale: Offers, write: Write) -> Outcomes:
    """Run `write` in a transaction until it is committed, or the attempts are used up.

    Every retry looks the numbers up first, under the lock: an attempt whose COMMIT was never answered may
    have taken effect. A batch that fails twice is split, so that one request cannot keep failing the rest.
    """
    give_up_at = time.monotonic() + 2 * settings.LOCK_WAIT_SECONDS
    unknown = False
    for attempt in range(1, MAX_ATTEMPTS + 1):
        committing = False
        try:
            with transaction.atomic(durable=True):
                outcomes, replays = write(requests, on_sale, look_up_numbers=attempt > 1)
                committing = True
            return _with_replays(outcomes, replays)
        except DatabaseError as exc:
            lost, duplicate = is_connection_lost(exc), is_duplicate(exc)
            unknown = unknown or (committing and lost)
            if not (lost or duplicate or is_lock_conflict(exc)):
                raise
            logger.info("batch of %d, attempt %d: %s", len(requests), attempt, exc)
            if lost:
                connection.close()
            if duplicate:
                # Another process took the same idempotency key first, or drew the same ids.
                _renew_ids(requests)
            if error_code(exc) == STATEMENT_TIMEOUT and not unknown:
                return {r.number: LockedOut() for r in requests}
        if attempt >= 2 and len(requests) > 1 and not unknown:
            half = len(requests) // 2
            return _commit(requests[:half], on_sale, write) | _commit(requests[half:], on_sale, write)
        if time.monotonic() >= give_up_at:
            break
        time.sleep(BACKOFF_SECONDS * attempt * random.uniform(0.5, 1.5))
    return {r.number: OutcomeUnknown(r.number) if unknown else Busy() for r in requests}


def _renew_ids(requests: list[PlaceRequest]) -> None:
    renew_order_ids()
    for request in requests:
        request.order_id = new_order_id()


def write_under_lock(
    requests: list[PlaceRequest], on_sale: Offers, *, look_up_numbers: bool
) -> tuple[Outcomes, dict[str, str]]:
    """Lock the stock rows, decide every request under the lock, write the accepted ones (see `Write`)."""
    locked = lock_stock(on_sale[option_id].stock_id for r in requests for option_id, _ in r.lines)
    known = placed_under_keys(requests)
    outcomes, replays = repeated(requests, known, look_up_numbers=look_up_numbers)
    free = {row.option_id: row.available for row in locked.values()}
    new_order = order_maker()

    accepted: list[PlaceRequest] = []
    for request in requests:
        key = (request.buyer_id, request.idempotency_key or "")
        if request.number in outcomes or request.number in replays:
            continue
        if request.idempotency_key and key in known:
            repeat(request, known[key], outcomes, replays)  # of an order of this very batch
        elif shortages := _shortages(request, free):
            outcomes[request.number] = InsufficientStock(shortages)
        else:
            for option_id, units in request.lines:
                free[option_id] -= units
            if request.idempotency_key:
                known[key] = (request.number, request.fingerprint)
            accepted.append(request)
            outcomes[request.number] = Placed(new_order(request, on_sale))
    if accepted:
        insert_orders(accepted, outcomes, on_sale)
        ledger.post(
            locked,
            [
                ledger.Entry(on_sale[option_id].stock_id, Kind.RESERVE, 0, units, r.number, r.buyer_id)
                for r in accepted
                for option_id, units in r.lines
            ],
        )
    return outcomes, replays


def repeated(
    requests: list[PlaceRequest], known: dict[Key, tuple[str, str]], *, look_up_numbers: bool
) -> tuple[Outcomes, dict[str, str]]:
    """Those that need no deciding: a key that names a placed order, a number that is committed already."""
    outcomes: Outcomes = {}
    replays: dict[str, str] = {}
    committed = _placed_numbers(requests) if look_up_numbers else set()
    for request in requests:
        placed = known.get((request.buyer_id, request.idempotency_key or ""))
        if request.number in committed:
            replays[request.number] = request.number
        elif request.idempotency_key and placed:
            repeat(request, placed, outcomes, replays)
    return outcomes, replays


def repeat(
    request: PlaceRequest, placed: tuple[str, str], outcomes: Outcomes, replays: dict[str, str]
) -> None:
    """The key names a placed order: the same request is answered with it, another is refused."""
    number, fingerprint = placed
    if fingerprint == request.fingerprint:
        replays[request.number] = number
    else:
        outcomes[request.number] = IdempotencyKeyReused()


def insert_orders(accepted: list[PlaceRequest], outcomes: Outcomes, on_sale: Offers) -> None:
    """Write the orders of accepted requests, and their lines, as their outcomes and offers describe them."""
    orders, lines = [], []
    # In key order: two batches that insert colliding keys wait for each other in one direction only.
    for r in sorted(accepted, key=lambda r: (r.buyer_id, r.idempotency_key or "")):
        order: OrderView = outcomes[r.number].order  # type: ignore[union-attr]
        orders.append(
            (r.order_id, r.number, r.buyer_id, Status.PENDING, order.total, r.idempotency_key, r.fingerprint,
             order.expires_at, order.created_at, r.drop_id)
        )  # fmt: skip
        for ln in order.lines:
            offer = on_sale[ln.option]
            rate = settings.COMMISSION_RATE if offer.commission_rate is None else offer.commission_rate
            lines.append((r.order_id, ln.option, ln.name, ln.quantity, ln.unit_price, offer.store_id, rate))
    insert_rows(Order, _ORDER_FIELDS, orders)
    insert_rows(OrderLine, _LINE_FIELDS, lines)


def placed_under_keys(requests: Iterable[PlaceRequest]) -> dict[Key, tuple[str, str]]:
    """Orders that exist under these requests' idempotency keys: (buyer, key) -> (number, fingerprint)."""
    keys = [(r.buyer_id, r.idempotency_key) for r in requests if r.idempotency_key]
    if not keys:
        return {}
    # By hand: the ORM takes longer to build this condition than the database to answer it.
    matches = " OR ".join(["buyer_id = %s AND idempotency_key = %s"] * len(keys))
    columns = "buyer_id, idempotency_key, number, fingerprint"
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {columns} FROM {Order._meta.db_table} WHERE {matches}",  # noqa: S608
            [value for key in keys for value in key],
        )
        return {(row[0], row[1]): (row[2], row[3]) for row in cursor.fetchall()}


def _placed_numbers(requests: Iterable[PlaceRequest]) -> set[str]:
    numbers = [request.number for request in requests]
    return set(Order.objects.filter(number__in=numbers).values_list("number", flat=True))


def _with_replays(outcomes: Outcomes, replays: dict[str, str]) -> Outcomes:
    """Add the orders that requests repeat, as they are now (after the commit: they may be this batch's)."""
    if replays:
        views = order_views(set(replays.values()))
        for asked, number in replays.items():
            outcomes[asked] = Placed(views[number], replayed=asked != number)
    return outcomes


def _shortages(request: PlaceRequest, available: dict[int, int]) -> list[Shortage]:
    return [
        {"option": option_id, "requested": units, "available": max(0, available[option_id])}
        for option_id, units in request.lines
        if units > available[option_id]
    ]


def _unknown_option(option_ids: list[int]) -> UnknownOption:
    # Lazy: the batch is another thread's, which does not know the caller's language.
    text = format_lazy(
        gettext_lazy("There is no option {named} on sale."), named=", ".join(map(str, option_ids))
    )
    return UnknownOption(errors={"lines.option": text}, options=option_ids)


def order_maker() -> Callable[[PlaceRequest, Offers], OrderView]:
    """Makes the pending orders of one batch: all of one moment, at the prices of the offers."""
    now = timezone.now()
    expires_at = now + timedelta(minutes=settings.ORDER_HOLD_MINUTES)

    def make(request: PlaceRequest, on_sale: Offers) -> OrderView:
        lines = []
        for option_id, units in request.lines:
            offer = on_sale[option_id]
            lines.append(
                LineView(
                    option=option_id, sku=offer.sku, product=offer.product_id, name=offer.product_name,
                    size=offer.size, color=offer.color, quantity=units, unit_price=offer.price,
                )
            )  # fmt: skip
        total = sum(line.quantity * line.unit_price for line in lines)
        return OrderView(request.number, Status.PENDING, lines, total, expires_at, now)

    return make
