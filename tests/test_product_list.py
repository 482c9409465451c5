"""The product list: filters, search, and pages that neither skip nor repeat."""

import itertools
from urllib.parse import urlencode

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from shop.models import Category, Option, Product, Store
from shop.selectors import ORDERINGS
from tests.support.factories import make_category, make_options, make_order, make_store, make_user
from tests.support.wire import Wire

pytestmark = pytest.mark.django_db


def listed(**query):
    """Ids of the products that the list shows, in its order (all on one page)."""
    answer = Wire().get(f"products/?{urlencode({'page_size': 100, **query})}")
    assert answer.status_code == 200, answer.content
    assert answer.json()["next"] is None
    return [product["id"] for product in answer.json()["results"]]


def found(text):
    ids = listed(search=text, ordering="oldest")
    return list(Product.objects.filter(pk__in=ids).order_by("id").values_list("name", flat=True))


# --- Filters ----------------------------------------------------------------------------------------------


@pytest.fixture
def catalogue():
    """Products that differ in all that can be asked for; returns what is known of each."""
    top = make_category("top")
    shirts = Category.objects.add_child(top, {"slug": "shirts", "name": "Shirts"})
    outer = make_category("outer")
    stores = [make_store(), make_store()]
    known = []
    cases = itertools.product([top, shirts, outer], stores, [1_000, 2_000], [(0,), (3,), (0, 2)])
    for i, (category, store, price, stock) in enumerate(cases):
        options = make_options(stock, store=store, price=price, name=f"Item {i % 5}")
        Product.objects.filter(pk=options[0].product_id).update(category=category)
        known.append(
            {
                "id": options[0].product_id,
                "categories": {"top", "shirts"} if category == shirts else {category.slug},
                "store": store.pk,
                "price": price,
                "in_stock": any(stock),
                "name": f"Item {i % 5}",
            }
        )
    # What nobody may see, whatever is asked for.
    for hidden in make_options([5], store=stores[0], price=1_000), make_options([5], price=1_000):
        Product.objects.filter(pk=hidden[0].product_id).update(is_active=False)
    make_options([5], store=make_store(status=Store.Status.REQUESTED), price=1_000)
    return known


def test_every_combination_of_filters_shows_exactly_what_fits(catalogue):
    store_id = catalogue[0]["store"]
    questions = itertools.product(
        [None, "top", "shirts", "pants"],
        [None, store_id],
        [None, 1_500],
        [None, 1_500],
        [None, "true", "false"],
    )
    for category, store, low, high, in_stock in questions:
        query = {
            "category": category,
            "store": store,
            "min_price": low,
            "max_price": high,
            "in_stock": in_stock,
        }
        query = {name: value for name, value in query.items() if value is not None}
        expected = {
            product["id"]
            for product in catalogue
            if category in {None, *product["categories"]}
            and store in (None, product["store"])
            and (low is None or product["price"] >= low)
            and (high is None or product["price"] <= high)
            and (in_stock is None or product["in_stock"] == (in_stock == "true"))
        }
        answer = listed(**query)
        assert len(answer) == len(set(answer))
        assert set(answer) == expected, query


@pytest.mark.parametrize("ordering", ORDERINGS)
def test_every_ordering_is_total(catalogue, ordering):
    key = {
        "newest": "id",
        "oldest": "id",
        "price": "price",
        "-price": "price",
        "name": "name",
        "-name": "name",
    }
    descending = ordering == "newest" or ordering.startswith("-")
    by = sorted(catalogue, key=lambda product: (product[key[ordering]], product["id"]), reverse=descending)
    assert listed(ordering=ordering) == [product["id"] for product in by]


def test_what_is_reserved_is_not_available(buyer):
    one, two = make_options([2, 1])
    make_order(buyer, (one, 2))
    assert listed(in_stock="true") == [one.product_id]
    make_order(buyer, (two, 1))
    assert listed(in_stock="true") == []
    (product,) = Wire().get("products/").json()["results"]
    assert [option["available"] for option in product["options"]] == [0, 0]


@pytest.mark.parametrize("word", ["1", "true", "True", "TRUE"])
def test_true_may_be_written_in_several_ways(word):
    (option,) = make_options([1])
    make_options([0])
    assert listed(in_stock=word) == [option.product_id]


def test_an_empty_parameter_counts_as_none():
    (option,) = make_options([1])
    nothing = dict.fromkeys(
        ["category", "store", "search", "min_price", "max_price", "in_stock", "cursor"], ""
    )
    assert listed(**nothing) == [option.product_id]


