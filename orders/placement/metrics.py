"""What the placement counts for Prometheus: once a batch, not once an order."""

from collections import Counter as Tally
from collections.abc import Iterable

from prometheus_client import Counter, Histogram

from orders.placement.requests import Outcome, Placed

REQUESTS = Counter(
    "yousinsa_order_requests", "Requests to place an order, by what became of them.", ["outcome"]
)
BATCH_ORDERS = Histogram(
    "yousinsa_batch_orders", "Orders that were decided in one batch.", buckets=(1, 2, 4, 8, 16, 32, 64, 128)
)
BATCH_SECONDS = Histogram(
    "yousinsa_batch_seconds",
    "Seconds from taking a batch to its commit.",
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 3),
)


def count_batch(outcomes: Iterable[Outcome], seconds: float) -> None:
    """One batch was decided: `placed`, `replayed`, or the problem's code."""
    tally = Tally(_name(outcome) for outcome in outcomes)
    for name, count in tally.items():
        REQUESTS.labels(name).inc(count)
    BATCH_ORDERS.observe(tally.total())
    BATCH_SECONDS.observe(seconds)


def _name(outcome: Outcome) -> str:
    if isinstance(outcome, Placed):
        return "replayed" if outcome.replayed else "placed"
    return str(getattr(outcome, "code", "error"))
