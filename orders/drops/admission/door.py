"""Buy from a drop: ask its lane once, and say what became of it.

On Redis an order is admitted, answered 202, and written by a worker (drain.py); who is refused costs the
database nothing. On `group_commit` it is written at once, like any order.
"""

import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from django.utils.translation import gettext

from inventory.errors import InsufficientStock, Shortage
from orders.drops.admission import waiting_room
from orders.drops.admission.pending import accepted_view, find_unsettled
from orders.drops.admission.redis_transaction import admit_in_transaction
from orders.drops.admission.tallies import tallies
from orders.drops.definitions import Definition, definitions, drop_offers
from orders.drops.errors import DropNotOpen, PurchaseLimit
from orders.drops.escrow import write_from_escrow
from orders.drops.metrics import BY_OUTCOME
from orders.drops.redis.connections import AnswerLost, Script, order_pool
from orders.drops.redis.entries import Entry, encode_entry
from orders.drops.redis.keys import keys_of
from orders.drops.redis.pipe import OrderPipe, Question
from orders.errors import IdempotencyKeyReused, OutcomeUnknown, UnknownOption
from orders.models.drops import DropStatus, Lane
from orders.placement.batch import place_batch, placed_under_keys
from orders.placement.group_commit import Committer
from orders.placement.requests import Outcome, Placed, PlaceRequest
from orders.schemas import OrderView
from orders.selectors import order_views
from yousinsa.errors import Busy, Problem
from yousinsa.http.deferred import Deferred

ACKNOWLEDGED, REFUSED, QUEUED = range(3)
# Answers that are told without another question to anybody.
QUICK = {"accepted", "limit", "short", "queued", "reused"}
_REFUSALS = {"limit", "short", "closed", "lost", "reused"}

_admit = Script("waiting_room.lua", "admit.lua")
_pipes: dict[int, OrderPipe] = {}
_starting = threading.Lock()


def order_pipe() -> OrderPipe:
    """What asks this process's Redis for its orders. Raises `Busy` without REDIS_URL."""
    pool = order_pool()
    pipe = _pipes.get(id(pool))
    if pipe is None:
        with _starting:
            pipe = _pipes.get(id(pool)) or OrderPipe(pool)
            _pipes[id(pool)] = pipe
    return pipe


@dataclass(slots=True, frozen=True)
class Accepted:
    """Redis admitted the order: it will be in the database within moments. `replayed` as in `Placed`."""

    order: OrderView
    replayed: bool = False


@dataclass(slots=True, frozen=True)
class Waiting:
    """The order waits for its group's commit, in the lane without Redis."""

    ticket: Deferred[Placed]
    drop_id: int

    def then(self, callback: Callable[[], None]) -> None:
        """As `Deferred.then`."""
        self.ticket.then(callback)

    def result(self) -> Placed:
        """As `Deferred.result`, and counted. To be asked for once."""
        try:
            placed = self.ticket.result()
        except Problem as refusal:
            name = {"purchase_limit": "limit", "insufficient_stock": "short", "drop_not_open": "closed"}
            _count(self.drop_id, name.get(refusal.code, "busy"))
            raise
        _count(self.drop_id, "replayed" if placed.replayed else "placed")
        return placed


class Asked:
    """Redis was asked, and its answer is not there yet."""

    def __init__(self, question: Question, finish: Callable[[], Placed | Accepted]) -> None:
        self._question = question
        self._finish = finish

    def then(self, callback: Callable[[], None]) -> None:
        """As `Promise.then`."""
        self._question.then(callback)

    @property
    def takes_long(self) -> bool:
        """What is said then may need the database; what nearly everybody is told does not."""
        answer = self._question.outcome
        return answer is None or isinstance(answer, Exception) or answer[0] not in QUICK

    def result(self) -> Placed | Accepted:
        """Wait for it. Raises as `buy` does. To be asked for once."""
        return self._finish()


