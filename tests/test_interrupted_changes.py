"""A change whose COMMIT is never answered, or whose process dies: once or not at all, and never half."""

import os
import signal
from datetime import timedelta
from functools import partial

import pytest
from django.conf import settings as live_settings
from django.db import connection, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from orders.changes.batch import begin_change, change
from orders.lifecycle import cancel_order, return_order, ship_order
from orders.lifecycle.cancelling import Cancel
from orders.lifecycle.expiry import Expire
from orders.lifecycle.losing import Lose
from orders.lifecycle.returning import Return
from orders.lifecycle.shipping import Deliver, Ship
from orders.models import OrderEvent, Payment, Refund, Status
from orders.payments.attempts import Start
from orders.payments.providers import APPROVED, DECLINED
from orders.payments.refunds import pay_out_due
from orders.payments.services import pay, resolve_unanswered
from orders.selectors import numbered_views
from tests.support.changes import settle, written_of
from tests.support.concurrency import ChildFailed, in_processes
from tests.support.factories import make_options, make_user, stock_of
from tests.support.invariants import assert_books_balance, assert_money_balances
from tests.support.orders import make_order_at, run_out, status_of
from tests.support.payments import a_minute_passes, pay_for
from tests.support.problems import all_rows
from tests.support.proxies import CommitProxy

pytestmark = pytest.mark.django_db(transaction=True)


def order_at(status):
    (option,) = make_options([5], price=10_000)
    return make_order_at(status, make_user(address=True), (option, 2))


def charged(*, then=None):
    """An order whose card was charged without an answer."""
    order = order_at(Status.PENDING)
    assert pay_for(order, token="timeout-charged").status_code == 503
    if then:
        then(order)
    order.refresh_from_db()
    return order


# --- A COMMIT whose answer is lost --------------------------------------------------------------------------


def one_unit_back(order):
    return Return(order_id=order.pk, units={order.lines.get().option_id: 1})


# How an order is made, the command, its status after it, the units reserved, movements, refunds and attempts.
CHANGES = {
    "cancel": (
        lambda: order_at("paid"), lambda o: Cancel(order_id=o.pk),
        "cancelled", (5, 0), 3, [20_000], 1,
    ),
    "ship": (
        lambda: order_at("paid"), lambda o: Ship(order_id=o.pk, carrier="CJ", tracking_number="1"),
        "shipped", (3, 0), 3, [], 1,
    ),
    "deliver": (lambda: order_at("shipped"), lambda o: Deliver(order_id=o.pk), "delivered", (3, 0), 3, [], 1),
    "lose": (
        lambda: order_at("shipped"), lambda o: Lose(order_id=o.pk, reason="river"),
        "returned", (3, 0), 5, [20_000], 1,
    ),
    "return": (
        lambda: order_at("delivered"), lambda o: Return(order_id=o.pk),
        "returned", (5, 0), 4, [20_000], 1,
    ),
    "return a part": (lambda: order_at("delivered"), one_unit_back, "delivered", (4, 0), 4, [10_000], 1),
    "start": (
        lambda: order_at("pending"), lambda o: Start(order_id=o.pk, provider="sandbox"),
        "pending", (5, 2), 2, [], 1,
    ),
    "settle": (charged, lambda o: settle(o, APPROVED), "paid", (5, 2), 2, [], 1),
    "settle late": (lambda: charged(then=run_out), lambda o: settle(o, APPROVED), "paid", (5, 2), 4, [], 1),
    "settle after the end": (
        lambda: charged(then=lambda o: change(Cancel(order_id=o.pk))), lambda o: settle(o, APPROVED),
        "cancelled", (5, 0), 3, [20_000], 1,
    ),
    "settle declined": (charged, lambda o: settle(o, DECLINED), "pending", (5, 2), 2, [], 1),
    "expire": (
        lambda: order_at("pending"), lambda o: Expire(order_id=o.pk, at=o.expires_at + timedelta(seconds=1)),
        "expired", (5, 0), 3, [], 0,
    ),
}  # fmt: skip


