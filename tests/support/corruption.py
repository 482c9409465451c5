"""A shop with an order in every state, what is done to it behind the services' backs, and what is found."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from django.db import connection
from django.utils import timezone

from inventory import ledger
from inventory.models import Kind, Movement, Stock
from inventory.reconciliation import Reconciliation, Scope
from orders.lifecycle import cancel_order, return_order
from orders.models import Order, OrderLine, Status
from orders.order_book import ORDERS
from orders.placement.numbers import new_number, new_order_id
from shop.models import Option, User
from tests.support.factories import make_options, make_order, make_user, stock_of
from tests.support.orders import make_order_at

Found = tuple[str, int, int, str]
"""(kind, expected, found, cause) of a difference."""


def differences(**scope: Any) -> list[Found]:
    """What a run finds."""
    return [(d.kind, d.expected, d.found, d.cause) for d in Reconciliation(ORDERS, Scope(**scope))]


def sql(statement: str, *values: Any) -> None:
    """What no service would do. One row must be hit, lest a corruption corrupt nothing."""
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        assert cursor.rowcount == 1, statement


@dataclass
class Shop:
    """An option with an order in every state: 14 on hand, 3 reserved; and one that must never be named."""

    buyer: User
    option: Option
    stock: Stock
    orders: dict[str, Order]

    def order(self, units: int, status: str) -> Order:
        """An order that lived up to `status`."""
        return make_order_at(status, self.buyer, (self.option, units))

    def movement(self, kind: str, order: str = "", **having: Any) -> Movement:
        """The only movement of this kind (of this order)."""
        if order:
            having["reference"] = self.orders[order].number
        return Movement.objects.get(stock=self.stock, kind=kind, **having)


def open_shop() -> Shop:
    option, other = make_options([20, 20])
    buyer = make_user(address=True)
    shop = Shop(buyer, option, Stock.objects.get(option=option), {})
    for status, units in ((Status.EXPIRED, 1), (Status.CANCELLED, 1), (Status.PENDING, 1), (Status.PAID, 2)):
        shop.orders[status] = shop.order(units, status)
    ledger.adjust(option_id=option.pk, delta=4, reason="counted")
    for status, units in ((Status.SHIPPED, 3), (Status.DELIVERED, 4)):
        shop.orders[status] = shop.order(units, status)
    shop.orders["back"] = shop.order(5, Status.DELIVERED)
    return_order(order_id=shop.orders["back"].pk, units={option.pk: 2}, actor_id=buyer.pk)
    make_order(buyer, (other, 3))
    assert (stock_of(option), stock_of(other)) == ((14, 3), (20, 3))
    return shop


Corrupt = Callable[[Shop], None]


def counter(column: str, delta: int) -> Corrupt:
    def corrupt(shop: Shop) -> None:
        sql(f"UPDATE inventory_stock SET {column} = {column} + %s WHERE id = %s", delta, shop.stock.pk)

    return corrupt


def delete_movement(kind: str, order: str = "", **having: Any) -> Corrupt:
    def corrupt(shop: Shop) -> None:
        sql("DELETE FROM inventory_movement WHERE id = %s", shop.movement(kind, order, **having).pk)

    return corrupt


def alter_movement(kind: str, column: str, delta: int, order: str = "") -> Corrupt:
    def corrupt(shop: Shop) -> None:
        statement = f"UPDATE inventory_movement SET {column} = {column} + %s WHERE id = %s"
        sql(statement, delta, shop.movement(kind, order).pk)

    return corrupt


def set_status(order: str, status: str) -> Corrupt:
    def corrupt(shop: Shop) -> None:
        sql("UPDATE orders_order SET status = %s WHERE id = %s", status, shop.orders[order].pk)

    return corrupt


def alter_line(order: str, delta: int) -> Corrupt:
    def corrupt(shop: Shop) -> None:
        line = OrderLine.objects.get(order=shop.orders[order])
        sql("UPDATE orders_orderline SET quantity = quantity + %s WHERE id = %s", delta, line.pk)

    return corrupt


def return_by_hand(shop: Shop) -> None:
    set_status(Status.DELIVERED, Status.RETURNED)(shop)
    line = OrderLine.objects.get(order=shop.orders[Status.DELIVERED])
    sql("UPDATE orders_orderline SET returned = quantity WHERE id = %s", line.pk)


def delete_order(shop: Shop) -> None:
    order_id = shop.orders[Status.PENDING].pk
    sql("DELETE FROM orders_orderline WHERE order_id = %s", order_id)
    sql("DELETE FROM orders_order WHERE id = %s", order_id)


def insert_order(shop: Shop, units: int = 2) -> None:
    now = timezone.now()
    order = Order.objects.create(
        id=new_order_id(), number=new_number(), buyer=shop.buyer, total=0, expires_at=now
    )
    OrderLine.objects.create(
        order=order,
        option=shop.option,
        product_name="by hand",
        quantity=units,
        unit_price=0,
        store=shop.option.product.store,
        commission_rate=1000,
    )


def insert_movement(shop: Shop) -> None:
    last = Movement.objects.filter(stock=shop.stock).latest("sequence")
    Movement.objects.create(
        stock=shop.stock, sequence=last.sequence + 1, kind=Kind.RECEIVE, delta_on_hand=5, delta_reserved=0,
        on_hand_after=last.on_hand_after + 5, reserved_after=last.reserved_after,
    )  # fmt: skip


def delete_reserve_and_release(shop: Shop) -> None:
    delete_movement(Kind.RESERVE, Status.CANCELLED)(shop)
    delete_movement(Kind.RELEASE, Status.CANCELLED)(shop)


def move_the_counter_and_go_on_selling(shop: Shop) -> None:
    counter("on_hand", 3)(shop)
    cancel_order(order_id=make_order(shop.buyer, (shop.option, 1)).pk, actor_id=None)


def delete_the_last_movement(shop: Shop) -> None:
    ledger.receive(option_id=shop.option.pk, quantity=6)
    delete_movement(Kind.RECEIVE, delta_on_hand=6)(shop)


SHIPPED, RETURNED = "shipped order without movement", "returned order without movement"


class Corruption(NamedTuple):
    """What is done, the (kind, expected, found, cause) that must be found, and what the correction adds."""

    corrupt: Corrupt
    expected: list[Found]
    deltas: tuple[int, int]


CORRUPTIONS = {
    "on_hand raised": Corruption(
        counter("on_hand", 3), [("on_hand", 14, 17, "counter without movement")], (0, 0)
    ),
    "on_hand lowered": Corruption(
        counter("on_hand", -4), [("on_hand", 14, 10, "counter without movement")], (0, 0)
    ),
    "reserved raised": Corruption(
        counter("reserved", 2), [("reserved", 3, 5, "counter without movement")], (0, 0)
    ),
    "reserved lowered": Corruption(
        counter("reserved", -3), [("reserved", 3, 0, "counter without movement")], (0, 0)
    ),
    "counter moved, shop went on": Corruption(
        move_the_counter_and_go_on_selling,
        [("on_hand", 14, 17, "counter without movement")],
        (0, 0),
    ),
    "adjustment deleted": Corruption(
        delete_movement(Kind.ADJUST),
        [("on_hand", 10, 14, "movement missing")],
        (0, 0),
    ),
    "last movement deleted": Corruption(
        delete_the_last_movement,
        [("on_hand", 14, 20, "movement missing")],
        (0, 0),
    ),
    "reservation deleted": Corruption(
        delete_movement(Kind.RESERVE, Status.PENDING),
        [("ledger_reserved", 3, 2, "movement missing")],
        (0, 1),
    ),
    "release deleted": Corruption(
        delete_movement(Kind.RELEASE, Status.EXPIRED),
        [("ledger_reserved", 3, 4, "movement missing")],
        (0, -1),
    ),
    "shipment deleted": Corruption(
        delete_movement(Kind.SHIP, Status.SHIPPED),
        [("ledger_on_hand", 14, 17, SHIPPED), ("ledger_reserved", 3, 6, SHIPPED)],
        (-3, -3),
    ),
    "restock deleted": Corruption(
        delete_movement(Kind.RESTOCK),
        [("ledger_on_hand", 14, 12, RETURNED)],
        (2, 0),
    ),
    "pair of movements deleted": Corruption(
        delete_reserve_and_release,
        [("ledger_sequence", 15, 13, "movement missing")],
        (0, 0),
    ),
    "adjustment altered": Corruption(
        alter_movement(Kind.ADJUST, "delta_on_hand", 2),
        [("on_hand", 16, 14, "movement altered")],
        (0, 0),
    ),
    "reservation altered": Corruption(
        alter_movement(Kind.RESERVE, "delta_reserved", 1, Status.PAID),
        [("ledger_reserved", 3, 4, "movement altered")],
        (0, -1),
    ),
    "balance altered": Corruption(
        alter_movement(Kind.ADJUST, "on_hand_after", 1),
        [("ledger_balance", 24, 25, "movement altered")],
        (0, 0),
    ),
    "last balance altered": Corruption(
        alter_movement(Kind.RESTOCK, "reserved_after", -1),
        [("ledger_balance", 3, 2, "movement altered")],
        (0, 0),
    ),
    "pending order cancelled by hand": Corruption(
        set_status(Status.PENDING, Status.CANCELLED),
        [("reserved", 2, 3, "closed order still holding")],
        (0, -1),
    ),
    "pending order expired by hand": Corruption(
        set_status(Status.PENDING, Status.EXPIRED),
        [("reserved", 2, 3, "expired hold")],
        (0, -1),
    ),
    "order line altered": Corruption(
        alter_line(Status.PAID, 2),
        [("reserved", 5, 3, "order without movement")],
        (0, 2),
    ),
    "cancelled order reopened by hand": Corruption(
        set_status(Status.CANCELLED, Status.PAID),
        [("reserved", 4, 3, "order without movement")],
        (0, 1),
    ),
    "paid order shipped by hand": Corruption(
        set_status(Status.PAID, Status.SHIPPED),
        [("on_hand", 12, 14, SHIPPED), ("reserved", 1, 3, SHIPPED)],
        (-2, -2),
    ),
    "delivered order returned by hand": Corruption(return_by_hand, [("on_hand", 18, 14, RETURNED)], (4, 0)),
    "order deleted": Corruption(delete_order, [("reserved", 2, 3, "movement without order")], (0, -1)),
    "order inserted": Corruption(insert_order, [("reserved", 5, 3, "order without movement")], (0, 2)),
    "movement inserted": Corruption(
        insert_movement, [("on_hand", 19, 14, "movement without counter")], (0, 0)
    ),
    "sequence raised": Corruption(
        counter("sequence", 7), [("sequence", 15, 22, "counter without movement")], (0, 0)
    ),
    "sequence lowered": Corruption(
        counter("sequence", -7), [("sequence", 15, 8, "movement without counter")], (0, 0)
    ),
}