def buy(request: PlaceRequest, *, ticket: str | None = None) -> Placed | Accepted:
    """Order from the drop that the request names, in the drop's lane; see `begin` for what is raised."""
    bought = begin(request, ticket=ticket)
    return bought.result() if isinstance(bought, Waiting | Asked) else bought


def begin(request: PlaceRequest, *, ticket: str | None = None) -> Placed | Accepted | Waiting | Asked:
    """The same without waiting for Redis or for other orders.

    Raises `UnknownDrop`, `UnknownOption`, `DropNotOpen`, `PurchaseLimit`, `InsufficientStock`, `Queued`,
    `IdempotencyKeyReused`, `Busy` (certainly not placed), `OutcomeUnknown`.
    """
    drop_id = request.drop_id or 0
    definition = definitions.find(drop_id)
    unknown = [option_id for option_id, _ in request.lines if option_id not in definition.offers]
    if unknown:
        named = ", ".join(map(str, unknown))
        text = gettext("There is no option %s in this drop.") % named
        raise UnknownOption(errors={"lines.option": text}, options=unknown)
    slot = waiting_room.slot_on(ticket, drop_id=drop_id, buyer_id=request.buyer_id)
    if definition.lane == Lane.GROUP_COMMIT:
        return Waiting(_committer(os.getpid()).submit(request), drop_id)
    if definition.status == DropStatus.OPEN or (
        definition.status == DropStatus.CLOSED and request.idempotency_key
    ):
        if definition.lane == Lane.REDIS_TRANSACTION:
            return _buy_on_redis(request, definition, slot)
        entry = _entry(request, definition)
        question = _question(request, definition, entry, slot)
        return Asked(question, lambda: _buy_on_redis(request, definition, slot, (entry, question)))
    if definition.status == DropStatus.SETTLED and (placed := _placed_before(request)):
        return placed
    _count(drop_id, "closed")
    raise DropNotOpen(definition.opens_at, definition.closes_at)


def _buy_on_redis(
    request: PlaceRequest,
    definition: Definition,
    slot: str,
    asked: tuple[Entry, Question] | None = None,
) -> Placed | Accepted:
    """Ask Redis, unless that was done before (`asked`), and say what its answer means."""
    try:
        if asked:
            entry, answer = asked[0], asked[1].answer()
        else:
            entry = _entry(request, definition)
            answer = _ask(request, definition, entry, slot)
        if answer[0] == "epoch":
            definition = definitions.renew(definition, epoch=answer[1])
            entry = _entry(request, definition)
            answer = _ask(request, definition, entry, slot)
    except AnswerLost as exc:
        BY_OUTCOME["unknown"].inc()
        raise OutcomeUnknown(request.number) from exc
    except Busy:
        BY_OUTCOME["busy"].inc()
        raise
    outcome = answer[0] if answer[0] != "epoch" else "lost"
    units = sum(units for _option, units in request.lines)
    _count(definition.drop_id, outcome, units)
    match outcome:
        case "accepted":
            return Accepted(accepted_view(entry, definition.drop_id, definition.offers))
        case "replayed":
            return _replay(request, answer[1], definition)
        case "reused":
            raise IdempotencyKeyReused
        case "limit":
            raise PurchaseLimit(limit=definition.limit, bought=int(answer[1]), requested=units)
        case "short":
            raise InsufficientStock(_shortages(request, answer[1:]))
        case "queued":
            raise waiting_room.queued(
                drop_id=definition.drop_id, buyer_id=request.buyer_id,
                slot=answer[1], place=answer[2], wait_ms=answer[3],
            )  # fmt: skip
    raise _not_open(outcome, definition)


def _not_open(outcome: str, definition: Definition) -> DropNotOpen:
    """Closed, paused, or not to be believed; the drop as it is now says since when, if it can be asked."""
    if definition.is_old():
        definition = definitions.renew(definition)
    detail, more = "", {}
    if outcome == "lost" and definition.status == DropStatus.OPEN:
        detail = gettext("The drop waits for its counters to be recovered.")
        more = {"retry_after": 5}
    return DropNotOpen(definition.opens_at, definition.closes_at, detail, **more)


