"""Paying for an order.

An attempt is written before the provider is asked and decided after it answered; between the two no lock
and no transaction is open. A crash in between leaves an attempt that `resolve_unanswered` asks about.
"""

import logging
from collections.abc import Mapping
from datetime import timedelta

from django.conf import settings
from django.db import Error
from django.utils import timezone
from django.utils.translation import gettext, gettext_noop

from inventory import ledger
from inventory.errors import InsufficientStock
from orders.errors import (
    InvalidTransition,
    PaymentDeclined,
    PaymentInProgress,
    PaymentUnknown,
    ShippingRequired,
)
from orders.locking import SHIPPING_FIELDS, LockedOrder, lock_order, move
from orders.models import Order, OrderTerm, Payment, Status, Trouble
from orders.models.troubles import left_alone, set_aside, settled
from orders.payments import by_hand, refunds
from orders.payments.providers import (
    APPROVED,
    DECLINED,
    PROVIDERS,
    WAITING,
    Answer,
    ProviderTimeout,
    take_payments,
)
from yousinsa.db.errors import is_outage
from yousinsa.db.transactions import patience, transact
from yousinsa.errors import Busy, Invalid
from yousinsa.language import recordable, recorded

# Recorded, for whoever reads it.
SECOND_PAYMENT = recordable(gettext_noop("A second payment was taken for this order: it was refunded."))
TOO_LATE = recordable(gettext_noop("The payment came after the order had ended: it was refunded."))
LATE_BUT_THERE = recordable(
    gettext_noop("The payment came after the hold had expired; the units were still there.")
)

logger = logging.getLogger(__name__)

# A provider answers within seconds; an attempt that is older was cut off (crash, lost answer).
UNANSWERED_AFTER = timedelta(seconds=60)
RESOLVE_BATCH = 100
# Recorded on the order, for its buyer.
UNITS_GONE = recordable(
    gettext_noop("The payment came after the hold had expired and the units were gone: it was refunded.")
)


def pay(
    *, order_id: int, provider: str, token: str = "", shipping: Mapping[str, str] | None = None, actor_id: int
) -> None:
    """Pay for a pending order; where to ship is kept on the order.

    `shipping` has the fields of `SHIPPING_FIELDS`; None takes the buyer's saved address.
    Raises `InvalidTransition`, `ShippingRequired`, `PaymentInProgress`, `PaymentDeclined`,
    `PaymentUnknown`, `Invalid` for an unknown provider, `OrderNotFound`, `Busy` (nothing was charged).
    """
    if provider not in take_payments():
        raise Invalid(errors={"provider": gettext("Must be one of: %s.") % ", ".join(take_payments())})
    payment, fresh = transact(lambda: _start(order_id, provider, token, shipping))
    if not fresh:
        return
    try:
        answer = _charge(payment, token)
        decide(payment_id=payment.pk, answer=answer, actor_id=actor_id)
    except (PaymentUnknown, Busy, Error) as exc:
        # From here on the money may have been taken: nothing less may be said.
        raise PaymentUnknown(retry_after=UNANSWERED_AFTER.total_seconds()) from exc
    if answer.status == DECLINED:
        raise PaymentDeclined(recorded(answer.detail))


def _charge(payment: Payment, token: str) -> Answer:
    """Ask the provider for the money. Raises `PaymentUnknown` for whatever is not an answer."""
    try:
        return PROVIDERS[payment.provider].charge(
            reference=payment.reference, amount=payment.amount, token=token
        )
    except Exception as exc:
        if not isinstance(exc, ProviderTimeout):
            logger.exception("payment %s: the provider failed", payment.reference)
        Payment.objects.filter(pk=payment.pk, status=Payment.Status.STARTED).update(
            status=Payment.Status.UNKNOWN
        )
        raise PaymentUnknown from exc


def _start(
    order_id: int, provider: str, token: str, shipping: Mapping[str, str] | None, *, by_buyer: bool = True
) -> tuple[Payment, bool]:
    """The attempt's row, and whether it is new (a repeated bank transfer is not)."""
    order = lock_order(order_id, with_stock=False).order
    # A payment is started for a pending order only; an expired one is paid late by `decide` alone.
    if order.status != Status.PENDING:
        raise InvalidTransition(order.status, Status.PAID)
    if by_buyer or not order.address1:
        _keep_shipping(order, shipping)
    live = Payment.objects.filter(order=order, live=True).first()
    if live and live.status != Payment.Status.WAITING:
        raise PaymentInProgress
    if live and live.provider == provider:
        return live, False
    if live:
        live.status, live.live, live.decided_at = Payment.Status.REPLACED, None, timezone.now()
        live.token = ""
        live.save(update_fields=["status", "live", "decided_at", "token"])
    payment = Payment.objects.create(
        order=order, provider=provider, reference=refunds.new_reference(), amount=order.total, token=token
    )
    return payment, True


