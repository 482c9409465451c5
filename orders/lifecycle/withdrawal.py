"""A user leaves for good: the account closes, and addresses go where no order needs them any more."""

from django.db.models import QuerySet

from orders import states
from orders.locking import forget_shipping
from orders.models import Order
from shop.models import User
from shop.services import withdraw
from yousinsa.db.transactions import transact


def withdraw_buyer(*, user: User) -> None:
    """Close the account and forget the person; orders stay, and go on if they were paid for.

    Ended orders lose their address now, open ones when they end (`Changes` in orders/changes/writing.py).
    Raises `Busy`.
    """

    def work() -> None:
        _lock_orders(user.pk)
        withdraw(user=user)
        ended = _orders(user.pk).filter(status__in=states.ENDED).exclude(address1="")
        forget_shipping(order_ids=list(ended.values_list("id", flat=True)))

    transact(work)


def _orders(buyer_id: int) -> QuerySet[Order]:
    return Order.objects.filter(buyer_id=buyer_id).order_by("pk")


def _lock_orders(buyer_id: int) -> None:
    """None can end meanwhile without noticing: whoever ends one afterwards finds the buyer withdrawn."""
    list(_orders(buyer_id).select_for_update().values_list("pk", flat=True))
