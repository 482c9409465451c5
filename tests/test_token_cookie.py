"""The signed token as browsers carry it: believed like the bearer token, from the shop's own pages only."""

import pytest
from django.test import Client

from orders.models import Order
from shop import services
from shop.models import TokenRevocation, User
from tests.support.factories import PASSWORD, make_options, make_order, make_user
from tests.support.problems import nothing_changes, problem
from tests.support.wire import Wire, token_of
from yousinsa.auth import issue_token, read_token, revocations
from yousinsa.wsgi import application

pytestmark = pytest.mark.django_db

EMAIL = "minji@example.com"
CREDENTIALS = {"email": EMAIL, "password": PASSWORD}
OWN_PAGE = {"Sec_Fetch_Site": "same-origin"}


class Browser(Wire):
    """Keeps the cookies of its answers and sends them back, with the headers that say whose page sends."""

    def __init__(self, **page):
        super().__init__()
        self.page, self.jar = page, {}

    def __call__(self, method, path, *args, **headers):
        if self.jar:
            cookies = "; ".join(f"{name}={value}" for name, value in self.jar.items())
            headers = {"Cookie": cookies, **headers}
        answer = super().__call__(method, path, *args, **{**self.page, **headers})
        for name, cookie in answer.cookies.items():
            self.jar[name] = cookie.value
            if cookie["max-age"] == "0":
                del self.jar[name]
        return answer


@pytest.fixture
def minji():
    return make_user(EMAIL, password=PASSWORD, address=True)


@pytest.fixture
def browser(minji):
    """Minji's, signed in; a request does not say whose page it is from unless a test does."""
    browser = Browser()
    assert browser.post("users/sign-in/", CREDENTIALS).status_code == 200
    return browser


def by_cookie(user, **headers):
    """A browser with nothing but the token."""
    browser = Browser(**headers)
    browser.jar["token"] = token_of(user)
    return browser


# --- Signing in and out -----------------------------------------------------------------------------------


def test_signing_in_gives_a_browser_the_token_of_the_body(minji):
    answer = Browser().post("users/sign-in/", CREDENTIALS)
    cookie = answer.cookies["token"]
    assert cookie.value == answer.json()["token"]
    assert (cookie["path"], cookie["samesite"], cookie["domain"]) == ("/", "Lax", "")
    assert cookie["httponly"]
    assert cookie["max-age"] == str(24 * 3600)
    assert "sessionid" not in answer.cookies
    assert answer["Cache-Control"] == "no-store"


def test_with_https_nobody_else_can_set_the_cookie(minji, settings):
    settings.TOKEN_COOKIE, settings.SESSION_COOKIE_SECURE = "__Host-token", True
    browser = Browser(**OWN_PAGE)
    cookie = browser.post("users/sign-in/", CREDENTIALS).cookies["__Host-token"]
    assert (cookie["path"], cookie["domain"]) == ("/", "")
    assert cookie["secure"]
    assert browser.get("users/me/").json()["email"] == EMAIL
    deleted = browser.post("users/sign-out/").cookies["__Host-token"]
    assert (deleted["path"], deleted["max-age"]) == ("/", "0")
    assert deleted["secure"]
    problem(browser.get("users/me/"), 401, "not_authenticated")


def test_the_browser_is_signed_in_without_a_look_up(browser, django_assert_num_queries):
    assert browser.get("users/me/").json()["email"] == EMAIL
    with django_assert_num_queries(0):
        assert browser.get("ping/").status_code == 204


