"""Settlements: what a store is owed for a period, frozen once somebody approved it."""

import csv
from datetime import date, timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, IntegrityError, transaction
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orders.lifecycle import cancel_order
from orders.models import Order, OrderLine, Settlement, SettlementEntry
from orders.models.settlements import Frozen
from orders.payments.services import pay
from orders.settlements.entries import commission
from orders.settlements.services import approve, settle
from shop.desk.export import plain
from shop.models import Role, Store
from tests.support.books import figures, make_settlement
from tests.support.corruption import sql
from tests.support.desk import act, buttons, said, signed_in, staff, url
from tests.support.factories import ADDRESS, make_options, make_order, make_store, make_user
from tests.support.orders import MARCH, delivered, give_back
from yousinsa.errors import Conflict, Invalid, NotFound

pytestmark = pytest.mark.django_db
FIRST, LAST = MARCH
VIEW = "orders.view_settlement"


@pytest.fixture
def store():
    return make_store(name="Cheongdam")


@pytest.fixture
def option(store):
    (option,) = make_options([50], store=store, price=10_000)
    return option


@pytest.fixture
def draft(buyer, option):
    """A settlement of one sale, as the command leaves it."""
    delivered(buyer, (option, 1))
    return settle(FIRST, LAST).written[0]


# --- What counts ----------------------------------------------------------------------------------------


def test_what_was_delivered_in_the_period_is_settled_at_the_price_it_was_sold_for(buyer, option):
    delivered(buyer, (option, 2))
    option.product.price = 99_000
    option.product.save()
    delivered(buyer, (option, 1), at="2020-04-01 03:00:00")
    settle(FIRST, LAST)
    assert figures() == [(2, 20_000, 0, 0, 2_000, 18_000)]


def test_what_was_not_delivered_or_was_cancelled_does_not_count(buyer, option):
    make_order(buyer, (option, 1))
    paid = make_order(buyer, (option, 1))
    pay(order_id=paid.pk, provider="sandbox", token="tok-approve", shipping=ADDRESS, actor_id=buyer.pk)
    cancel_order(order_id=paid.pk, actor_id=buyer.pk)
    assert settle(timezone.localdate() - timedelta(days=1), timezone.localdate()).written == []


def test_days_begin_and_end_at_midnight_in_seoul(buyer, option):
    for at in ("2020-02-29 14:59:59", "2020-02-29 15:00:00", "2020-03-31 14:59:59", "2020-03-31 15:00:00"):
        delivered(buyer, (option, 1), at=at)
    settle(FIRST, LAST)
    assert figures() == [(2, 20_000, 0, 0, 2_000, 18_000)]


def test_a_return_counts_in_the_period_in_which_it_came_back(buyer, option):
    order = delivered(buyer, (option, 3))
    give_back(order, {option.pk: 1}, "2020-03-20 03:00:00")
    give_back(order, {option.pk: 2}, "2020-04-02 03:00:00")
    settle(FIRST, LAST)
    settle(date(2020, 4, 1), date(2020, 4, 30))
    assert figures() == [(3, 30_000, 1, 10_000, 2_000, 18_000), (0, 0, 2, 20_000, -2_000, -18_000)]


def test_an_order_of_two_stores_is_shared_by_line(buyer, option):
    (other,) = make_options([9], price=5_000)
    order = delivered(buyer, (option, 1), (other, 3))
    give_back(order, {other.pk: 1}, "2020-03-20 03:00:00")
    settle(FIRST, LAST)
    assert figures(store=option.product.store) == [(1, 10_000, 0, 0, 1_000, 9_000)]
    assert figures(store=other.product.store) == [(3, 15_000, 1, 5_000, 1_000, 9_000)]


def test_a_store_has_its_own_rate_or_the_usual_one(buyer, option, settings):
    settings.COMMISSION_RATE = 1250
    delivered(buyer, (option, 1))
    settle(FIRST, LAST)
    assert Settlement.objects.get().commission == 1250
    Store.objects.update(commission_rate=0)
    (other,) = make_options([9], store=make_store(), price=10_000)
    Store.objects.filter(pk=other.product.store_id).update(commission_rate=300)
    delivered(buyer, (other, 1))
    settle(FIRST, LAST)
    assert list(Settlement.objects.order_by("id").values_list("commission", "commission_rate")) == [
        (1250, 1250), (300, 300),
    ]  # fmt: skip
    with pytest.raises(IntegrityError), transaction.atomic():
        Store.objects.update(commission_rate=10_001)


