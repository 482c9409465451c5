"""What a periodic job fails with is set aside, told of and tried again; everybody else's turn comes."""

from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from inventory.models import Stock
from orders.drops import schedule
from orders.drops.schedule import run_due
from orders.drops.writing import outbox
from orders.lifecycle import expire_due
from orders.models import Drop, DropRelease, Order, Payment, Refund, Trouble
from orders.models.troubles import FIRST_RETRY, SET_ASIDE
from orders.payments.providers import PROVIDERS
from orders.payments.refunds import pay_out_due
from orders.payments.services import resolve_unanswered
from tests.support.corruption import sql
from tests.support.desk import text, url
from tests.support.drops import make_drop
from tests.support.factories import make_options, make_order, make_user, stock_of
from tests.support.locks import row_locked
from tests.support.orders import pay_by_card, status_of

pytestmark = pytest.mark.django_db(transaction=True)


def overdue(*orders):
    Order.objects.filter(pk__in=[order.pk for order in orders]).update(
        expires_at=timezone.now() - timedelta(seconds=1)
    )


def retry_now():
    Trouble.objects.update(retry_at=timezone.now())


def counted(job):
    return SET_ASIDE.labels(job)._value.get()


def test_a_hold_that_cannot_end_is_set_aside_and_all_others_end():
    options = make_options([10] * 6)
    orders = [make_order(make_user(), (option, 2)) for option in options for _ in range(3)]
    bad = orders[6:9]
    (stock_id,) = Stock.objects.filter(option=options[2]).values_list("id", flat=True)
    overdue(*orders)
    sql("UPDATE inventory_stock SET reserved = 0 WHERE id = %s", stock_id)
    before = counted("expire_holds")
    assert expire_due() == 15
    assert expire_due() is None  # set aside: neither due nor in the way
    assert [status_of(order) for order in orders] == ["expired"] * 6 + ["pending"] * 3 + ["expired"] * 9
    troubles = Trouble.objects.filter(job="expire_holds")
    assert {(t.order_id, t.subject, t.tries) for t in troubles} == {(o.pk, o.number, 1) for o in bad}
    assert all("does not fit the present" in t.reason for t in troubles)
    assert counted("expire_holds") - before == 3

    # Tried again, later and later, until it is mended.
    retry_now()
    assert expire_due() == 0
    trouble = Trouble.objects.get(order=bad[0])
    assert trouble.tries == 2
    assert FIRST_RETRY < trouble.retry_at - timezone.now() <= 2 * FIRST_RETRY
    sql("UPDATE inventory_stock SET reserved = 6 WHERE id = %s", stock_id)
    retry_now()
    assert expire_due() == 3
    assert not Trouble.objects.exists()
    assert [stock_of(option) for option in options] == [(10, 0)] * 6


@pytest.mark.mariadb
@pytest.mark.parametrize("what", ["stock", "order"])
def test_a_locked_row_keeps_only_its_own_holds(what):
    options = make_options([10] * 4)
    orders = [make_order(make_user(), (option, 1)) for option in options]
    overdue(*orders)
    table, row_id = {
        "stock": ("inventory_stock", Stock.objects.get(option=options[1]).pk),
        "order": ("orders_order", orders[1].pk),
    }[what]
    with row_locked(table, row_id):
        begun = timezone.now()
        assert expire_due() == 3
        assert timezone.now() - begun < timedelta(seconds=6)
        assert expire_due() is None
    assert [status_of(order) for order in orders] == ["expired", "pending", "expired", "expired"]
    assert Trouble.objects.get().order_id == orders[1].pk
    retry_now()
    assert expire_due() == 1
    assert not Trouble.objects.exists()


class Broken:
    """A provider that fails with some attempts and answers the others."""

    name = "broken"

    def __init__(self, *bad):
        self.bad = bad

    def lookup(self, *, reference, token):
        if token in self.bad:
            raise KeyError(reference)
        return PROVIDERS["sandbox"].lookup(reference=reference, token=token)

    def refund(self, *, reference, payment_reference, amount):
        if amount in self.bad:
            raise KeyError(reference)
        return True