def test_the_number_of_queries_does_not_grow_with_the_page():
    counts = []
    for _ in range(2):
        for _ in range(5):
            make_options([1, 2, 3])
        with CaptureQueriesContext(
            connection,
        ) as queries:
            listed(in_stock="true", category="top", search="Shirt")
        counts.append(len(queries))
    assert counts[0] == counts[1] <= 8


# --- Search -----------------------------------------------------------------------------------------------

NAMES = [
    "The North Face Jacket",
    "Thermal shirt",
    "Theory of Denim",
    "T-Shirt with pocket",
    "T_Shirt blue",
    "Levi's 501 Jeans",
    "Shirt shirt SHIRT",
    "와이드 청바지",
    "데님청바지",
    "데님 바지",
    "오버핏 반팔 티셔츠",
    "100% cotton XL",
    "A.P.C. coat",
    "foo+bar-baz",
    "coat (red) \U0001f9e5",
    "wind" * 30,
]
# What is typed, and the names that have words which begin with all of its words, alone or in a compound.
SEARCHES = {
    "shirt": ["Thermal shirt", "T-Shirt with pocket", "Shirt shirt SHIRT"],
    "SHIRT": ["Thermal shirt", "T-Shirt with pocket", "Shirt shirt SHIRT"],
    "shi": ["Thermal shirt", "T-Shirt with pocket", "Shirt shirt SHIRT"],
    "hirt": [],
    "the": ["The North Face Jacket", "Thermal shirt", "Theory of Denim"],
    "The North": ["The North Face Jacket"],
    "north the": ["The North Face Jacket"],
    "with": ["T-Shirt with pocket"],
    "wi": ["T-Shirt with pocket", "wind" * 30],
    "t": ["The North Face Jacket", "Thermal shirt", "Theory of Denim", "T-Shirt with pocket", "T_Shirt blue"],
    "of": ["Theory of Denim"],
    "xl": ["100% cotton XL"],
    "501": ["Levi's 501 Jeans"],
    "levi's": ["Levi's 501 Jeans"],
    "levis": [],
    "t-shirt": ["Thermal shirt", "T-Shirt with pocket"],
    "t_shirt": ["T_Shirt blue"],
    "청바지": ["와이드 청바지", "데님청바지"],
    "바지": ["와이드 청바지", "데님청바지", "데님 바지"],
    "청": ["와이드 청바지", "데님청바지"],
    "지": [],
    "셔츠": ["오버핏 반팔 티셔츠"],
    "데님": ["데님청바지", "데님 바지"],
    "반팔 티": ["오버핏 반팔 티셔츠"],
    # The same in pieces (NFD), as some keyboards send it.
    "\u110e\u1165\u11bc\u1107\u1161\u110c\u1175": ["와이드 청바지", "데님청바지"],
    "100%": ["100% cotton XL"],
    "a.p.c": ["A.P.C. coat"],
    "coat": ["A.P.C. coat", "coat (red) \U0001f9e5"],
    "bar": ["foo+bar-baz"],
    "coat \U0001f9e5": ["A.P.C. coat", "coat (red) \U0001f9e5"],
    "coat shirt": [],
    "+shirt -thermal": ["Thermal shirt"],
    "wind" * 22: ["wind" * 30],
    "nothing": [],
}
OPERATORS = [
    "+", "-", "*", '"', "(", ")", "~", "<", ">", "@", "+-", "((", "))", '"""', "~<>", "+*", "***", "'", "\\",
    ";", "%", "--", "/*", "\U0001f9e5", "___", "\u0301",
]  # fmt: skip


@pytest.fixture
def named(db):
    store = make_store()
    for name in NAMES:
        make_options([1], store=store, name=name)


def test_search_finds_words_by_their_beginnings_alike_on_every_database(named):
    answers = {text: found(text) for text in SEARCHES}
    assert answers == SEARCHES


def test_signs_mean_nothing(named):
    for operator in OPERATORS:
        assert found(operator) == [], operator
        for text in (
            f"{operator}coat",
            f"coat{operator}",
            f"{operator} coat",
            f"coat {operator}coat{operator}",
        ):
            if operator.isalnum() or operator == "___":
                continue
            assert found(text) == SEARCHES["coat"], text


def test_search_narrows_like_the_other_filters(named):
    first = found("coat")[0]
    Product.objects.filter(name=first).update(price=5)
    assert [p.name for p in Product.objects.filter(pk__in=listed(search="coat", max_price=5))] == [first]
    assert listed(search="coat", category="pants") == [] if Category.objects.filter(slug="pants") else True


def test_many_words_are_no_trouble(named):
    assert found("shirt " * 16) == SEARCHES["shirt"]
    assert found("t " * 50) == SEARCHES["t"]


