"""Catalogue pages are made once for many, and show what is true."""

import threading

import pytest

from inventory import ledger
from shop.services import decide_store, update_product
from tests.support.concurrency import in_threads
from tests.support.factories import make_options, make_order, make_user
from yousinsa.http import page_cache as module
from yousinsa.http.page_cache import PageCache, pages_changed

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def real_ages(monkeypatch):
    """Pages live for as long as in production, and longer: no test depends on how fast it runs."""
    monkeypatch.setattr(module, "MIN_AGE", 0)
    monkeypatch.setattr(module, "MAX_AGE", 3600)
    monkeypatch.setattr(module, "STALE_AGE", 3600)


def available(api, option):
    return api().get(f"products/{option.product_id}/").json()["options"][0]["available"]


def test_a_page_is_made_once_and_anew_after_each_kind_of_change(api, real_ages, django_assert_num_queries):
    (option,) = make_options([5])
    assert available(api, option) == 5
    with django_assert_num_queries(0):
        assert available(api, option) == 5
    make_order(make_user(), (option, 2))
    assert available(api, option) == 3
    ledger.receive(option_id=option.pk, quantity=10)
    assert available(api, option) == 13
    update_product(product=option.product, changes={"price": 77})
    assert api().get(f"products/{option.product_id}/").json()["price"] == 77
    decide_store(store=option.product.store, status="closed")
    assert api().get(f"products/{option.product_id}/").status_code == 404
    assert api().get("products/").json()["results"] == []


def test_every_query_is_a_page_of_its_own(api, real_ages):
    cheap, dear = make_options(price=1_000), make_options(price=9_000)
    both = {cheap[0].product_id, dear[0].product_id}
    assert {p["id"] for p in api().get("products/").json()["results"]} == both
    only = api().get("products/?max_price=1000").json()["results"]
    assert [p["id"] for p in only] == [cheap[0].product_id]


def test_a_page_that_has_not_changed_is_not_sent_again(api, real_ages):
    (option,) = make_options([5])
    first = api().get("products/")
    again = api().get("products/", If_None_Match=first["ETag"])
    assert (again.status_code, again.content) == (304, b"")
    make_order(make_user(), (option, 1))
    changed = api().get("products/", If_None_Match=first["ETag"])
    assert changed.status_code == 200
    assert changed["ETag"] != first["ETag"]


def test_an_error_is_not_kept(api, real_ages):
    assert api().get("products/1/").status_code == 404
    (option,) = make_options()
    assert api().get(f"products/{option.product_id}/").status_code == 200
    assert api().get("products/?min_price=x").status_code == 400


def test_many_at_once_make_a_page_once(real_ages):
    cache, made, started, hold = PageCache(), [], threading.Event(), threading.Event()

    def render():
        made.append(1)
        started.set()
        assert hold.wait(30)
        return b"page"

    def ask(i):
        if i == 0:
            assert started.wait(30)
            hold.set()
        return cache.get("key", render).body

    assert in_threads(ask, 20) == [b"page"] * 20
    assert len(made) == 1


def test_while_a_page_is_made_anew_others_see_the_one_before(real_ages):
    cache, started, hold = PageCache(), threading.Event(), threading.Event()
    assert cache.get("key", lambda: b"old").body == b"old"
    pages_changed()

    def slow():
        started.set()
        hold.wait(30)
        return b"new"

    maker = threading.Thread(target=cache.get, args=("key", slow))
    maker.start()
    started.wait(30)
    assert cache.get("key", lambda: b"nobody makes it twice").body == b"old"
    hold.set()
    maker.join(30)
    assert cache.get("key", lambda: b"unused").body == b"new"


def test_a_page_that_is_too_old_is_waited_for(real_ages, monkeypatch):
    cache = PageCache()
    cache.get("key", lambda: b"old")
    monkeypatch.setattr(module, "STALE_AGE", 0)
    pages_changed()
    assert cache.get("key", lambda: b"new").body == b"new"


def test_a_change_during_the_making_makes_it_old_at_once(real_ages):
    cache = PageCache()

    def overtaken():
        pages_changed()
        return b"before the change"

    assert cache.get("key", overtaken).body == b"before the change"
    assert cache.get("key", lambda: b"after").body == b"after"


def test_memory_is_bounded(real_ages, monkeypatch):
    monkeypatch.setattr(module, "MAX_PAGES", 3)
    monkeypatch.setattr(module, "MAX_BYTES", 10)
    cache = PageCache()
    made = []

    def get(key, size):
        cache.get(key, lambda: made.append(key) or b"x" * size)

    for key in "abcd":
        get(key, 5)
    for key in "dcb":
        get(key, 5)
    assert made == ["a", "b", "c", "d"]
    get("a", 5)
    assert made == ["a", "b", "c", "d", "a"]
    for _ in range(2):
        get("large", 11)
    assert made[5:] == ["large", "large"]
