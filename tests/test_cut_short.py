"""A body that did not arrive whole is no wish: nothing is done, whatever its beginning would have said."""

import json

import pytest

from orders.models import Status
from shop.models import Store
from tests.support.factories import ADDRESS, make_order, make_store
from tests.support.orders import make_order_at
from tests.support.problems import nothing_changes, problem
from tests.support.wire import Wire
from yousinsa.errors import CutShort

pytestmark = pytest.mark.django_db

FORM = "application/x-www-form-urlencoded"


class Broken:
    """What a chunked body is read from when its client went away: nothing, and an error."""

    def read(self, size=-1):
        raise OSError("the client went away")

    readline = read


@pytest.mark.parametrize("arrived", [b"", b"{", b"{}", b'{"lines": null}'])
def test_a_return_that_was_cut_off_returns_nothing(buyer, option, arrived):
    order = make_order_at(Status.DELIVERED, buyer, (option, 2))
    with nothing_changes():
        for length in (len(arrived) + 1, 80):
            answer = Wire(buyer)("POST", f"orders/{order.number}/return/", arrived, length=length)
            problem(answer, 400, "malformed_body")
    whole = Wire(buyer).post(f"orders/{order.number}/return/", {})
    assert whole.json()["status"] == "returned"


def test_what_arrived_whole_but_is_announced_longer_is_done_nowhere(buyer, option):
    order, store = make_order(buyer, (option, 1)), make_store()
    product = f"products/{option.product_id}/"
    shown = {"provider": "sandbox", "token": "tok-approve", "shipping": ADDRESS}
    calls = [
        ("POST", f"orders/{order.number}/cancel/", {}, buyer),
        ("POST", f"orders/{order.number}/pay/", shown, buyer),
        ("POST", "orders/", {"lines": [{"option": option.pk, "quantity": 1}]}, buyer),
        ("PATCH", "users/me/", {"address": None}, buyer),
        ("POST", "stores/", {"name": "One more"}, store.owner),
        ("PATCH", product, {"price": 1}, option.product.store.owner),
        ("POST", "users/sign-up/", {"email": "n@example.com", "name": "N", "password": "g00d-enough"}, None),
    ]
    for method, path, body, who in calls:
        raw = json.dumps(body).encode()
        with nothing_changes():
            problem(Wire(who)(method, path, raw, length=len(raw) + 1), 400, "malformed_body")


def test_a_chunked_body_that_broke_off_is_no_body_at_all(buyer, option):
    order = make_order_at(Status.DELIVERED, buyer, (option, 2))
    with nothing_changes():
        answer = Wire(buyer)("POST", f"orders/{order.number}/return/", Broken(), Transfer_Encoding="chunked")
    assert problem(answer, 400, "malformed_body")["title"] == str(CutShort.title)


def test_half_of_a_desk_form_is_no_form(desk):
    """With the CSRF token in a header the view itself would have read what is left of the form."""
    store = make_store(status=Store.Status.REQUESTED)
    desk.handler.enforce_csrf_checks = True
    desk.get("/admin/")
    cookies = "; ".join(f"{name}={morsel.value}" for name, morsel in desk.cookies.items())
    raw = b"action=accept&_selected_action=%d" % store.pk
    with nothing_changes():
        answer = Wire()(
            "POST", "/admin/shop/store/", raw, content_type=FORM, length=len(raw) + 20, Cookie=cookies,
            X_CSRFToken=desk.cookies["csrftoken"].value if "csrftoken" in desk.cookies else "",
        )  # fmt: skip
    assert answer.status_code == 400
