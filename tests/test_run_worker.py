"""`run_worker`, started as it is deployed: it does each of its jobs, once, and only a signal ends it."""

from datetime import timedelta

import pytest
from django.contrib.sessions.models import Session
from django.db import connection, transaction
from django.utils import timezone

from inventory.locks import lock_stock
from inventory.models import Movement, ReconciliationRun
from inventory.reconciliation.requests import request_run
from inventory.selectors import stock_ids
from orders.lifecycle import cancel_order
from orders.models import Order, OrderEvent, Payment, Refund, Status, Trouble
from orders.models.drops import Drop, DropRelease, DropStatus, Lane
from tests.support.drops import assert_escrow_adds_up, drain_all, item_of, make_drop
from tests.support.factories import make_options, make_order, make_user, stock_of
from tests.support.invariants import assert_books_balance, assert_money_balances
from tests.support.worker import Worker

pytestmark = pytest.mark.django_db(transaction=True)

LONG_AGO = timedelta(minutes=10)


@pytest.fixture
def buyer():
    return make_user(address=True)


@pytest.fixture
def worker(tmp_path):
    """`worker(number, **environment)`: a worker whose output goes to a file of its own."""
    return lambda number=1, **environment: Worker(tmp_path / f"worker-{number}.log", **environment)


def overdue(order):
    Order.objects.filter(pk=order.pk).update(expires_at=timezone.now() - LONG_AGO)
    return order


def attempt(order, token, status=Payment.Status.STARTED):
    """A card payment that was begun long ago and whose answer nobody heard."""
    payment = Payment.objects.create(
        order=order, provider="sandbox", reference=f"{order.pk:032x}", amount=order.total, token=token,
        status=status,
    )  # fmt: skip
    Payment.objects.filter(pk=payment.pk).update(created_at=timezone.now() - LONG_AGO)
    return payment


def owed(order):
    """The order was cancelled after it was paid, and its refund is due."""
    payment = attempt(order, "card", Payment.Status.APPROVED)
    Order.objects.filter(pk=order.pk).update(status=Status.PAID)
    cancel_order(order_id=order.pk, actor_id=None)
    assert Refund.objects.filter(payment=payment).update(status=Refund.Status.DUE, done_at=None) == 1


def status_of(order):
    return Order.objects.values_list("status", flat=True).get(pk=order.pk)


def status_of_run(run):
    return ReconciliationRun.objects.values_list("status", flat=True).get(pk=run.pk)


def session_until(later):
    key = f"expires-{later.total_seconds():+.0f}"
    return Session.objects.create(session_key=key, session_data="", expire_date=timezone.now() + later).pk


def statuses_of(drops):
    rows = dict(Drop.objects.values_list("pk", "status"))
    return [rows[drop.pk] for drop in drops]


# --- Each job ---------------------------------------------------------------------------------------------


def test_it_does_every_job_that_needs_no_redis(worker, buyer):
    (option,) = make_options([100])
    held, paid, cancelled = (make_order(buyer, (option, 3)) for _ in range(3))
    overdue(held)
    attempt(paid, "timeout-charged")
    owed(cancelled)
    in_time = {"lane": Lane.GROUP_COMMIT, "opened": False}
    opening = make_drop((option, 20), **in_time)
    closing = make_drop((option, 10), lane=Lane.GROUP_COMMIT)
    Drop.objects.filter(pk=closing.pk).update(closes_at=timezone.now())
    later = make_drop((option, 5), opens_at=timezone.now() + timedelta(hours=1), **in_time)
    run = request_run(actor_id=buyer.pk)
    over, going_on = session_until(-LONG_AGO), session_until(LONG_AGO)

    with worker() as running:
        running.wait_until(lambda: status_of(held) == Status.EXPIRED)
        running.wait_until(lambda: status_of(paid) == Status.PAID)
        running.wait_until(lambda: Refund.objects.get().status == Refund.Status.DONE)
        drops = (opening, closing, later)
        wanted = [DropStatus.OPEN, DropStatus.SETTLED, DropStatus.SCHEDULED]
        running.wait_until(lambda: statuses_of(drops) == wanted)
        running.wait_until(lambda: status_of_run(run) == "clean")
        running.wait_until(lambda: not Session.objects.filter(pk=over).exists())
        assert running.stop() == 0
    assert "working: expire_holds, unanswered_payments, refunds, drops" in running.log
    assert "Traceback" not in running.log
    assert Session.objects.filter(pk=going_on).exists()
    assert stock_of(option) == (100, 3 + 20)
    assert_books_balance()
    assert_money_balances()


