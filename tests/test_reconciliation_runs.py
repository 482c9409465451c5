"""Runs of reconciliation on record and on the desk: who may run, what is shown, what is fixed."""

from datetime import timedelta

import pytest
from django.utils import timezone
from django.utils.translation import gettext, override
from django.utils.translation import gettext_lazy as _

from inventory.admin.reconciliation import IN_WORDS
from inventory.models import Difference, Kind, Movement, ReconciliationRun, Stock
from inventory.reconciliation import OrderBook, Scope, causes, records
from inventory.reconciliation.requests import request_run, run_requested
from orders.order_book import ORDERS
from tests.support.commands import reconcile
from tests.support.corruption import open_shop, sql
from tests.support.desk import act, buttons, said, staff, url
from tests.support.factories import make_options, make_store, make_user, stock_of
from yousinsa.errors import Busy, Conflict
from yousinsa.language import recordable

pytestmark = pytest.mark.django_db
RUN_NOW = "/admin/inventory/reconciliationrun/run/"
PERMISSIONS = ("inventory.view_reconciliationrun", "inventory.view_difference")


def gettext_in(language, text):
    with override(language):
        return gettext(text)


def overwrite(option, units=3):
    sql("UPDATE inventory_stock SET on_hand = on_hand + %s WHERE option_id = %s", units, option.pk)


# --- On record ------------------------------------------------------------------------------------------


def test_a_run_by_command_is_on_record(option):
    reconcile()
    run = ReconciliationRun.objects.get()
    assert (run.scope, run.status, run.checked, run.found, run.by) == ("whole shop", "clean", 1, 0, None)
    assert run.finished_at is not None
    overwrite(option)
    reconcile("--option", str(option.pk), "--full")
    run = ReconciliationRun.objects.first()
    assert (run.scope, run.status, run.found) == (f"option {option.pk}, in full", "differences", 1)
    reconcile("--store", str(option.product.store_id), "--since", "2020-01-31")
    run = ReconciliationRun.objects.first()
    assert run.scope == f"store {option.product.store_id}, moved since 2020-01-31"


def test_a_run_that_breaks_says_why(option):
    def broken(option_ids):
        raise RuntimeError("the orders do not answer")

    run = records.begin(Scope())
    with pytest.raises(RuntimeError):
        records.compare(run, OrderBook(broken, ORDERS.lines))
    run.refresh_from_db()
    assert (run.status, run.error) == ("failed", "the orders do not answer")


def test_a_fix_notes_its_movement_with_every_difference_of_the_stock_row():
    shop = open_shop()
    sql("DELETE FROM inventory_movement WHERE id = %s", shop.movement(Kind.SHIP, "shipped").pk)
    reconcile("--fix")
    run = ReconciliationRun.objects.get()
    assert (run.found, run.fixed) == (2, 1)
    correction = Movement.objects.get(kind=Kind.CORRECT)
    assert set(run.differences.values_list("fixed_by", flat=True)) == {correction.pk}


def test_every_cause_has_words():
    known = {value for name, value in vars(causes).items() if name.isupper()}
    assert set(IN_WORDS) == known


# --- On the desk ----------------------------------------------------------------------------------------


def test_run_now_compares_an_option_at_once_and_shows_what_it_found(option):
    overwrite(option)
    clerk = staff(*PERMISSIONS, "inventory.run_reconciliation")
    assert "Run now" in clerk.get(url(ReconciliationRun)).content.decode()
    page = clerk.post(RUN_NOW, {"option": option.sku}, follow=True)
    assert said(page) == ["1 stock row checked. 1 difference found."]
    text = page.content.decode()
    assert "The counter was overwritten without a movement" in text
    assert url(Stock, "change", option.stock.pk) in text
    run = ReconciliationRun.objects.get()
    assert run.by is not None
    assert stock_of(option) == (13, 0), "looking changes nothing"


