"""What must hold at any moment, whatever happened before: checked against the raw tables."""

from collections import defaultdict

from inventory.models import Movement, Stock
from orders.models import OrderLine
from orders.states import HOLDING


def assert_books_balance() -> None:
    """Counters, ledger and orders agree to the unit; each stock's movements chain without gap or fork."""
    promised: dict[int, int] = defaultdict(int)
    for option_id, units in OrderLine.objects.filter(order__status__in=HOLDING).values_list(
        "option_id", "quantity"
    ):
        promised[option_id] += units
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
