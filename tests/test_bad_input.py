"""Bad input ends in a 4xx that names the field, and changes nothing."""

from base64 import urlsafe_b64encode

import pytest

from orders.models import MAX_LINES, MAX_QUANTITY
from shop.models import MAX_OPTIONS, MAX_PRICE, Role, Store
from tests.support.desk import signed_in
from tests.support.factories import ADDRESS, make_options, make_order, make_store, make_user
from tests.support.problems import nothing_changes, problem
from tests.support.wire import JSON, Wire

pytestmark = pytest.mark.django_db

HUGE = 10**12
BEYOND = 2**63


def line(option, quantity):
    return {"option": option.pk, "quantity": quantity}


def order_body(option, quantity: str) -> bytes:
    """An order whose quantity is this JSON text."""
    return b'{"lines":[{"option":%d,"quantity":%s}]}' % (option.pk, quantity.encode())


# --- Orders ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "quantity",
    ["0", "-1", "1.5", "1e0", str(HUGE), str(MAX_QUANTITY + 1), str(BEYOND), "1" + "0" * 5000, '"1"', "true",
     "null", "[1]", "{}", '""'],
)  # fmt: skip
def test_a_quantity_that_is_no_whole_number_in_range_is_named(buyer, option, quantity):
    with nothing_changes():
        answer = Wire(buyer).post("orders/", order_body(option, quantity))
    problem(answer, 400, "invalid", "lines.0.quantity")


@pytest.mark.parametrize("quantity", ["NaN", "Infinity", "-Infinity", "01", "+1", "1_0", ".5", "1."])
def test_a_quantity_that_json_does_not_know_is_malformed(buyer, option, quantity):
    with nothing_changes():
        answer = Wire(buyer).post("orders/", order_body(option, quantity))
    problem(answer, 400, "malformed_body")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "lines"),
        ({"lines": []}, "lines"),
        ({"lines": {}}, "lines"),
        ({"lines": None}, "lines"),
        ({"lines": [1]}, "lines.0"),
        ({"lines": [[]]}, "lines.0"),
        ({"lines": [{}]}, "lines.0.option"),
        ({"lines": [{"option": 1}]}, "lines.0.quantity"),
        ({"lines": [{"quantity": 1}]}, "lines.0.option"),
        ({"lines": [{"option": "1", "quantity": 1}]}, "lines.0.option"),
        ({"lines": [{"option": 0, "quantity": 1}]}, "lines.0.option"),
        ({"lines": [{"option": -1, "quantity": 1}]}, "lines.0.option"),
        ({"lines": [{"option": BEYOND, "quantity": 1}]}, "lines.0.option"),
        ({"lines": [{"option": 10**30, "quantity": 1}]}, "lines.0.option"),
        ({"lines": [{"option": 1.5, "quantity": 1}]}, "lines.0.option"),
        ({"lines": [{"option": True, "quantity": 1}]}, "lines.0.option"),
        ({"lines": [{"option": 1, "quantity": 1, "price": 1}]}, "lines.0.price"),
        ({"lines": [{"option": 1, "quantity": 1}, {"option": 1, "quantity": 0}]}, "lines.1.quantity"),
        ({"lines": [{"option": 1, "quantity": 1}], "coupon": "x"}, "coupon"),
        ({"lines": [{"option": 1, "quantity": 1}], "status": "paid"}, "status"),
        ({"lines": [{"option": 1, "quantity": 1}] * (MAX_LINES + 1)}, "lines"),
        ([], "body"),
        (None, "body"),
        (1, "body"),
        ("lines", "body"),
    ],
)
def test_an_order_of_another_shape_is_refused_by_field(buyer, body, field):
    with nothing_changes():
        answer = Wire(buyer).post("orders/", body)
    problem(answer, 400, "invalid", field)


