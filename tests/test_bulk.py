"""Many orders at once: what a draft refuses, what a worker does, once, and what is said of the rest."""

from datetime import timedelta

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import override

from orders.bulk import running
from orders.bulk.actions import ACTIONS
from orders.bulk.drafting import (
    KEPT_FOR,
    MAX_ORDERS,
    Parcel,
    again,
    begin,
    discard,
    draft_of_orders,
    draft_of_parcels,
    forget_drafts,
)
from orders.bulk.running import carry_on
from orders.lifecycle import ship_order
from orders.models import BulkRow, BulkRun, Order, OrderEvent, Payment, Refund
from orders.payments.services import confirm_transfers, pay
from shop.models import User
from tests.support.factories import make_options, make_order, make_user, stock_of
from tests.support.invariants import assert_books_balance, assert_money_balances
from tests.support.orders import make_order_at as at
from tests.support.orders import run_out, status_of
from yousinsa.db.transactions import transact
from yousinsa.errors import Conflict, Forbidden, Invalid

pytestmark = pytest.mark.django_db(transaction=True)

SHIP, DELIVER, CONFIRM = BulkRun.Action.SHIP, BulkRun.Action.DELIVER, BulkRun.Action.CONFIRM


def parcel(place: int, order: Order, tracking: str = "", carrier: str = "CJ") -> Parcel:
    return Parcel(place, order.number, carrier, tracking or f"61234567{place:04d}")


def begun(run: BulkRun) -> BulkRun:
    assert begin(run, actor_id=run.by_id)
    run.refresh_from_db()
    return run


def carry_out(run: BulkRun) -> BulkRun:
    """All of a run, by a worker that nothing disturbs."""
    begun(run)
    while carry_on():
        pass
    run.refresh_from_db()
    return run


def outcomes(run: BulkRun) -> list[tuple[str, str]]:
    return list(run.rows.order_by("place").values_list("state", "said"))


def times(order: Order, status: str) -> int:
    """How often an order came to have this status."""
    return OrderEvent.objects.filter(order=order, to_status=status).count()


# --- What is done ----------------------------------------------------------------------------------------


def test_a_list_of_parcels_is_shipped_and_says_who_did_it(operator, buyer, option):
    orders = [at("paid", buyer, (option, 1)) for _ in range(3)]
    run = draft_of_parcels([parcel(n, o) for n, o in enumerate(orders, 2)], actor_id=operator.pk)
    assert {status_of(order) for order in orders} == {"paid"}
    assert carry_out(run).status == "done"
    assert outcomes(run) == [("done", "")] * 3
    assert stock_of(option) == (7, 0)
    shipped = Order.objects.get(pk=orders[1].pk)
    assert (shipped.carrier, shipped.tracking_number) == ("CJ", "612345670003")
    assert {event.actor for event in OrderEvent.objects.filter(to_status="shipped")} == {operator}
    assert_books_balance()


def test_what_a_list_of_parcels_gets_wrong_is_said_by_row_and_harms_no_other(operator, buyer, option):
    good, twin, same, elsewhere, pending = (
        *(at("paid", buyer, (option, 1)) for _ in range(4)),
        make_order(buyer, (option, 1)),
    )
    Order.objects.filter(pk=elsewhere.pk).update(address1="1 Sejong-daero, Seoul")
    rows = [
        parcel(2, good), parcel(3, good), Parcel(4, "NO-SUCH", "CJ", "612345678901"), parcel(5, pending),
        parcel(6, twin, "abc 12"), parcel(7, same, "6123 4567-0002"), parcel(8, elsewhere, "612345670002"),
        parcel(9, twin, "6.12346E+11"), Parcel(10, "", "CJ", "612345678901"), parcel(11, twin, carrier=" "),
        parcel(12, twin, carrier="C\u200bJ\x07"),
    ]  # fmt: skip
    run = draft_of_parcels(rows, actor_id=operator.pk)
    said = dict(run.rows.values_list("place", "said"))
    assert "is in row 2 already" in said[3]
    assert "no order with this number" in said[4]
    assert said[5] == "An order that is pending cannot become shipped."
    assert "is no tracking number" in said[6]
    assert said[7] == ""  # to the same address: one parcel
    assert "in row 2 already, for another address" in said[8]
    assert "is in row 6 already" in said[9]
    assert "give the order's number" in said[10]
    carry_out(run)
    assert list(run.rows.filter(state="done").values_list("place", flat=True)) == [2, 7]
    assert [status_of(o) for o in (good, same, twin, elsewhere, pending)] == [
        "shipped", "shipped", "paid", "paid", "pending",
    ]  # fmt: skip
    assert_books_balance()