def test_run_now_compares_a_store(option):
    elsewhere = make_store()
    make_options([1, 1], store=elsewhere)
    clerk = staff(*PERMISSIONS, "inventory.run_reconciliation")
    clerk.post(RUN_NOW, {"store": elsewhere.pk, "since": "2020-01-01"})
    assert ReconciliationRun.objects.get().checked == 2


@pytest.mark.parametrize(
    ("form", "complaint"),
    [
        ({"option": "NO-SUCH-SKU"}, "There is no option with this SKU."),
        ({"since": "yesterday"}, "Enter a valid date."),
    ],
)
def test_run_now_refuses_what_makes_no_sense(option, form, complaint):
    page = staff(*PERMISSIONS, "inventory.run_reconciliation").post(RUN_NOW, form)
    assert complaint in page.content.decode()
    assert not ReconciliationRun.objects.exists()


def test_run_now_takes_an_option_or_a_store_and_bounds_what_is_done_at_once(option, monkeypatch):
    clerk = staff(*PERMISSIONS, "inventory.run_reconciliation")
    both = {"option": option.sku, "store": option.product.store_id}
    assert "not both" in clerk.post(RUN_NOW, both).content.decode()
    monkeypatch.setattr("inventory.admin.reconciliation.AT_ONCE", 0)
    assert "more than 0 stock rows" in clerk.post(RUN_NOW, {"option": option.sku}).content.decode()


def test_only_who_may_run_runs(option):
    clerk = staff(*PERMISSIONS)
    assert "Run now" not in clerk.get(url(ReconciliationRun)).content.decode()
    assert clerk.get(RUN_NOW).status_code == 403
    assert clerk.post(RUN_NOW, {"option": option.sku}).status_code == 403


def test_selected_differences_are_fixed_after_a_question(option):
    overwrite(option)
    reconcile()
    difference = Difference.objects.get()
    clerk = staff(*PERMISSIONS, "inventory.fix_differences")
    asked = act(clerk, "fix", difference).content.decode()
    assert "The stock row is compared once more" in asked
    assert stock_of(option) == (13, 0)
    assert said(act(clerk, "fix", difference, apply="1")) == ["1 difference fixed."]
    assert stock_of(option) == (10, 0)
    difference.refresh_from_db()
    assert difference.fixed_by.actor is not None
    assert reconcile()[0] == 0
    again = act(clerk, "fix", difference, apply="1")
    assert said(again) == ["1 difference fixed."]
    assert Movement.objects.filter(kind=Kind.CORRECT).count() == 1


def test_a_difference_that_is_gone_is_not_fixed_twice(option):
    overwrite(option)
    reconcile()
    difference = Difference.objects.get()
    overwrite(option, -3)
    clerk = staff(*PERMISSIONS, "inventory.fix_differences")
    assert buttons(clerk, difference) == {"fix"}
    page = clerk.post(url(Difference, "fix", difference.pk), follow=True)
    assert "nothing to correct any more" in said(page)[0]
    assert not Movement.objects.filter(kind=Kind.CORRECT).exists()


def test_only_who_may_fix_fixes(option):
    overwrite(option)
    reconcile()
    clerk = staff(*PERMISSIONS, "inventory.change_difference")
    assert buttons(clerk, Difference.objects.get()) == set()
    assert clerk.post(url(Difference, "fix", Difference.objects.get().pk)).status_code == 403
    act(clerk, "fix", Difference.objects.get(), apply="1")
    assert stock_of(option) == (13, 0)


def test_what_cannot_be_fixed_is_told(option):
    overwrite(option)
    reconcile()
    difference = Difference.objects.get()
    sql("UPDATE inventory_difference SET stock_id = NULL WHERE id = %s", difference.pk)
    clerk = staff(*PERMISSIONS, "inventory.fix_differences")
    assert "no stock row" in said(act(clerk, "fix", difference, apply="1"))[0]


# --- The whole shop, by a worker --------------------------------------------------------------------------