@pytest.mark.parametrize(
    ("amount", "rate", "won"),
    [(5, 1000, 0), (15, 1000, 2), (25, 1000, 2), (24, 1000, 2), (26, 1000, 3), (-5, 1000, 0), (-15, 1000, -2),
     (10**15 + 5, 1000, 10**14), (7, 10_000, 7), (7, 0, 0)],
)  # fmt: skip
def test_commission_is_whole_won_rounded_half_to_even(amount, rate, won):
    assert commission(amount, rate) == won
    assert commission(-amount, rate) == -won


# --- Drafts and approval --------------------------------------------------------------------------------


def test_a_draft_is_computed_anew_and_an_approved_settlement_never(buyer, option):
    delivered(buyer, (option, 1))
    assert len(settle(FIRST, LAST).written) == 1
    delivered(buyer, (option, 1))
    settle(FIRST, LAST)
    settle(FIRST, LAST)
    assert figures() == [(2, 20_000, 0, 0, 2_000, 18_000)]
    approve(Settlement.objects.get().pk, actor_id=buyer.pk)
    before = list(Settlement.objects.values())
    delivered(buyer, (option, 1))
    settled = settle(FIRST, LAST)
    assert (settled.written, [row.pk for row in settled.frozen]) == ([], [before[0]["id"]])
    assert list(Settlement.objects.values()) == before


def test_a_draft_may_go_and_its_sales_are_settled_by_another(buyer, option):
    delivered(buyer, (option, 1))
    settle(FIRST, LAST)
    Settlement.objects.get().delete()
    settle(date(2020, 3, 10), date(2020, 3, 10))
    assert figures() == [(1, 10_000, 0, 0, 1_000, 9_000)]
    assert settle(date(2020, 3, 11), LAST).written == []


def test_an_approved_settlement_is_frozen_in_code_and_in_the_database(buyer, draft):
    row = draft
    read_before = Settlement.objects.get()
    approve(row.pk, actor_id=buyer.pk)
    with pytest.raises(Frozen):
        read_before.delete()
    with pytest.raises(Frozen):
        approve(row.pk, actor_id=buyer.pk)
    frozen = Settlement.objects.get()
    frozen.gross, frozen.payable = 20_000, 19_000
    with pytest.raises(Frozen):
        frozen.save()
    with pytest.raises(Frozen):
        frozen.delete()
    for change in ("gross = gross + 1, payable = payable + 1", "status = 'draft', approved_by_id = NULL"):
        with pytest.raises(DatabaseError, match="cannot be changed"), transaction.atomic():
            sql(f"UPDATE orders_settlement SET {change} WHERE id = %s", row.pk)
    assert Settlement.objects.get().gross == 10_000


@pytest.mark.parametrize(
    ("change", "constraint"),
    [
        ({"payable": 9_001}, "settlement_payable_adds_up"),
        ({"status": "approved"}, "settlement_approved_by_somebody"),
        ({"period_end": date(1999, 1, 1)}, "settlement_period_order"),
        ({"units": -1}, "settlement_sums_not_negative"),
        ({"commission_rate": 10_001}, "settlement_commission_rate_in_range"),
    ],
)
def test_the_database_refuses_what_does_not_add_up(store, change, constraint):
    with pytest.raises(IntegrityError, match=constraint), transaction.atomic():
        make_settlement(store.pk, **change)


def test_a_period_is_approved_when_it_is_over_and_was_computed_since(buyer, option):
    today = timezone.localdate()
    delivered(buyer, (option, 1), at=f"{timezone.now():%Y-%m-%d %H:%M:%S}")
    settle(today.replace(day=1), today)
    with pytest.raises(Conflict, match="not over yet"):
        approve(Settlement.objects.get().pk, actor_id=buyer.pk)
    Settlement.objects.all().delete()
    row = make_settlement(option.product.store_id, computed_at=timezone.now() - timedelta(days=365 * 50))
    with pytest.raises(Conflict, match="computed before"):
        approve(row.pk, actor_id=buyer.pk)
    row.computed_at = timezone.now()
    row.save()  # of sales that are not in it
    with pytest.raises(Conflict, match="computed before"):
        approve(row.pk, actor_id=buyer.pk)
    with pytest.raises(NotFound):
        approve(row.pk + 1, actor_id=buyer.pk)