def _keep_shipping(order: Order, shipping: Mapping[str, str] | None) -> None:
    values = shipping or {field: getattr(order.buyer, field) for field in SHIPPING_FIELDS}
    if not values["address1"]:
        if order.address1:
            return
        raise ShippingRequired(
            errors={"shipping": gettext("Required, as no address is saved in the profile.")}
        )
    for field in SHIPPING_FIELDS:
        setattr(order, field, values[field])
    order.save(update_fields=SHIPPING_FIELDS)
    OrderTerm.objects.note([order])


def decide(*, payment_id: int, answer: Answer, actor_id: int | None = None) -> None:
    """Write down what a provider said of an attempt, once; an approved attempt stays as it is.

    Approved: a pending order is paid. One whose hold expired takes its units again if there are any; else,
    and for a cancelled order, the money goes back and the order says so. So it does where another attempt
    has taken this one's place meanwhile. Raises `Busy`.
    """
    # Only a late payment moves stock; whether it is late is certain only under the order's lock.
    order_id, status = Payment.objects.values_list("order_id", "order__status").get(pk=payment_id)
    late = status != Status.PENDING
    outcome = transact(lambda: _decide(payment_id, order_id, answer, actor_id, with_stock=late))
    if outcome is None:
        outcome = transact(lambda: _decide(payment_id, order_id, answer, actor_id, with_stock=True))
    refunds.pay_out_now(outcome or [])


def _decide(
    payment_id: int, order_id: int, answer: Answer, actor_id: int | None, *, with_stock: bool
) -> list[int] | None:
    """Refunds that are due now; None when the stock has to be locked after all."""
    held = lock_order(order_id, with_stock=with_stock)
    if held.order.status == Status.EXPIRED and not with_stock:
        return None
    payment = Payment.objects.select_for_update().get(pk=payment_id)
    approved = answer.status == APPROVED
    # An attempt that was given up for declined can turn out to have taken the money all the same.
    if payment.status == Payment.Status.APPROVED or not (payment.live or approved):
        return []
    payment.detail = answer.detail[:200]
    if answer.status == WAITING:
        payment.status = Payment.Status.WAITING
        payment.save(update_fields=["status", "detail"])
        _hold_for_transfer(held.order, payment.provider)
        return []
    replaced = Payment.objects.filter(order_id=order_id, live=True).exclude(pk=payment_id).exists()
    payment.decided_at = timezone.now()
    payment.status = Payment.Status(answer.status)
    payment.live = True if approved and not replaced else None
    payment.token = ""  # a card's: nobody asks about this attempt any more
    payment.save(update_fields=["status", "detail", "decided_at", "live", "token"])
    if not approved:
        return []
    return _give_back(held.order, payment) if replaced else _accept_money(held, payment, actor_id)


def _hold_for_transfer(order: Order, provider: str) -> None:
    """Money that is transferred takes a day: a pending order is held for so long from the first time on that
    its buyer chose to, and no longer however often that is chosen again.
    """
    if order.status != Status.PENDING:
        return
    chosen = Payment.objects.filter(order=order, provider=provider).order_by("id")
    begun = chosen.values_list("created_at", flat=True)[0]
    held_until = begun + timedelta(hours=settings.TRANSFER_HOLD_HOURS)
    if held_until > order.expires_at:
        order.expires_at = held_until
        order.save(update_fields=["expires_at"])


def _give_back(order: Order, payment: Payment, note: str = "") -> list[int]:
    """The money of a payment that buys nothing goes back, and the order says so."""
    order.note = note or SECOND_PAYMENT
    order.save(update_fields=["note"])
    return refunds.owe_of(payment, payment.amount, reason=order.note)


def _accept_money(held: LockedOrder, payment: Payment, actor_id: int | None) -> list[int]:
    order = held.order
    if order.status == Status.PENDING:
        move(order, Status.PAID, actor_id=actor_id)
        return []
    # Who withdrew meanwhile took the address away: there is nowhere to ship to.
    if order.status != Status.EXPIRED or not order.address1:
        note = TOO_LATE
        return _give_back(order, payment, note)
    if order.drop_id:
        # Its units are the drop's again, and there somebody may have bought them.
        return _give_back(order, payment, UNITS_GONE)
    try:
        ledger.reserve(held.stock, held.units, reference=order.number, actor_id=actor_id)
    except InsufficientStock:
        return _give_back(order, payment, UNITS_GONE)
    note = LATE_BUT_THERE
    move(order, Status.PAID, actor_id=actor_id, note=note)
    order.note = note
    order.save(update_fields=["note"])
    return []


def confirm_transfer(*, order_id: int, actor_id: int) -> None:
    """An operator saw the buyer's transfer on the account: the order is paid, or refunded when too late.

    Raises `FourEyes` (it is the operator's own order), `InvalidTransition`, `ShippingRequired`,
    `PaymentInProgress` (a card is being charged), `OrderNotFound`, `Busy`.
    """
    by_hand.refuse_own_order(order_id=order_id, actor_id=actor_id)
    waiting = Payment.objects.filter(order_id=order_id, live=True, status=Payment.Status.WAITING).first()
    if waiting is None:
        waiting, _fresh = transact(lambda: _start(order_id, "manual", "", None, by_buyer=False))
    decide(payment_id=waiting.pk, answer=Answer(APPROVED), actor_id=actor_id)


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
