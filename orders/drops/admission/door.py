"""Buy from a drop: ask its lane, and say what became of it.

On Redis an order is admitted, answered 202, and written by a worker (writing/drain.py); who is refused costs
the database nothing. On `group_commit` it is written at once, like any order.
"""

from django.utils.translation import gettext

from orders.drops.admission import group_commit, redis_lua, redis_transaction, waiting_room
from orders.drops.admission.outcomes import Accepted, conclude, refusal, takes_long
from orders.drops.admission.replies import Ask, Reply
from orders.drops.admission.second_look import unless_wrong
from orders.drops.definitions import Definition, definitions
from orders.drops.redis.answers import Answer
from orders.drops.redis.connections import AnswerLost
from orders.errors import UnknownOption
from orders.models.drops import DropStatus, Lane
from orders.placement.batch import placed_under_keys
from orders.placement.requests import Placed, PlaceRequest
from orders.placement.writing import price_refusal
from yousinsa.errors import Problem
from yousinsa.http.deferred import Deferred

LANES: dict[str, Ask] = {
    Lane.REDIS_LUA: redis_lua.ask,
    Lane.REDIS_TRANSACTION: redis_transaction.ask,
    Lane.GROUP_COMMIT: group_commit.ask,
}


def buy(request: PlaceRequest, *, ticket: str | None = None) -> Placed | Accepted:
    """Order from the drop that the request names; see `begin` for what is raised."""
    return begin(request, ticket=ticket).result()


def begin(request: PlaceRequest, *, ticket: str | None = None) -> Deferred[Placed | Accepted]:
    """The same without waiting for Redis or for other orders.

    Raises, at once or as the outcome: `UnknownDrop`, `UnknownOption`, `Invalid` (the ticket, or a total
    beyond all bounds), `PriceChanged`, `DropNotOpen`, `PurchaseLimit`, `InsufficientStock`, `Queued`,
    `IdempotencyKeyReused`, `Unauthenticated`, `Busy` (certainly not placed), `OutcomeUnknown`.
    """
    definition = definitions.find(request.drop_id or 0)
    _check_options(request, definition)
    if definition.on_redis and (refused := price_refusal(request, definition.offers)):
        raise refused
    slot = waiting_room.slot_on(ticket, drop_id=definition.drop_id, buyer_id=request.buyer_id)
    ask = LANES[definition.lane]
    if definition.on_redis and not _has_gate(request, definition):
        ask = _ask_no_gate
    return _ask(ask, request, definition, slot)


def _ask(
    ask: Ask, request: PlaceRequest, definition: Definition, slot: str, *, again: bool = True
) -> Deferred[Placed | Accepted]:
    """Ask the lane; `again`, where it has another epoch than this process knew."""

    def finish(reply: Reply) -> Placed | Accepted | Problem:
        if again and reply.answer == Answer.EPOCH:
            newer = definitions.renew(definition, epoch=reply.details[0])
            return _ask(ask, request, newer, slot, again=False).result()
        return conclude(reply, request, definition)

    try:
        asked = ask(request, definition, slot)
    except (Problem, AnswerLost) as exc:
        raise refusal(exc, request) from exc
    if definition.on_redis:
        asked = unless_wrong(asked, definition.drop_id)
    return asked.map(finish, lambda exc: refusal(exc, request), takes_long=takes_long)


def _check_options(request: PlaceRequest, definition: Definition) -> None:
    unknown = [option_id for option_id, _ in request.lines if option_id not in definition.offers]
    if unknown:
        named = ", ".join(map(str, unknown))
        text = gettext("There is no option %s in this drop.") % named
        raise UnknownOption(errors={"lines.option": text}, options=unknown)


def _has_gate(request: PlaceRequest, definition: Definition) -> bool:
    """Whether Redis has something to say: of a closed drop, what became of an idempotency key."""
    keyed = definition.status == DropStatus.CLOSED and request.idempotency_key
    return definition.status == DropStatus.OPEN or bool(keyed)


def _ask_no_gate(request: PlaceRequest, definition: Definition, slot: str) -> Deferred[Reply]:
    """Closed; but the buyer of a settled drop's order may not have heard the answer."""
    if definition.status == DropStatus.SETTLED:
        key = (request.buyer_id, request.idempotency_key or "")
        if placed := placed_under_keys([request]).get(key):
            number, fingerprint = placed
            is_same = fingerprint == request.fingerprint
            return Deferred.of(Reply(Answer.REPLAYED, (number,)) if is_same else Reply(Answer.REUSED))
    return Deferred.of(Reply(Answer.CLOSED))