def test_periods_of_a_store_do_not_overlap(buyer, option, store):
    delivered(buyer, (option, 1))
    settle(FIRST, LAST)
    delivered(buyer, (option, 1), at="2020-04-02 03:00:00")
    ((store_id, reason),) = settle(date(2020, 3, 31), date(2020, 4, 30)).refused
    assert (store_id, "overlaps" in str(reason)) == (store.pk, True)
    with pytest.raises(Conflict, match="overlaps"):
        settle(date(2020, 3, 31), date(2020, 4, 30), store_id=store.pk)
    other = make_store()
    assert settle(date(2020, 3, 31), date(2020, 4, 30), store_id=other.pk).written == []
    with pytest.raises(Conflict, match="overlaps"):
        settle(FIRST, date(2020, 3, 2), store_id=store.pk)


def test_the_command_settles_one_store_or_all_and_says_so(buyer, option):
    (other,) = make_options([9])
    delivered(buyer, (option, 1), (other, 1))
    out = StringIO()
    period = ("--from", "2020-03-01", "--to", "2020-03-31")
    call_command("settle", *period, "--store", str(option.product.store_id), stdout=out)
    assert out.getvalue().startswith("1 settlement computed, 9,000 won payable, 0 approved before")
    approve(Settlement.objects.get().pk, actor_id=buyer.pk)
    call_command("settle", *period, stdout=out)
    assert "approved already, left as it is\n1 settlement computed, 9,000 won" in out.getvalue()
    assert Settlement.objects.count() == 2
    with pytest.raises(CommandError, match="There is no store 999"):
        call_command("settle", *period, "--store", "999")
    with pytest.raises(CommandError, match="before the first day"):
        call_command("settle", "--from", "2020-03-31", "--to", "2020-03-01")
    with pytest.raises(CommandError, match="must be a date such as"):
        call_command("settle", "--from", "March", "--to", "2020-03-01")
    with pytest.raises(Invalid):
        settle(LAST, FIRST)


# --- Whatever happens -----------------------------------------------------------------------------------

SALES = st.lists(
    st.tuples(st.integers(0, 2), st.integers(1, 3), st.integers(1, 3), st.integers(0, 3), st.integers(0, 3)),
    max_size=8,
)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sales=SALES)
def test_all_settlements_together_are_what_buyers_keep(db, sales):
    """Over all stores and periods: gross is what was delivered, refunds what came back, to the won."""
    for model in (Settlement, SettlementEntry):  # of the example before
        model.objects.all().delete()
    buyer = make_user(address=True)
    options = [make_options([100], price=price)[0] for price in (9_999, 10_005, 35)]
    ids, orders = [], {}
    timeline = [(month, "03:00:00", n) for n, (_which, _units, month, _back, _later) in enumerate(sales)]
    timeline += [
        (month + later, "04:00:00", n) for n, (_w, _u, month, back, later) in enumerate(sales) if back
    ]
    for month, time, n in sorted(timeline):
        which, units, _month, back, _later = sales[n]
        if n in orders:
            give_back(orders[n], {options[which].pk: min(back, units)}, f"2020-0{month}-10 {time}")
        else:
            orders[n] = delivered(buyer, (options[which], units), at=f"2020-0{month}-10 {time}")
            ids.append(orders[n].pk)
    for month in range(1, 7):
        first = date(2020, month, 1)
        settle(first, (first.replace(day=28) + timedelta(days=4)).replace(day=1) - timedelta(days=1))
    mine = Settlement.objects.filter(store__products__options__in=options)
    lines = list(OrderLine.objects.filter(order__in=ids).values_list("quantity", "returned", "unit_price"))
    assert sum(s.units for s in mine) == sum(quantity for quantity, _back, _price in lines)
    assert sum(s.gross for s in mine) == sum(quantity * price for quantity, _back, price in lines)
    assert sum(s.returned_units for s in mine) == sum(back for _quantity, back, _price in lines)
    assert sum(s.refunds for s in mine) == sum(back * price for _quantity, back, price in lines)
    for s in mine:
        assert s.payable + s.commission + s.refunds == s.gross
    kept = [commission((quantity - back) * price, 1000) for quantity, back, price in lines]
    assert sum(s.commission for s in mine) == sum(kept), "a tenth of each line, rounded once"
    paid = sum(p.amount for o in Order.objects.filter(pk__in=ids) for p in o.payments.all())
    given_back = sum(
        r.amount for o in Order.objects.filter(pk__in=ids) for p in o.payments.all() for r in p.refunds.all()
    )
    assert sum(s.gross - s.refunds for s in mine) == paid - given_back, "the payments say the same"


# --- On the desk ----------------------------------------------------------------------------------------


