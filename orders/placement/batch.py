"""New orders, many in one durable transaction (orders/engine/batch.py), each decided on its own.

Read `place_batch` first, then writing.py: lock the stock rows (ordered), decide, insert orders, lines and
movements, move each stock row once. docs/placement.md says what each lane promises on top.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy

from inventory.errors import InsufficientStock
from inventory.selectors import offers
from orders.engine.batch import run_batch
from orders.engine.requests import Outcomes
from orders.errors import UnknownOption
from orders.models import Order
from orders.placement.decisions import Decisions, placed_under_keys
from orders.placement.metrics import count_batch
from orders.placement.numbers import new_order_id, renew_order_ids
from orders.placement.requests import Outcome, PlaceRequest
from orders.placement.writing import Offers, shortages, write_under_lock
from yousinsa.db.errors import duplicate_key
from yousinsa.db.transactions import reading

# What a race for an order's keys breaks, on MariaDB and on SQLite; any other duplicate is a fault.
ORDER_KEYS = {"PRIMARY", "number", "order_buyer_key_unique"}
ORDER_COLUMNS = f"{Order._meta.db_table}."


class Write(Protocol):
    """Decides requests and writes the accepted ones, inside the caller's transaction."""

    def __call__(
        self, requests: Sequence[PlaceRequest], on_sale: Offers, *, look_up_numbers: bool
    ) -> Decisions: ...


def place_batch(
    requests: Sequence[PlaceRequest],
    write: Write = write_under_lock,
    look_up: Callable[[Iterable[int]], Offers] = offers,
) -> list[Outcome]:
    """Place what can be placed, durably, and say of every request what became of it, in the same order.

    A request that cannot be met (`UnknownOption`, `InsufficientStock`, `IdempotencyKeyReused`,
    `Unauthenticated`, `TooManyUnpaid`, `PriceChanged`) is refused alone. `Busy`, `OutcomeUnknown`, and what
    is raised: as `run_batch`.

    `write` is what happens inside the transaction; `write_under_lock` unless a lane compares another way.
    `look_up` finds what is on sale among option ids; a drop sells its own options at its own prices.
    """
    begun = time.monotonic()
    outcomes = run_batch(requests, _Placing(write, look_up))
    count_batch(outcomes, time.monotonic() - begun)
    return outcomes


class _Placing:
    """How orders are placed (`orders.engine.requests.Work`)."""

    splits = True

    def __init__(self, write: Write, look_up: Callable[[Iterable[int]], Offers]) -> None:
        self._write = write
        self._look_up = look_up
        self._on_sale: Offers = {}

    def prepare(self, requests: Sequence[PlaceRequest]) -> tuple[list[PlaceRequest], Outcomes]:
        wanted = {option_id for request in requests for option_id, _ in request.lines}
        self._on_sale = reading(lambda: self._look_up(wanted))
        return _refuse_hopeless(requests, self._on_sale)

    def write(self, requests: Sequence[PlaceRequest], *, again: bool) -> Callable[[], Outcomes]:
        return self._write(requests, self._on_sale, look_up_numbers=again).outcomes

    def mends(self, exc: Exception, requests: Sequence[PlaceRequest]) -> bool:
        key = duplicate_key(exc)
        if key not in ORDER_KEYS and not key.startswith(ORDER_COLUMNS):
            return False
        # Another process took the same idempotency key first, or drew the same ids.
        renew_order_ids()
        for request in requests:
            request.order_id = new_order_id()
        return True


def _refuse_hopeless(
    requests: Sequence[PlaceRequest], on_sale: Offers
) -> tuple[list[PlaceRequest], Outcomes]:
    """Refuse, before anything waits for a lock, what is not on sale or certainly sold out.

    Returns the other requests, and the outcomes of these. What repeats a placed order is never hopeless.
    """
    available = {option_id: offer.available for option_id, offer in on_sale.items()}
    outcomes: Outcomes = {}
    hopeful: list[PlaceRequest] = []
    short: list[PlaceRequest] = []
    for request in requests:
        unknown = [option_id for option_id, _ in request.lines if option_id not in available]
        if unknown:
            outcomes[request.ticket] = _unknown_option(unknown)
        elif any(units > available[option_id] for option_id, units in request.lines):
            short.append(request)
        else:
            hopeful.append(request)
    placed = placed_under_keys(short)
    for request in short:
        if (request.buyer_id, request.idempotency_key) in placed:
            hopeful.append(request)
        else:
            outcomes[request.ticket] = InsufficientStock(shortages(request, available))
    return hopeful, outcomes


def _unknown_option(option_ids: list[int]) -> UnknownOption:
    # Lazy: the batch is another thread's, which does not know the caller's language.
    text = format_lazy(
        gettext_lazy("There is no option {named} on sale."), named=", ".join(map(str, option_ids))
    )
    return UnknownOption(errors={"lines.option": text}, options=option_ids)