def test_more_units_of_one_option_than_a_line_holds_are_refused_however_they_are_split(buyer):
    (option,) = make_options([3 * MAX_QUANTITY])
    lines = [line(option, MAX_QUANTITY), line(option, 1)]
    with nothing_changes():
        problem(Wire(buyer).post("orders/", {"lines": lines}), 400, "invalid", "lines.1.quantity")
    assert Wire(buyer).post("orders/", {"lines": lines[:1]}).status_code == 201


def test_a_hundred_lines_are_fine(buyer):
    options = make_options([1] * MAX_LINES)
    answer = Wire(buyer).post("orders/", {"lines": [line(option, 1) for option in options]})
    assert answer.status_code == 201, answer.content


@pytest.mark.parametrize("missing", [1, BEYOND - 1])
def test_an_unknown_option_is_named(buyer, option, missing):
    missing = max(missing, option.pk + 1)
    with nothing_changes():
        answer = Wire(buyer).post("orders/", {"lines": [line(option, 1), {"option": missing, "quantity": 1}]})
    body = problem(answer, 400, "unknown_option")
    assert str(missing) in body["errors"][0]["message"]


@pytest.mark.parametrize("status", [Store.Status.REQUESTED, Store.Status.REJECTED, Store.Status.CLOSED])
def test_an_option_of_a_store_that_is_not_accepted_is_not_on_sale(buyer, status):
    (option,) = make_options([5])
    Store.objects.update(status=status)
    with nothing_changes():
        problem(Wire(buyer).post("orders/", {"lines": [line(option, 1)]}), 400, "unknown_option")


@pytest.mark.parametrize(
    "key", ["", " ", "a b", "k" * 256, "k\t", "\u00e9", "\x7f", "k\x00", "\u00f0\u009f\u0098\u0080"]
)
def test_an_idempotency_key_of_another_form_is_named(buyer, option, key):
    with nothing_changes():
        answer = Wire(buyer).post("orders/", order_body(option, "1"), Idempotency_Key=key)
    problem(answer, 400, "invalid", "Idempotency-Key")


def test_a_key_of_255_characters_is_fine(buyer, option):
    key = "!" + "~" * 254
    answers = [Wire(buyer).post("orders/", order_body(option, "1"), Idempotency_Key=key) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[1]["Idempotent-Replayed"] == "true"


@pytest.mark.parametrize("action", ["pay", "cancel", "return"])
def test_another_buyers_order_and_no_order_look_alike(buyer, option, action):
    order = make_order(buyer, (option, 1))
    stranger = Wire(make_user())
    body = {"provider": "sandbox", "shipping": ADDRESS} if action == "pay" else {}
    with nothing_changes():
        for number in (
            order.number,
            "nonsense",
            order.number.lower(),
            f"{order.number}%20",
            "%00",
            "x" * 3000,
        ):
            problem(stranger.post(f"orders/{number}/{action}/", body), 404, "not_found")
            problem(stranger.get(f"orders/{number}/"), 404, "not_found")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "provider"),
        ({"provider": "gold"}, "provider"),
        ({"provider": None}, "provider"),
        ({"provider": "x" * 21}, "provider"),
        ({"provider": "sandbox", "token": 1}, "token"),
        ({"provider": "sandbox", "token": "x" * 101}, "token"),
        ({"provider": "sandbox", "token": "\x00"}, "token"),
        ({"provider": "sandbox", "amount": 1}, "amount"),
        ({"provider": "sandbox", "shipping": {}}, "shipping.recipient"),
        ({"provider": "sandbox", "shipping": []}, "shipping"),
        ({"provider": "sandbox", "shipping": {**ADDRESS, "address1": " \n"}}, "shipping.address1"),
        ({"provider": "sandbox", "shipping": {**ADDRESS, "phone": "\x00"}}, "shipping.phone"),
        ({"provider": "sandbox", "shipping": {**ADDRESS, "postal_code": "1" * 11}}, "shipping.postal_code"),
        ({"provider": "sandbox", "shipping": {**ADDRESS, "country": "KR"}}, "shipping.country"),
    ],
)
def test_a_payment_of_another_shape_is_refused_by_field(buyer, option, body, field):
    order = make_order(buyer, (option, 1))
    with nothing_changes():
        answer = Wire(buyer).post(f"orders/{order.number}/pay/", body)
    problem(answer, 400, "invalid", field)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"lines": []}, "lines"),
        ({"lines": [{"option": 1, "quantity": 0}]}, "lines.0.quantity"),
        ({"lines": [{"option": 1, "quantity": MAX_QUANTITY}] * 2}, "lines.1.quantity"),
        ({"reason": "too small"}, "reason"),
    ],
)
def test_a_return_of_another_shape_is_refused_by_field(buyer, option, body, field):
    order = make_order(buyer, (option, 1))
    with nothing_changes():
        problem(Wire(buyer).post(f"orders/{order.number}/return/", body), 400, "invalid", field)