def test_whatever_cookies_there_are_a_call_takes_the_short_chain(browser, option, monkeypatch):
    monkeypatch.setattr(application, "_pages", lambda *_: pytest.fail("took the way of pages"))
    browser.jar |= {"sessionid": "x" * 32, "django_language": "ko"}
    browser.page = OWN_PAGE
    assert set(browser.jar) == {"token", "csrftoken", "device", "sessionid", "django_language"}
    body = {"lines": [{"option": option.pk, "quantity": 1}]}
    assert browser.post("orders/", body).status_code == 201
    assert browser.get("users/me/").status_code == 200
    refused = browser.get("orders/nowhere/")
    assert refused["Content-Language"] == "ko"
    assert browser.get("orders/nowhere/", Accept_Language="en")["Content-Language"] == "ko"
    browser.jar["django_language"] = "no-such"
    assert "Content-Language" not in browser.get("orders/nowhere/")


@pytest.mark.django_db(transaction=True)
def test_signing_out_ends_the_token_and_takes_the_cookie(browser):
    token = browser.jar["token"]
    browser.page = OWN_PAGE
    assert browser.post("users/sign-out/").status_code == 204
    assert "token" not in browser.jar
    for wire in (Wire(token=token), by_cookie_of(token)):
        problem(wire.get("users/me/"), 401, "not_authenticated")


def by_cookie_of(token):
    browser = Browser(**OWN_PAGE)
    browser.jar["token"] = token
    return browser


@pytest.mark.django_db(transaction=True)
def test_a_token_that_was_revoked_is_refused_and_taken_from_the_browser(minji):
    browser = by_cookie(minji, **OWN_PAGE)
    assert browser.get("users/me/").status_code == 200
    TokenRevocation.objects.create(user=minji, token_id=read_token(browser.jar["token"]).token_id)
    revocations.refresh()
    answer = browser.get("users/me/")
    assert "revoked" in problem(answer, 401, "not_authenticated")["detail"]
    assert answer["WWW-Authenticate"] == 'Bearer realm="api"'
    assert "token" not in browser.jar


@pytest.mark.parametrize("value", ["x", "7.buyer.0.x.1.9999999999:signature", '"', "\xff", "x" * 8000])
def test_a_cookie_that_is_no_token_is_refused_and_taken_from_the_browser(value, option):
    for method, path in (("GET", "users/me/"), ("POST", "orders/"), ("POST", "users/sign-out/")):
        answer = Wire()(method, path, {}, Cookie=f"token={value}")
        problem(answer, 401, "not_authenticated")
        assert answer.cookies["token"]["max-age"] == "0"
    # What everybody may see is no matter of tokens.
    for path in ("products/", f"products/{option.product_id}/", "/api/schema/", "/api/docs/"):
        assert Wire().get(path, Cookie=f"token={value}").status_code == 200


def test_an_empty_cookie_is_none():
    answer = Wire().get("users/me/", Cookie="token=; a=b")
    problem(answer, 401, "not_authenticated")
    assert "token" not in answer.cookies


def test_what_is_wrong_with_a_bearer_token_takes_no_cookie_away(browser):
    answer = browser.get("users/me/", Authorization="Bearer x")
    problem(answer, 401, "not_authenticated")
    assert "token" in browser.jar


def test_an_authorization_header_wins_over_the_cookie(browser):
    other = make_user("other@example.com")
    header = {"Authorization": f"Bearer {token_of(other)}"}
    assert browser.get("users/me/", **header).json()["email"] == "other@example.com"
    # Also where it is none that we know: what is asked for with it is not done as somebody else.
    for value in ("Basic dTpw", "Bearer x", ""):
        problem(browser.get("users/me/", Authorization=value), 401, "not_authenticated")


def test_a_session_of_the_desk_opens_no_call(operator, option):
    client = Client()
    client.force_login(operator)
    assert client.get("/admin/").status_code == 200
    problem(client.get("/api/v1/users/me/"), 401, "not_authenticated")
    body = {"lines": [{"option": option.pk, "quantity": 1}]}
    problem(client.post("/api/v1/orders/", body, "application/json"), 401, "not_authenticated")


def test_a_call_opens_no_desk(browser):
    User.objects.update(is_staff=True, is_superuser=True)
    answer = Wire().get("/admin/", Cookie=f"token={browser.jar['token']}")
    assert (answer.status_code, answer["Location"]) == (302, "/admin/login/?next=/admin/")


