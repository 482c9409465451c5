"""Money back: decided inside the order's transaction (a row), paid out after it, retried until done."""

import logging
import secrets
from collections.abc import Iterable

from django.db import Error
from django.db.models import Sum
from django.utils import timezone

from orders.models import Order, Payment, Refund, Trouble
from orders.models.troubles import left_alone, set_aside, settled
from orders.payments.providers import BY_HAND, PROVIDERS
from yousinsa.db.errors import is_outage

logger = logging.getLogger(__name__)

PAY_OUT_BATCH = 100


def new_reference() -> str:
    """What a provider knows an attempt or a refund by: unique, 32 hexadecimal digits."""
    return secrets.token_hex(16)


def owe(order: Order, amount: int, *, reason: str) -> list[int]:
    """Owe the buyer `amount` won of what was paid for a locked order; returns the refund's id, if any.

    Never more than was taken and has not gone back yet.
    """
    payment = Payment.objects.filter(order=order, status=Payment.Status.APPROVED, live=True).first()
    return owe_of(payment, amount, reason=reason) if payment else []


def owe_of(payment: Payment, amount: int, *, reason: str) -> list[int]:
    """Owe the buyer `amount` won of one approved payment, whose order is locked; the rest as `owe`."""
    back = Refund.objects.filter(payment=payment).aggregate(total=Sum("amount"))["total"] or 0
    amount = min(amount, payment.amount - back)
    if amount <= 0:
        return []
    refund = Refund.objects.create(
        payment=payment, reference=new_reference(), amount=amount, reason=reason[:200]
    )
    return [refund.pk]


def owe_all(order: Order, *, reason: str) -> list[int]:
    """Owe the buyer all that was taken for a locked order."""
    return owe(order, order.total, reason=reason)


def pay_out(refund_ids: Iterable[int]) -> int:
    """Ask the providers to pay refunds out; returns how many are done. Never inside a transaction.

    What a provider does not answer stays due, is set aside for a while and tried again by a worker: one
    provider's failure is no reason to keep the other buyers waiting. Raises what says that the database is
    away.
    """
    done = 0
    due = Refund.objects.filter(pk__in=list(refund_ids), status=Refund.Status.DUE).select_related("payment")
    for refund in list(due):
        payment = refund.payment
        try:
            paid = PROVIDERS[payment.provider].refund(
                reference=refund.reference, payment_reference=payment.reference, amount=refund.amount
            )
            done += mark_done(refund.pk) if paid else 0
        except Exception as exc:
            if is_outage(exc):
                raise
            set_aside(Trouble.Job.REFUND, refund.pk, refund.reference, exc, order_id=payment.order_id)
        else:
            settled(Trouble.Job.REFUND, [refund.pk])
    return done


def pay_out_now(refund_ids: list[int]) -> None:
    """`pay_out` right after the decision was committed, which stands whatever happens here."""
    try:
        pay_out(refund_ids)
    except Error:
        logger.exception("refunds %s stay due", refund_ids)


def mark_done(refund_id: int) -> int:
    """The money is back with the buyer. Returns 1 for the caller that said so first, else 0."""
    return Refund.objects.filter(pk=refund_id, status=Refund.Status.DUE).update(
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
    return pay_out(due.values_list("id", flat=True)[:PAY_OUT_BATCH])
