"""What the OpenAPI page says is what the API does."""

import re

import pytest
from django.contrib.staticfiles import finders
from rest_framework.renderers import BrowsableAPIRenderer

from orders.api import OrderDetailView, OrdersView
from orders.lifecycle import deliver_order, ship_order
from orders.models import Order
from shop.api import ProductDetailView, ProductsView
from shop.models import Role
from tests.support.described import Checked
from tests.support.factories import ADDRESS, PASSWORD, make_options, make_order, make_store, make_user
from tests.support.wire import Wire
from yousinsa.http.bodies import JSONRenderer

pytestmark = pytest.mark.django_db

CALLS = {
    ("/api/v1/users/sign-up/", "post"),
    ("/api/v1/users/sign-in/", "post"),
    ("/api/v1/users/sign-out/", "post"),
    ("/api/v1/users/me/", "get"),
    ("/api/v1/users/me/", "patch"),
    ("/api/v1/users/me/", "delete"),
    ("/api/v1/stores/", "get"),
    ("/api/v1/stores/", "post"),
    ("/api/v1/products/", "get"),
    ("/api/v1/products/", "post"),
    ("/api/v1/products/{id}/", "get"),
    ("/api/v1/products/{id}/", "patch"),
    ("/api/v1/options/{id}/receive/", "post"),
    ("/api/v1/ping/", "get"),
    ("/api/v1/orders/", "get"),
    ("/api/v1/orders/", "post"),
    ("/api/v1/orders/{number}/", "get"),
    ("/api/v1/orders/{number}/pay/", "post"),
    ("/api/v1/orders/{number}/cancel/", "post"),
    ("/api/v1/orders/{number}/return/", "post"),
    ("/api/v1/drops/", "get"),
    ("/api/v1/drops/{id}/", "get"),
}
PUBLIC = {
    ("/api/v1/users/sign-up/", "post"),
    ("/api/v1/users/sign-in/", "post"),
    ("/api/v1/products/", "get"),
    ("/api/v1/products/{id}/", "get"),
    ("/api/v1/drops/", "get"),
    ("/api/v1/drops/{id}/", "get"),
}


def test_it_is_valid_and_made_without_a_warning(schema):
    assert schema["openapi"].startswith("3.1")


def test_every_call_of_the_contract_is_described(schema):
    described = {(path, method) for path, methods in schema["paths"].items() for method in methods}
    assert described >= CALLS


def test_every_call_says_who_may_make_it(schema):
    for path, method in CALLS:
        security = schema["paths"][path][method].get("security")
        if (path, method) in PUBLIC:
            assert not security, path
        else:
            assert {"bearer": []} in security, path


def test_every_call_has_a_summary_and_no_word_for_its_developers(schema):
    for methods in schema["paths"].values():
        for operation in methods.values():
            assert operation["summary"]
            assert "description" not in operation


def test_every_refusal_is_described_as_a_problem(schema):
    for path, method in CALLS:
        for status, response in schema["paths"][path][method]["responses"].items():
            if status[0] in "45":
                assert set(response["content"]) == {"application/problem+json"}, (path, status)


# --- What comes back is what was described ------------------------------------------------------------------


def test_a_whole_shopping_trip_is_described(schema, settings):
    stranger = Checked(schema)
    account = {"email": "minji@example.com", "name": "Kim Minji", "password": PASSWORD}
    stranger.post("users/sign-up/", account)
    stranger.post("users/sign-up/", account)
    stranger.post("users/sign-up/", {})
    token = stranger.post("users/sign-in/", {"email": account["email"], "password": PASSWORD}).json()["token"]
    stranger.post("users/sign-in/", {"email": account["email"], "password": "wrong"})
    minji = Checked(schema)
    minji.headers = {"Authorization": f"Bearer {token}"}
    for method, path in (("GET", "users/me/"), ("GET", "orders/"), ("GET", "ping/"), ("POST", "orders/")):
        stranger(method, path)
    minji.get("users/me/")
    minji.patch("users/me/", {"address": ADDRESS})
    minji.patch("users/me/", {"name": ""})
    minji.post("stores/", {"name": "A"})
    for query in ("", "?page_size=1", "?page_size=0"):
        for path in ("products/", "stores/", "orders/"):
            minji.get(f"{path}{query}")

    options = make_options([5, 0], price=1_000)
    body = {"lines": [{"option": options[0].pk, "quantity": 2}]}
    number = minji.post("orders/", body, Idempotency_Key="k").json()["number"]
    minji.post("orders/", body, Idempotency_Key="k")
    minji.post("orders/", {"lines": [{"option": options[0].pk, "quantity": 1}]}, Idempotency_Key="k")
    minji.post("orders/", {"lines": [{"option": options[1].pk, "quantity": 1}]})
    minji.post("orders/", {"lines": [{"option": 987654321, "quantity": 1}]})
    minji.get("products/")
    minji.get(f"products/{options[0].product_id}/")
    minji.get("products/987654321/")
    minji.patch(f"products/{options[0].product_id}/", {"price": 1})

    minji.get(f"orders/{number}/")
    minji.get("orders/nonsense/")
    for token in ("decline", "ok", "ok"):
        minji.post(f"orders/{number}/pay/", {"provider": "sandbox", "token": token})
    minji.post(f"orders/{number}/pay/", {})
    minji.post(f"orders/{number}/return/", {})
    order = Order.objects.get(number=number)
    ship_order(order_id=order.pk, carrier="CJ", tracking_number="1", actor_id=None)
    deliver_order(order_id=order.pk, actor_id=None)
    minji.post(f"orders/{number}/cancel/", {})
    minji.post(f"orders/{number}/return/", {"lines": [{"option": options[0].pk, "quantity": 1}]})
    minji.get("orders/")
    other = minji.post("orders/", body).json()["number"]
    minji.post(f"orders/{other}/pay/", {"provider": "sandbox", "token": "timeout"})
    minji.post(f"orders/{other}/cancel/", {"x": 1})
    minji.post(f"orders/{other}/cancel/", {})
    settings.ORDER_RATE = "1/h"
    minji.post("orders/", {})
    minji.post("orders/", {})
    minji.post("users/sign-out/")
    minji("DELETE", "users/me/", {"password": PASSWORD})


