"""What a read costs: the statements behind each call that shows something, and what answers it."""

from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from orders.drops.selectors import drop_views
from orders.lifecycle import ship_order
from orders.models import Order, Payment, Refund
from orders.selectors import numbered_views
from shop.models import Option, Store, User
from tests.support.drops import make_drop
from tests.support.factories import ADDRESS, make_options, make_order, make_store, make_user
from yousinsa.db.statements import Statement

pytestmark = pytest.mark.django_db


def statements_of(ask):
    """How many statements it takes, once they are compiled and the caller's token is known."""
    ask()
    drop_views.clear()
    with CaptureQueriesContext(connection) as queries:
        answer = ask()
    assert answer.status_code == 200, answer.content
    return len(queries)


def attempt(order, number, **fields):
    return Payment.objects.create(
        order=order, provider="sandbox", reference=f"{order.pk}-{number}", amount=order.total, **fields
    )


def refund(payment, amount):
    return Refund.objects.create(
        payment=payment, reference=f"{payment.reference}-{amount}", amount=amount, reason="returned"
    )


@pytest.fixture
def orders(buyer):
    """Three orders of two lines each, paid at the second attempt, with refunds."""
    made = []
    for _ in range(3):
        first, second = make_options([9, 9], price=1_000)
        order = make_order(buyer, (first, 2), (second, 1))
        attempt(order, 1, status="declined", live=None, detail="no funds")
        paid = attempt(order, 2, status="approved", live=True)
        refund(paid, 300)
        refund(paid, 45)
        made.append(order)
    return made


# --- How many statements ----------------------------------------------------------------------------------


def test_an_order_takes_two_statements(api, buyer, orders):
    assert statements_of(lambda: api(buyer).get(f"orders/{orders[0].number}/")) == 2


@pytest.mark.parametrize("page_size", [1, 3, 100])
def test_a_list_of_orders_takes_two_statements(api, buyer, orders, page_size):
    assert statements_of(lambda: api(buyer).get(f"orders/?page_size={page_size}")) == 2


def test_a_list_without_orders_takes_one_statement(api, buyer):
    assert statements_of(lambda: api(buyer).get("orders/")) == 1


def test_stores_take_one_statement(api, buyer):
    for _ in range(3):
        make_store()
    assert statements_of(lambda: api().get("stores/?page_size=2")) == 1
    assert statements_of(lambda: api(buyer).get("stores/?page_size=2")) == 1


def test_my_profile_takes_one_statement(api, buyer):
    assert statements_of(lambda: api(buyer).get("users/me/")) == 1


@pytest.mark.django_db(transaction=True)
def test_drops_take_two_statements(api):
    first, second = make_options([9, 9])
    drop = make_drop((first, 2), (second, 3), lane="group_commit")
    make_drop((second, 3), lane="group_commit", opened=False, opens_at=timezone.now() + timedelta(hours=1))
    assert statements_of(lambda: api().get("drops/")) == 2
    assert statements_of(lambda: api().get(f"drops/{drop.pk}/")) == 2


@pytest.mark.mariadb
def test_my_orders_are_found_by_indexes_however_many_attempts_of_others_there_are(api, buyer, orders):
    other = make_order(make_user(), (make_options([9])[0], 1))
    for number in range(400):
        refund(attempt(other, number, status="declined", live=None), 1)
    unpaid = make_order(buyer, (make_options([9])[0], 1))
    for path in ("orders/", f"orders/{unpaid.number}/", f"orders/{orders[0].number}/"):
        assert api(buyer).get(path).status_code == 200
        before = rows_read()
        assert api(buyer).get(path).status_code == 200
        assert rows_read() - before < 150, path


def rows_read():
    """Of tables and indexes, by this connection so far."""
    with connection.cursor() as cursor:
        cursor.execute("SHOW SESSION STATUS LIKE 'Handler_read%'")
        return sum(int(count) for _name, count in cursor.fetchall())


# --- What they say ----------------------------------------------------------------------------------------


def test_an_order_shows_its_last_attempt_and_all_that_goes_back(api, buyer, orders):
    _first, order, _last = orders
    refund(order.payments.order_by("id")[0], 7)
    order.refresh_from_db()
    lines = order.lines.select_related("option").order_by("id")
    shown = api(buyer).get(f"orders/{order.number}/").json()
    assert shown == {
        "number": order.number,
        "status": "pending",
        "lines": [
            {
                "option": line.option_id,
                "sku": line.option.sku,
                "product": line.option.product_id,
                "name": line.product_name,
                "size": line.option.size,
                "color": line.option.color,
                "quantity": line.quantity,
                "unit_price": 1_000,
                "returned": 0,
            }
            for line in lines
        ],
        "total": 3_000,
        "expires_at": order.expires_at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        "created_at": order.created_at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        "note": "",
        "shipping": None,
        "tracking": None,
        "payment": {
            "provider": "sandbox",
            "status": "approved",
            "amount": 3_000,
            "refunded": 352,
            "detail": "",
        },
        "drop": None,
    }
    assert api(buyer).get("orders/?page_size=2").json()["results"][1] == shown


