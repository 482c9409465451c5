"""The Korean catalogue is complete, what Django reads is what it says, and people get to see it."""

import html
import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, Permission
from django.test import Client
from django.urls import NoReverseMatch, reverse
from django.utils.translation import override

from inventory.errors import InsufficientStock
from orders.drops.errors import PurchaseLimit
from orders.models import Payment
from shop.desk.access.permission_names import name_of
from tests.support import messages
from tests.support.desk import signed_in, url
from tests.support.factories import ADDRESS, make_options, make_order, make_user
from tests.support.messages import Message
from tests.support.wire import Wire
from yousinsa.http.deferred import Deferred, DeferredResponse
from yousinsa.language import recorded

pytestmark = pytest.mark.sqlite

PLACEHOLDER = re.compile(r"%(?:\(\w+\))?[+#0 -]?[\d.]*[a-zA-Z]|\{\w*\}")
SAME_IN_KOREAN = {"SKU", "YOUSINSA"}


@pytest.fixture(scope="module")
def catalogue():
    return messages.read()


def texts(entry):
    return list(entry.msgstr_plural.values()) if entry.msgid_plural else [entry.msgstr]


def placeholders(text):
    return Counter(PLACEHOLDER.findall(text))


# --- The catalogue ------------------------------------------------------------------------------


def test_every_message_of_the_source_is_in_the_catalogue_and_no_other(catalogue):
    """What is missing or left over here, `make messages` adds or takes away; then translate what is empty."""
    present = {messages.key(entry) for entry in catalogue}
    expected = set(messages.expected())
    assert expected - present == set()
    assert present - expected == set()


def test_everything_is_translated(catalogue):
    assert [entry.msgid for entry in catalogue if entry.fuzzy or entry.obsolete] == []
    untranslated = [
        entry.msgid
        for entry in catalogue
        if not all(re.search("[가-힣]", text) for text in texts(entry)) and entry.msgid not in SAME_IN_KOREAN
    ]
    assert untranslated == []


def test_translations_have_the_placeholders_of_their_messages(catalogue):
    """Korean has one form for all numbers: it stands for the plural, and shows the number."""
    differing = {
        entry.msgid: text
        for entry in catalogue
        for text in texts(entry)
        if placeholders(entry.msgid_plural or entry.msgid) != placeholders(text)
    }
    assert differing == {}


def test_placeholders_without_names_keep_their_order(catalogue):
    for entry in catalogue:
        unnamed = re.findall(r"%[\d.]*[a-z]|\{\}", entry.msgid)
        assert len(unnamed) < 2, f"{entry.msgid}: name its placeholders, Korean may need another order"


def test_what_django_reads_is_what_the_catalogue_says(catalogue):
    """If not: `make messages`."""
    assert messages.PO.with_suffix(".mo").read_bytes() == messages.compiled(catalogue)


def test_messages_are_found_in_python():
    source = """
from django.utils.translation import gettext as _, ngettext, pgettext_lazy
label = _("One " "line") + _(name) + other("not this")
ngettext("%d unit", "%d units", n), translation.pgettext_lazy("status", "from")
"""
    assert {message for _line, message in messages.of_python(source)} == {
        Message(None, "One line", None),
        Message(None, "%d unit", "%d units"),
        Message("status", "from", None),
    }


def test_messages_are_found_in_templates():
    source = """<p>{% translate "It's 5% off" %} {{ who|default:_("nobody") }}
{% comment %}{% translate "not this" %}{% endcomment %}{% blocktranslate trimmed count n=units %}
  {{ n }} unit
{% plural %}
  {{ n }} units
{% endblocktranslate %}{% translate "from" context "status" as x %}</p>"""
    assert {message for _line, message in messages.of_template(source)} == {
        Message(None, "It's 5%% off", None),
        Message(None, "nobody", None),
        Message(None, "%(n)s unit", "%(n)s units"),
        Message("status", "from", None),
    }


# --- What people see ----------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_refused_order_is_told_in_korean_and_the_next_one_in_english(buyer):
    (option,) = make_options([0])
    ask = Wire(buyer)
    body = {"lines": [{"option": option.pk, "quantity": 1}]}
    korean = f"옵션 {option.pk}은(는) 품절되었습니다."
    english = f"Option {option.pk} is sold out."
    for language, title, detail in (
        ("ko-KR,ko;q=0.9", "재고가 부족합니다.", korean),
        ("", "Not enough stock.", english),
        ("ko", "재고가 부족합니다.", korean),
        ("en-GB,ko;q=0.5", "Not enough stock.", english),
    ):
        answer = ask.post("orders/", body, Accept_Language=language)
        assert (answer.status_code, answer.json()["code"]) == (409, "insufficient_stock")
        assert (answer.json()["title"], answer.json()["detail"]) == (title, detail)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("body", "code", "told"),
    [
        (b'{"lines": [', "malformed_body", "본문이 도중에 끝났습니다."),
        (b'{"\xff": 1}', "malformed_body", "본문이 UTF-8이 아닙니다."),
        (b'{"lines" 1}', "malformed_body", "9번째 바이트부터 JSON이 아닙니다: expected ':'."),
        ({}, "invalid", "필수 항목입니다."),
        ({"lines": []}, "invalid", "너무 짧습니다. 최소 1 이상이어야 합니다."),
        ({"lines": 1}, "invalid", "`array` 형식이어야 하는데 `int` 형식입니다."),
        ({"lines": [{"option": 1, "quantity": 0}]}, "invalid", ">= 1 조건에 맞아야 합니다."),
        ({"lines": [{"option": 1, "quantity": 1}], "sorry": 1}, "invalid", "없는 필드입니다."),
    ],
)
def test_a_body_that_is_wrong_is_told_in_korean(buyer, body, code, told):
    answer = Wire(buyer).post("orders/", body, Accept_Language="ko").json()
    assert answer["code"] == code
    assert told in [answer["detail"], *(error["message"] for error in answer.get("errors", []))]