# --- Products, stores, accounts -------------------------------------------------------------------------


NEW_PRODUCT = {
    "store": 1,
    "name": "Shirt",
    "category": "top",
    "price": 1000,
    "options": [{"sku": "A", "size": "M", "color": "red", "stock": 1}],
}
NEW_OPTION = {"sku": "A", "stock": 1}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        *[({name: ...}, name) for name in NEW_PRODUCT],
        *[({name: None}, name) for name in NEW_PRODUCT],
        ({"store": BEYOND}, "store"),
        ({"store": 0}, "store"),
        ({"store": 987654321}, "store"),
        ({"name": ""}, "name"),
        ({"name": " \t"}, "name"),
        ({"name": "x" * 201}, "name"),
        ({"name": "a\x00"}, "name"),
        ({"category": "no-such"}, "category"),
        ({"category": 1}, "category"),
        ({"price": -1}, "price"),
        ({"price": 0.5}, "price"),
        ({"price": MAX_PRICE + 1}, "price"),
        ({"price": "1000"}, "price"),
        ({"is_active": False}, "is_active"),
        ({"options": []}, "options"),
        ({"options": [NEW_OPTION] * (MAX_OPTIONS + 1)}, "options"),
        ({"options": [{}]}, "options.0.sku"),
        ({"options": [{"sku": " "}]}, "options.0.sku"),
        ({"options": [{"sku": "x" * 65}]}, "options.0.sku"),
        ({"options": [{"sku": "a\x00"}]}, "options.0.sku"),
        ({"options": [{"sku": "A", "size": "x" * 31}]}, "options.0.size"),
        ({"options": [{"sku": "A", "color": "x" * 51}]}, "options.0.color"),
        ({"options": [{"sku": "A", "stock": -1}]}, "options.0.stock"),
        ({"options": [{"sku": "A", "stock": 1.5}]}, "options.0.stock"),
        ({"options": [{"sku": "A", "stock": True}]}, "options.0.stock"),
        ({"options": [{"sku": "A", "stock": HUGE}]}, "options.0.stock"),
        ({"options": [{"sku": "A", "reserved": 1}]}, "options.0.reserved"),
        ({"options": [{"sku": "A", "size": "S"}, {"sku": " A ", "size": "M"}]}, "options.1.sku"),
        ({"options": [{"sku": "A", "size": "S"}, {"sku": "B", "size": "s "}]}, "options.1.size"),
    ],
)
def test_a_product_of_another_shape_is_refused_by_field(change, field):
    store = make_store()
    body = {**NEW_PRODUCT, "store": store.pk, **change}
    body = {name: value for name, value in body.items() if value is not ...}
    with nothing_changes():
        problem(Wire(store.owner).post("products/", body), 400, "invalid", field)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"stock": 5}, "stock"),
        ({"options": [{"sku": "A", "stock": 5}]}, "options.0.stock"),
        ({"options": [{"size": "M"}]}, "options.0.sku"),
        ({"options": None}, "options"),
        ({"name": None}, "name"),
        ({"price": 1.0}, "price"),
        ({"store": 1}, "store"),
        ({"category": "no-such"}, "category"),
    ],
)
def test_a_product_change_of_another_shape_is_refused_by_field(option, body, field):
    owner = option.product.store.owner
    with nothing_changes():
        problem(Wire(owner).patch(f"products/{option.product_id}/", body), 400, "invalid", field)


