"""An order's units leave the house, and arrive."""

from django.utils.translation import gettext

from inventory import ledger
from orders.locking import lock_order, move
from orders.models import OrderTerm, Status
from orders.settlements import entries
from yousinsa.db.transactions import transact
from yousinsa.errors import Invalid


def ship_order(*, order_id: int, carrier: str, tracking_number: str, actor_id: int | None) -> None:
    """Hand a paid order to a carrier; the units leave the stock.

    Raises `Invalid` without carrier or tracking number, `OrderNotFound`, `InvalidTransition`, `Busy`.
    """
    errors = {
        name: gettext("Say who carries the order and under which number.")
        for name, value in (("carrier", carrier), ("tracking_number", tracking_number))
        if not value.strip()
    }
    if errors:
        raise Invalid(errors=errors)

    def work() -> None:
        held = lock_order(order_id, with_stock=True)
        move(
            held.order, Status.SHIPPED, actor_id=actor_id,
            carrier=carrier.strip(), tracking_number=tracking_number.strip(),
        )  # fmt: skip
        OrderTerm.objects.note([held.order])
        ledger.ship(held.stock, held.units, reference=held.order.number, actor_id=actor_id)

    transact(work)


def deliver_order(*, order_id: int, actor_id: int | None) -> None:
    """The carrier delivered a shipped order. Raises `OrderNotFound`, `InvalidTransition`, `Busy`."""

    def work() -> None:
        held = lock_order(order_id, with_stock=False)
        event = move(held.order, Status.DELIVERED, actor_id=actor_id)
        entries.write(entries.sale(line, at=event.created_at) for line in held.lines)

    transact(work)