@pytest.mark.mariadb
@pytest.mark.parametrize("lane", ["alone", "grouped"])
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_connection_lost_at_commit_changes_once(moment, lane):
    orders = {name: make() for name, (make, *_) in CHANGES.items()}
    commands = {name: CHANGES[name][1](order) for name, order in orders.items()}
    before = {name: OrderEvent.objects.filter(order=order).count() for name, order in orders.items()}

    def change_through_the_proxy(_i):
        found = {}
        live_settings.PLACEMENT = "group_commit" if lane == "grouped" else "row_lock"
        with CommitProxy(int(connection.settings_dict["PORT"])) as proxy:
            connections["default"].settings_dict["PORT"] = str(proxy.port)
            for name, command in commands.items():
                proxy.arm(moment)
                changed = begin_change(command).result() if lane == "grouped" else change(command)
                found[name] = (
                    proxy.cut.wait(30),
                    changed.order,
                    changed.attempt and changed.attempt.reference,
                )
        return found

    (found,) = in_processes(change_through_the_proxy, 1)
    for name, order in orders.items():
        _make, _command, status, stock, movements, refunds, attempts = CHANGES[name]
        was_cut, shown, reference = found[name]
        option = order.lines.get().option
        assert was_cut, name
        assert (status_of(order), stock_of(option)) == (status, stock), name
        assert option.stock.movements.count() == movements, name
        assert (
            list(Refund.objects.filter(payment__order=order).values_list("amount", flat=True)) == refunds
        ), name
        assert order.payments.count() == attempts, name
        changed = status != order.status
        assert OrderEvent.objects.filter(order=order).count() == before[name] + changed, name
        # The answer is the order as it is.
        assert shown == numbered_views([order.number])[order.number], name
        if name == "start":
            assert reference == commands[name].reference == order.payments.get().reference
    assert_books_balance()


# --- kill -9 ------------------------------------------------------------------------------------------------


def dying(work, *, at):
    """Run `work` in a process that dies at its `at`-th statement or COMMIT; False if it outlives that."""

    def child(_i):
        counted = 0

        def count():
            nonlocal counted
            counted += 1
            if counted == at:
                os.kill(os.getpid(), signal.SIGKILL)

        def statement(execute, *args):
            count()
            return execute(*args)

        commit = BaseDatabaseWrapper._commit

        def committing(database):
            count()
            commit(database)

        BaseDatabaseWrapper._commit = committing  # this process is going to die
        with connection.execute_wrapper(statement):
            work()

    try:
        in_processes(child, 1)
    except ChildFailed as failure:
        if "died" not in str(failure):
            raise
        return True
    return False


def return_one(order):
    return_order(order_id=order.pk, units={order.lines.get().option_id: 1}, actor_id=None)


def pay_by_card(order):
    pay(order_id=order.pk, provider="sandbox", token="tok", actor_id=order.buyer_id)


STEPS = {
    "cancel": ("paid", lambda o: cancel_order(order_id=o.pk, actor_id=None), ("cancelled", 20_000)),
    "ship": (
        "paid",
        lambda o: ship_order(order_id=o.pk, carrier="CJ", tracking_number="1", actor_id=None),
        ("shipped", 0),
    ),
    "return": ("delivered", return_one, ("delivered", 10_000)),
    "pay": ("pending", pay_by_card, ("paid", 0)),
}


@pytest.mark.parametrize("name", STEPS)
def test_a_process_that_is_killed_at_any_step_leaves_no_order_half_changed(name):
    """Before the locks, between them, between what is written, at the COMMIT, before the money goes back."""
    status, work, (after, refunded) = STEPS[name]
    order = order_at(status)
    before, written = all_rows(), written_of(order)
    survived, seen = 0, []
    for at in range(1, 60):
        if not dying(partial(work, order), at=at):
            break
        assert_books_balance()
        if written_of(order) != written:
            # Committed. What was left to do is done by a worker; the next one dies on an order of its own.
            seen.append(written_of(order)["order"][0])
            assert seen[-1] == ("pending" if name == "pay" and after not in seen else after)
            a_minute_passes()
            resolve_unanswered()
            pay_out_due()
            assert set(Refund.objects.values_list("status", flat=True)) <= {"done"}
            assert status_of(order) == after
            assert (
                sum(Refund.objects.filter(payment__order=order).values_list("amount", flat=True)) == refunded
            )
            assert_money_balances()
            order = order_at(status)
            written = written_of(order)
            before = all_rows()
        else:
            survived += 1
            assert all_rows() == before
    else:
        pytest.fail("it never came to an end")
    assert survived > 8  # each of them: not a row is different
    # Ship has nothing left to do once it is committed.
    assert bool(seen) == (name != "ship")
    assert status_of(order) == after
    assert Payment.objects.filter(status="approved").exists()
    assert_books_balance()
    assert_money_balances()