def test_the_owners_side_is_described(schema):
    owner = make_user(role=Role.STORE_OWNER)
    wire = Checked(schema, owner)
    wire.post("stores/", {"name": "A"})
    wire.post("stores/", {"name": "A"})
    wire.post("stores/", {})
    wire.get("stores/")
    store, closed = make_store(owner=owner), make_store(owner=owner, status="closed")
    body = {
        "store": store.pk,
        "name": "Shirt",
        "category": "top",
        "price": 1,
        "options": [{"sku": "A", "stock": 1}],
    }
    product = wire.post("products/", body).json()["id"]
    wire.post("products/", body)
    wire.post("products/", {**body, "store": closed.pk})
    wire.post("products/", {})
    wire.post("products/", b"x" * 1_100_000)
    wire("POST", "products/", b"x")
    wire.patch(f"products/{product}/", {"name": "Blouse"})
    wire.patch(f"products/{product}/", {"stock": 1})
    wire.patch("products/987654321/", {"price": 1})
    assert Wire(owner).get("products/").json()["results"][0]["name"] == "Blouse"


def test_what_a_body_may_be_is_what_is_described(schema):
    """The struct that decodes and the schema that describes are one: spot checks of both ends."""
    components = schema["components"]["schemas"]
    order = components["NewOrderRequest"]
    assert (order["additionalProperties"], order["required"]) == (False, ["lines"])
    assert (order["properties"]["lines"]["minItems"], order["properties"]["lines"]["maxItems"]) == (1, 100)
    assert components["LineBody"]["properties"]["quantity"] == {
        "type": "integer",
        "minimum": 1,
        "maximum": 1_000_000,
    }
    assert components["NewProductRequest"]["properties"]["options"]["maxItems"] == 200
    assert "stock" not in components["OptionChange"]["properties"]
    described = schema["paths"]["/api/v1/products/"]["get"]["parameters"]
    parameters = {p["name"]: p["schema"] for p in described if p["in"] == "query"}
    filters = {"category", "store", "search", "min_price", "max_price", "in_stock"}
    assert set(parameters) == filters | {"ordering", "cursor", "page_size"}
    assert parameters["page_size"]["maximum"] == 100


# --- The pages --------------------------------------------------------------------------------------------


def test_the_docs_work_without_the_internet():
    page = Wire().get("/api/docs/", Accept="text/html")
    assert page.status_code == 200
    html = page.content.decode()
    assert "//" not in re.sub(r"(?m)^\s*//.*$", "", html), "something is fetched from elsewhere"
    assets = re.findall(r'(?:src|href)="([^"]+)"', html)
    assert len(assets) >= 3
    for asset in set(assets) - {"/api/docs/?script="}:  # the page's own script
        assert asset.startswith("/static/"), asset
        assert finders.find(asset.removeprefix("/static/")), asset
    script = Wire().get("/api/docs/?script=", Accept="text/html").content.decode()
    assert "/api/schema/" in script


@pytest.mark.parametrize(
    ("query", "accept", "media_type"),
    [
        ("", "*/*", "application/vnd.oai.openapi"),
        ("?format=json", "*/*", "application/vnd.oai.openapi+json"),
        ("", "application/json", "application/json"),
        ("?format=nonsense", "*/*", "application/vnd.oai.openapi"),
        ("", "text/html", "application/vnd.oai.openapi"),
        ("?lang=ko&version=x", "*/*", "application/vnd.oai.openapi"),
        ("?lang=%00%ff", "*/*", "application/vnd.oai.openapi"),
    ],
)
def test_the_schema_comes_in_both_forms_whatever_is_asked(query, accept, media_type):
    answer = Wire().get(f"/api/schema/{query}", Accept=accept)
    assert answer.status_code == 200
    assert answer["Content-Type"].partition(";")[0] == media_type
    if media_type.endswith("json"):
        assert answer.json()["info"]["title"] == "YOUSINSA"


def test_the_front_page_leads_to_the_docs():
    answer = Wire().get("/")
    assert (answer.status_code, answer["Location"]) == (302, "/api/docs/")


def test_a_person_sees_a_sentence_where_there_is_no_page():
    page = Wire().get("/nothing/here/", Accept="text/html")
    assert (page.status_code, page["Content-Type"]) == (404, "text/html; charset=utf-8")
    assert b"There is nothing here." in page.content


def test_in_production_nobody_gets_html_from_the_api(buyer):
    for path in ("products/", "orders/", "users/me/"):
        assert Wire(buyer).get(path, Accept="text/html")["Content-Type"] == "application/json"


def test_in_development_a_browser_does(buyer, monkeypatch):
    order = make_order(buyer, (make_options([1])[0], 1))
    for view in (ProductsView, ProductDetailView, OrdersView, OrderDetailView):
        monkeypatch.setattr(view, "renderer_classes", [JSONRenderer, BrowsableAPIRenderer])
    for path in (
        "products/",
        f"products/{order.lines.get().option.product_id}/",
        "orders/",
        f"orders/{order.number}/",
    ):
        page = Wire(buyer).get(path, Accept="text/html")
        assert (page.status_code, page["Content-Type"]) == (200, "text/html; charset=utf-8")
        assert Wire(buyer).get(path)["Content-Type"] == "application/json"