@pytest.mark.django_db(transaction=True)
def test_a_new_password_keeps_this_browser_signed_in_and_ends_the_others(browser, minji):
    other = by_cookie(minji)
    browser.page = OWN_PAGE
    before = browser.jar["token"]
    change = {"current_password": PASSWORD, "new_password": "another horse battery"}
    assert browser.patch("users/me/", change).status_code == 200
    assert browser.jar["token"] != before
    assert browser.get("users/me/").status_code == 200
    problem(other.get("users/me/"), 401, "not_authenticated")
    problem(Wire(token=before).get("users/me/"), 401, "not_authenticated")


@pytest.mark.django_db(transaction=True)
def test_a_bearer_token_that_sets_a_new_password_ends_with_the_others(minji):
    change = {"current_password": PASSWORD, "new_password": "another horse battery"}
    wire = Wire(minji)
    answer = wire.patch("users/me/", change)
    assert answer.status_code == 200
    assert "token" not in answer.cookies
    problem(wire.get("users/me/"), 401, "not_authenticated")


@pytest.mark.django_db(transaction=True)
def test_withdrawing_takes_the_cookie(browser):
    browser.page = OWN_PAGE
    assert browser("DELETE", "users/me/", {"password": PASSWORD}).status_code == 204
    assert "token" not in browser.jar


# --- Whose page sent it -----------------------------------------------------------------------------------

OWN = [
    {"Sec_Fetch_Site": "same-origin"},
    {"Origin": "http://testserver"},
    {"Sec_Fetch_Site": "same-origin", "Origin": "http://testserver"},
    {"Origin": "http://127.0.0.1:8000", "Host": "127.0.0.1:8000"},
]
OTHERS = [
    {},
    {"Origin": "null"},
    {"Origin": ""},
    {"Origin": "https://testserver"},
    {"Origin": "http://testserver:8000"},
    {"Origin": "http://testserver.evil.example"},
    {"Origin": "http://testserver/"},
    {"Origin": "http://evil.example", "Referer": "http://testserver/"},
    {"Origin": "http://testserver, http://evil.example"},
    {"Origin": "http://localhost", "X_Forwarded_Host": "localhost"},
    {"Referer": "http://testserver/"},
    {"Sec_Fetch_Site": "cross-site"},
    {"Sec_Fetch_Site": "same-site"},
    {"Sec_Fetch_Site": "none"},
    {"Sec_Fetch_Site": "SAME-ORIGIN, same-origin"},
    {"Sec_Fetch_Site": ""},
    {"Sec_Fetch_Site": "cross-site", "Origin": "http://testserver"},
]


@pytest.mark.parametrize("page", OWN, ids=str)
def test_what_the_shops_own_page_sends_is_done(minji, option, page):
    body = {"lines": [{"option": option.pk, "quantity": 1}]}
    assert by_cookie(minji, **page).post("orders/", body).status_code == 201


@pytest.mark.parametrize("page", OTHERS, ids=str)
def test_what_another_page_may_have_sent_is_refused(minji, option, page):
    browser = by_cookie(minji, **page)
    number = make_order(minji, (option, 1)).number
    body = {"lines": [{"option": option.pk, "quantity": 1}]}
    calls = [
        ("POST", "orders/", body),
        ("POST", f"orders/{number}/cancel/", {}),
        ("PATCH", "users/me/", {"name": "Mallory"}),
        ("DELETE", "users/me/", {"password": PASSWORD}),
        ("POST", "users/sign-out/", {}),
        ("POST", "products/", {}),
        ("PATCH", f"products/{option.product_id}/", {}),
    ]
    with nothing_changes():
        for call in calls:
            problem(browser(*call), 403, "csrf_failed")
    assert "token" in browser.jar


