"""Catalogue pages are made once for many, and show what is true."""

import gzip
import threading
import time

import pytest

from inventory import ledger
from orders.drops import api as drops_api
from orders.drops.api import tag_of_the_second
from orders.models.drops import Lane
from shop.models import Role
from shop.services import decide_store, update_product
from tests.support.concurrency import in_threads
from tests.support.drops import make_drop
from tests.support.factories import make_options, make_order, make_store, make_user
from tests.support.wire import token_of
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


FOR_ALL = "public, max-age=1, stale-while-revalidate=5"
VARIES = {"Accept-Language", "Accept-Encoding", "Authorization", "Cookie"}


@pytest.fixture
def pages(real_ages, monkeypatch):
    """The addresses of what everybody may look at."""
    monkeypatch.setattr(drops_api, "MAX_AGE", 3600)
    (option,) = make_options([5])
    drop = make_drop((option, 2), lane=Lane.GROUP_COMMIT)
    return ["products/", f"products/{option.product_id}/", "stores/", "drops/", f"drops/{drop.pk}/"]


def test_a_strangers_page_may_be_kept_by_all_for_a_second(api, pages, django_assert_num_queries):
    for path in pages:
        page = api().get(path)
        assert page.status_code == 200
        assert page["Cache-Control"].startswith(FOR_ALL)
        assert set(page["Vary"].split(", ")) >= VARIES
        assert abs(int(page["X-Accel-Expires"].removeprefix("@")) - time.time()) < 60
        with django_assert_num_queries(0):
            head = api()("HEAD", path)
            assert (head.status_code, head.content) == (200, b"")
            for name in ("ETag", "Cache-Control", "Vary", "Content-Length", "Content-Type"):
                assert head[name] == page[name]
            browser = api().get(path, Accept="application/json, text/plain, */*")
            assert (browser["ETag"], browser.content) == (page["ETag"], page.content)


@pytest.mark.parametrize("known", ["{}", "W/{}", '"x", {}', '"x",W/{} , "y"', "*"])
def test_a_page_that_the_caller_has_is_not_sent_again(api, pages, known):
    for path in pages:
        page = api().get(path)
        sent = known.format(page["ETag"].removeprefix("W/"))
        for method in ("GET", "HEAD"):
            again = api()(method, path, If_None_Match=sent)
            assert (again.status_code, again.content) == (304, b"")
            for name in ("ETag", "Cache-Control", "Vary", "X-Accel-Expires"):
                assert again[name] == page[name] or name == "X-Accel-Expires"


@pytest.mark.parametrize("known", ['"x"', 'W/"x", "y"', "", "x", '"'])
def test_a_page_that_the_caller_does_not_have_is_sent(api, pages, known):
    for path in pages:
        assert api().get(path, If_None_Match=known).status_code == 200


@pytest.mark.parametrize("header", ["Authorization", "Cookie"])
def test_no_cache_on_the_way_keeps_what_somebody_with_a_token_or_a_cookie_is_sent(api, pages, header):
    value = f"Bearer {token_of(make_user())}" if header == "Authorization" else "sessionid=x"
    for path in [*pages, "products/987654321/", "drops/987654321/"]:
        page = api().get(path, **{header: value})
        assert page["Cache-Control"] in ("no-store", "private, no-cache")
        assert "X-Accel-Expires" not in page
        # In either order: a stranger's page is not theirs.
        assert api().get(path)["Cache-Control"].startswith(FOR_ALL)
        assert api().get(path, **{header: value})["Cache-Control"] in ("no-store", "private, no-cache")


def test_what_is_not_there_may_be_kept_and_what_is_wrong_may_not(api, pages):
    for path in ("products/987654321/", "drops/987654321/"):
        gone = api().get(path)
        assert (gone.status_code, gone["Cache-Control"][: len(FOR_ALL)]) == (404, FOR_ALL)
        assert set(gone["Vary"].split(", ")) >= VARIES
    assert api().get("products/?min_price=x")["Cache-Control"] == "no-store"
    assert api().patch("products/987654321/", {})["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    ("sent", "compressed"),
    [
        ("gzip", True), ("br, gzip;q=0.5", True), ("deflate, GZIP", True), ("gzip;q=1.0", True),
        ("", False), ("br", False), ("gzip;q=0", False), ("gzip; q=0.000, br", False), ("xgzip", False),
    ],
)  # fmt: skip
def test_a_page_is_compressed_for_who_takes_it(api, real_ages, sent, compressed):
    (option, *_) = make_options([1] * 20)
    path = f"products/{option.product_id}/"
    plain = api().get(path)
    page = api().get(path, Accept_Encoding=sent)
    assert ("Content-Encoding" in page) == compressed
    assert (gzip.decompress(page.content) if compressed else page.content) == plain.content
    assert page["Content-Length"] == str(len(page.content))
    assert page["ETag"] == ("W/" if compressed else "") + plain["ETag"]
    assert api().get(path, Accept_Encoding=sent, If_None_Match=page["ETag"]).status_code == 304
    # What fits into a packet is sent as it is.
    assert "Content-Encoding" not in api().get("products/?min_price=99999999", Accept_Encoding=sent)


def test_who_owns_a_store_sees_it_before_others_do(api, pages):
    owner = make_user(role=Role.STORE_OWNER)
    requested = make_store(owner=owner, status="requested")
    for _ in range(2):
        assert requested.pk in [store["id"] for store in api(owner).get("stores/").json()["results"]]
        assert requested.pk not in [store["id"] for store in api().get("stores/").json()["results"]]


def test_a_drops_page_is_another_one_with_the_next_second_or_the_next_unit():
    body = (
        b'{"id":1,"name":"a \\"server_time\\":\\"x\\"","server_time":"2026-11-28T10:00:00.25Z",'
        b'"opens_in_seconds":3.75,"remaining":5}'
    )
    same = body.replace(b"00.25Z", b"00.975Z").replace(b"3.75", b"3.025")
    assert tag_of_the_second(body).startswith('W/"')
    assert tag_of_the_second(same) == tag_of_the_second(body)
    for there, instead in ((b"00.25Z", b"01Z"), (b'g":5', b'g":4'), (b'"x', b'"y'), (b'"id":1', b'"id":2')):
        other = body.replace(there, instead)
        assert other != body
        assert tag_of_the_second(other) != tag_of_the_second(body)


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
