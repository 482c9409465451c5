"""One option's timeline: every movement with who, why, the balance after it and what caused it."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from inventory import documents, ledger
from inventory.admin.stock import page as pages
from inventory.models import Delivery, Movement, Stock
from orders.lifecycle import cancel_order
from orders.models import Order
from shop.models import Option, Product
from tests.support.desk import staff, text, url
from tests.support.factories import make_options, make_order, make_user

pytestmark = pytest.mark.django_db


def timeline(desk, option, query=""):
    page = desk.get(url(Stock, "timeline", option.stock.pk) + query)
    assert page.status_code == 200
    return page


def test_each_movement_has_who_why_the_balance_and_its_order(desk, buyer):
    option, other = make_options([10, 0])
    clerk = make_user("clerk@example.com", staff=True)
    order = make_order(buyer, (option, 3))
    cancel_order(order_id=order.pk, actor_id=clerk.pk)
    ledger.adjust(option_id=option.pk, delta=-1, reason="damaged", actor_id=clerk.pk)
    ledger.transfer(
        from_option_id=option.pk, to_option_id=other.pk, quantity=2, reason="label", actor_id=clerk.pk
    )
    receipt = documents.Receipt(option.stock.pk, 4, note="Autumn")
    delivery = documents.draft_delivery(receipts=[receipt], actor_id=clerk.pk)
    documents.apply_delivery(delivery_id=delivery.pk, version=0, actor_id=clerk.pk)

    page = timeline(desk, option)
    rows = page.context["rows"]
    shown = [(r["movement"].kind, r["on_hand"], r["reserved"], r["available"]) for r in rows]
    assert shown == [
        ("receive", "11 (+4)", "0", 11),
        ("adjust", "7 (-2)", "0", 7),
        ("adjust", "9 (-1)", "0", 9),
        ("release", "10", "0 (-3)", 10),
        ("reserve", "10", "3 (+3)", 7),
        ("receive", "10 (+10)", "0", 10),
    ]
    assert not any(row["broken"] for row in rows)
    assert "clerk@example.com damaged" in text(page)
    html = page.content.decode()
    assert html.count(f'href="{url(Order, "change", order.pk)}" class="text-link">{order.number}</a>') == 2
    assert f'href="{url(Delivery, "change", delivery.pk)}"' in html
    move = Movement.objects.filter(reference__startswith="MOVE-").first()
    assert desk.get(url(Movement), {"q": move.reference}).context["cl"].result_count == 2


def test_it_goes_back_to_the_first_movement_page_by_page_without_counting(desk, monkeypatch):
    (option,) = make_options([0])
    assert "Nothing has moved yet." in text(timeline(desk, option))
    for _ in range(7):
        ledger.receive(option_id=option.pk, quantity=1)
    monkeypatch.setattr(pages, "TIMELINE_PAGE", 3)
    seen, query = [], ""
    while True:
        with CaptureQueriesContext(connection) as captured:
            page = timeline(desk, option, query)
        assert not any("COUNT(" in q["sql"] for q in captured)
        assert not any(row["broken"] for row in page.context["rows"])
        seen += [row["movement"].sequence for row in page.context["rows"]]
        query = page.context["older"]
        if not query:
            break
    assert seen == [7, 6, 5, 4, 3, 2, 1]
    assert page.context["newest"]
    for nonsense in ("?before=x", "?before=-1", "?before=" + "9" * 30):
        assert len(timeline(desk, option, nonsense).context["rows"]) == 3


@pytest.mark.parametrize(
    ("damage", "row", "told"),
    [
        (lambda rows: rows.filter(sequence=2).delete(), 0, "Movement 2 is missing here."),
        (
            lambda rows: rows.filter(sequence=2).update(on_hand_after=99),
            0,
            "This does not follow from the movement before, which left 99 on hand, 0 reserved.",
        ),
        (
            lambda rows: Stock.objects.filter(pk=rows[0].stock_id).update(on_hand=9),
            0,
            "The counters differ from this: 9 on hand, 0 reserved.",
        ),
        (
            lambda rows: rows.filter(sequence=1).update(on_hand_after=7),
            2,
            "This does not follow from the movement before, which left 0 on hand, 0 reserved.",
        ),
    ],
)
def test_a_balance_that_does_not_chain_is_marked(desk, damage, row, told):
    (option,) = make_options([5])
    for _ in range(2):
        ledger.receive(option_id=option.pk, quantity=1)
    assert "⚠" not in text(timeline(desk, option))
    damage(Movement.objects.filter(stock=option.stock))
    page = timeline(desk, option)
    assert told in page.context["rows"][row]["broken"]
    assert f"⚠ {told}" in text(page)
    assert 'class="desk-broken"' in page.content.decode()


def test_a_page_costs_the_same_number_of_queries_however_many_orders_it_names(desk):
    (option,) = make_options([50])

    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            timeline(desk, option)
        return len(captured)

    make_order(make_user(), (option, 1))
    queries()  # what is looked up once a process
    few = queries()
    for _ in range(5):
        make_order(make_user(), (option, 1))
    assert queries() == few


def test_it_is_found_from_stock_option_and_product(desk):
    (option,) = make_options([1])
    address = url(Stock, "timeline", option.stock.pk)
    for page in (
        url(Stock), url(Stock, "change", option.stock.pk), url(Option, "change", option.pk),
        url(Product, "change", option.product_id),
    ):  # fmt: skip
        assert f'href="{address}"' in desk.get(page).content.decode()
    assert desk.get(url(Stock, "timeline", 42)).status_code == 302
    assert staff("shop.view_product").get(address).status_code == 403
    assert staff("inventory.view_stock").get(address).status_code == 200
