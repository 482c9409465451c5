"""Whatever the call: a body, an address, a method or a header that makes no sense is refused in one way."""

import pytest

from tests.support.desk import signed_in
from tests.support.factories import make_order
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
     {"Accept_Language": "\xff;q=x"}, {"If_None_Match": "nonsense, \xff, W/"}, {"Content_Encoding": "gzip"},
     {"X_HTTP_Method_Override": "DELETE"}],
)  # fmt: skip
def test_strange_headers_do_no_harm(buyer, option, headers):
    for user in (None, buyer):
        assert Wire(user).get("products/", **headers).status_code == 200
        assert Wire(user).get("users/me/", **headers).status_code == (200 if user else 401)


def test_too_many_query_parameters_are_refused(option):
    query = "&".join(f"p{i}=1" for i in range(5001))
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