@pytest.mark.parametrize(
    "query",
    ["page_size=0", "page_size=-1", "page_size=101", "page_size=1000", "page_size=abc", "page_size=1.5",
     f"page_size={BEYOND}", f"page_size={'9' * 5000}", "store=0", "store=x", f"store={BEYOND}",
     "min_price=-1", "min_price=x", "min_price=1.5", f"max_price={MAX_PRICE + 1}", "min_price=2&max_price=1",
     "in_stock=maybe", "in_stock=2", "ordering=nonsense", "ordering=price,name", "ordering=-id",
     "ordering=store__owner__password", "category=no-such", "category=%00", "search=%00",
     f"search={'x' * 101}", "cursor=x", "cursor=%ff", "cursor=!!!", "cursor=bnVsbA", "cursor=WzAsMSwyLDNd",
     "cursor=WzAsIngiXQ", "cursor=WzIsMV0", "cursor=WzAsMWUzXQ", f"cursor={'W' * 50_000}"],
)  # fmt: skip
def test_a_query_parameter_that_makes_no_sense_is_named(option, query):
    answer = Wire().get(f"products/?{query}")
    problem(answer, 400, "invalid", query.partition("=")[0])


@pytest.mark.parametrize(
    "raw",
    [b"[0,9223372036854775808]", b"[0,-9223372036854775808]", b"[0,1.5]", b"[0,true]", b"[0,null]", b"[[],1]",
     b"[0", b"{}", b"[0," + b"[" * 10_000],
)  # fmt: skip
def test_a_made_up_cursor_is_named(option, raw):
    answer = Wire().get(f"products/?cursor={urlsafe_b64encode(raw).decode().rstrip('=')}")
    problem(answer, 400, "invalid", "cursor")


def test_a_cursor_belongs_to_its_ordering(option):
    make_options([1], store=option.product.store)
    following = Wire().get("products/?page_size=1&ordering=price").json()["next"]
    cursor = following.partition("cursor=")[2].partition("&")[0]
    problem(Wire().get(f"products/?cursor={cursor}&ordering=name"), 400, "invalid", "cursor")
    problem(Wire().get(f"products/?cursor={cursor}"), 400, "invalid", "cursor")


@pytest.mark.parametrize("path", ["orders/", "stores/"])
def test_the_other_lists_name_their_parameters_too(buyer, path):
    for query in ("page_size=0", "page_size=x", "cursor=x"):
        problem(Wire(buyer).get(f"{path}?{query}"), 400, "invalid", query.partition("=")[0])


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("stores/", {}, "name"),
        ("stores/", {"name": "  "}, "name"),
        ("stores/", {"name": "x" * 101}, "name"),
        ("stores/", {"name": "a\x00"}, "name"),
        ("stores/", {"name": "A", "status": "accepted"}, "status"),
        ("users/sign-in/", {}, "email"),
        ("users/sign-in/", {"email": "a@b.c"}, "password"),
        ("users/sign-in/", {"email": 1, "password": "x"}, "email"),
        ("users/sign-in/", {"email": "a@b.c", "password": "x" * 201}, "password"),
    ],
)
def test_stores_and_sign_in_name_their_fields(path, body, field):
    owner = Wire(make_user(role=Role.STORE_OWNER))
    with nothing_changes():
        problem(owner.post(path, body), 400, "invalid", field)


