"""Which language an answer is in, on either chain; what Django and its libraries say in Korean shows it."""

import pytest
from django.utils import translation

from tests.support.desk import signed_in
from tests.support.factories import make_user
from tests.support.wire import Wire
from yousinsa.language import preferred

pytestmark = pytest.mark.django_db

ENGLISH = 'Method "PUT" not allowed.'


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("ko", "ko"),
        ("ko-KR,ko;q=0.9,en;q=0.8", "ko"),
        ("en-US,en;q=0.9,ko;q=0.8", "en"),
        ("fr,ko;q=0.5,en;q=0.1", "ko"),
        ("fr", "en"),
        ("*", "en"),
        ("", "en"),
        ("ko;q=0", "en"),
        ("k\x00o, ;;;q=ko", "en"),
    ],
)
def test_the_header_decides(header, language):
    assert preferred(header) == language


def test_errors_of_the_api_are_in_the_callers_language(buyer):
    ask = Wire(buyer)
    korean = ask("PUT", "ping/", Accept_Language="ko-KR,ko;q=0.9")
    assert korean.status_code == 405
    assert korean["Content-Language"] == "ko"
    assert korean.json()["detail"] != ENGLISH
    assert korean.json()["code"] == "method_not_allowed"
    for headers in ({}, {"Accept_Language": "en,ko;q=0.5"}, {"Accept_Language": "fr"}):
        answer = ask("PUT", "ping/", **headers)
        assert answer.json()["detail"] == ENGLISH
        assert "Content-Language" not in answer


def test_a_request_leaves_its_language_to_nobody(buyer):
    ask = Wire(buyer)
    for path in ("ping/", "/admin/login/", "users/me/"):
        ask("GET", path, Accept_Language="ko")
        assert translation.get_language() == "en"
        assert ask("PUT", "ping/").json()["detail"] == ENGLISH


def test_accounts_and_pages_follow_the_header_too(buyer):
    answer = Wire(buyer)("PUT", "users/me/", Accept_Language="ko")
    assert answer["Content-Language"] == "ko"
    assert answer.json()["detail"] != ENGLISH
    page = Wire()("GET", "/admin/login/", Accept_Language="ko").content.decode()
    assert '<html lang="ko"' in page


def test_an_operator_chooses_a_language_at_the_desk():
    desk = signed_in(make_user(staff=True))
    assert '<html lang="en"' in desk.get("/admin/").content.decode()
    assert "한국어" in desk.get("/admin/").content.decode()
    assert desk.post("/language/setlang/", {"language": "ko", "next": "/admin/"})["Location"] == "/admin/"
    page = desk.get("/admin/").content.decode()
    assert '<html lang="ko"' in page
    assert "로그아웃" in page
    assert desk.get("/admin/").content.decode().count("Log out") == 0


def test_a_language_leads_nowhere_else(client):
    answer = client.post("/language/setlang/", {"language": "ko", "next": "https://elsewhere.example/"})
    assert answer["Location"] == "/"


@pytest.mark.parametrize(
    ("body", "field", "message"),
    [
        ({}, "lines", "This field is required."),
        ({"lines": [{"option": 1, "quantity": 1}], "colour": "red"}, "colour", "There is no such field."),
        ({"lines": [{"option": "1", "quantity": 1}]}, "lines.0.option", "Expected `int`, got `str`."),
        ({"lines": [{"option": 1, "quantity": 0}]}, "lines.0.quantity", "Must be >= 1."),
        ({"lines": []}, "lines", "Too short: at least 1."),
        ({"lines": [{"option": 1, "quantity": 1}] * 101}, "lines", "Too long: at most 100."),
    ],
)
def test_a_body_that_is_wrong_is_told_in_our_own_words(api, buyer, body, field, message):
    answer = api(buyer).post("orders/", body)
    assert answer.status_code == 400
    assert answer.json()["errors"] == [{"field": field, "message": message}]