def test_an_attempt_without_refunds_and_none_at_all(api, buyer, option):
    order, unpaid = make_order(buyer, (option, 1)), make_order(buyer, (option, 1))
    attempt(order, 1, status="declined", live=None, detail="no funds")
    shown = api(buyer).get("orders/").json()["results"]
    assert [row["number"] for row in shown] == [unpaid.number, order.number]
    assert [row["payment"] for row in shown] == [
        None,
        {
            "provider": "sandbox",
            "status": "declined",
            "amount": 10_000,
            "refunded": 0,
            "detail": "no funds",
        },
    ]


def test_an_order_that_was_sent_says_where_and_with_whom(api, buyer, operator, option):
    order = make_order(buyer, (option, 1))
    Order.objects.filter(pk=order.pk).update(status="paid", **ADDRESS)
    ship_order(order_id=order.pk, carrier="CJ", tracking_number="123", actor_id=operator.pk)
    shown = api(buyer).get(f"orders/{order.number}/").json()
    assert (shown["shipping"], shown["tracking"]) == (ADDRESS, {"carrier": "CJ", "number": "123"})


def test_numbers_that_do_not_exist_are_left_out(orders):
    numbers = [order.number for order in orders]
    assert list(numbered_views([*numbers, "none"])) == numbers[::-1]
    assert numbered_views([]) == {}


def test_a_viewer_sees_own_stores_in_any_state_on_every_page(api):
    owner = make_user(role="store_owner")
    own = [make_store(owner=owner, status=status) for status in ("requested", "rejected")]
    others = [make_store(), make_store(status="requested"), make_store()]
    seen, path = [], "stores/?page_size=1"
    while path:
        page = api(owner).get(path).json()
        seen += [store["id"] for store in page["results"]]
        path = page["next"] and page["next"].partition("/api/v1/")[2]
    assert seen == [others[2].pk, others[0].pk, own[1].pk, own[0].pk]
    assert [s["id"] for s in api().get("stores/").json()["results"]] == [others[2].pk, others[0].pk]


def test_the_neighbours_of_a_page_are_asked_for_with_the_same_words(api):
    for _ in range(3):
        make_store()
    page = api().get("stores/?page_size=1&note=a%20b&note=%EC%95%88%26").json()
    again = api().get(page["next"].partition("/api/v1/")[2]).json()
    assert page["next"].startswith("http://testserver/api/v1/stores/?page_size=1&note=a+b&note=%EC%95%88%26&")
    for address in (page["next"], again["next"], again["previous"]):
        query = parse_qs(urlsplit(address).query)
        assert (query["note"], query["page_size"], len(query["cursor"])) == (["a b", "안&"], ["1"], 1)
    assert api().get(again["previous"].partition("/api/v1/")[2]).json()["results"] == page["results"]


def test_my_profile_is_refused_to_an_account_that_is_not_active_any_more(api, buyer):
    User.objects.filter(pk=buyer.pk).update(is_active=False)
    refused = api(buyer).get("users/me/")
    assert (refused.status_code, refused.json()["code"]) == (401, "not_authenticated")


def test_my_profile_takes_the_short_chain_and_so_does_changing_it(api, buyer):
    # Of all headers, that one of the desk's pages tells which chain it was.
    assert "X-Frame-Options" not in api(buyer).get("users/me/")
    assert "X-Frame-Options" not in api(buyer).patch("users/me/", {"name": "Lee"})
    assert api(buyer).get("users/me/").json()["name"] == "Lee"
    assert api(buyer).get("users/me/")["Cache-Control"] == "no-store"
    refused = api(token="wrong").get("users/me/", Accept_Language="ko")
    assert refused["Content-Language"] == "ko"


# --- Statements -------------------------------------------------------------------------------------------


def test_a_statement_is_compiled_once_for_lists_of_about_one_length(django_assert_num_queries):
    built = []

    def build(ids):
        built.append(len(ids))
        return Option.objects.filter(pk__in=ids).order_by("id").values_list("id", "product__name")

    named = Statement(build)
    ids = [option.pk for option in make_options([1] * 5, name="Shirt")]
    for length in (5, 3, 4, 1, 5, 2):
        with django_assert_num_queries(1):
            assert [row.id for row in named.rows(ids[:length])] == ids[:length]
    assert built == [8, 4, 1, 2]
    assert [row.product__name for row in named.rows(ids[:2])] == ["Shirt", "Shirt"]
    with django_assert_num_queries(0):
        assert named.rows([]) == []


def test_a_statement_converts_as_a_queryset_does():
    moment = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
    store = make_store()
    Store.objects.filter(pk=store.pk).update(created_at=moment, decided_at=None)
    found = Statement(
        lambda name, status: Store.objects.filter(name=name, status=status).values_list(
            "created_at", "decided_at", "owner__is_active"
        )
    )
    assert found.rows(store.name, "accepted") == [(moment, None, True)]
    assert found.rows("' OR 1=1 -- %s", "accepted") == []