@pytest.mark.parametrize("path", ["products/{}/", "orders/{}/"])
def test_an_id_that_names_nothing_is_not_found(buyer, option, path):
    for id in (
        "0", "-1", "1.5", "999999999999999999", str(BEYOND), "9" * 400, "x", "%00", "%ff%fe", "%ed%a0%80",
        "%F0%9F%91%97", "..%2f..", "1;DROP", "None", "%0a",
    ):  # fmt: skip
        problem(Wire(buyer).get(path.format(id)), 404, "not_found")


# --- Any body ---------------------------------------------------------------------------------------------


MALFORMED = {
    "nothing": b"",
    "half": b'{"lines": [',
    "text": b"lines=1",
    "comma": b'{"lines": [],}',
    "single quotes": b"{'lines': []}",
    "two documents": b"{}{}",
    "not UTF-8": b'{"lines": "\xff\xfe"}',
    "UTF-16": '{"lines": []}'.encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf{}",
    "half of a surrogate pair": b'{"lines": "\\ud83d"}',
    "surrogates in UTF-8": b'{"\xed\xa0\xbd": 1}',
    "a control character": b'{"li\nnes": 1}',
    "NUL": b"\x00",
}
CALLS = [
    ("POST", "orders/"),
    ("POST", "orders/{order}/pay/"),
    ("POST", "products/"),
    ("PATCH", "products/{product}/"),
    ("POST", "stores/"),
    ("PATCH", "users/me/"),
    ("POST", "users/sign-up/"),
    ("POST", "users/sign-in/"),
]


@pytest.fixture
def send(option):
    """`send(call, body)`: one of CALLS, by somebody who may do it."""
    store = option.product.store
    order = make_order(store.owner, (option, 1))

    def call(method_and_path, body, **headers):
        method, path = method_and_path
        path = path.format(order=order.number, product=option.product_id)
        return Wire(store.owner)(method, path, body, **headers)

    return call


@pytest.mark.parametrize("call", CALLS, ids=" ".join)
def test_a_body_that_is_no_json_is_malformed(send, call):
    with nothing_changes():
        for name, raw in MALFORMED.items():
            answer = send(call, raw)
            assert answer.json()["code"] in ("malformed_body", "invalid"), name
            problem(answer, 400, answer.json()["code"])


@pytest.mark.parametrize("call", CALLS, ids=" ".join)
def test_deep_nesting_is_refused(send, call):
    with nothing_changes():
        for raw in (
            b"[" * 300_000,
            b'{"lines":' * 100_000,
            b'{"lines":' + b"[" * 300_000,
            b'{"name":' + b"[" * 9,
        ):
            assert send(call, raw).status_code == 400


@pytest.mark.parametrize("call", CALLS, ids=" ".join)
def test_another_content_type_is_unsupported(send, call):
    with nothing_changes():
        for content_type in (
            None, "", "text/plain", "text/json", "application/xml", "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x", "multipart/form-data", "json", ";", "application/json/x",
            "application/json, text/plain", "application/merge-patch+json", "application/json\u00ff",
        ):  # fmt: skip
            answer = send(call, {}, content_type=content_type)
            problem(answer, 415, "unsupported_media_type")


@pytest.mark.parametrize(
    "content_type",
    ["application/json; charset=utf-8", "APPLICATION/JSON", "application/json ; charset=no-such",
     "application/json; charset*=no-such''x"],
)  # fmt: skip
def test_parameters_of_the_content_type_do_not_matter(buyer, option, content_type):
    answer = Wire(buyer)("POST", "orders/", order_body(option, "1"), content_type=content_type)
    assert answer.status_code == 201, answer.content


@pytest.mark.parametrize("call", CALLS, ids=" ".join)
def test_a_huge_body_is_refused(send, call):
    with nothing_changes():
        answer = send(call, b'{"lines":"' + b"x" * 1024 * 1024 + b'"}')
        problem(answer, 413, "body_too_large")


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        (b'{"lines":[{"option":%d,"quantity":1,"quantity":2}]}', "quantity"),
        (b'{"lines":[{"option":%d,"quantity":1}],"lines":[{"option":1,"quantity":1}]}', "lines"),
        (b'{"lines":[{"option":%d,"quantity":1,"quantit\\u0079":1}]}', "quantity"),
    ],
)
def test_a_field_that_is_given_twice_is_named(buyer, option, raw, field):
    with nothing_changes():
        answer = Wire(buyer).post("orders/", raw.replace(b"%d", str(option.pk).encode()))
    problem(answer, 400, "invalid", field)


