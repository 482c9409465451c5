"""What must hold at any moment, whatever happened before: checked against the raw tables."""

from collections import defaultdict

from django.db.models import QuerySet

from inventory.models import Movement, Stock
from orders.models import DropItem, DropStatus, Order, OrderLine
from orders.settlements.entries import commission
from orders.states import HOLDING


def assert_books_balance() -> None:
    """Counters, ledger, orders and the drops' escrow agree to the unit; each stock's movements chain without
    gap or fork; what stores are owed follows from the lines.
    """
    promised: dict[int, int] = defaultdict(int)
    for option_id, units in OrderLine.objects.filter(order__status__in=HOLDING).values_list(
        "option_id", "quantity"
    ):
        promised[option_id] += units
    for item in DropItem.objects.exclude(drop__status=DropStatus.SCHEDULED):
        promised[item.option_id] += item.left
    for stock in Stock.objects.order_by("id"):
        on_hand = reserved = 0
        movements = Movement.objects.filter(stock=stock).order_by("sequence")
        for number, movement in enumerate(movements, start=1):
            assert movement.sequence == number, f"stock {stock.pk}: movement {number} is missing"
            on_hand += movement.delta_on_hand
            reserved += movement.delta_reserved
            assert (movement.on_hand_after, movement.reserved_after) == (on_hand, reserved), movement
        assert (stock.on_hand, stock.reserved, stock.sequence) == (on_hand, reserved, len(movements)), stock
        assert stock.reserved == promised[stock.option_id], (
            f"{stock}, but orders hold {promised[stock.option_id]}"
        )
    assert_stores_are_owed_what_buyers_keep()


def assert_money_balances() -> None:
    """The shop keeps the price of what the buyers keep: not a won more, not a won less, order by order."""
    for order in Order.objects.prefetch_related("lines", "payments__refunds"):
        kept = 0
        for payment in order.payments.all():
            taken = payment.amount if payment.status == "approved" else 0
            given_back = sum(refund.amount for refund in payment.refunds.all())
            assert 0 <= given_back <= taken, f"{order}: {given_back} of {taken} won went back"
            kept += taken - given_back
        sold = order.status in ("paid", "shipped", "delivered", "returned")
        goods = sum((line.quantity - line.returned) * line.unit_price for line in order.lines.all())
        assert kept == (goods if sold else 0), f"{order} is {order.status}: {kept} won kept for {goods}"


def assert_stores_are_owed_what_buyers_keep(lines: QuerySet[OrderLine] | None = None) -> None:
    """Each delivered line has one sale and its returns; of a line that came back whole nothing is left."""
    lines = OrderLine.objects.all() if lines is None else lines
    for line in lines.select_related("order").prefetch_related("entries"):
        entries = list(line.entries.all())
        sold = line.order.status in ("delivered", "returned")
        assert sum(entry.returned == 0 for entry in entries) == sold, f"{line.order}: {entries}"
        assert {entry.store_id for entry in entries} <= {line.store_id}, f"{line.order}: {entries}"
        out = (line.quantity - line.returned) if sold else 0
        share = commission(out * line.unit_price, line.commission_rate)
        assert (
            sum(entry.units for entry in entries),
            sum(entry.won for entry in entries),
            sum(entry.commission for entry in entries),
        ) == (out, out * line.unit_price, share), f"{line.order}: {entries}"
