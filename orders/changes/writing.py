"""Write what was decided: one statement a table, however many orders."""

from typing import Any

from inventory import ledger
from inventory.models import Kind
from orders import states
from orders.changes.commands import Changed, Command, Decision
from orders.changes.held import Attempt, HeldOrder
from orders.changes.locking import Locked
from orders.drops import escrow
from orders.locking import forget_shipping
from orders.models import Findable, Order, OrderEvent, OrderLine, OrderTerm, Payment, Refund
from orders.models.orders import SHIPPING_FIELDS
from orders.settlements import entries
from yousinsa.db.rows import insert_rows, update_rows

_EVENT_FIELDS = ("order", "from_status", "to_status", "actor", "note", "created_at")
_PAYMENT_FIELDS = (
    "order", "reference", "provider", "amount", "token", "status", "live", "detail", "created_at",
    "decided_at",
)  # fmt: skip
# What an order is searched by.
_FINDS = {"recipient", "phone", "tracking_number"}
_REFUND_FIELDS = ("payment", "reference", "amount", "status", "reason", "created_at")


class Changes:
    """Decisions of one transaction, applied to what is held in memory, so that the next one sees them."""

    def __init__(self, locked: Locked) -> None:
        self._locked = locked
        self._orders: dict[int, dict[str, Any]] = {}
        self._events: list[tuple[Any, ...]] = []
        self._started: list[tuple[int, Attempt]] = []
        self._attempts: dict[int, dict[str, Any]] = {}
        self._refunds: list[tuple[Any, ...]] = []
        self._movements: list[ledger.Entry] = []
        self._given_up: list[escrow.HeldLine] = []
        self._entries: list[entries.Row] = []
        self._lines: dict[int, dict[str, Any]] = {}
        self._findable: dict[int, HeldOrder] = {}
        self._forgotten: list[int] = []

    def apply(self, command: Command, held: HeldOrder, decision: Decision) -> Changed:
        """Take one decision down; returns the order as it is after it."""
        self._change_order(command, held, decision)
        self._move_units(command, held, decision)
        self._settle_with_stores(command, held, decision)
        came_back = held.drop_id is not None and any(m.kind == Kind.RELEASE for m in decision.moves)
        self._change_attempts(held, decision)
        for owed in decision.owed:
            owed.attempt.refunded += owed.amount
            self._refunds.append(
                (
                    owed.attempt.id,
                    owed.reference,
                    owed.amount,
                    Refund.Status.DUE,
                    owed.reason[:200],
                    command.at,
                )
            )
        return Changed(
            held.view(), held.id, [owed.reference for owed in decision.owed],
            came_back, decision.started or held.live_attempt, fresh=decision.started is not None,
        )  # fmt: skip

    def _change_order(self, command: Command, held: HeldOrder, decision: Decision) -> None:
        if to_status := decision.fields.get("status"):
            self._events.append(
                (held.id, held.status, to_status, command.actor_id, decision.note, command.at)
            )
        if decision.fields:
            self._orders.setdefault(held.id, {}).update(decision.fields)
            for name, value in decision.fields.items():
                held.set(name, value)
        if not _FINDS.isdisjoint(decision.fields):
            self._findable[held.id] = held
        if to_status in states.ENDED and held.buyer.withdrawn_at:
            # Nobody needs the address of an ended order whose buyer has left.
            self._forgotten.append(held.id)
            held.shipping = dict.fromkeys(SHIPPING_FIELDS, "")

    def _change_attempts(self, held: HeldOrder, decision: Decision) -> None:
        for attempt, fields in decision.attempts:
            for name, value in fields.items():
                setattr(attempt, name, value)
            if attempt.id is not None:
                self._attempts.setdefault(attempt.id, {}).update(fields)
        if decision.started:
            held.attempts.append(decision.started)
            self._started.append((held.id, decision.started))

    def _move_units(self, command: Command, held: HeldOrder, decision: Decision) -> None:
        for line, kind, units in decision.moves:
            on_hand, reserved = ledger.DELTAS[kind]
            # What an order of a drop gives up is the drop's again.
            gives_up = kind == Kind.RELEASE and held.drop_id is not None
            if held.available is not None and not gives_up:
                held.available[line.stock_id] += units * (on_hand - reserved)
            self._movements.append(
                ledger.Entry(
                    line.stock_id, kind, on_hand * units, reserved * units, held.number, command.actor_id,
                    decision.reason,
                )
            )  # fmt: skip
            if gives_up and held.drop_id is not None:
                self._given_up.append(
                    escrow.HeldLine(
                        held.number, held.buyer_id, held.drop_id, line.option_id, line.stock_id, units,
                        command.actor_id,
                    )
                )  # fmt: skip

    def _settle_with_stores(self, command: Command, held: HeldOrder, decision: Decision) -> None:
        for line in held.lines:
            if units := decision.returned.get(line.id):
                line.returned += units
                self._lines[line.id] = {"returned": line.returned}
                if not decision.lost:
                    self._entries.append(entries.taken_back(line, units, at=command.at))
            if decision.delivered:
                self._entries.append(entries.sale(line, at=command.at))

    def write(self) -> None:
        """Write all of it, in the house's order of locks: what they refer to is locked already."""
        update_rows(Order, self._orders)
        update_rows(OrderLine, self._lines)
        if self._findable:
            OrderTerm.objects.note(_findable(held) for held in self._findable.values())
        forget_shipping(order_ids=self._forgotten)
        # The attempt that is replaced gives its place up before the new one takes it.
        update_rows(Payment, self._attempts)
        insert_rows(OrderEvent, _EVENT_FIELDS, self._events)
        insert_rows(Payment, _PAYMENT_FIELDS, [_payment_row(*started) for started in self._started])
        insert_rows(Refund, _REFUND_FIELDS, self._refunds)
        entries.write(self._entries)
        back = escrow.take_back(self._given_up, self._locked.drop_items)
        ledger.post(self._locked.stock, self._movements + back)


def _findable(held: HeldOrder) -> Findable:
    return Findable(held.id, held.shipping["recipient"], held.shipping["phone"], held.tracking_number)


def _payment_row(order_id: int, attempt: Attempt) -> tuple[Any, ...]:
    return (
        order_id, attempt.reference, attempt.provider, attempt.amount, attempt.token, attempt.status,
        attempt.live, attempt.detail, attempt.created_at, attempt.decided_at,
    )  # fmt: skip