def test_it_writes_what_redis_admitted_and_passes_on_what_came_back(worker, buyer, api, on_redis):
    (option,) = make_options([100])
    drop = make_drop((option, 50), limit=10)

    def buy(shopper):
        body = {"drop": drop.pk, "lines": [{"option": option.pk, "quantity": 1}]}
        answer = api(shopper).post("orders/", body)
        assert answer.status_code == 202
        return answer.json()["number"]

    back = buy(buyer)
    drain_all()
    cancel_order(order_id=Order.objects.get(number=back).pk, actor_id=buyer.pk)
    assert DropRelease.objects.update(told_at=None) == 1
    numbers = {buy(make_user(address=True)) for _ in range(10)}

    with worker(REDIS_URL=on_redis.url) as running:
        running.wait_until(lambda: Order.objects.filter(number__in=numbers).count() == 10)
        running.wait_until(lambda: not DropRelease.objects.filter(told_at=None).exists())
        late = buy(make_user(address=True))
        running.wait_until(lambda: Order.objects.filter(number=late).exists())
        Drop.objects.filter(pk=drop.pk).update(closes_at=timezone.now())
        running.wait_until(lambda: statuses_of([drop]) == [DropStatus.SETTLED])
        assert running.stop() == 0
    assert (
        "refunds, drops, reconciliations, bulk, clearsessions, old_corrections, old_drafts, outbox, drain"
        in running.log
    )
    assert "Traceback" not in running.log
    assert item_of(drop) == (50, 11, 39)
    assert_escrow_adds_up()
    assert_books_balance()


# --- Several at once --------------------------------------------------------------------------------------


def test_two_at_once_do_nothing_twice(worker, buyer):
    (option,) = make_options([1_000])
    held = [overdue(make_order(buyer, (option, 1))) for _ in range(60)]
    paid = [make_order(buyer, (option, 1)) for _ in range(10)]
    for order in paid:
        attempt(order, "timeout-charged")
    opening = [make_drop((option, 5), lane=Lane.GROUP_COMMIT, opened=False) for _ in range(10)]

    with worker(1) as one, worker(2) as two:
        for running in (one, two):
            running.wait_until(lambda: not Order.objects.filter(status=Status.PENDING).exists())
            running.wait_until(lambda: set(statuses_of(opening)) == {DropStatus.OPEN})
            running.wait_until(lambda running=running: "working:" in running.log)
        assert (one.stop(), two.stop()) == (0, 0)
    assert {status_of(order) for order in held} == {Status.EXPIRED}
    assert {status_of(order) for order in paid} == {Status.PAID}
    assert OrderEvent.objects.exclude(to_status=Status.PENDING).count() == len(held) + len(paid)
    assert Movement.objects.filter(kind="release").count() == len(held)
    assert Movement.objects.filter(kind="allot").count() == len(opening)
    assert_books_balance()
    assert_money_balances()


# --- What goes wrong --------------------------------------------------------------------------------------


def test_what_a_job_always_fails_with_ends_neither_the_others_nor_the_worker(worker, buyer):
    shirt, coat = make_options([10, 10])
    poisoned = overdue(make_order(buyer, (shirt, 3)))
    with connection.cursor() as cursor:  # its hold can never end: there is nothing to release
        cursor.execute("UPDATE inventory_stock SET reserved = 0 WHERE option_id = %s", [shirt.pk])
    with worker() as running:
        running.wait_until(lambda: "is set aside until" in running.log)
        drop = make_drop((coat, 5), lane=Lane.GROUP_COMMIT, opened=False)
        running.wait_until(lambda: statuses_of([drop]) == [DropStatus.OPEN])
        running.wait_until(lambda: "(try 2)" in running.log)
        assert status_of(poisoned) == Status.PENDING
        with connection.cursor() as cursor:
            cursor.execute("UPDATE inventory_stock SET reserved = 3 WHERE option_id = %s", [shirt.pk])
        Trouble.objects.update(retry_at=timezone.now())
        running.wait_until(lambda: status_of(poisoned) == Status.EXPIRED)
        assert running.stop() == 0
    assert "Traceback" in running.log
    assert_books_balance()


def test_it_ends_in_time_while_a_job_waits_for_a_lock(worker, buyer):
    (option,) = make_options([10])
    order = overdue(make_order(buyer, (option, 1)))
    with transaction.atomic(), worker() as running:
        lock_stock(stock_ids([option.pk]).values())
        running.wait_until(lambda: "working:" in running.log)
        # The whole database is locked on SQLite, one row elsewhere.
        signs = "expire_holds failed, trying again", "is set aside until"
        running.wait_until(lambda: any(sign in running.log for sign in signs))
        assert running.stop() == 0
    assert status_of(order) == Status.PENDING
    assert "Traceback" not in running.log


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("mysql://nobody:x@127.0.0.1:1/nowhere", marks=pytest.mark.mariadb),
        pytest.param("sqlite:////dev/null/nowhere", marks=pytest.mark.sqlite),
    ],
)
def test_a_database_that_is_away_is_tried_again(worker, url):
    with worker(DATABASE_URL=url) as running:
        running.wait_until(lambda: running.log.count("expire_holds failed, trying again in") >= 3)
        assert running.stop() == 0
    assert "Traceback" not in running.log
