"""The one durable transaction that every lane feeds: many orders, each decided on its own.

Read `place_batch` first, then `_commit`, then writing.py: lock the stock rows (ordered), decide, insert
orders, lines and movements, move each stock row once. docs/placement.md says what each lane promises on top.
"""

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from django.db import connection, transaction
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy

from inventory.errors import InsufficientStock
from inventory.selectors import offers
from orders.errors import OutcomeUnknown, UnknownOption
from orders.models import Order
from orders.placement.decisions import Decisions, Outcomes, placed_under_keys
from orders.placement.guards.blocked import LockedOut
from orders.placement.guards.suspects import suspects
from orders.placement.metrics import count_batch
from orders.placement.numbers import new_order_id, renew_order_ids
from orders.placement.requests import Outcome, Placed, PlaceRequest
from orders.placement.writing import Offers, shortages, write_under_lock
from yousinsa.db.errors import (
    STATEMENT_TIMEOUT,
    duplicate_key,
    error_code,
    is_connection_lost,
    is_lock_conflict,
    is_outage,
)
from yousinsa.db.transactions import bounded_attempts, reading
from yousinsa.errors import Busy, InternalError, Problem

logger = logging.getLogger(__name__)

# What a race for an order's keys breaks, on MariaDB and on SQLite; any other duplicate is a fault.
ORDER_KEYS = {"PRIMARY", "number", "order_buyer_key_unique"}
ORDER_COLUMNS = f"{Order._meta.db_table}."


class Write(Protocol):
    """Decides requests and writes the accepted ones, inside the transaction that `_commit` opened."""

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
    `Unauthenticated`, `TooManyUnpaid`, `PriceChanged`) is refused alone. `Busy`: a lock was not had in time,
    certainly not placed. `OutcomeUnknown`: the connection was lost at COMMIT and the database did not come
    back to be asked. Whatever else goes wrong is the outcome of the request that it goes wrong with, and no
    other's. Raises only what is nobody's in particular: the database is away.

    `write` is what happens inside the transaction; `write_under_lock` unless a lane compares another way.
    `look_up` finds what is on sale among option ids; a drop sells its own options at its own prices.
    """
    begun = time.monotonic()
    outcomes: Outcomes = {r.number: InternalError() for r in requests if suspects.has_just_failed(r)}
    failed: list[PlaceRequest] = []
    for together in suspects.apart([r for r in requests if r.number not in outcomes]):
        outcomes |= _place(together, write, look_up, failed)
    suspects.learn(failed, (r for r in requests if isinstance(outcomes[r.number], Placed)))
    count_batch(outcomes.values(), time.monotonic() - begun)
    return [outcomes[request.number] for request in requests]


def _place(
    requests: Sequence[PlaceRequest],
    write: Write,
    look_up: Callable[[Iterable[int]], Offers],
    failed: list[PlaceRequest],
) -> Outcomes:
    """Place these together; if that fails, in halves, until what it fails with stands alone in `failed`."""
    try:
        wanted = {option_id for request in requests for option_id, _ in request.lines}
        on_sale = reading(lambda: look_up(wanted))
        hopeful, outcomes = _refuse_hopeless(requests, on_sale)
        return outcomes | (_commit(hopeful, on_sale, write) if hopeful else {})
    except Exception as exc:
        if is_outage(exc):
            raise
        if len(requests) == 1:
            failed.append(requests[0])
            return {requests[0].number: _failure(requests[0], exc)}
        logger.warning("batch of %d failed, and is halved: %s", len(requests), exc)
    half = len(requests) // 2
    return _place(requests[:half], write, look_up, failed) | _place(requests[half:], write, look_up, failed)


def _failure(request: PlaceRequest, exc: Exception) -> Exception:
    """What to say where one order alone cannot be written."""
    logger.error("order %s of buyer %s failed", request.number, request.buyer_id, exc_info=exc)
    # It is the stock that is wrong, not what was asked for.
    return InternalError() if isinstance(exc, Problem) else exc


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
            outcomes[request.number] = _unknown_option(unknown)
        elif any(units > available[option_id] for option_id, units in request.lines):
            short.append(request)
        else:
            hopeful.append(request)
    placed = placed_under_keys(short)
    for request in short:
        if (request.buyer_id, request.idempotency_key) in placed:
            hopeful.append(request)
        else:
            outcomes[request.number] = InsufficientStock(shortages(request, available))
    return hopeful, outcomes


def _commit(
    requests: Sequence[PlaceRequest], on_sale: Offers, write: Write, *, unknown: bool = False
) -> Outcomes:
    """Run `write` in a transaction until it is committed, or the attempts are used up.

    Every retry looks the numbers up first, under the lock: an attempt whose COMMIT was never answered may
    have taken effect (`unknown`). A batch that fails twice is split, so that one request cannot keep failing
    the rest. Raises what no further attempt would change.
    """
    for attempt in bounded_attempts():
        committing = False
        try:
            with transaction.atomic(durable=True):
                decisions = write(requests, on_sale, look_up_numbers=unknown or attempt > 1)
                committing = True
            return decisions.outcomes()
        except Exception as exc:
            if not _recover(exc, requests):
                if not unknown:
                    raise
                if len(requests) > 1:
                    return _commit_halves(requests, on_sale, write, unknown=True)
                break
            logger.info("batch of %d, attempt %d: %s", len(requests), attempt, exc)
            unknown = unknown or (committing and is_connection_lost(exc))
            if error_code(exc) == STATEMENT_TIMEOUT and not unknown:
                return {r.number: LockedOut() for r in requests}
        if attempt >= 2 and len(requests) > 1 and not unknown:
            return _commit_halves(requests, on_sale, write)
    return {r.number: OutcomeUnknown(r.number) if unknown else Busy() for r in requests}


def _commit_halves(
    requests: Sequence[PlaceRequest], on_sale: Offers, write: Write, *, unknown: bool = False
) -> Outcomes:
    half = len(requests) // 2
    first = _commit(requests[:half], on_sale, write, unknown=unknown)
    return first | _commit(requests[half:], on_sale, write, unknown=unknown)


def _recover(exc: Exception, requests: Sequence[PlaceRequest]) -> bool:
    """Make another attempt possible after this; False where none would help."""
    if is_connection_lost(exc):
        connection.close()
        return True
    key = duplicate_key(exc)
    if key in ORDER_KEYS or key.startswith(ORDER_COLUMNS):
        # Another process took the same idempotency key first, or drew the same ids.
        renew_order_ids()
        for request in requests:
            request.order_id = new_order_id()
        return True
    return is_lock_conflict(exc)


def _unknown_option(option_ids: list[int]) -> UnknownOption:
    # Lazy: the batch is another thread's, which does not know the caller's language.
    text = format_lazy(
        gettext_lazy("There is no option {named} on sale."), named=", ".join(map(str, option_ids))
    )
    return UnknownOption(errors={"lines.option": text}, options=option_ids)