def test_a_settlement_is_approved_after_a_question_by_who_may(draft):
    row = draft
    clerk = staff(VIEW, "orders.approve_settlement")
    assert buttons(clerk, row) == {"compute", "approve"}
    assert "This cannot be undone" in act(clerk, "approve", row).content.decode()
    assert Settlement.objects.get().status == "draft"
    assert said(act(clerk, "approve", row, apply="1")) == ["1 settlement approved."]
    approved = Settlement.objects.get()
    assert (approved.status, approved.approved_by is not None) == ("approved", True)
    assert buttons(clerk, row) == set()
    assert "cannot be changed" in said(act(clerk, "approve", row, apply="1"))[0]


def test_who_may_only_look_approves_nothing(store):
    row = make_settlement(store.pk)
    for clerk in (staff(VIEW), staff(VIEW, "orders.change_settlement")):
        assert buttons(clerk, row) == set()
        assert clerk.post(url(Settlement, "approve", row.pk)).status_code == 403
        assert clerk.post(url(Settlement, "change", row.pk), {"gross": 1}).status_code == 403
    assert Settlement.objects.get().status == "draft"


def test_a_draft_may_be_deleted_and_an_approved_settlement_not(store, buyer):
    clerk = staff(VIEW, "orders.delete_settlement")
    row = make_settlement(store.pk, approved_by=buyer)
    assert clerk.post(url(Settlement, "delete", row.pk), {"post": "yes"}).status_code == 403
    assert "delete_selected" not in clerk.get(url(Settlement)).content.decode()
    draft = make_settlement(make_store().pk)
    assert clerk.post(url(Settlement, "delete", draft.pk), {"post": "yes"}).status_code == 302
    assert list(Settlement.objects.all()) == [row]


def test_store_owners_see_their_own_settlements_and_approve_none(store):
    owner, other = store.owner, make_store(name="Seongsu")
    owner.is_staff = True
    owner.save()
    from django.contrib.auth.models import Permission

    for codename in ("view_settlement", "approve_settlement", "delete_settlement"):
        owner.user_permissions.add(Permission.objects.get(codename=codename))
    assert owner.role == Role.STORE_OWNER
    mine, theirs = make_settlement(store.pk), make_settlement(other.pk)
    desk = signed_in(owner)
    page = desk.get(url(Settlement))
    assert [row.pk for row in page.context["cl"].result_list] == [mine.pk]
    assert desk.get(url(Settlement, "change", mine.pk)).status_code == 200
    assert desk.get(url(Settlement, "change", theirs.pk)).status_code == 302
    assert desk.get(url(Settlement, "print", mine.pk)).status_code == 200
    assert desk.get(url(Settlement, "print", theirs.pk)).status_code == 302
    assert desk.post(url(Settlement, "approve", mine.pk)).status_code == 403
    assert desk.post(url(Settlement, "delete", mine.pk), {"post": "yes"}).status_code == 403
    exported = b"".join(desk.get(url(Settlement, "export", "csv")).streaming_content).decode()
    assert "Cheongdam" in exported
    assert "Seongsu" not in exported


def test_an_export_opens_in_a_spreadsheet_and_runs_nothing_there(store):
    sql("UPDATE shop_store SET name = %s WHERE id = %s", '=HYPERLINK("http://x")', store.pk)
    make_settlement(store.pk, gross=0, commission=-1_000, payable=1_000)
    response = staff(VIEW).get(url(Settlement, "export", "csv"))
    text = b"".join(response.streaming_content).decode("utf-8-sig")
    (told,) = csv.DictReader(StringIO(text))
    assert told["store_name"] == '\'=HYPERLINK("http://x")'
    assert (told["commission"], told["payable"], told["from"]) == ("-1000", "1000", "2000-01-01")
    assert response["Content-Type"].startswith("text/csv")


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1", "＝1"])
def test_a_text_that_would_be_a_formula_is_a_text(text):
    assert plain(text) == f"'{text}"


def test_plain_cells_stay_as_they_are():
    assert [plain(value) for value in ("Shirt", "1+1", -5, 7, "")] == ["Shirt", "1+1", -5, 7, ""]


def test_a_statement_is_printed_and_says_whether_it_may_change(draft, buyer):
    row = draft
    clerk = staff(VIEW)
    page = clerk.get(url(Settlement, "print", row.pk)).content.decode()
    assert "Draft: not approved" in page
    assert "9,000" in page
    assert "Commission, 10.00%" in page
    approve(row.pk, actor_id=buyer.pk)
    page = clerk.get(url(Settlement, "print", row.pk)).content.decode()
    assert "Approved on" in page
    assert "Draft" not in page
    assert staff().get(url(Settlement, "print", row.pk)).status_code == 403
