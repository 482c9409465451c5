"""Commands that wait together are carried out together, and each fares as it would have alone."""

from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orders.changes.batch import begin_change, change, change_batch
from orders.changes.commands import Changed
from orders.drops.admission.group_commit import place_in_drops
from orders.engine.suspects import suspects
from orders.lifecycle.cancelling import Cancel
from orders.lifecycle.expiry import Expire
from orders.lifecycle.losing import Lose
from orders.lifecycle.returning import Return
from orders.lifecycle.shipping import Deliver, Ship
from orders.models import Lane, Order, Status
from orders.payments.attempts import Settle, Start
from orders.payments.providers import APPROVED, DECLINED, UNKNOWN, WAITING, Answer
from orders.placement.batch import place_batch
from orders.placement.requests import PlaceRequest
from tests.support.changes import said_of, settle, written_of, written_of_stock
from tests.support.drops import assert_all_adds_up, item_of, make_drop
from tests.support.factories import make_options, make_order, make_user, stock_of
from tests.support.invariants import assert_books_balance, assert_money_balances
from tests.support.orders import make_order_at, status_of

pytestmark = pytest.mark.django_db
MORE = settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))


@dataclass
class Shop:
    """A small shop and its orders; another one made of the same plan is its twin."""

    plan: list[tuple[str, int, int, bool]]
    orders: list[Order] = field(default_factory=list)

    def __post_init__(self):
        self.options = make_options([9, 30], price=1_000)
        buyer, self.started = make_user(address=True), {}
        # Those that hold nothing any more come first: then there are units for the others.
        for status, few, many, begun in self.plan:
            order = make_order_at(status, buyer, (self.options[0], few), (self.options[1], many))
            if begun and status == Status.PENDING:
                change(Start(order_id=order.pk, provider="sandbox", token="tok"))
            self.orders.append(order)

    def command(self, kind, which, number):
        order = self.orders[which % len(self.orders)]
        of = {"order_id": order.pk, "actor_id": order.buyer_id}
        one = self.options[number % 2].pk
        match kind:
            case "cancel":
                return Cancel(**of, note="changed my mind", only_pending=number == 3)
            case "expire":
                return Expire(**of, at=timezone.now() + timedelta(hours=number))
            case "ship":
                return Ship(**of, carrier="CJ", tracking_number=str(number))
            case "deliver":
                return Deliver(**of)
            case "lose":
                return Lose(**of, reason="fell into the Han river")
            case "return":
                return Return(**of, units={one: 1 + number // 2}, reason="too small")
            case "return all":
                return Return(**of)
            case "start":
                start = Start(**of, provider="manual" if number else "sandbox", token="tok")
                self.started[order.pk] = start.reference
                return start
            case "strange":
                return Cancel(number=order.number, owner_id=order.buyer_id + 1)
        answer = [APPROVED, DECLINED, UNKNOWN, WAITING][number]
        reference = self.started.get(order.pk)
        return (
            Settle(**of, reference=reference, answer=Answer(answer)) if reference else settle(order, answer)
        )

    def written(self):
        return [written_of(order) for order in self.orders], [written_of_stock(o) for o in self.options]


def shown_of(outcome):
    """What is answered, but for names, numbers and moments."""
    if not isinstance(outcome, Changed):
        return said_of(outcome), str(outcome)
    order = outcome.order
    lines = [(line.quantity, line.returned) for line in order.lines]
    return order.status, order.note, lines, order.payment, order.tracking, len(outcome.owed), outcome.fresh


KINDS = [
    "cancel", "expire", "ship", "deliver", "lose", "return", "return all", "start", "settle", "settle",
    "strange",
]  # fmt: skip
orders_of_a_shop = st.lists(
    st.tuples(st.sampled_from(list(Status)), st.integers(1, 2), st.integers(1, 3), st.booleans()),
    min_size=1,
    max_size=4,
)
wishes = st.lists(
    st.tuples(st.sampled_from(KINDS), st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=14
)


@given(plan=orders_of_a_shop, wanted=wishes)
@MORE
def test_together_they_come_to_what_they_come_to_one_by_one(plan, wanted):
    suspects.clear()
    one, twin = Shop(plan), Shop(plan)
    together = [one.command(*wish) for wish in wanted]
    alone = [twin.command(*wish) for wish in wanted]
    outcomes = change_batch(together)
    # A payment that turns out to be late under the lock is settled after the others of its batch.
    late = [command.with_stock for command in together]
    found = {}
    for i in sorted(range(len(wanted)), key=lambda i: late[i]):
        (found[i],) = change_batch([alone[i]])
    assert [shown_of(outcome) for outcome in outcomes] == [shown_of(found[i]) for i in range(len(wanted))]
    assert one.written() == twin.written()
    assert_books_balance()
    assert_money_balances()


def test_commands_on_one_order_see_what_those_before_them_did():
    (option,) = make_options([5])
    order = make_order_at(Status.PAID, make_user(address=True), (option, 2))
    of = {"order_id": order.pk}
    outcomes = change_batch(
        [
            Deliver(**of), Ship(**of, carrier="CJ", tracking_number="1"), Cancel(**of), Deliver(**of),
            Return(**of, units={option.pk: 1}), Return(**of, units={option.pk: 2}), Return(**of),
            Return(**of),
        ]
    )  # fmt: skip
    assert [said_of(outcome) for outcome in outcomes] == [
        "invalid_transition", "shipped", "invalid_transition", "delivered", "delivered", "invalid",
        "returned", "invalid_transition",
    ]  # fmt: skip
    assert stock_of(option) == (5, 0)
    assert_books_balance()
    assert_money_balances()


def test_a_hundred_orders_cost_as_many_statements_as_one(django_assert_max_num_queries):
    options = make_options([1_000] * 3)
    buyers = [make_user(address=True) for _ in range(5)]
    paid = [make_order_at(Status.PAID, buyers[n % 5], (options[n % 3], 1)) for n in range(100)]
    with django_assert_max_num_queries(20):
        outcomes = change_batch([Cancel(order_id=order.pk) for order in paid])
    assert {said_of(outcome) for outcome in outcomes} == {"cancelled"}
    assert_books_balance()
    assert_money_balances()


def test_units_of_a_drop_that_come_back_are_nobody_elses(caplog):
    """Whoever pays late in the same batch does not get what the drop sells again."""
    (option,) = make_options([2])
    late = make_order(make_user(address=True), (option, 1))
    change(Start(order_id=late.pk, provider="sandbox"))
    Order.objects.filter(pk=late.pk).update(expires_at=timezone.now())
    change(Expire(order_id=late.pk))
    drop = make_drop((option, 2), lane=Lane.GROUP_COMMIT, limit=2)
    (placed,) = place_in_drops(
        [PlaceRequest.build(buyer_id=make_user().pk, lines=[(option.pk, 2)], drop_id=drop.pk)]
    )
    of_drop = Order.objects.get(number=placed.order.number)
    batch = [Cancel(order_id=of_drop.pk), settle(late, APPROVED)]
    assert [said_of(outcome) for outcome in change_batch(batch)] == ["cancelled", "expired"]
    assert "halved" not in caplog.text
    assert (stock_of(option), item_of(drop)) == ((2, 2), (2, 0, 0))
    assert "refunded" in written_of(late)["order"][1]
    assert_all_adds_up()


def test_who_may_not_see_an_order_changes_nothing_of_it():
    (option,) = make_options([5])
    order = make_order(make_user(), (option, 1))
    stranger = make_user()
    outcomes = change_batch(
        [
            Cancel(number=order.number, owner_id=stranger.pk),
            Cancel(number="M-NOT-THERE"),
            Cancel(order_id=order.pk + 1),
        ]
    )
    assert [said_of(outcome) for outcome in outcomes] == ["not_found"] * 3
    assert status_of(order) == "pending"
    assert place_batch([]) == change_batch([]) == []


@pytest.mark.parametrize("lane", ["row_lock", pytest.param("group_commit", marks=pytest.mark.mariadb)])
@pytest.mark.django_db(transaction=True)
def test_a_refusal_is_an_outcome_in_every_lane(settings, lane):
    settings.PLACEMENT = lane
    refused = begin_change(Cancel(number="M-NOT-THERE"))
    assert refused.map(said_of, said_of).result() == "not_found"
