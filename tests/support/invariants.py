"""What must hold at any moment, whatever happened before: checked against the raw tables."""

from collections import defaultdict

from django.db.models import QuerySet

from inventory.models import Movement, Stock
from orders.models import DropItem, DropStatus, Order, OrderLine
from orders.settlements.entries import commission
from orders.states import HOLDING


def assert_ledger_adds_up() -> None:
    """Each stock row's movements chain without gap or fork, and come to its counters."""
    balances: dict[int, tuple[int, int, int]] = defaultdict(lambda: (0, 0, 0))
    movements = Movement.objects.order_by("stock_id", "sequence").values_list(
        "stock_id", "sequence", "delta_on_hand", "delta_reserved", "on_hand_after", "reserved_after"
    )
    for stock_id, number, delta_on_hand, delta_reserved, *after in movements:
        on_hand, reserved, last = balances[stock_id]
        balances[stock_id] = (on_hand + delta_on_hand, reserved + delta_reserved, last + 1)
        assert (*after, number) == balances[stock_id], f"movement {stock_id}:{number}"
        assert 0 <= after[1] <= after[0], f"movement {stock_id}:{number}"
    for stock_id, *counters in Stock.objects.values_list("id", "on_hand", "reserved", "sequence"):
        assert tuple(counters) == balances[stock_id], f"stock {stock_id}"


def assert_books_balance() -> None:
    """Counters, ledger, orders and the drops' escrow agree to the unit; what stores are owed follows from the
    lines.
    """
    promised: dict[int, int] = defaultdict(int)
    for option_id, units in OrderLine.objects.filter(order__status__in=HOLDING).values_list(
        "option_id", "quantity"
    ):
        promised[option_id] += units
    for item in DropItem.objects.exclude(drop__status=DropStatus.SCHEDULED):
        promised[item.option_id] += item.left
    for option_id, reserved in Stock.objects.values_list("option_id", "reserved"):
        assert reserved == promised[option_id], f"option {option_id}"
    assert_ledger_adds_up()
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
    """Each delivered line has one sale and its returns; of one that came back whole nothing is left, of one
    that was never delivered there is nothing at all.
    """
    lines = OrderLine.objects.all() if lines is None else lines
    for line in lines.select_related("order").prefetch_related("entries", "order__events"):
        entries = list(line.entries.all())
        # Not the status: what was lost on its way is returned and never was a sale.
        sold = any(event.to_status == "delivered" for event in line.order.events.all())
        assert sum(entry.returned == 0 for entry in entries) == sold, f"{line.order}: {entries}"
        assert {entry.store_id for entry in entries} <= {line.store_id}, f"{line.order}: {entries}"
        out = (line.quantity - line.returned) if sold else 0
        share = commission(out * line.unit_price, line.commission_rate)
        assert (
            sum(entry.units for entry in entries),
            sum(entry.won for entry in entries),
            sum(entry.commission for entry in entries),
        ) == (out, out * line.unit_price, share), f"{line.order}: {entries}"
