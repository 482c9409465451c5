"""An order's units leave the house, and arrive."""

from dataclasses import dataclass

from django.utils.translation import gettext

from inventory.models import Kind
from orders.changes.batch import change
from orders.changes.commands import Command, Decision, Move, next_status
from orders.changes.held import HeldOrder
from orders.models import Status
from yousinsa.errors import Invalid


@dataclass(slots=True, eq=False, kw_only=True)
class Ship(Command):
    """Hand a paid order to a carrier."""

    carrier: str
    tracking_number: str

    def moves_stock(self, status: str) -> bool:
        return True

    def decide(self, held: HeldOrder) -> Decision:
        """Its units leave the stock. Raises `InvalidTransition`."""
        fields = next_status(held, Status.SHIPPED, carrier=self.carrier, tracking_number=self.tracking_number)
        return Decision(fields, moves=[Move(line, Kind.SHIP, line.quantity) for line in held.lines])


@dataclass(slots=True, eq=False, kw_only=True)
class Deliver(Command):
    """The carrier delivered a shipped order."""

    def moves_stock(self, status: str) -> bool:
        return False

    def decide(self, held: HeldOrder) -> Decision:
        """Its lines are owed to their stores. Raises `InvalidTransition`."""
        return Decision(next_status(held, Status.DELIVERED), delivered=True)


def ship_order(*, order_id: int, carrier: str, tracking_number: str, actor_id: int | None) -> None:
    """Hand a paid order to a carrier; the units leave the stock.

    Raises `Invalid` without carrier or tracking number, `OrderNotFound`, `InvalidTransition`, `Busy`.
    """
    change(shipment(order_id=order_id, carrier=carrier, tracking_number=tracking_number, actor_id=actor_id))


def shipment(*, order_id: int, carrier: str, tracking_number: str, actor_id: int | None) -> Ship:
    """The command that ships an order. Raises `Invalid` without carrier or tracking number."""
    carrier, tracking_number = carrier.strip(), tracking_number.strip()
    errors = {
        name: gettext("Say who carries the order and under which number.")
        for name, value in (("carrier", carrier), ("tracking_number", tracking_number))
        if not value
    }
    if errors:
        raise Invalid(errors=errors)
    return Ship(order_id=order_id, actor_id=actor_id, carrier=carrier, tracking_number=tracking_number)


def deliver_order(*, order_id: int, actor_id: int | None) -> None:
    """The carrier delivered a shipped order. Raises `OrderNotFound`, `InvalidTransition`, `Busy`."""
    change(Deliver(order_id=order_id, actor_id=actor_id))
