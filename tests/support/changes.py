"""Commands on orders, as tests of the engine give them: what became of one, what is written of an order."""

import threading
from collections.abc import Callable, Sequence
from typing import Any

from inventory.models import Movement
from orders.changes.commands import Changed
from orders.models import Order, Payment, Refund, SettlementEntry
from orders.payments.attempts import Settle
from orders.payments.providers import Answer
from shop.models import Option
from tests.support.factories import stock_of


class HeldBatches:
    """Carries batches out (`apply`), each only once the test lets it go: meanwhile requests gather."""

    def __init__(self, apply: Callable[[Sequence[Any]], Sequence[Any]]) -> None:
        self.sizes: list[int] = []
        self._apply = apply
        self._begun, self._may_go = threading.Semaphore(0), threading.Semaphore(0)

    def __call__(self, requests: Sequence[Any]) -> Sequence[Any]:
        self.sizes.append(len(requests))
        self._begun.release()
        assert self._may_go.acquire(timeout=60)
        return self._apply(requests)

    def wait_for_batch(self) -> None:
        """Until a further one has begun."""
        assert self._begun.acquire(timeout=60)

    def go(self, batches: int = 1) -> None:
        self._may_go.release(batches)


def said_of(outcome: object) -> str:
    """The status that an order has got, or the code of the refusal."""
    if isinstance(outcome, Changed):
        return str(outcome.order.status)
    return str(getattr(outcome, "code", "failed"))


def settle(order: Order, status: str, **more: Any) -> Settle:
    """What the provider says of the order's last attempt."""
    last = Payment.objects.filter(order=order).order_by("id").last()
    return Settle(
        order_id=order.pk, reference=last.reference if last else "none", answer=Answer(status), **more
    )


def written_of(order: Order) -> dict[str, Any]:
    """All that is written of an order, but for names, numbers and moments."""
    order.refresh_from_db()
    return {
        "order": (order.status, order.note, order.address1, order.carrier, order.tracking_number),
        "lines": list(order.lines.order_by("id").values_list("quantity", "returned")),
        "events": list(order.events.order_by("id").values_list("from_status", "to_status", "note")),
        "payments": list(
            order.payments.order_by("id").values_list(
                "provider", "status", "live", "amount", "detail", "token"
            )
        ),
        "refunds": list(
            Refund.objects.filter(payment__order=order)
            .order_by("id")
            .values_list("amount", "reason", "status")
        ),
        "owed to stores": list(
            SettlementEntry.objects.filter(line__order=order)
            .order_by("id")
            .values_list("units", "won", "commission", "returned")
        ),
    }


def written_of_stock(option: Option) -> tuple[Any, ...]:
    """An option's counters and its ledger."""
    moved = Movement.objects.filter(stock__option=option).order_by("sequence")
    return stock_of(option), list(
        moved.values_list(
            "sequence", "kind", "delta_on_hand", "delta_reserved", "on_hand_after", "reserved_after", "reason"
        )
    )