# --- Pages ------------------------------------------------------------------------------------------------


def walk(path, direction="next"):
    """Every page from `path` on, as lists of ids."""
    while path:
        page = Wire().get(path.partition("testserver")[2] or path).json()
        yield page
        path = page[direction]


def ids(pages):
    return [[product["id"] for product in page["results"]] for page in pages]


@pytest.mark.parametrize("ordering", ORDERINGS)
@pytest.mark.parametrize("page_size", [1, 3, 7])
def test_there_and_back_again(ordering, page_size):
    store = make_store()
    for i in range(7):
        make_options([1], store=store, price=[1, 2][i % 2], name=["A", "b", "A"][i % 3])
    everything = listed(ordering=ordering)
    pages = list(walk(f"products/?ordering={ordering}&page_size={page_size}"))
    assert list(itertools.chain(*ids(pages))) == everything
    assert pages[0]["previous"] is None
    assert pages[-1]["next"] is None
    assert all(len(page["results"]) == page_size for page in pages[:-1])
    back = [pages[-1]]
    if pages[-1]["previous"]:
        back += walk(pages[-1]["previous"], "previous")
    assert ids(back)[::-1] == ids(pages)


def test_pages_keep_the_question():
    for _ in range(3):
        make_options([1], price=7)
    make_options([1], price=9)
    pages = list(walk("products/?page_size=2&max_price=8&ordering=price&in_stock=true&search="))
    assert [len(page) for page in ids(pages)] == [2, 1]


class Pages(TestCase):
    """Rows come, go and change while somebody turns the pages."""

    @settings(max_examples=25, deadline=None)
    @given(
        prices=st.lists(st.integers(0, 3), min_size=1, max_size=9),
        page_size=st.integers(1, 4),
        ordering=st.sampled_from(sorted(ORDERINGS)),
        meanwhile=st.lists(
            st.tuples(st.sampled_from(["insert", "hide", "nothing"]), st.integers(0, 3)), max_size=8
        ),
        turns=st.lists(st.sampled_from(["next", "next", "previous"]), max_size=12),
    )
    def test_what_was_there_all_the_time_is_seen_once_on_the_way(
        self, prices, page_size, ordering, meanwhile, turns
    ):
        store, category = make_store(), make_category()

        def add(price):
            product = Product.objects.create(store=store, category=category, name=f"N{price}", price=price)
            Option.objects.create(product=product, sku=f"S{product.pk}")
            return product.pk

        there = {add(price) for price in prices}
        changes = iter(meanwhile)
        seen: list[int] = []
        path = f"products/?ordering={ordering}&page_size={page_size}"
        while path:
            page = next(walk(path))
            seen += [product["id"] for product in page["results"]]
            what, price = next(changes, ("nothing", 0))
            if what == "insert":
                add(price)
            elif what == "hide" and len(there) > 1:
                gone = sorted(there)[price % len(there)]
                Product.objects.filter(pk=gone).update(is_active=False)
                there.discard(gone)
            path = page["next"]
        assert len(seen) == len(set(seen))
        assert there <= set(seen)

        # Wherever one turns, a page is the neighbour of the one before, in the list as it is now.
        everything = listed(ordering=ordering)
        page = next(walk(f"products/?ordering={ordering}&page_size={page_size}"))
        at = 0
        for turn in turns:
            assert [p["id"] for p in page["results"]] == everything[at : at + page_size]
            if page[turn] is None:
                assert at == 0 if turn == "previous" else at + page_size >= len(everything)
                continue
            page = next(walk(page[turn]))
            at = max(0, at - page_size) if turn == "previous" else at + page_size


def test_orders_come_in_pages_too(buyer):
    (option,) = make_options([10])
    numbers = [make_order(buyer, (option, 1)).number for _ in range(5)]
    make_order(make_user(), (option, 1))
    wire, path, seen = Wire(buyer), "orders/?page_size=2", []
    while path:
        page = wire.get(path).json()
        seen += [order["number"] for order in page["results"]]
        path = page["next"] and page["next"].partition("testserver")[2]
    assert seen == numbers[::-1]


def test_orders_are_read_in_as_many_queries_as_one(buyer):
    options = make_options([10, 10, 10])
    wire, counts = Wire(buyer), []
    for _ in range(2):
        for _ in range(3):
            order = make_order(buyer, *[(option, 1) for option in options])
            assert wire.post(f"orders/{order.number}/pay/", {"provider": "sandbox"}).status_code == 200
        with CaptureQueriesContext(connection) as queries:
            wire.get("orders/")
        counts.append(len(queries))
    assert counts[0] == counts[1] <= 2
