"""Money back: decided inside the order's transaction (a row), paid out after it, retried until done."""

import logging
import secrets
from collections.abc import Iterable

from django.db import Error
from django.utils import timezone

from orders.changes.commands import Owed
from orders.changes.held import Attempt, HeldOrder
from orders.models import Payment, Refund, Trouble
from orders.models.troubles import left_alone, set_aside, settled
from orders.payments.providers import BY_HAND, PROVIDERS
from yousinsa.db.errors import is_outage

logger = logging.getLogger(__name__)

PAY_OUT_BATCH = 100


def new_reference() -> str:
    """What a provider knows an attempt or a refund by: unique, 32 hexadecimal digits."""
    return secrets.token_hex(16)


def owe(held: HeldOrder, amount: int, *, reason: str) -> list[Owed]:
    """What is owed to the buyer of a held order, `amount` won of what was paid for it: one refund, or none.

    Never more than was taken and has not gone back yet.
    """
    live = held.live_attempt
    paid = live is not None and live.status == Payment.Status.APPROVED
    return owe_of(live, amount, reason=reason) if live and paid else []


def owe_of(attempt: Attempt, amount: int, *, reason: str) -> list[Owed]:
    """`amount` won of one approved attempt; the rest as `owe`."""
    amount = min(amount, attempt.amount - attempt.refunded)
    return [Owed(attempt, amount, reason, new_reference())] if amount > 0 else []


def pay_out(references: Iterable[str]) -> int:
    """Ask the providers to pay refunds out; returns how many are done. Never inside a transaction.

    What a provider does not answer stays due, is set aside for a while and tried again by a worker: one
    provider's failure is no reason to keep the other buyers waiting. Raises what says that the database is
    away.
    """
    due = Refund.objects.filter(reference__in=list(references), status=Refund.Status.DUE)
    paid_out = []
    for refund in list(due.select_related("payment")):
        payment = refund.payment
        try:
            paid = PROVIDERS[payment.provider].refund(
                reference=refund.reference, payment_reference=payment.reference, amount=refund.amount
            )
            if paid:
                paid_out.append(refund.pk)
        except Exception as exc:
            if is_outage(exc):
                raise
            set_aside(Trouble.Job.REFUND, refund.pk, refund.reference, exc, order_id=payment.order_id)
    settled(Trouble.Job.REFUND, paid_out)
    return mark_done(paid_out)


def pay_out_now(references: list[str]) -> None:
    """`pay_out` right after the decision was committed, which stands whatever happens here."""
    if not references:
        return
    try:
        pay_out(references)
    except Error:
        logger.exception("refunds %s stay due", references)


def mark_done(refund_ids: Iterable[int]) -> int:
    """The money is back with the buyers. Returns how many this call said so of first."""
    return Refund.objects.filter(pk__in=list(refund_ids), status=Refund.Status.DUE).update(
        status=Refund.Status.DONE, done_at=timezone.now()
    )


def pay_out_due() -> int:
    """Try the oldest refunds that are due with a provider that pays by itself; returns how many are done."""
    due = (
        Refund.objects.filter(status=Refund.Status.DUE)
        .exclude(payment__provider__in=BY_HAND)
        .exclude(pk__in=left_alone(Trouble.Job.REFUND))
        .order_by("id")
    )
    return pay_out(due.values_list("reference", flat=True)[:PAY_OUT_BATCH])