@pytest.mark.parametrize("page", [{}, {"Sec_Fetch_Site": "cross-site"}, {"Origin": "null"}], ids=str)
def test_what_changes_nothing_needs_no_proof(minji, option, page):
    browser = by_cookie(minji, **page)
    for call in (("GET", "users/me/"), ("HEAD", "users/me/"), ("GET", "orders/"), ("OPTIONS", "orders/")):
        answer = browser(*call)
        assert answer.status_code == 200, call
        assert (call[0] == "HEAD") == (answer.content == b"")
    problem(browser("TRACE", "orders/"), 405, "method_not_allowed")


def test_a_bearer_token_is_its_own_proof(minji):
    (option,) = make_options([100])
    body = {"lines": [{"option": option.pk, "quantity": 1}]}
    for page in OTHERS:
        answer = Wire(minji).post("orders/", body, **page, Cookie=f"token={token_of(minji)}")
        assert answer.status_code == 201


def test_the_csrf_token_is_a_proof_as_well(browser, option):
    body = {"lines": [{"option": option.pk, "quantity": 1}]}
    token = browser.jar["csrftoken"]
    with nothing_changes():
        for forged in ("", "x" * 32, "x", token[:-1], token.swapcase()):
            problem(browser.post("orders/", body, X_CSRFToken=forged), 403, "csrf_failed")
        # Another site's page cannot send it, whatever it has got hold of.
        for origin in ("http://evil.example", "null"):
            answer = browser.post("orders/", body, X_CSRFToken=token, Origin=origin)
            problem(answer, 403, "csrf_failed")
    assert browser.post("orders/", body, X_CSRFToken=token).status_code == 201


def test_an_origin_that_is_trusted_needs_the_csrf_token(browser, option, settings):
    settings.CSRF_TRUSTED_ORIGINS = ["https://shop.example"]
    page = {"Origin": "https://shop.example", "Sec_Fetch_Site": "cross-site"}
    body = {"lines": [{"option": option.pk, "quantity": 1}]}
    problem(browser.post("orders/", body, **page), 403, "csrf_failed")
    token = {"X_CSRFToken": browser.jar["csrftoken"]}
    assert browser.post("orders/", body, **page, **token).status_code == 201
    assert Browser(**page).post("users/sign-in/", CREDENTIALS).status_code == 200


def test_a_form_is_no_body_whoever_sends_it(browser, option):
    number = make_order(User.objects.get(email=EMAIL), (option, 1)).number
    form = f"csrfmiddlewaretoken={browser.jar['csrftoken']}&lines=1".encode()
    kind = "application/x-www-form-urlencoded"
    with nothing_changes():
        for path in (f"orders/{number}/cancel/", "orders/", f"orders/{number}/return/"):
            for page in ({}, OWN_PAGE):
                answer = browser("POST", path, form, content_type=kind, **page)
                problem(answer, 415, "unsupported_media_type")


@pytest.mark.parametrize(
    "page",
    [{"Sec_Fetch_Site": "cross-site"}, {"Sec_Fetch_Site": "same-site"}, {"Origin": "http://evil.example"},
     {"Origin": "null"}, {"Sec_Fetch_Site": "cross-site", "Origin": "http://testserver"}],
    ids=str,
)  # fmt: skip
def test_no_other_page_signs_a_browser_in(minji, page):
    answer = Browser(**page).post("users/sign-in/", CREDENTIALS)
    problem(answer, 403, "csrf_failed")
    assert not answer.cookies


@pytest.mark.parametrize("page", [{}, {"Sec_Fetch_Site": "none"}, *OWN], ids=str)
def test_programs_and_the_shops_own_pages_sign_in(minji, page):
    assert Browser(**page).post("users/sign-in/", CREDENTIALS).status_code == 200


# --- Cookies that somebody else has set -------------------------------------------------------------------


