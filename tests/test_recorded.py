"""Records are kept in English, whoever wrote them in whatever language; everybody reads their own."""

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.utils.translation import gettext_lazy as _
from django.utils.translation import override

from inventory import documents
from inventory.models import Movement, Stock
from orders.models import Order
from orders.order_book import IN_A_DROP
from tests.support.desk import change_stock, signed_in, text, url
from tests.support.factories import make_options, make_order, make_user
from yousinsa.language import english, recordable, recorded

pytestmark = pytest.mark.django_db


def in_korean(message):
    with override("ko"):
        return recorded(message)


@pytest.fixture
def korean():
    client = Client(headers={"accept-language": "ko"})
    client.force_login(make_user(staff=True))
    return client


@pytest.fixture
def option():
    return make_options([10])[0]


@pytest.mark.parametrize(
    ("form", "kept", "shown"),
    [
        ({"reason": "damaged"}, "damaged", "파손"),
        ({"reason": "lost", "note": "50% wet"}, "lost or stolen: 50% wet", "분실 또는 도난: 50% wet"),
        ({"reason": "other", "note": "시험용"}, "시험용", "시험용"),
    ],
)
def test_why_a_korean_operator_adjusted_the_stock(korean, option, form, kept, shown):
    address, form = url(Stock, "adjust", option.stock.pk), {"delta": "-1", **form}
    assert shown in text(korean.post(address, form)), "the preview is read by the operator"
    change_stock(korean, "adjust", option.stock, **form)
    assert Movement.objects.order_by("-id").first().reason == kept
    timeline = url(Stock, "timeline", option.stock.pk)
    assert shown in text(korean.get(timeline))
    assert kept in text(signed_in(make_user(staff=True)).get(timeline))


def test_a_form_that_is_sent_again_in_another_language_is_done_once(korean, option):
    form = {"delta": "-1", "reason": "damaged", "note": "wet"}
    address = url(Stock, "adjust", option.stock.pk)
    seen = korean.post(address, form).context["seen"]
    confirmed = form | {"seen": seen, "confirm": "1"}
    korean.post(address, confirmed)
    korean.post(address, confirmed, headers={"accept-language": "en"})
    assert Movement.objects.filter(stock=option.stock, kind="adjust").count() == 1


def test_what_a_stocktake_says(option):
    clerk = make_user(staff=True)
    with override("ko"):
        stocktake = documents.begin_stocktake(
            stock_ids=[option.stock.pk], counted={option.stock.pk: 8}, actor_id=clerk.pk
        )
        documents.apply_stocktake(stocktake_id=stocktake.pk, version=0, actor_id=clerk.pk)
    kept = Movement.objects.order_by("-id").first().reason
    assert kept == "Stocktake: 8 counted, 10 on record when counting began"
    assert in_korean(kept) == "재고 실사: 8개로 셈, 실사 시작 시 기록은 10개"
    assert recorded(kept) == kept


def test_the_history_of_a_record(korean, option, buyer):
    change_stock(korean, "receive", option.stock, quantity="3", reason="Autumn")
    order = make_order(buyer, (option, 1))
    korean.post(url(Order, "cancel", order.pk), {"note": "asked to"})
    kept = set(LogEntry.objects.values_list("change_message", "object_repr"))
    assert kept == {
        ("receive +3", f"{option.sku}: 13 on hand, 0 reserved"), ("cancel order", order.number),
    }  # fmt: skip
    english_desk = signed_in(make_user(staff=True))
    for record, shown, read in (
        (option.stock, "입고 +3", "receive +3"),
        (order, "주문 취소", "cancel order"),
    ):
        page = url(type(record), "history", record.pk)
        assert shown in text(korean.get(page))
        assert read in text(english_desk.get(page))


def test_a_sentence_with_values_is_known_again():
    assert (
        in_korean(IN_A_DROP % {"drop": 7, "cause": "Redis does not answer"})
        == "드롭 7: Redis가 응답하지 않음"
    )
    filled = recordable("100%% of (%(what)s), %(n)d times") % {"what": "damaged", "n": -3}
    assert filled == "100% of (damaged), -3 times"
    assert in_korean(filled) == "100% of (파손), -3 times"
    assert in_korean("100 of it") == "100 of it"


def test_english_is_the_source_in_any_language():
    with override("ko"):
        assert str(_("damaged")) == "파손"
        assert english(_("damaged")) == "damaged"
