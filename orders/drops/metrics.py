"""What drops count for Prometheus, and for the operators' page."""

from prometheus_client import Counter, Gauge

from orders.drops.redis.answers import Answer

ADMISSIONS = Counter(
    "yousinsa_drop_requests", "Requests to buy from a drop, by what became of them.", ["outcome"]
)
SOLD = Gauge(
    "yousinsa_drop_units_sold", "Units in a drop's orders.", ["drop"], multiprocess_mode="mostrecent"
)
DEAD_LETTERS = Gauge(
    "yousinsa_drop_dead_letters", "Orders of a drop that were set aside.", ["drop"],
    multiprocess_mode="mostrecent",
)  # fmt: skip
LAG = Gauge(
    "yousinsa_drop_stream_entries", "Orders that are admitted and not yet in the database.", ["drop"],
    multiprocess_mode="mostrecent",
)  # fmt: skip
WAITING = Gauge(
    "yousinsa_drop_queue_shoppers",
    "Shoppers in the queue of a drop.",
    ["drop"],
    multiprocess_mode="mostrecent",
)
LEFT = Gauge(
    "yousinsa_drop_units_left", "Units that a drop can still sell.", ["drop"], multiprocess_mode="mostrecent"
)
BY_ANSWER: dict[Answer, Counter] = {
    answer: ADMISSIONS.labels(answer.value) for answer in Answer if answer != Answer.EPOCH
}
