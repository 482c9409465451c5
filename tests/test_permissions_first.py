"""Who may not do a thing is told so before anybody looks at what they sent: on every endpoint of the API."""

from collections.abc import Iterator

import pytest
from django.urls import URLPattern, URLResolver, get_resolver

from shop.models import Role, Store
from tests.support.factories import make_options, make_order, make_store, make_user
from tests.support.problems import nothing_changes, problem
from tests.support.wire import Wire

pytestmark = pytest.mark.django_db

UNSAFE = ("post", "put", "patch", "delete")
# Open to everybody, or about nobody but the caller: whoever is signed in may.
PUBLIC = {("POST", "users/sign-up/"), ("POST", "users/sign-in/")}
OWN = {
    ("POST", "users/sign-out/"), ("PATCH", "users/me/"), ("DELETE", "users/me/"), ("POST", "orders/"),
}  # fmt: skip
# Who else is refused, and how.
REFUSED = {
    ("POST", "stores/"): (403, "not_a_store_owner"),
    ("POST", "products/"): (403, "not_your_store"),
    ("PATCH", "products/<int63:pk>/"): (403, "not_your_store"),
    ("POST", "options/<int63:pk>/receive/"): (403, "not_your_store"),
    ("POST", "orders/<str:number>/pay/"): (404, "not_found"),
    ("POST", "orders/<str:number>/cancel/"): (404, "not_found"),
    ("POST", "orders/<str:number>/return/"): (404, "not_found"),
}
WRONG = {"{": b"{", "another type": b"nonsense=1", "an unknown field": b'{"nonsense": 1}', "nothing": b""}


def endpoints(patterns=None, before="") -> Iterator[tuple[str, str]]:
    """Every (method, address below /api/v1/) that changes something."""
    for entry in get_resolver().url_patterns if patterns is None else patterns:
        address = before + str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from endpoints(entry.url_patterns, address)
        elif isinstance(entry, URLPattern) and address.startswith("api/v1/"):
            view = entry.callback.view_class
            methods = [method for method in UNSAFE if hasattr(view, method)]
            yield from ((method.upper(), address.removeprefix("api/v1/")) for method in methods)


@pytest.fixture
def address_of(buyer):
    """Fills an address in with a product and an order of somebody else."""
    (option,) = make_options([5])
    order = make_order(buyer, (option, 1))

    def fill(address):
        pk = option.pk if address.startswith("options/") else option.product_id
        return address.replace("<int63:pk>", str(pk)).replace("<str:number>", order.number)

    return fill


def refused(user, method, address, status, code):
    for name, raw in WRONG.items():
        content_type = "text/plain" if name == "another type" else "application/json"
        problem(Wire(user)(method, address, raw, content_type=content_type), status, code)


def test_every_endpoint_is_in_one_of_these_lists():
    assert sorted(endpoints()) == sorted([*PUBLIC, *OWN, *REFUSED])


@pytest.mark.parametrize("endpoint", sorted(OWN | REFUSED.keys()), ids=" ".join)
def test_a_stranger_is_told_to_sign_in(address_of, endpoint):
    method, address = endpoint
    with nothing_changes():
        refused(None, method, address_of(address), 401, "not_authenticated")


@pytest.mark.parametrize("endpoint", sorted(REFUSED), ids=" ".join)
def test_who_may_not_is_told_so_whatever_they_sent(address_of, endpoint):
    method, address = endpoint
    user = make_user()
    with nothing_changes():
        refused(user, method, address_of(address), *REFUSED[endpoint])


def test_an_owner_whose_stores_are_not_accepted_is_told_so_first():
    store = make_store(status=Store.Status.REJECTED)
    with nothing_changes():
        refused(store.owner, "POST", "products/", 403, "store_not_accepted")
    Store.objects.update(status=Store.Status.CLOSED)
    (option,) = make_options([1], store=store)
    with nothing_changes():
        refused(store.owner, "PATCH", f"products/{option.product_id}/", 403, "store_not_accepted")
        refused(store.owner, "POST", f"options/{option.pk}/receive/", 403, "store_not_accepted")


def test_an_owner_without_a_store_is_told_to_apply():
    answer = Wire(make_user(role=Role.STORE_OWNER)).post("products/", {})
    assert problem(answer, 403, "not_your_store")["detail"] == "You have no store yet: apply for one first."
