"""Many workers at one bulk run, and one that is killed in the middle: each order once, the report right."""

import signal
from datetime import timedelta

import pytest
from django.utils import timezone

from orders.bulk import running
from orders.bulk.drafting import begin, draft_of_orders
from orders.models import BulkRun, Order, OrderEvent, Status
from orders.placement.batch import place_batch
from orders.placement.requests import PlaceRequest
from tests.support.concurrency import in_processes, until
from tests.support.factories import make_options, make_user
from tests.support.invariants import assert_books_balance, assert_money_balances
from tests.support.orders import make_order_at
from tests.support.races import goes_wrong
from tests.support.worker import Worker

pytestmark = pytest.mark.django_db(transaction=True)

ORDERS, WORKERS = 12, 4


def outcome() -> tuple[int, int, int]:
    """Workers at one run until it is over: rows that say done, orders delivered, how often they were."""
    (option,) = make_options([ORDERS])
    buyer, clerk = make_user(address=True), make_user(staff=True)
    ids = [make_order_at(Status.SHIPPED, buyer, (option, 1)).pk for _ in range(ORDERS)]
    run = draft_of_orders(BulkRun.Action.DELIVER, ids, actor_id=clerk.pk)
    assert begin(run, actor_id=clerk.pk)

    def over() -> bool:
        running.carry_on()
        return BulkRun.objects.filter(pk=run.pk, status=BulkRun.Status.DONE).exists()

    in_processes(lambda _index: until(over), WORKERS)
    return (
        run.rows.filter(state="done").count(),
        Order.objects.filter(pk__in=ids, status=Status.DELIVERED).count(),
        OrderEvent.objects.filter(order__in=ids, to_status=Status.DELIVERED).count(),
    )


@pytest.mark.mariadb
def test_workers_who_want_the_same_run_take_turns(monkeypatch):
    monkeypatch.setattr(running, "CHUNK", 3)
    assert outcome() == (ORDERS, ORDERS, ORDERS)


@pytest.mark.mariadb
def test_control_workers_who_do_not_take_a_run_report_what_is_done_as_refused(monkeypatch):
    """Whatever becomes of the report: the orders are changed once even then."""
    monkeypatch.setattr(running, "CHUNK", 3)
    going_on = BulkRun.objects.filter(status=BulkRun.Status.RUNNING)
    monkeypatch.setattr(running, "_taken", lambda: [(run, None) for run in going_on.all()])
    said_done, delivered, times = goes_wrong(outcome, lambda found: found[0] == ORDERS)
    assert said_done < delivered == times == ORDERS


def test_a_killed_workers_run_is_finished_by_the_next(tmp_path):
    (option,) = make_options([10_000])
    buyers, clerk = [make_user(address=True) for _ in range(20)], make_user(staff=True)
    requests = [PlaceRequest.build(buyer_id=buyers[n % 20].pk, lines=[(option.pk, 1)]) for n in range(600)]
    numbers = [placed.order.number for placed in place_batch(requests)]
    orders = Order.objects.filter(number__in=numbers)
    run = draft_of_orders(
        BulkRun.Action.CONFIRM, list(orders.values_list("pk", flat=True)), actor_id=clerk.pk
    )
    assert begin(run, actor_id=clerk.pk)
    with Worker(tmp_path / "first.log") as first:
        first.wait_until(lambda: orders.filter(status=Status.PAID).exists())
        first.process.send_signal(signal.SIGKILL)
        first.process.wait()
    waiting = run.rows.filter(state="waiting").count()
    assert waiting, "it was killed too late"
    BulkRun.objects.exclude(held_until=None).update(held_until=timezone.now() - timedelta(seconds=1))
    with Worker(tmp_path / "second.log") as second:
        second.wait_until(lambda: BulkRun.objects.filter(status=BulkRun.Status.DONE).exists())
        assert second.stop() == 0
    assert run.rows.filter(state="done", said="").count() == 600
    assert OrderEvent.objects.filter(order__in=orders, to_status=Status.PAID).count() == 600
    assert_books_balance()
    assert_money_balances()