def test_attempts_that_cannot_be_asked_about_do_not_fill_the_queue(monkeypatch):
    monkeypatch.setitem(PROVIDERS, "broken", Broken("tok-bad"))
    monkeypatch.setattr("orders.payments.services.RESOLVE_BATCH", 2)
    long_ago = timezone.now() - timedelta(minutes=10)
    orders = []
    for i, token in enumerate(["tok-bad", "tok-bad", "tok-ok"]):
        (option,) = make_options([5])
        order = make_order(make_user(address=True), (option, 1))
        Order.objects.filter(pk=order.pk).update(address1="Seoul")
        Payment.objects.create(
            order=order, provider="broken" if i else "nobody", reference=f"r{i}", amount=order.total,
            status="unknown", token=token, created_at=long_ago + timedelta(seconds=i),
        )  # fmt: skip
        orders.append(order)
    assert resolve_unanswered() == 0
    assert resolve_unanswered() == 1
    assert [status_of(order) for order in orders] == ["pending", "pending", "paid"]
    assert set(Trouble.objects.values_list("job", "subject")) == {
        ("unanswered_payments", "r0"), ("unanswered_payments", "r1"),
    }  # fmt: skip


def test_refunds_that_fail_do_not_fill_the_queue(monkeypatch):
    monkeypatch.setitem(PROVIDERS, "broken", Broken(1))
    monkeypatch.setattr("orders.payments.refunds.PAY_OUT_BATCH", 2)
    (option,) = make_options([5])
    order = make_order(make_user(), (option, 1))
    pay_by_card(order)
    Payment.objects.update(provider="broken")
    payment = Payment.objects.get()
    for i, amount in enumerate([1, 1, 7]):
        Refund.objects.create(payment=payment, reference=f"r{i}", amount=amount, reason="-")
    assert pay_out_due() == 0
    assert pay_out_due() == 1
    assert list(Refund.objects.filter(status="done").values_list("amount", flat=True)) == [7]
    assert Trouble.objects.filter(job="refunds", order=order).count() == 2


@pytest.mark.parametrize("units", ["not json", '[[1,"x"]]'])
def test_a_release_that_cannot_be_read_keeps_no_other_back(on_redis, units):
    first, second = make_options([10, 10])
    drop = make_drop((first, 5), (second, 5))
    for i, written in enumerate([units, f"[[{second.pk},1]]"]):
        DropRelease.objects.create(
            drop=drop, release_id=f"order-{i}", number=str(i), buyer_id=1, units=written, epoch=drop.epoch
        )
    assert outbox.deliver_due() == 1
    assert outbox.deliver_due() == 0
    assert Trouble.objects.get().subject == "order-0"


def test_one_drop_that_fails_stops_no_other(monkeypatch):
    (option,) = make_options([10])
    now = timezone.now()
    bad, good = (
        Drop.objects.create(name=name, lane="group_commit", limit_per_customer=1, opens_at=now)
        for name in ("bad", "good")
    )
    for drop in (bad, good):
        drop.items.create(option=option, price=1_000, allotted=2)
    open_drop = schedule.open_drop

    def failing(drop_id):
        if drop_id == bad.pk:
            raise KeyError("what nobody foresaw")
        open_drop(drop_id)

    monkeypatch.setattr(schedule, "open_drop", failing)
    assert run_due() == 1
    bad.refresh_from_db()
    good.refresh_from_db()
    assert (bad.status, good.status) == ("scheduled", "open")
    assert "what nobody foresaw" in bad.problem


def test_the_desk_shows_what_is_set_aside(desk, order):
    overdue(order)
    sql("UPDATE inventory_stock SET reserved = 0 WHERE reserved > 0")
    assert expire_due() == 0
    front = text(desk.get(reverse("admin:index")))
    assert f"ending a hold: {order.number}" in front
    listed = desk.get(url(Trouble))
    assert "does not fit the present" in text(listed)
    assert f'href="{url(Order, "change", order.pk)}"' in listed.content.decode()
    assert desk.get(url(Trouble), {"q": order.number}).context["cl"].result_count == 1
    assert desk.get(url(Trouble, "change", Trouble.objects.get().pk)).status_code == 200