@pytest.mark.parametrize(("number", "carrier", "fix"), [("", "CJ", "number"), ("ok", "", "carries")])
def test_a_row_without_order_or_carrier_says_what_is_missing(operator, buyer, option, number, carrier, fix):
    order = at("paid", buyer, (option, 1))
    rows = [Parcel(1, number and f" {order.number.lower()} ", carrier, "612345678901")]
    ((state, text),) = outcomes(draft_of_parcels(rows, actor_id=operator.pk))
    assert state == "refused"
    assert fix in text


def test_orders_are_delivered_and_each_that_cannot_be_says_why(operator, buyer, option):
    shipped, paid = at("shipped", buyer, (option, 1)), at("paid", buyer, (option, 1))
    late = at("shipped", buyer, (option, 1))
    run = draft_of_orders(DELIVER, [shipped.pk, paid.pk, late.pk], actor_id=operator.pk)
    at_last = "An order that is delivered cannot become delivered."
    assert [state for state, _ in outcomes(run)] == ["waiting", "refused", "waiting"]
    carry_out(draft_of_orders(DELIVER, [late.pk], actor_id=operator.pk))  # somebody is quicker
    carry_out(run)
    assert outcomes(run) == [
        ("done", ""), ("refused", "An order that is paid cannot become delivered."), ("refused", at_last),
    ]  # fmt: skip
    assert times(late, "delivered") == 1
    assert_books_balance()


def test_transfers_are_confirmed_announced_or_not(operator, buyer, option):
    announced, silent = make_order(buyer, (option, 1)), make_order(buyer, (option, 1))
    nowhere = make_order(make_user(), (option, 1))
    pay(order_id=announced.pk, provider="manual", actor_id=buyer.pk)
    run = draft_of_orders(CONFIRM, [announced.pk, silent.pk, nowhere.pk], actor_id=operator.pk)
    carry_out(run)
    assert [state for state, _ in outcomes(run)] == ["done", "done", "refused"]
    assert "Save an address" in outcomes(run)[2][1]
    assert [status_of(o) for o in (announced, silent, nowhere)] == ["paid", "paid", "pending"]
    assert Payment.objects.filter(status="approved").count() == 2
    assert_money_balances()


def test_nobody_confirms_their_own_order_among_many(operator, option, settings):
    settings.FOUR_EYES = "1"
    clerk = make_user(staff=True, address=True)
    own, other = make_order(clerk, (option, 1)), make_order(make_user(address=True), (option, 1))
    run = draft_of_orders(CONFIRM, [own.pk, other.pk], actor_id=clerk.pk)
    assert "ask somebody else" in outcomes(run)[0][1]
    # Nor where the draft said otherwise: the service looks again.
    run.rows.update(state="waiting", said="")
    carry_out(run)
    assert [state for state, _ in outcomes(run)] == ["refused", "done"]
    assert (status_of(own), status_of(other)) == ("pending", "paid")


def late_transfer(buyer, option) -> Order:
    """A transfer was announced, the hold ended, and somebody else bought the units."""
    order = make_order(buyer, (option, 10))
    pay(order_id=order.pk, provider="manual", actor_id=buyer.pk)
    run_out(order)
    make_order(buyer, (option, 10))
    return order


def test_money_that_came_too_late_is_said_to_go_back(operator, buyer, option):
    order = late_transfer(buyer, option)
    run = carry_out(draft_of_orders(CONFIRM, [order.pk], actor_id=operator.pk))
    ((state, text),) = outcomes(run)
    assert state == "done"
    assert "it was refunded" in text
    assert Refund.objects.get().amount == order.total


# --- Once, whatever happens -----------------------------------------------------------------------------


def test_a_second_click_begins_nothing(operator, buyer, option):
    order = at("shipped", buyer, (option, 1))
    run = begun(draft_of_orders(DELIVER, [order.pk], actor_id=operator.pk))
    since = run.begun_at
    assert not begin(run, actor_id=operator.pk)
    while carry_on():
        pass
    with pytest.raises(Conflict):
        begin(run, actor_id=operator.pk)
    run.refresh_from_db()
    assert run.begun_at == since
    assert times(order, "delivered") == 1
    assert carry_on() == 0


