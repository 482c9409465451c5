"""What a buyer is answered, whatever lane decided it: the order, or the problem that stands in its way."""

from collections.abc import Sequence
from dataclasses import dataclass

from django.utils.translation import gettext

from inventory.errors import InsufficientStock, Shortage
from orders.drops.admission import waiting_room
from orders.drops.admission.pending import accepted_view, find_unwritten
from orders.drops.admission.replies import Reply
from orders.drops.admission.second_look import take_back
from orders.drops.admission.tallies import count
from orders.drops.definitions import Definition, definitions
from orders.drops.errors import DropNotOpen, PurchaseLimit
from orders.drops.redis.answers import Answer
from orders.drops.redis.connections import AnswerLost
from orders.errors import IdempotencyKeyReused, OutcomeUnknown
from orders.models.drops import DropStatus
from orders.placement.buyers import AccountNotOpen
from orders.placement.requests import Placed, PlaceRequest
from orders.schemas import OrderView
from orders.selectors import numbered_views
from yousinsa.errors import Busy, Problem

# To say what these mean, the database may have to be asked.
_ASK_THE_DATABASE = {Answer.REPLAYED, Answer.CLOSED, Answer.LOST, Answer.EPOCH}
# What refusals of the database count as; any other as busy.
_ANSWERS = {
    PurchaseLimit: Answer.LIMIT,
    InsufficientStock: Answer.SHORT,
    DropNotOpen: Answer.CLOSED,
    IdempotencyKeyReused: Answer.REUSED,
    AccountNotOpen: Answer.STRANGER,
    OutcomeUnknown: Answer.UNKNOWN,
}

# What a second look refuses of what Redis admitted.
_TAKEN_BACK: dict[Answer, type[Problem]] = {
    Answer.REUSED: IdempotencyKeyReused,
    Answer.STRANGER: AccountNotOpen,
}


@dataclass(slots=True, frozen=True)
class Accepted:
    """Redis admitted the order: it will be in the database within moments. `replayed` as in `Placed`."""

    order: OrderView
    replayed: bool = False


def takes_long(outcome: Reply | Exception) -> bool:
    """Whether `conclude` may ask the database; for what nearly everybody is answered it does not."""
    if not isinstance(outcome, Reply) or outcome.placed is not None:
        return False
    return outcome.answer in _ASK_THE_DATABASE or _is_to_be_taken_back(outcome)


def _is_to_be_taken_back(reply: Reply) -> bool:
    return reply.answer in _TAKEN_BACK and reply.admitted is not None


def conclude(reply: Reply, request: PlaceRequest, definition: Definition) -> Placed | Accepted | Problem:
    """The order that the reply stands for, or the refusal (returned: nearly everybody is). Counts it."""
    drop_id = definition.drop_id
    # A gate whose epoch changes twice while one order asks is not to be believed.
    answer = reply.answer if reply.answer != Answer.EPOCH else Answer.LOST
    if (
        reply.admitted
        and (wrong := _TAKEN_BACK.get(answer))
        and not take_back(drop_id, reply.admitted, wrong())
    ):
        answer = Answer.ACCEPTED
    count(drop_id, answer, request.units)
    if reply.placed:
        return reply.placed
    match answer:
        case Answer.ACCEPTED if reply.admitted:
            return Accepted(accepted_view(reply.admitted, drop_id, definition.offers))
        case Answer.REPLAYED:
            return _order_again(request, reply.details[0])
        case Answer.REUSED | Answer.STRANGER:
            return _TAKEN_BACK[answer]()
        case Answer.LIMIT:
            return PurchaseLimit(
                limit=definition.limit, bought=int(reply.details[0]), requested=request.units
            )
        case Answer.SHORT:
            return InsufficientStock(_shortages(request, reply.details))
        case Answer.QUEUED:
            slot, place, wait_ms = reply.details
            return waiting_room.queued(
                drop_id=drop_id, buyer_id=request.buyer_id, slot=slot, place=place, wait_ms=wait_ms
            )
    return _not_open(answer, definition)


def refusal(exc: Exception, request: PlaceRequest) -> Exception:
    """What there is to say where there is no reply, but this exception. Counts it."""
    drop_id = request.drop_id or 0
    if isinstance(exc, AnswerLost):
        count(drop_id, Answer.UNKNOWN)
        return OutcomeUnknown(request.number)
    if isinstance(exc, Problem):
        count(drop_id, _ANSWERS.get(type(exc), Answer.BUSY))
    return exc


def _not_open(answer: Answer, definition: Definition) -> DropNotOpen:
    """Closed, paused, or not to be believed; the drop as it is now says since when, if it can be asked."""
    if definition.is_old():
        definition = definitions.renew(definition)
    detail, more = "", {}
    if answer == Answer.LOST and definition.status == DropStatus.OPEN:
        detail = gettext("The drop waits for its counters to be recovered.")
        more = {"retry_after": 5}
    return DropNotOpen(definition.opens_at, definition.closes_at, detail, **more)


def _shortages(request: PlaceRequest, found: Sequence[str]) -> list[Shortage]:
    wanted = dict(request.lines)
    return [
        Shortage(option=int(option), requested=wanted[int(option)], available=int(left))
        for option, left in zip(found[::2], found[1::2], strict=True)
    ]


def _order_again(request: PlaceRequest, number: str) -> Placed | Accepted | Busy:
    """The order that this request made before, wherever it is now."""
    if view := numbered_views([number]).get(number):
        return Placed(view, replayed=True)
    if view := find_unwritten(number, request.buyer_id):
        return Accepted(view, replayed=True)
    if view := numbered_views([number]).get(number):  # written between the two questions
        return Placed(view, replayed=True)
    return Busy()
