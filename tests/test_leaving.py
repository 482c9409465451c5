"""Who leaves takes the personal data along; orders, payments and stores end well without them."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from orders.changes import locking
from orders.lifecycle import cancel_order, deliver_order, expire_due, ship_order
from orders.lifecycle.cancelling import Cancel
from orders.models import Order, Status
from orders.payments.services import resolve_unanswered
from shop import services
from shop.models import Store, User
from tests.support.factories import ADDRESS, PASSWORD, make_options, make_order, make_store, make_user
from tests.support.locks import until_somebody_waits
from tests.support.orders import make_order_at, uncommitted
from tests.support.problems import problem
from tests.support.races import take_row_locks_away
from tests.support.wire import Wire
from yousinsa.errors import Unauthenticated

pytestmark = pytest.mark.django_db

NEW = {"email": "minji@example.com", "name": "Kim Minji", "password": PASSWORD}


def sign_in(email, password=PASSWORD, **headers):
    return Wire().post("users/sign-in/", {"email": email, "password": password}, **headers)


def leave(user):
    """Withdraw, by the password that they know."""
    user.set_password(PASSWORD)
    User.objects.filter(pk=user.pk).update(password=user.password)
    return Wire(user)("DELETE", "users/me/", {"password": PASSWORD})


@pytest.fixture
def leaver():
    return make_user("minji@example.com", password=PASSWORD, address=True)


def shipping(order):
    return Order.objects.values_list(*ADDRESS).get(pk=order.pk)


NOTHING = ("", "", "", "", "")


@pytest.mark.django_db(transaction=True)
def test_leaving_removes_the_person_and_keeps_the_orders(leaver):
    (option,) = make_options([10])
    open_one, done = make_order_at("paid", leaver, (option, 1)), make_order_at("paid", leaver, (option, 1))
    ship_order(order_id=done.pk, carrier="CJ", tracking_number="1", actor_id=None)
    deliver_order(order_id=done.pk, actor_id=None)
    wire = Wire(leaver)
    assert wire("DELETE", "users/me/", {"password": PASSWORD}).status_code == 204

    user = User.objects.get(pk=leaver.pk)
    personal = (user.name, user.recipient, user.phone, user.postal_code, user.address1, user.address2)
    assert personal == ("",) * 6
    assert "minji" not in user.email
    assert not user.is_active
    assert not user.has_usable_password()
    problem(wire.get("orders/"), 401, "not_authenticated")
    problem(sign_in("minji@example.com"), 401, "wrong_credentials")
    problem(sign_in(user.email), 401, "wrong_credentials")

    assert Order.objects.filter(buyer=user).count() == 2
    assert shipping(done) == NOTHING
    # What is under way still has to arrive.
    assert shipping(open_one) == tuple(ADDRESS.values())
    ship_order(order_id=open_one.pk, carrier="CJ", tracking_number="2", actor_id=None)
    assert shipping(open_one) == tuple(ADDRESS.values())
    deliver_order(order_id=open_one.pk, actor_id=None)
    assert shipping(open_one) == NOTHING

    again = Wire().post("users/sign-up/", NEW)
    assert again.status_code == 201
    assert again.json()["id"] != user.pk


def test_an_open_order_forgets_its_address_however_it_ends(leaver, settings):
    settings.ORDER_HOLD_MINUTES = settings.TRANSFER_HOLD_HOURS = 0
    (option,) = make_options([10])
    cancelled, expired = make_order(leaver, (option, 1)), make_order(leaver, (option, 1))
    for order in (cancelled, expired):
        body = {"provider": "manual"}
        assert Wire(leaver).post(f"orders/{order.number}/pay/", body).status_code == 200
    assert leave(leaver).status_code == 204
    assert shipping(expired) == tuple(ADDRESS.values())
    cancel_order(order_id=cancelled.pk, actor_id=None)
    assert expire_due() == 1
    assert shipping(cancelled) == shipping(expired) == NOTHING


def leave_while_an_order_ends(leaver, *, waits):
    """Where an order is shipped to that is cancelled in the moment in which its buyer leaves."""
    order = make_order_at("paid", leaver, (make_options([10])[0], 1))
    with ThreadPoolExecutor(1) as pool:
        with uncommitted(Cancel(order_id=order.pk)):
            left = pool.submit(lambda: leave(leaver).status_code)
            if waits:
                until_somebody_waits()
            else:
                left.result(timeout=60)
        assert left.result() == 204
    return shipping(order)


@pytest.mark.mariadb
@pytest.mark.django_db(transaction=True)
def test_an_order_that_ends_in_the_moment_of_leaving_forgets_its_address(leaver):
    assert leave_while_an_order_ends(leaver, waits=True) == NOTHING


@pytest.mark.mariadb
@pytest.mark.django_db(transaction=True)
def test_control_without_the_lock_the_address_stays(leaver, monkeypatch):
    take_row_locks_away(monkeypatch, Order)
    monkeypatch.setattr(locking, "SHARED", "")  # nor the account's, for what refers to it
    assert leave_while_an_order_ends(leaver, waits=False) != NOTHING


def test_a_payment_that_comes_after_the_buyer_left_goes_back(leaver, settings):
    settings.ORDER_HOLD_MINUTES = 0
    (option,) = make_options([10])
    order = make_order(leaver, (option, 1))
    body = {"provider": "sandbox", "token": "timeout-charged"}
    problem(Wire(leaver).post(f"orders/{order.number}/pay/", body), 503, "payment_unknown")
    assert leave(leaver).status_code == 204
    assert expire_due() == 1
    order.payments.update(created_at=order.created_at.replace(year=2020))
    assert resolve_unanswered() == 1
    order.refresh_from_db()
    assert (order.status, shipping(order)) == (Status.EXPIRED, NOTHING)
    assert [refund.amount for refund in order.payments.get().refunds.all()] == [order.total]


def test_a_store_owner_who_leaves_closes_the_stores():
    store = make_store()
    (option,) = make_options([3], store=store)
    assert leave(store.owner).status_code == 204
    assert Store.objects.get().status == Store.Status.CLOSED
    assert Wire().get("products/").json()["results"] == []
    problem(Wire().get(f"products/{option.product_id}/"), 404, "not_found")


def test_nobody_can_sit_on_the_address_that_a_leaver_gets(leaver):
    make_user(f"withdrawn-{leaver.pk}@withdrawn.invalid")
    assert leave(leaver).status_code == 204


def test_a_change_that_was_under_way_when_the_user_left_brings_nothing_back(leaver):
    stale = User.objects.get(pk=leaver.pk)
    services.withdraw(user=leaver)
    with pytest.raises(Unauthenticated):
        services.update_profile(user=stale, changes={"name": "Kim Minji"})
    assert User.objects.get().name == ""
