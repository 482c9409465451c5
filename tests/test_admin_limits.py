"""What the desk says when something is too much, away, too old or too long idle."""

import time
from typing import Any

import pytest
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import CommandError, SystemCheckError
from django.db import OperationalError, connection
from django.test import Client
from django.urls import reverse
from django.utils.translation import override

from inventory import ledger
from inventory.models import Movement
from orders.lifecycle import cancel_order
from orders.models import Order, Refund
from orders.models.drops import Drop
from orders.payments.services import confirm_transfer
from shop.desk.access import idle, second_factor
from shop.models import MAX_OPTIONS, Product
from tests.support.desk import act, product_form, said, signed_in, text, url
from tests.support.factories import PASSWORD, make_category, make_options, make_order, make_store, make_user
from yousinsa.db.checks import check_charset
from yousinsa.language import recorded

pytestmark = pytest.mark.django_db


def test_a_product_with_as_many_options_as_there_may_be_is_made_in_one_go(desk):
    product = Product(name="Coat", store=make_store(), category=make_category(), price=1)
    options = [(f"COAT-{i}", str(i), "") for i in range(MAX_OPTIONS)]
    form = product_form(product, *options)
    for i in range(MAX_OPTIONS):
        form |= {f"options-{i}-id": "", f"options-{i}-product": "", f"options-{i}-DELETE": ""}
    assert len(form) > 1000
    assert desk.post(url(Product, "add"), form).status_code == 302
    assert Product.objects.get().options.count() == MAX_OPTIONS


def test_a_form_that_is_too_large_is_refused_on_a_page(desk, settings):
    settings.DATA_UPLOAD_MAX_NUMBER_FIELDS = 10
    page = desk.post(url(Product, "add"), {f"field-{i}": "x" for i in range(20)})
    assert page.status_code == 413
    assert "text/html" in page["Content-Type"]
    assert "The body is too large." in text(page)


def test_a_page_of_the_desk_without_a_database_is_a_503_with_the_desks_face(desk, monkeypatch):
    desk.raise_request_exception = False
    away = OperationalError(2003, "away") if connection.vendor == "mysql" else OperationalError("locked")

    def fail(*args: Any, **kwargs: Any) -> Any:
        raise away

    monkeypatch.setattr("django.contrib.sessions.backends.base.SessionBase._get_session", fail)
    monkeypatch.setattr("django.contrib.sessions.backends.base.SessionBase._session", property(fail))
    page = desk.get(url(Order))
    assert page.status_code == 503
    assert page["Retry-After"]
    assert "operators' desk" in text(page)
    assert 'href="/admin/"' in page.content.decode()


def test_the_ends_of_the_calendar_are_refused_in_words(desk):
    (option,) = make_options([5])
    form = {
        "name": "Air", "lane": "group_commit", "limit_per_customer": 1, "admission_rate": "",
        "items-TOTAL_FORMS": 1, "items-INITIAL_FORMS": 0, "items-0-option": option.pk, "items-0-price": 1,
        "items-0-allotted": 1,
    }  # fmt: skip
    for year in ("0001", "9999"):
        dates = {"opens_at_0": f"{year}-01-01", "opens_at_1": "00:00:00"}
        dates |= {"closes_at_0": f"{year}-12-31", "closes_at_1": "23:59:59"}
        page = desk.post(url(Drop, "add"), form | dates)
        assert page.status_code == 200
        assert page.context["adminform"].form.errors["opens_at"]
    for day in ("0001-01-01", "9999-12-31"):
        with pytest.raises(CommandError, match="in the years"):
            call_command("reconcile_stock", f"--since={day}")


def test_a_price_beyond_any_bound_is_refused_at_its_field(desk):
    (option,) = make_options([5])
    for price in ("1e20", "9" * 30, "-1"):
        page = desk.post(url(Product, "change", option.product_id), product_form(option.product, price=price))
        assert page.context["adminform"].form.errors["price"]


def test_a_reason_that_somebody_typed_is_shown_as_they_typed_it():
    (option,) = make_options([5])
    ledger.adjust(option_id=option.pk, delta=-1, reason="returned", actor_id=None)
    with override("ko"):
        assert recorded(Movement.objects.latest("id").reason) == "returned"
        assert recorded("damaged: returned").endswith("returned")
        assert recorded("hold expired") != "hold expired"


IS_SQLITE = settings.DATABASES["default"]["ENGINE"].endswith("sqlite3")


@pytest.mark.skipif(IS_SQLITE, reason="SQLite keeps every letter")
def test_a_database_that_loses_letters_is_told_of():
    assert check_charset(None, ["default"]) == []
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE old_letters (word VARCHAR(10)) CHARACTER SET latin1")
    try:
        (found,) = check_charset(None, ["default"])
        assert "the table old_letters as latin1" in found.msg
        with pytest.raises(SystemCheckError):
            call_command("check", databases=["default"])
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP TABLE old_letters")


# --- Signing in ------------------------------------------------------------------------------------------


def test_a_session_ends_after_half_a_day_without_use(operator):
    client = signed_in(operator)
    assert client.get(reverse("admin:index")).status_code == 200
    _age(client, idle.IDLE.total_seconds() - 60)
    assert client.get(reverse("admin:index")).status_code == 200
    assert time.time() - client.session[idle.SEEN] < 60
    _age(client, idle.IDLE.total_seconds() + 60)
    assert client.get(reverse("admin:index")).status_code == 302
    assert "_auth_user_id" not in client.session


def _age(client: Client, seconds: float) -> None:
    session = client.session
    session[idle.SEEN] = int(time.time() - seconds)
    session.save()


def test_a_session_that_was_left_open_is_not_enough_to_set_up_a_second_factor():
    user = make_user("clerk@example.com", staff=True, password=PASSWORD)
    client = signed_in(user)
    client.get(reverse("admin:second_factor"))
    for password in ("", "guessed"):
        form = {"do": "confirm", "code": "123456", "password": password}
        page = client.post(reverse("admin:second_factor"), form)
        assert page.context["form"].errors["password"]
    assert not second_factor.is_enrolled(user)


# --- Four eyes -------------------------------------------------------------------------------------------


def test_who_decided_a_refund_does_not_pay_it_out(settings):
    settings.FOUR_EYES = "1"
    one, other = make_user("one@example.com", staff=True), make_user("other@example.com", staff=True)
    (option,) = make_options([5])
    order = make_order(make_user(address=True), (option, 1))
    confirm_transfer(order_id=order.pk, actor_id=one.pk)
    cancel_order(order_id=order.pk, actor_id=one.pk)
    refund = Refund.objects.get()
    assert "ask somebody else" in said(act(signed_in(one), "paid-out", refund))[0]
    assert Refund.objects.get().status == Refund.Status.DUE
    assert said(act(signed_in(other), "paid-out", refund)) == ["1 refund marked as paid out."]


def test_nobody_confirms_that_their_own_order_was_paid(settings):
    settings.FOUR_EYES = "1"
    buyer = make_user("clerk@example.com", staff=True, address=True)
    other = make_user("other@example.com", staff=True)
    (option,) = make_options([5])
    order = make_order(buyer, (option, 1))
    address = url(Order, "confirm-payment", order.pk)
    assert "ask somebody else" in text(signed_in(buyer).post(address))
    assert said(signed_in(other).post(address, follow=True)) == [f"{order.number}: paid."]