def test_cancel_and_return_say_what_they_mean(buyer, option):
    number = make_order(buyer, (option, 1)).number
    for action in ("cancel", "return"):
        path = f"orders/{number}/{action}/"
        with nothing_changes():
            for content_type in (None, JSON, "application/x-www-form-urlencoded"):
                missing = Wire(buyer)("POST", path, content_type=content_type)
                assert "{}" in problem(missing, 400, "malformed_body")["detail"]
            problem(Wire(buyer)("POST", path, b"{}", content_type=None), 415, "unsupported_media_type")
            problem(Wire(buyer).post(path, {"why": "too small"}), 400, "invalid", "why")
            problem(Wire(buyer).post(path, b"[" * 9), 400, "invalid", "body")
    assert Wire(buyer).post(f"orders/{number}/cancel/", {}).json()["status"] == "cancelled"


# --- Any address, method, header --------------------------------------------------------------------------


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "FOO"])
def test_an_unknown_address_is_a_problem(buyer, settings, method, debug):
    settings.DEBUG = debug
    for path in (
        "/api/", "/api/nope/", "/api/v1/", "/api/v1/nope", "/api/v2/orders/", "/api/v1/orders/a/b/c/",
        "/api/v1//orders/", "/api/%ff", "/api/v1/orders/x/pay/x",
    ):  # fmt: skip
        problem(Wire()(method, path), 404, "not_found")
        problem(Wire(buyer)(method, path), 404, "not_found")


@pytest.mark.parametrize("debug", [False, True])
def test_a_forgotten_slash_leads_to_the_same_call(buyer, settings, debug):
    settings.DEBUG = debug
    answer = Wire(buyer)("POST", "orders?x=1", {"lines": []})
    assert (answer.status_code, answer["Location"]) == (308, "/api/v1/orders/?x=1")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "orders/", "GET, POST, HEAD, OPTIONS"),
        ("DELETE", "orders/", "GET, POST, HEAD, OPTIONS"),
        ("FOO", "orders/", "GET, POST, HEAD, OPTIONS"),
        ("GET", "orders/X/pay/", "POST, OPTIONS"),
        ("POST", "users/me/", "GET, PATCH, DELETE, HEAD, OPTIONS"),
        ("DELETE", "products/1/", "GET, PATCH, HEAD, OPTIONS"),
        ("POST", "ping/", "GET, HEAD, OPTIONS"),
        ("TRACE", "stores/", "GET, POST, HEAD, OPTIONS"),
        ("GET", "users/sign-in/", "POST, OPTIONS"),
        ("POST", "/api/schema/", "GET, HEAD, OPTIONS"),
        ("POST", "/api/docs/", "GET, HEAD, OPTIONS"),
    ],
)
def test_another_method_is_refused_and_told_which_there_are(buyer, method, path, allowed):
    with nothing_changes():
        answer = Wire(buyer)(method, path, {})
    problem(answer, 405, "method_not_allowed")
    assert set(answer["Allow"].split(", ")) == set(allowed.split(", "))


def test_what_everybody_may_read_everybody_may_ask_about(option):
    for path in ("products/", f"products/{option.product_id}/", "stores/"):
        for method in ("HEAD", "OPTIONS"):
            assert Wire()(method, path).status_code == 200, (method, path)


