"""The life of an order, by the services: each step, the way to each status, orders that came so far."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date, timedelta

from django.db import connection, transaction
from django.utils import timezone

from orders.changes.commands import Command
from orders.changes.locking import find, lock
from orders.changes.writing import Changes
from orders.lifecycle import (
    cancel_order,
    deliver_order,
    expire_due,
    lose_order,
    return_order,
    ship_order,
)
from orders.models import Order, Status
from orders.payments.services import pay
from shop.models import Option, User
from tests.support.factories import ADDRESS, make_order, make_user


def run_out(order: Order) -> None:
    """The hold of an order ends, should it be held; other orders' holds stay."""
    Order.objects.filter(pk=order.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    expire_due()


def pay_by_card(order: Order) -> None:
    """It is paid by its buyer; where the buyer saved no address, it goes to `ADDRESS`."""
    shipping = None if order.buyer.address1 else ADDRESS
    pay(
        order_id=order.pk, provider="sandbox", token="tok-approve", shipping=shipping, actor_id=order.buyer_id
    )


def _give_everything_back(order: Order) -> None:
    """By its buyer; what is on its way is lost."""
    if status_of(order) == Status.SHIPPED:
        lose_order(order_id=order.pk, actor_id=make_user(staff=True).pk, reason="fell into the Han river")
    else:
        return_order(order_id=order.pk, units=None, actor_id=order.buyer_id)


LEADS_TO: dict[str, Callable[[Order], None]] = {
    Status.PAID: pay_by_card,
    Status.SHIPPED: lambda order: ship_order(
        order_id=order.pk, carrier="CJ", tracking_number="1", actor_id=None
    ),
    Status.DELIVERED: lambda order: deliver_order(order_id=order.pk, actor_id=None),
    Status.RETURNED: _give_everything_back,
    Status.CANCELLED: lambda order: cancel_order(order_id=order.pk, actor_id=order.buyer_id),
    Status.EXPIRED: run_out,
}
"""What gives an order of the right status its next one; refused for any other."""

_SOLD = [Status.PAID, Status.SHIPPED, Status.DELIVERED, Status.RETURNED]
WAY_TO: dict[str, list[Status]] = {
    Status.PENDING: [],
    Status.CANCELLED: [Status.CANCELLED],
    Status.EXPIRED: [Status.EXPIRED],
    **{status: _SOLD[: n + 1] for n, status in enumerate(_SOLD)},
}
"""The statuses that an order of each status had after it was placed."""


def lead(order: Order, *statuses: str) -> Order:
    """The order, after it has got these statuses one after the other."""
    for status in statuses:
        LEADS_TO[status](order)
    order.refresh_from_db()
    return order


@contextmanager
def uncommitted(command: Command) -> Iterator[None]:
    """What a command does is written, its locks are held, and it is committed at the end."""
    known = find([command])
    with transaction.atomic():
        locked = lock([command], known)
        changes, held = Changes(locked), locked.orders[known[command].id]
        changes.apply(command, held, command.decide(held))
        changes.write()
        yield


def make_order_at(status: str, buyer: User, *lines: tuple[Option, int]) -> Order:
    """An order that has come as far as `status`."""
    order = lead(make_order(buyer, *lines), *WAY_TO[status])
    assert order.status == status
    return order


def status_of(order: Order) -> str:
    """An order's status, as the database has it now."""
    return Order.objects.values_list("status", flat=True).get(pk=order.pk)


# --- Orders of the past ---------------------------------------------------------------------------

MARCH = (date(2020, 3, 1), date(2020, 3, 31))


def date_what_is_new(at: str) -> None:
    """What was written since the last call happened at this moment (UTC). To be called in order of time."""
    with connection.cursor() as cursor:
        for table in ("orders_orderevent", "inventory_movement", "orders_settlemententry"):
            cursor.execute(f"UPDATE {table} SET created_at = %s WHERE created_at > '2021-01-01'", [at])


def delivered(buyer: User, *lines: tuple[Option, int], at: str = "2020-03-10 03:00:00") -> Order:
    """An order of these (option, units) that was delivered at this moment (UTC), in `MARCH` unless told."""
    order = make_order_at(Status.DELIVERED, buyer, *lines)
    date_what_is_new(at)
    return order


def give_back(order: Order, units: Mapping[int, int], at: str) -> None:
    """Units of an order that came back at this moment (UTC)."""
    return_order(order_id=order.pk, units=units, actor_id=order.buyer_id)
    date_what_is_new(at)
