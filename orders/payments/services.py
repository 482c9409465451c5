"""Paying for an order.

An attempt is written before the provider is asked and decided after it answered (attempts.py); between the
two no lock and no transaction is open. A crash in between leaves an attempt that `resolve_unanswered` asks
about.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import partial

from django.db import Error
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext

from orders.changes.batch import begin_change, change, change_batch
from orders.changes.commands import Changed, Command
from orders.errors import PaymentDeclined, PaymentUnknown
from orders.models import Payment, Trouble
from orders.models.troubles import left_alone, set_aside, settled
from orders.payments import by_hand
from orders.payments.aftermath import follow, follow_all, follow_soon
from orders.payments.attempts import Settle, Start
from orders.payments.providers import (
    APPROVED,
    DECLINED,
    PROVIDERS,
    UNKNOWN,
    Answer,
    ProviderTimeout,
    take_payments,
)
from yousinsa.db.errors import is_outage
from yousinsa.db.transactions import patience
from yousinsa.errors import Busy, InternalError, Interrupted, Invalid
from yousinsa.http.deferred import Deferred
from yousinsa.language import recorded_later
from yousinsa.process.once import PerProcess

logger = logging.getLogger(__name__)

# A provider answers within seconds; an attempt that is older was cut off (crash, lost answer).
UNANSWERED_AFTER = timedelta(seconds=60)
RESOLVE_BATCH = 100
# Conversations with providers that are elsewhere, of one process at once.
CONVERSATIONS = 16

Carry = Callable[[Command], Deferred[Changed]]
"""A way to have a command carried out: alone and now, or in a group."""


def pay(
    *, order_id: int, provider: str, token: str = "", shipping: Mapping[str, str] | None = None, actor_id: int
) -> None:
    """Pay for a pending order; where to ship is kept on the order.

    `shipping` has the fields of `SHIPPING_FIELDS`; None takes the buyer's saved address.
    Raises `InvalidTransition`, `ShippingRequired`, `PaymentInProgress`, `PaymentDeclined`,
    `PaymentUnknown`, `Invalid` for an unknown provider, `OrderNotFound`, `Busy` (nothing was charged).
    """
    start = Start(order_id=order_id, provider=provider, token=token, shipping=shipping, actor_id=actor_id)
    follow(_pay(start, lambda command: Deferred.of(change(command))).result())


def begin_pay(
    *, number: str, buyer_id: int, provider: str, token: str = "", shipping: Mapping[str, str] | None = None
) -> Deferred[Changed]:
    """The same of a buyer's own order, and no thread waits for the commits or, as a rule, the provider."""
    start = Start(
        number=number, owner_id=buyer_id, provider=provider, token=token, shipping=shipping, actor_id=buyer_id
    )
    return _pay(start, begin_change).map(follow_soon)


def _pay(start: Start, carry: Carry) -> Deferred[Changed]:
    if start.provider not in take_payments():
        raise Invalid(errors={"provider": gettext("Must be one of: %s.") % ", ".join(take_payments())})
    started = carry(start)
    # A group's thread has others to see to; who only looks into a table does not keep it.
    is_quick = started.decided or PROVIDERS[start.provider].answers_at_once
    return started.chain(
        partial(_charge_and_settle, start, carry), run=None if is_quick else _conversations().submit
    )


def _charge_and_settle(start: Start, carry: Carry, started: Changed) -> Deferred[Changed]:
    if not started.fresh or started.attempt is None:
        return Deferred.of(started)
    answer = _charge(start, started.attempt.amount)
    settle = Settle(
        order_id=started.order_id, reference=start.reference, answer=answer, actor_id=start.actor_id
    )
    try:
        told = carry(settle)
    except Exception as exc:
        raise _unsure(exc) from exc
    return told.map(partial(_told, answer), _unsure)


def _charge(start: Start, amount: int) -> Answer:
    """Ask the provider for the money; what is not an answer is UNKNOWN."""
    try:
        return PROVIDERS[start.provider].charge(reference=start.reference, amount=amount, token=start.token)
    except Exception as exc:
        if not isinstance(exc, ProviderTimeout):
            logger.exception("payment %s: the provider failed", start.reference)
        return Answer(UNKNOWN)


