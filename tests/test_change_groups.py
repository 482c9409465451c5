"""Changes in the group commit, on MariaDB: together, each with its own outcome, none delaying the others."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import transaction

from orders.changes.batch import begin_change, change_batch, foresee
from orders.drops.admission.group_commit import place_in_drops
from orders.engine import queue as request_queue
from orders.engine.committer import Committer
from orders.lifecycle.cancelling import Cancel
from orders.lifecycle.returning import Return
from orders.lifecycle.shipping import Deliver, Ship
from orders.models import DropItem, Lane, Order, Refund, Status
from orders.payments.refunds import pay_out_due
from orders.placement.lanes import begin_order
from orders.placement.requests import PlaceRequest
from tests.support.changes import HeldBatches, said_of
from tests.support.concurrency import in_threads, until
from tests.support.drops import assert_all_adds_up, make_drop
from tests.support.factories import make_options, make_order, make_user, stock_of
from tests.support.invariants import assert_books_balance, assert_money_balances
from tests.support.locks import row_locked
from tests.support.orders import make_order_at, status_of
from tests.support.payments import pay_for
from tests.support.wire import Wire

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.mariadb]


def outcome_of(deferred):
    try:
        return deferred.result()
    except Exception as exc:
        return exc


@pytest.fixture
def held():
    held = HeldBatches(change_batch)
    yield held
    held.go(1_000)


@pytest.fixture
def patient(monkeypatch, settings):
    """Nobody gives up while a test keeps a row locked."""
    settings.LOCK_WAIT_SECONDS = 60
    monkeypatch.setattr(request_queue, "QUEUE_SECONDS", 60.0)
    monkeypatch.setattr(request_queue, "CLAIMED_SECONDS", 60.0)


def test_commands_that_wait_commit_together_and_each_has_its_own_outcome(held):
    (option,) = make_options([1_000])
    buyer = make_user(address=True)
    orders = {
        status: [make_order_at(status, buyer, (option, 2)) for _ in range(4)]
        for status in (Status.PENDING, Status.PAID, Status.DELIVERED)
    }
    first = make_order(buyer, (option, 1))
    committer = Committer(held, foresee)
    commands = [
        command
        for n in range(4)
        for command in (
            Cancel(number=orders["pending"][n].number, owner_id=buyer.pk, actor_id=buyer.pk),
            Ship(order_id=orders["paid"][n].pk, carrier="CJ", tracking_number=str(n)),
            Return(order_id=orders["delivered"][n].pk, units={option.pk: 1 + n % 3}),
            Deliver(order_id=orders["pending"][n].pk),
            Cancel(number=orders["paid"][n].number, owner_id=buyer.pk + 1),
        )
    ]
    with ThreadPoolExecutor(1) as pool:
        alone = pool.submit(lambda: committer.submit(Cancel(order_id=first.pk)).result())
        held.wait_for_batch()
        waiting = [committer.submit(command) for command in commands]
        held.go(2)
        outcomes = [said_of(outcome_of(deferred)) for deferred in waiting]
        assert alone.result().order.status == "cancelled"
    assert held.sizes == [1, 20]
    back = ["delivered", "returned", "invalid", "delivered"]
    assert outcomes == [
        said
        for n in range(4)
        for said in ("cancelled", "shipped", back[n], "invalid_transition", "not_found")
    ]
    assert_books_balance()


def test_over_http_many_pay_and_cancel_at_once(settings, bank):
    settings.PLACEMENT = "group_commit"
    options = make_options([100] * 3)
    orders = [make_order(make_user(address=True), (options[n % 3], 1)) for n in range(12)]

    def shopper(n):
        order = orders[n]
        paid = pay_for(order, "bank" if n % 2 else "sandbox")
        assert (paid.status_code, paid.json()["status"]) == (200, "paid")
        ended = Wire(order.buyer).post(f"orders/{order.number}/cancel/", {})
        assert (ended.status_code, ended.json()["status"]) == (200, "cancelled")
        return ended.json()["payment"]["refunded"]

    assert in_threads(shopper, 12) == [10_000] * 12
    # What follows a commit is done by a thread that nobody waits for.
    until(lambda: not Refund.objects.filter(status="due").exists())
    assert bank.balance == 0
    assert pay_out_due() == 0
    assert_books_balance()
    assert_money_balances()


def test_it_refuses_to_run_inside_a_transaction(settings):
    settings.PLACEMENT = "group_commit"
    with transaction.atomic(), pytest.raises(RuntimeError, match="inside a transaction"):
        begin_change(Cancel(order_id=1))


class Seen:
    """`change_batch`, and the commands of each batch."""

    def __init__(self):
        self.batches = []

    def __call__(self, commands):
        self.batches.append(list(commands))
        return change_batch(commands)

    def tried(self, commands):
        return [command for batch in self.batches for command in batch if command in commands]


def test_a_locked_row_delays_only_the_commands_that_need_it(patient):
    """And whoever comes later with the same row does not have to run into it first."""
    (option,) = make_options([1_000])
    victim = make_user()
    late = [Cancel(number=make_order(victim, (option, 1)).number, owner_id=victim.pk) for _ in range(6)]
    others = [make_order(make_user(), (option, 1)) for _ in range(10)]
    seen = Seen()
    committer = Committer(seen, foresee)
    with row_locked("shop_user", victim.pk):
        waiting = [committer.submit(late[0])]
        until(lambda: committer._held_back)
        for i, order in enumerate(others):
            if i % 2:
                waiting.append(committer.submit(late[1 + i // 2]))
            assert committer.submit(Cancel(order_id=order.pk)).result().order.status == "cancelled"
        assert not seen.tried(late[1:])
        assert not any(deferred.decided for deferred in waiting)
    assert [deferred.result().order.status for deferred in waiting] == ["cancelled"] * 6
    assert stock_of(option) == (1_000, 0)
    assert_books_balance()


def order_of_a_drop(drop, option, buyer):
    request = PlaceRequest.build(buyer_id=buyer.pk, lines=[(option.pk, 1)], drop_id=drop.pk)
    (placed,) = place_in_drops([request])
    return Order.objects.get(number=placed.order.number)


def test_a_drop_that_is_locked_delays_no_other_order(held, patient):
    in_drop, option = make_options([10, 10])
    drop = make_drop((in_drop, 5), lane=Lane.GROUP_COMMIT, limit=5)
    buyer = make_user()
    sold, free = order_of_a_drop(drop, in_drop, buyer), make_order(buyer, (option, 1))
    first = make_order(buyer, (option, 1))
    committer = Committer(held, foresee)
    with row_locked("orders_dropitem", DropItem.objects.get().pk), ThreadPoolExecutor(1) as pool:
        begun = pool.submit(lambda: committer.submit(Cancel(order_id=first.pk)).result())
        held.wait_for_batch()
        late, other = committer.submit(Cancel(order_id=sold.pk)), committer.submit(Cancel(order_id=free.pk))
        held.go(1_000)
        begun.result(60)
        decided = threading.Event()
        other.then(decided.set)
        assert decided.wait(30)
        assert other.result().order.status == "cancelled"
        assert not late.decided
    assert late.result().order.status == "cancelled"
    assert status_of(sold) == "cancelled"
    assert_all_adds_up()


def test_new_orders_and_changes_do_not_wait_for_each_other(settings, held):
    """Each kind has a committer of its own."""
    settings.PLACEMENT = "group_commit"
    (option,) = make_options([10])
    order = make_order(make_user(address=True), (option, 1))
    committer = Committer(held, foresee)
    with ThreadPoolExecutor(1) as pool:
        change_of_order = pool.submit(lambda: committer.submit(Cancel(order_id=order.pk)).result())
        held.wait_for_batch()
        placed = begin_order(PlaceRequest.build(buyer_id=make_user().pk, lines=[(option.pk, 1)]))
        assert placed.result().order.status == "pending"
        held.go()
        assert change_of_order.result().order.status == "cancelled"
    assert stock_of(option) == (10, 1)
