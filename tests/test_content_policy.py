"""Every answer that leaves the shop says what a browser may do with it (tests/browser has pages at work)."""

import re
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import AnonymousUser
from django.test import RequestFactory
from unfold.sites import UnfoldAdminSite

from shop.models import User
from tests.support.desk import signed_in
from tests.support.server import ROOT
from tests.support.wire import token_of
from yousinsa.content_policy import DESK_PAGE, DOCS, HEADER, NOTHING, PAGE
from yousinsa.http.handlers import Application

# The application closes the connections of what it is done with.
pytestmark = pytest.mark.django_db(transaction=True)


def ask(path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, list[str]], bytes]:
    """What the WSGI application answers: status, headers, body."""
    started: list[Any] = []
    path, _mark, query = path.partition("?")
    environ = RequestFactory().generic(method, path, QUERY_STRING=query).environ
    environ |= {f"HTTP_{name.upper()}": value for name, value in headers.items()}
    body = b"".join(Application()(environ, lambda *start: started.append(start)))
    found: dict[str, list[str]] = {}
    for name, value in started[0][1]:
        found.setdefault(name, []).append(value)
    return int(started[0][0].split()[0]), found, body


@pytest.mark.parametrize(
    ("path", "status", "policy"),
    [
        ("/api/v1/products/", 200, NOTHING),
        ("/api/v1/orders/", 401, NOTHING),
        ("/api/v1/users/me/", 401, NOTHING),
        ("/api/nowhere/", 404, NOTHING),
        ("/api/schema/", 200, NOTHING),
        ("/api/docs/", 200, DOCS),
        ("/healthz", 200, NOTHING),
        ("/metrics", 200, NOTHING),
        ("/nowhere/", 404, PAGE),
        ("/admin/login/", 200, DESK_PAGE),
        ("/admin/nowhere/", 302, DESK_PAGE),
    ],
)
def test_each_kind_of_answer_has_its_policy(path: str, status: int, policy: str) -> None:
    accept = "text/html" if policy in (PAGE, DESK_PAGE, DOCS) else "*/*"
    got, headers, _body = ask(path, accept=accept)
    assert (got, headers[HEADER]) == (status, [policy])


def test_refusals_before_any_view_have_one_too() -> None:
    for method, headers in (("TRACE", {}), ("GET", {"host": "elsewhere.example"})):
        status, found, _body = ask("/api/v1/products/", method, **headers)
        assert status in (400, 405)
        assert found[HEADER] == [NOTHING]


def test_an_order_that_is_answered_later_has_one(buyer: User) -> None:
    status, headers, _body = ask("/api/v1/orders/", "POST", authorization=f"Bearer {token_of(buyer)}")
    assert status == 400
    assert headers[HEADER] == [NOTHING]


@pytest.mark.parametrize("policy", [NOTHING, PAGE, DOCS, DESK_PAGE])
def test_no_policy_lets_inline_scripts_or_strangers_in(policy: str) -> None:
    directives = {d.split()[0]: d.split()[1:] for d in policy.split("; ")}
    assert directives["default-src"] == ["'none'"]
    assert directives["base-uri"] == ["'none'"]
    assert directives["frame-ancestors"] == ["'none'"]
    assert "'unsafe-inline'" not in directives.get("script-src", [])
    allowed = {"'self'", "'none'", "data:", "'unsafe-eval'", "'unsafe-inline'"}
    assert {source for sources in directives.values() for source in sources} <= allowed


@pytest.mark.parametrize(
    "path", ["/api/docs/", "/admin/login/", "/admin/", "/admin/shop/product/", "/nowhere/"]
)
def test_no_page_has_a_script_or_a_style_sheet_in_it(operator: User, path: str) -> None:
    html = signed_in(operator).get(path, headers={"accept": "text/html"}).content.decode()
    assert re.findall(r"<style\b", html) == []
    assert [tag for tag in re.findall(r"<script\b[^>]*>", html) if "src=" not in tag] == []
    assert re.findall(r"\son[a-z]+=[\"']", html) == []


def test_the_desks_colours_are_the_themes() -> None:
    """The theme would write them into each page; they stand in a file, and an update may outdate it."""
    request = RequestFactory().get("/admin/")
    request.user = AnonymousUser()
    theirs = UnfoldAdminSite.each_context(admin.site, request)["colors"]
    wanted = {
        f"--color-{name}-{weight}": value
        for name, weights in theirs.items()
        for weight, value in weights.items()
    }
    css = (ROOT / "shop/static/desk/colors.css").read_text()
    assert dict(re.findall(r"(--[\w-]+): (.+);", css)) == wanted