def test_a_run_over_the_whole_shop_is_requested_and_made_by_a_worker(option):
    overwrite(option)
    clerk = staff(*PERMISSIONS, "inventory.run_reconciliation")
    page = clerk.post(RUN_NOW, {"full": "on"}, follow=True)
    assert "A worker makes the run" in said(page)[0]
    run = ReconciliationRun.objects.get()
    assert (run.status, run.scope, run.checked) == ("requested", "whole shop, in full", 0)
    assert "requested" in page.content.decode()
    asked_at = run.started_at
    assert run_requested(ORDERS) == 1
    run.refresh_from_db()
    assert (run.status, run.found, run.checked) == ("differences", 1, 1)
    assert run.by is not None
    assert asked_at < run.started_at <= run.finished_at
    assert run_requested(ORDERS) == 0, "it is made once"


def test_a_run_is_made_by_one_of_two_workers(option):
    request_run(actor_id=make_user().pk)

    def units_while_another_looks(option_ids):
        assert run_requested(ORDERS) == 0, "the first one has it"
        return ORDERS.units(option_ids)

    assert run_requested(OrderBook(units_while_another_looks, ORDERS.lines)) == 1
    assert ReconciliationRun.objects.get().status == "clean"


def test_a_request_that_another_worker_takes_meanwhile_is_left_to_it(option):
    request_run(actor_id=make_user().pk)
    second = ReconciliationRun.objects.create(scope="whole shop", status="requested")

    def units_while_another_takes_the_second(option_ids):
        ReconciliationRun.objects.filter(pk=second.pk).update(status="running")
        return ORDERS.units(option_ids)

    assert run_requested(OrderBook(units_while_another_takes_the_second, ORDERS.lines)) == 1
    second.refresh_from_db()
    assert (second.status, second.checked) == ("running", 0)


def test_a_requested_run_that_breaks_says_why_in_english_and_keeps_no_other_waiting(option):
    broken = request_run(actor_id=make_user().pk)
    ReconciliationRun.objects.create(scope="whole shop", status="requested")
    answers = iter([Busy(_(recordable("Must not be empty.")))])

    def units(option_ids):
        if problem := next(answers, None):
            raise problem
        return ORDERS.units(option_ids)

    with override("ko"):
        assert run_requested(OrderBook(units, ORDERS.lines)) == 1
    broken.refresh_from_db()
    assert (broken.status, broken.error) == ("failed", "Must not be empty.")
    page = staff(*PERMISSIONS).get(
        url(ReconciliationRun, "change", broken.pk), headers={"accept-language": "ko"}
    )
    assert gettext_in("ko", "Must not be empty.") in page.content.decode()


def test_the_desk_says_that_nobody_claims_a_request(option):
    run = request_run(actor_id=make_user().pk)
    clerk = staff(*PERMISSIONS)
    assert "start run_worker" not in clerk.get(url(ReconciliationRun)).content.decode()
    ReconciliationRun.objects.update(started_at=timezone.now() - timedelta(seconds=61))
    for page in (url(ReconciliationRun), url(ReconciliationRun, "change", run.pk)):
        assert "no worker is running: start run_worker" in clerk.get(page).content.decode()


def test_two_runs_over_the_whole_shop_do_not_go_on_at_once(option):
    going_on = records.begin(Scope())
    with pytest.raises(Conflict, match="going on already"):
        request_run(actor_id=1)
    clerk = staff(*PERMISSIONS, "inventory.run_reconciliation")
    assert "going on already" in clerk.post(RUN_NOW, {"go": "1"}).content.decode()
    going_on.seen_at = timezone.now() - timedelta(hours=1)
    going_on.save()
    assert going_on.silent
    page = staff(*PERMISSIONS).get(url(ReconciliationRun)).content.decode()
    assert "interrupted" in page
    request_run(actor_id=make_user().pk)
    going_on.refresh_from_db()
    assert (going_on.status, going_on.error) == ("failed", "It was ended before it was done.")
    with pytest.raises(Conflict, match="requested already"):
        request_run(actor_id=1)