def cut_off(run: BulkRun, rows: int) -> None:
    """A worker took the run, did its first rows, and was killed before it wrote that down."""
    begun(run)
    now = timezone.now()
    chunk = list(run.rows.filter(state="waiting").order_by("place")[:rows])
    run.rows.filter(pk__in=[row.pk for row in chunk]).update(tried_at=now)
    ACTIONS[run.action].carry_out(chunk, now, run.by_id)
    BulkRun.objects.filter(pk=run.pk).update(held_until=now - timedelta(seconds=1))


@pytest.mark.parametrize(("action", "before", "after"), [
    (DELIVER, "shipped", "delivered"), (CONFIRM, "pending", "paid"),
])  # fmt: skip
def test_who_goes_on_after_a_crash_knows_what_was_done(operator, buyer, option, action, before, after):
    orders = [at(before, buyer, (option, 1)) for _ in range(4)]
    run = draft_of_orders(action, [order.pk for order in orders], actor_id=operator.pk)
    cut_off(run, rows=2)
    assert [status_of(order) for order in orders] == [after, after, before, before]
    while carry_on():
        pass
    assert outcomes(run) == [("done", "")] * 4
    assert [times(order, after) for order in orders] == [1] * 4
    assert_money_balances()


def test_parcels_that_were_shipped_before_a_crash_are_not_shipped_again(operator, buyer, option):
    orders = [at("paid", buyer, (option, 1)) for _ in range(3)]
    run = draft_of_parcels([parcel(n, o) for n, o in enumerate(orders, 2)], actor_id=operator.pk)
    cut_off(run, rows=2)
    while carry_on():
        pass
    assert outcomes(run) == [("done", "")] * 3
    assert stock_of(option) == (7, 0)
    assert_books_balance()


def test_what_somebody_else_did_meanwhile_is_no_work_of_the_run(operator, buyer, option):
    """The control of the tests above: without the row's moment in its history an order was not done by it."""
    order = at("paid", buyer, (option, 1))
    run = begun(draft_of_parcels([parcel(2, order)], actor_id=operator.pk))
    run.rows.update(tried_at=timezone.now())
    ship_order(order_id=order.pk, carrier="Hanjin", tracking_number="510123456789", actor_id=operator.pk)
    while carry_on():
        pass
    assert outcomes(run) == [("refused", "An order that is shipped cannot become shipped.")]
    assert Order.objects.get(pk=order.pk).carrier == "Hanjin"


def test_a_refund_before_a_crash_is_known_after_it(operator, buyer, option):
    order = late_transfer(buyer, option)
    run = draft_of_orders(CONFIRM, [order.pk], actor_id=operator.pk)
    cut_off(run, rows=1)
    assert Refund.objects.count() == 1
    while carry_on():
        pass
    ((state, text),) = outcomes(run)
    assert state == "done"
    assert "it was refunded" in text
    assert Refund.objects.count() == 1


def test_a_transfer_that_was_cut_off_between_its_two_steps_is_confirmed(operator, buyer, option):
    order = make_order(buyer, (option, 1))
    Payment.objects.create(order=order, provider="manual", reference="0" * 32, amount=order.total)
    (outcome,) = confirm_transfers([order.pk], actor_id=operator.pk)
    assert not isinstance(outcome, Exception)
    assert status_of(order) == "paid"
    assert Payment.objects.get().status == "approved"


def test_one_worker_at_a_time_has_a_run(operator, buyer, option):
    order = at("shipped", buyer, (option, 1))
    run = begun(draft_of_orders(DELIVER, [order.pk], actor_id=operator.pk))
    BulkRun.objects.update(held_until=timezone.now() + timedelta(minutes=1))
    assert carry_on() == 0
    assert status_of(order) == "shipped"
    BulkRun.objects.update(held_until=timezone.now() - timedelta(seconds=1))
    assert carry_on() == 1
    run.refresh_from_db()
    assert run.status == "done"


def test_a_worker_that_was_too_slow_writes_nothing(operator, buyer, option):
    order = at("shipped", buyer, (option, 1))
    run = begun(draft_of_orders(DELIVER, [order.pk], actor_id=operator.pk))
    ((slow, until),) = running._taken()
    BulkRun.objects.update(held_until=until + timedelta(seconds=1))  # somebody else has it by now
    row = run.rows.get()
    assert transact(lambda: running._write(slow, until, {row.pk: ("refused", "too late")})) == 0
    assert outcomes(run) == [("waiting", "")]