def _ask(request: PlaceRequest, definition: Definition, entry: Entry, slot: str) -> Any:
    if definition.lane == Lane.REDIS_TRANSACTION:
        return admit_in_transaction(request, definition, encode_entry(entry).decode(), slot)
    return _question(request, definition, entry, slot).answer()


def _question(request: PlaceRequest, definition: Definition, entry: Entry, slot: str) -> Question:
    raw = encode_entry(entry).decode()
    names = keys_of(definition.drop_id)
    return order_pipe().ask(
        _admit,
        (names.gate, names.customers, names.keys, names.orders, names.stream, names.queue),
        definition.epoch, request.number, request.buyer_id, request.idempotency_key or "",
        entry.fingerprint, raw, sum(units for _option, units in request.lines), slot,
        *(value for line in request.lines for value in line),
    )  # fmt: skip


def _entry(request: PlaceRequest, definition: Definition) -> Entry:
    offers = definition.offers
    return Entry(
        request.number, request.buyer_id, request.idempotency_key, request.fingerprint, definition.epoch,
        time.time_ns() // 1_000_000,
        [(option_id, units, offers[option_id].price) for option_id, units in request.lines],
    )  # fmt: skip


def _shortages(request: PlaceRequest, found: Sequence[str]) -> list[Shortage]:
    wanted = dict(request.lines)
    return [
        Shortage(option=int(option), requested=wanted[int(option)], available=int(left))
        for option, left in zip(found[::2], found[1::2], strict=True)
    ]


def _count(drop_id: int, outcome: str, units: int = 0) -> None:
    BY_OUTCOME[outcome].inc()
    if outcome == "accepted":
        tallies.add(drop_id, ACKNOWLEDGED, units)
    elif outcome == "queued":
        tallies.add(drop_id, QUEUED)
    elif outcome in _REFUSALS:
        tallies.add(drop_id, REFUSED)


# --- The same request again -------------------------------------------------------------------------------


def _replay(request: PlaceRequest, number: str, definition: Definition) -> Placed | Accepted:
    """The order that this request made before, wherever it is now."""
    if view := order_views([number]).get(number):
        return Placed(view, replayed=True)
    if view := find_unsettled(number, request.buyer_id):
        return Accepted(view, replayed=True)
    if view := order_views([number]).get(number):  # written between the two questions
        return Placed(view, replayed=True)
    raise Busy


def _placed_before(request: PlaceRequest) -> Placed | None:
    """A settled drop's order under this key: its buyer may not have heard the answer."""
    placed = placed_under_keys([request]).get((request.buyer_id, request.idempotency_key or ""))
    if placed is None:
        return None
    number, fingerprint = placed
    if fingerprint != request.fingerprint:
        raise IdempotencyKeyReused
    return Placed(order_views([number])[number], replayed=True)


# --- Without Redis ------------------------------------------------------------------------------------------


def place_in_drops(requests: list[PlaceRequest]) -> list[Outcome]:
    """One transaction for each drop that these requests are of."""
    by_drop: dict[int, list[PlaceRequest]] = {}
    for request in requests:
        by_drop.setdefault(request.drop_id or 0, []).append(request)
    outcomes: dict[str, Outcome] = {}
    for drop_id, of_drop in by_drop.items():
        placed = place_batch(of_drop, write_from_escrow, _offers_of(drop_id))
        outcomes |= zip((r.number for r in of_drop), placed, strict=True)
    return [outcomes[request.number] for request in requests]


def _offers_of(drop_id: int) -> Callable[[Any], Any]:
    return lambda option_ids: drop_offers(drop_id)


@lru_cache(maxsize=4)
def _committer(pid: int) -> Committer:
    return Committer(place_in_drops)