def _told(answer: Answer, settled: Changed) -> Changed | Exception:
    if answer.status == UNKNOWN:
        return _unsure()
    if answer.status == DECLINED:
        return PaymentDeclined(recorded_later(answer.detail))
    return settled


def _unsure(exc: Exception | None = None) -> Exception:
    """Once the provider was asked the money may have been taken: nothing less may be said."""
    if exc is None or isinstance(exc, (Busy, Interrupted, InternalError, Error)):
        return PaymentUnknown(retry_after=UNANSWERED_AFTER.total_seconds())
    return exc


def decide(*, payment_id: int, answer: Answer, actor_id: int | None = None) -> None:
    """Write down what a provider said of an attempt (`Settle`), and pay out what goes back. Raises `Busy`."""
    order_id, reference = Payment.objects.values_list("order_id", "reference").get(pk=payment_id)
    follow(change(Settle(order_id=order_id, reference=reference, answer=answer, actor_id=actor_id)))


def confirm_transfer(*, order_id: int, actor_id: int) -> None:
    """An operator saw the buyer's transfer on the account: the order is paid, or refunded when too late.

    Raises `FourEyes` (it is the operator's own order), `InvalidTransition`, `ShippingRequired`,
    `PaymentInProgress` (a card is being charged), `OrderNotFound`, `Busy`.
    """
    (outcome,) = confirm_transfers([order_id], actor_id=actor_id)
    if isinstance(outcome, Exception):
        raise outcome


def confirm_transfers(
    order_ids: Sequence[int], *, actor_id: int, at: datetime | None = None
) -> list[Changed | Exception]:
    """The same of many orders together; says of each what became of it, in the same order.

    `at`: when that is, for who has to know it again. Raises what says that the database is away.
    """
    outcomes: dict[int, Changed | Exception] = {**by_hand.refused_own(order_ids, actor_id=actor_id)}
    # A transfer that was cut off before anybody could wait for it is there all the same.
    announced = Q(status=Payment.Status.WAITING) | Q(status=Payment.Status.STARTED, provider="manual")
    waiting = Payment.objects.filter(announced, order_id__in=order_ids, live=True)
    references = dict(waiting.values_list("order_id", "reference"))
    starts = [
        Start(order_id=id, provider="manual", by_buyer=False, actor_id=actor_id)
        for id in order_ids
        if id not in outcomes and id not in references
    ]
    for start, started in zip(starts, change_batch(starts), strict=True):
        if isinstance(started, Exception):
            outcomes[start.order_id] = started
        elif started.attempt:
            references[start.order_id] = started.attempt.reference
    settles = [
        Settle(
            order_id=id, reference=references.get(id, ""), answer=Answer(APPROVED), actor_id=actor_id,
            at=at or timezone.now(),
        )
        for id in order_ids
        if id not in outcomes
    ]  # fmt: skip
    told = change_batch(settles)
    follow_all([changed for changed in told if isinstance(changed, Changed)])
    outcomes |= {settle.order_id: outcome for settle, outcome in zip(settles, told, strict=True)}
    return [outcomes[id] for id in order_ids]


def resolve_unanswered() -> int:
    """Ask the providers about attempts that were never answered; returns how many are decided now.

    One that cannot be decided now is set aside and keeps no other waiting; it is asked about again.
    Raises what says that the database is away.
    """
    cut_off = timezone.now() - UNANSWERED_AFTER
    open_attempts = (
        Payment.objects.filter(
            status__in=[Payment.Status.STARTED, Payment.Status.UNKNOWN], created_at__lte=cut_off
        )
        .exclude(pk__in=left_alone(Trouble.Job.PAYMENT))
        .order_by("created_at")
    )
    resolved = 0
    for payment in list(open_attempts[:RESOLVE_BATCH]):
        try:
            answer = PROVIDERS[payment.provider].lookup(reference=payment.reference, token=payment.token)
            with patience(1):
                decide(payment_id=payment.pk, answer=answer)
        except Exception as exc:
            if is_outage(exc):
                raise
            set_aside(Trouble.Job.PAYMENT, payment.pk, payment.reference, exc, order_id=payment.order_id)
        else:
            settled(Trouble.Job.PAYMENT, [payment.pk])
            resolved += 1
    return resolved


@PerProcess
def _conversations() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(CONVERSATIONS, thread_name_prefix="payment-provider")