def test_a_run_goes_on_in_chunks_and_so_does_the_next(operator, buyer, monkeypatch):
    monkeypatch.setattr(running, "CHUNK", 2)
    (option,) = make_options([20])
    runs = [
        begun(
            draft_of_orders(
                DELIVER, [at("shipped", buyer, (option, 1)).pk for _ in range(3)], actor_id=operator.pk
            )
        )
        for _ in range(2)
    ]
    assert carry_on() == 4
    assert [run.rows.filter(state="waiting").count() for run in runs] == [1, 1]
    assert carry_on() == 2
    assert carry_on() == 0
    assert set(BulkRun.objects.values_list("status", flat=True)) == {"done"}


# --- Whose it is, and how far it may go ------------------------------------------------------------------


def test_who_has_lost_the_right_does_nothing_any_more(operator, buyer, option):
    order = at("shipped", buyer, (option, 1))
    run = begun(draft_of_orders(DELIVER, [order.pk], actor_id=operator.pk))
    User.objects.filter(pk=operator.pk).update(is_superuser=False)
    while carry_on():
        pass
    ((state, text),) = outcomes(run)
    assert state == "refused"
    assert "not the right" in text
    assert status_of(order) == "shipped"


def test_a_draft_is_begun_by_nobody_else(operator, buyer, option):
    run = draft_of_orders(DELIVER, [at("shipped", buyer, (option, 1)).pk], actor_id=operator.pk)
    with pytest.raises(Forbidden):
        begin(run, actor_id=make_user(staff=True).pk)
    run.refresh_from_db()
    assert run.status == "draft"


def test_reasons_are_in_the_language_of_who_drafted(operator, buyer, option):
    order = at("shipped", buyer, (option, 1))
    with override("ko"):
        run = begun(draft_of_orders(DELIVER, [order.pk], actor_id=operator.pk))
    Order.objects.filter(pk=order.pk).update(status="paid")
    with override("en"):
        carry_on()
    assert "결제" in outcomes(run)[0][1]


def test_a_draft_has_an_order_at_least_and_a_thousand_at_most(operator):
    with pytest.raises(Invalid):
        draft_of_orders(DELIVER, [], actor_id=operator.pk)
    too_many = [Parcel(n, f"N{n}", "CJ", "612345678901") for n in range(MAX_ORDERS + 1)]
    with pytest.raises(Invalid, match="At most 1000"):
        draft_of_parcels(too_many, actor_id=operator.pk)
    assert not BulkRun.objects.exists()


def test_what_was_refused_is_drafted_again(operator, buyer, option):
    paid, pending = at("paid", buyer, (option, 1)), make_order(buyer, (option, 1))
    run = carry_out(draft_of_parcels([parcel(2, paid), parcel(3, pending)], actor_id=operator.pk))
    Order.objects.filter(pk=pending.pk).update(status="paid")
    anew = again(run, actor_id=operator.pk)
    assert list(anew.rows.values_list("number", "tracking_number")) == [(pending.number, "612345670003")]
    carry_out(anew)
    assert status_of(pending) == "shipped"
    with pytest.raises(Invalid):
        again(anew, actor_id=operator.pk)


def test_drafts_are_discarded_or_forgotten_and_what_was_begun_stays(operator, buyer, option):
    orders = [at("shipped", buyer, (option, 1)).pk for _ in range(3)]
    first, old, done = (draft_of_orders(DELIVER, [id], actor_id=operator.pk) for id in orders)
    discard(first)
    carry_out(done)
    with pytest.raises(Conflict):
        discard(done)
    BulkRun.objects.update(created_at=timezone.now() - KEPT_FOR - timedelta(hours=1))
    assert forget_drafts() == 1
    assert list(BulkRun.objects.all()) == [done]
    assert old.pk != done.pk


def test_the_database_holds_an_order_once_a_run_and_no_row_without_a_reason(operator, buyer, option):
    order = at("shipped", buyer, (option, 1))
    run = draft_of_orders(DELIVER, [order.pk], actor_id=operator.pk)
    wrong = [
        {"order": order, "place": 2}, {"order": None, "place": 2}, {"state": "refused", "place": 2},
        {"order": order, "place": 2, "state": "done"}, {"order": order, "place": 1},
    ]  # fmt: skip
    for fields in wrong:
        with pytest.raises(IntegrityError), transaction.atomic():
            BulkRow.objects.create(run=run, number="X", **fields)
    with pytest.raises(IntegrityError), transaction.atomic():
        BulkRun.objects.filter(pk=run.pk).update(status="done")