def test_of_two_cookies_of_the_name_neither_is_believed(minji):
    mine, mallorys = token_of(minji), token_of(make_user("mallory@example.com"))
    for one, other in ((mine, mallorys), (mallorys, mine), ("x", mine)):
        answer = Wire().get("users/me/", Cookie=f"token={one};token={other}")
        assert "twice" in problem(answer, 401, "not_authenticated")["detail"]
        # Ours is not taken away, or the other one would be alone.
        assert not answer.cookies
    for cookies in (f"token={mine}; token={mine}", f"token=; token={mine}"):
        assert Wire().get("users/me/", Cookie=cookies).json()["email"] == EMAIL


@pytest.mark.parametrize("before", ["\x85", "\xa0", "\x1c", "\v", "$", "x", '"'], ids=repr)
def test_a_name_that_only_looks_like_ours_is_another(minji, settings, before):
    """Browsers hold to the rules of `__Host-` only what begins with it."""
    settings.TOKEN_COOKIE = "__Host-token"
    mallorys = token_of(make_user("mallory@example.com"))
    problem(Wire().get("users/me/", Cookie=f"{before}__Host-token={mallorys}"), 401, "not_authenticated")
    both = f"{before}__Host-token={mallorys}; __Host-token={token_of(minji)}"
    assert Wire().get("users/me/", Cookie=both).json()["email"] == EMAIL


@pytest.mark.parametrize("name", ["Token", "token ", "__Host-token", "__host-token", "xtoken", "token2", ""])
def test_another_name_is_another_cookie(minji, name):
    expected = 200 if name == "token " else 401
    assert Wire().get("users/me/", Cookie=f"{name}={token_of(minji)}").status_code == expected


def test_without_https_the_name_of_https_is_not_ours_and_the_other_way_round(minji, settings):
    settings.TOKEN_COOKIE = "__Host-token"
    problem(Wire().get("users/me/", Cookie=f"token={token_of(minji)}"), 401, "not_authenticated")


def test_a_huge_cookie_does_no_harm(minji):
    mine = token_of(minji)
    others = "; ".join(f"c{i}={'x' * 100}" for i in range(500))
    assert Wire().get("users/me/", Cookie=f"{others}; token={mine}; {others}").status_code == 200
    assert Wire().get("users/me/", Cookie=f"{';' * 60_000}token={mine}").status_code == 200
    problem(Wire().get("users/me/", Cookie="token=" + "x" * 60_000), 401, "not_authenticated")
    many = "; ".join(f"token={i}" for i in range(5_000))
    problem(Wire().get("users/me/", Cookie=many), 401, "not_authenticated")


def test_a_token_for_one_thing_is_none_for_another(minji, browser):
    problem(Wire().get("users/me/", Cookie=f"token={browser.jar['device']}"), 401, "not_authenticated")
    expired = issue_token(user_id=minji.pk, role="buyer", is_staff=False).replace("buyer", "store_owner")
    problem(Wire().get("users/me/", Cookie=f"token={expired}"), 401, "not_authenticated")


def test_signing_in_anew_replaces_the_account(browser):
    make_user("other@example.com", password=PASSWORD)
    assert browser.post("users/sign-in/", {**CREDENTIALS, "email": "other@example.com"}).status_code == 200
    assert browser.get("users/me/").json()["email"] == "other@example.com"


def test_a_stale_cookie_keeps_nobody_from_signing_in(minji):
    browser = Browser(**OWN_PAGE)
    browser.jar["token"] = "stale"
    assert browser.post("users/sign-in/", CREDENTIALS).status_code == 200
    assert browser.get("users/me/").status_code == 200


@pytest.mark.django_db(transaction=True)
def test_orders_by_cookie_are_the_users_own(minji, browser):
    (option,) = make_options([5])
    browser.page = OWN_PAGE
    placed = browser.post("orders/", {"lines": [{"option": option.pk, "quantity": 1}]}, Idempotency_Key="k")
    assert Order.objects.get().buyer == minji
    assert browser.get(f"orders/{placed.json()['number']}/").status_code == 200
    services.revoke_all_tokens(user_id=minji.pk)
    problem(browser.get("orders/"), 401, "not_authenticated")
