"""Money that people see to: a bank transfer that came in, a refund that is transferred back."""

from collections.abc import Collection

from django.utils.translation import gettext

from inventory.models import Kind, Movement
from orders.errors import OrderNotFound
from orders.models import Order, OrderEvent, Refund, Status
from orders.payments import refunds
from orders.payments.providers import BY_HAND
from shop.rights import four_eyes
from shop.rights.four_eyes import FourEyes
from yousinsa.errors import Conflict

PAY_OUT = "orders.pay_out_refund"
CONFIRM = "orders.confirm_payment"


def refuse_own_order(*, order_id: int, actor_id: int, permission: str = CONFIRM) -> None:
    """Nobody confirms that their own order was paid for, or does to it what else takes `permission`.

    Raises `FourEyes`, `OrderNotFound`.
    """
    if refusal := refused_own([order_id], actor_id=actor_id, permission=permission).get(order_id):
        raise refusal


def refused_own(
    order_ids: Collection[int], *, actor_id: int, permission: str = CONFIRM
) -> dict[int, FourEyes | OrderNotFound]:
    """Those of these orders that `refuse_own_order` refuses, each with what it raises. Few queries."""
    buyers = dict(Order.objects.filter(pk__in=order_ids).values_list("pk", "buyer_id"))
    refused: dict[int, FourEyes | OrderNotFound] = {
        id: OrderNotFound() for id in order_ids if id not in buyers
    }
    own = [id for id, buyer_id in buyers.items() if buyer_id == actor_id]
    if own and four_eyes.are_needed(permission):
        refused |= {id: FourEyes() for id in own}
    return refused


def pay_out(refund: Refund, *, actor_id: int) -> None:
    """An operator transferred a refund back to the buyer.

    Not by who confirmed the payment, ended the order or took its units back: they decided that money is owed.
    Nor by the buyer: nobody says of their own money that it went out.
    Raises `Conflict` for a refund that a provider pays or that was paid out before, `FourEyes`.
    """
    if refund.payment.provider not in BY_HAND:
        raise Conflict(gettext("The provider pays this one out by itself."))
    for person in _concerned(refund):
        four_eyes.refuse_own(PAY_OUT, made_by=person, actor_id=actor_id)
    if not refunds.mark_done([refund.pk]):
        raise Conflict(gettext("It was marked as paid out before."))


def _concerned(refund: Refund) -> set[int]:
    """Who brought it about that this money is owed, and to whom."""
    order = refund.payment.order
    events = OrderEvent.objects.filter(
        order=order, to_status__in=[Status.PAID, Status.CANCELLED, Status.RETURNED], actor__isnull=False
    )
    taken_back = Movement.objects.filter(reference=order.number, kind=Kind.RESTOCK, actor__isnull=False)
    people = {
        order.buyer_id,
        *events.values_list("actor_id", flat=True),
        *taken_back.values_list("actor_id", flat=True),
    }
    return {int(person) for person in people if person is not None}