@pytest.mark.parametrize(
    "accept",
    ["text/html", "application/xml", "application/problem+json", "image/png;q=1", "*/*;q=0", "garbage", ";;;",
     "text/html; a*=no-such''b", '"', "a/b/c", "x" * 20_000, "application/json;q=abc", "", "\u00e9/\u00e9"],
)  # fmt: skip
def test_whatever_a_caller_accepts_there_is_an_answer(buyer, accept):
    for path in ("products/", "orders/", "/api/docs/"):
        assert Wire(buyer).get(path, Accept=accept).status_code == 200
    assert Wire(buyer).get("ping/", Accept=accept).status_code == 204
    problem(Wire(buyer).get("orders/x/", Accept=accept), 404, "not_found")


def test_a_format_in_the_query_is_a_parameter_like_any_other_that_is_unknown(buyer):
    assert Wire(buyer).get("products/?format=xml").json()["results"] == []
    assert Wire(buyer).get("orders/?format=admin").json()["results"] == []


@pytest.mark.parametrize("headers", [{"Host": "evil.example"}, {"Host": "a b"}, {"Host": ""}])
def test_a_strange_host_is_refused_or_ignored(buyer, option, headers):
    for user in (None, buyer):
        for path in ("products/?page_size=1", "users/me/", "nope/"):
            assert Wire(user).get(path, **headers).status_code < 500
            assert Wire(user).get(path, **headers)["Content-Type"] in (JSON, "application/problem+json")


@pytest.mark.parametrize(
    "headers",
    [{"Cookie": "sessionid=nonsense; csrftoken=x"}, {"Cookie": "\xff\xfe=\x00; =;;; sessionid"},
     {"Cookie": "sessionid=" + "x" * 5000}, {"X_Forwarded_For": "nonsense, \xff"}, {"Range": "bytes=x"},
     {"Accept_Language": "\xff;q=x"}, {"If_None_Match": "*"}, {"Content_Encoding": "gzip"},
     {"X_HTTP_Method_Override": "DELETE"}],
)  # fmt: skip
def test_strange_headers_do_no_harm(buyer, option, headers):
    for user in (None, buyer):
        assert Wire(user).get("products/", **headers).status_code == 200
        assert Wire(user).get("users/me/", **headers).status_code == (200 if user else 401)


def test_too_many_query_parameters_are_refused(option):
    query = "&".join(f"p{i}=1" for i in range(1001))
    problem(Wire().get(f"products/?{query}"), 400, "invalid")


@pytest.mark.parametrize("path", ["ping/", "orders/", "products/", "/api/schema/", "/admin/", "/healthz"])
def test_a_method_that_nobody_knows_is_refused_before_anybody_signs_in(path):
    for method in ("TRACE", "CONNECT", "BREW"):
        answer = Wire()(method, path)
        problem(answer, 405, "method_not_allowed")
        assert "GET" in answer["Allow"]


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "testserver.evil.example", "a b", "[::1"]
)
def test_the_shop_answers_to_its_own_names_only(buyer, option, host):
    for path in ("ping/", "orders/", "products/", f"products/{option.pk}/", "users/me/"):
        problem(Wire(buyer).get(path, Host=host), 400, "invalid")
    for host in ("testserver", "TESTSERVER:8000", "127.0.0.1:1"):
        assert Wire(buyer).get("ping/", Host=host).status_code == 204


def test_a_long_body_is_refused_before_it_is_read(buyer, operator):
    class Unread:
        def read(self, size=-1):
            raise AssertionError("it was read")

        readline = read

    form = {"content_type": "multipart/form-data; boundary=x", "Accept": "text/html"}
    for path in ("/admin/login/", "/language/setlang/", "/admin/shop/product/add/", "/healthz"):
        assert Wire()("POST", path, Unread(), length=60_000_000, **form).status_code == 413
    session = signed_in(operator).cookies["sessionid"].value
    for length in (60_000_000, 25 * 1024 * 1024):
        answer = Wire()(
            "POST", "/admin/login/", Unread(), length=length, Cookie=f"sessionid={session}", **form
        )
        assert answer.status_code == 413
    problem(Wire(buyer)("POST", "orders/", Unread(), length=2_000_000), 413, "body_too_large")