@pytest.mark.parametrize(
    ("refuse", "korean", "english"),
    [
        (
            lambda: InsufficientStock([{"option": 7, "requested": 1, "available": 0}]),
            "옵션 7은(는) 품절되었습니다.",
            "Option 7 is sold out.",
        ),
        (
            lambda: PurchaseLimit(limit=2, bought=1, requested=3),
            "1인당 최대 2개입니다. 이미 1개를 주문했고 3개를 요청했습니다.",
            "At most 2 a customer: 1 ordered, 3 asked for.",
        ),
    ],
)
def test_an_answer_that_other_threads_make_is_in_the_callers_language(refuse, korean, english):
    batch, finisher = ThreadPoolExecutor(1), ThreadPoolExecutor(1)
    for language, detail in (("ko", korean), ("en", english)):
        refused = Deferred()
        batch.submit(lambda refused=refused: refused.decide(refuse())).result()
        with override(language):
            response = DeferredResponse(refused, lambda refusal: refusal.response())
        finisher.submit(response.complete).result()
        assert detail in response.content.decode()


@pytest.mark.django_db
def test_the_sign_in_page_is_in_the_language_that_was_chosen():
    client = Client()
    assert "운영자 데스크" in client.get("/admin/login/", headers={"accept-language": "ko"}).content.decode()
    english = client.get("/admin/login/").content.decode()
    assert "Operators&#x27; desk" in english or "Operators' desk" in english
    assert "운영자" not in english
    client.post("/language/setlang/", {"language": "ko", "next": "/admin/login/"})
    assert "2단계 인증을 설정한 경우에만" in client.get("/admin/login/").content.decode()
    client.post("/language/setlang/", {"language": "en", "next": "/admin/login/"})
    assert "Only if you have set up a second factor" in client.get("/admin/login/").content.decode()


def desk_pages():
    for model in admin.site._registry:
        for page in ("changelist", "add"):
            try:
                yield url(model, page)
            except NoReverseMatch:
                continue
    yield reverse("admin:index")


@pytest.mark.django_db
def test_no_page_of_the_desk_speaks_english_to_a_korean(catalogue):
    make_options([3])
    client = signed_in(make_user(staff=True))
    sentences = {entry.msgid for entry in catalogue if " " in entry.msgid.strip()}
    left = {}
    for address in desk_pages():
        korean = client.get(address, headers={"accept-language": "ko"})
        english = client.get(address)
        assert korean.status_code == english.status_code
        if korean.status_code == 200:
            assert '<html lang="ko"' in korean.content.decode()
            assert '<html lang="en"' in english.content.decode()
            shown = set(re.split(r'\s*[<>"]\s*', html.unescape(korean.content.decode())))
            if found := sentences & shown:
                left[address] = found
    assert left == {}


@pytest.mark.django_db
def test_permissions_are_named_in_korean():
    english = str(Permission.objects.get(codename="ship_order"))
    assert name_of(Permission.objects.get(codename="ship_order")) == english
    with override("ko"):
        names = {permission.codename: name_of(permission) for permission in Permission.objects.all()}
    assert names["ship_order"] == "주문 | 주문 | 주문 출고"
    assert names["view_stock"] == "재고 관리 | 재고 | 재고 조회"
    assert {name for name in names.values() if " Can " in name} == set()


@pytest.mark.django_db
def test_a_group_is_given_permissions_by_their_korean_names():
    desk = signed_in(make_user(staff=True))
    page = desk.get(url(Group, "add"), headers={"accept-language": "ko"}).content.decode()
    assert "주문 | 주문 | 주문 출고" in page
    assert "Can ship order" not in page


@pytest.mark.django_db
def test_what_the_shop_records_is_read_in_the_readers_language(buyer):
    (option,) = make_options([3])
    order = make_order(buyer, (option, 1))
    ask = Wire(buyer)
    declined = {"provider": "sandbox", "token": "decline", "shipping": ADDRESS}
    path = f"orders/{order.number}/"
    answer = ask.post(f"{path}pay/", declined, Accept_Language="ko")
    assert answer.json()["detail"] == "카드가 거절되었습니다."
    assert ask.get(path).json()["payment"]["detail"] == "The card was declined."
    assert ask.get(path, Accept_Language="ko").json()["payment"]["detail"] == "카드가 거절되었습니다."
    desk = signed_in(make_user(staff=True))
    address = url(Payment, "change", order.payments.get().pk)
    assert "카드가 거절되었습니다." in desk.get(address, headers={"accept-language": "ko"}).content.decode()
    assert "The card was declined." in desk.get(address).content.decode()
    assert recorded("What somebody typed") == "What somebody typed"
    assert recorded("") == ""
