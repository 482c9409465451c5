"""nginx as it is deployed, in front of gunicorn: it holds for a second what a crowd of strangers looks at.

nginx goes by the clock, and so do these tests: they say what must hold from one second to another, however
long an answer takes.
"""

import gzip
import json
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from shop.models import Role
from tests.support.certificates import Authority
from tests.support.concurrency import until
from tests.support.factories import make_options, make_store, make_user
from tests.support.proxies import WatchingProxy
from tests.support.server import WebServer, environment_of_tests
from tests.support.services import Nginx, ServerMissing, find_program
from tests.support.wire import token_of

pytestmark = pytest.mark.django_db(transaction=True)

PRODUCTS = "/api/v1/products/"
# Kept for a second to the nearest whole one, and made by the shop up to 25 ms before.
KEPT, STALE = 1.525, 2.0


@pytest.fixture(scope="module")
def tls(tmp_path_factory):
    """The authority's certificate, and one with its key that it signed."""
    try:
        find_program("nginx", Nginx.package)
    except ServerMissing as exc:
        pytest.skip(str(exc))
    authority = Authority(tmp_path_factory.mktemp("tls"), "authority")
    return authority.ca, authority.certify("front")


@pytest.fixture
def shop(tmp_path):
    more = {"WEB_CONCURRENCY": "1", "WEB_THREADS": "8", "TRUSTED_PROXIES": "1", "HTTPS": "1"}
    with WebServer(environment_of_tests(tmp_path, **more), log=tmp_path / "log") as server:
        yield server


@contextmanager
def front_of(shop, tls, **how):
    """nginx, and what lies between it and the shop and sees what comes by; `how` as for WatchingProxy."""
    authority, pair = tls
    # One address stands for a crowd.
    many = {"rate=50r/s": "rate=5000r/s"}
    with (
        WatchingProxy(shop.port, **how) as road,
        Nginx(road.port, pair, authority=authority, replaced=many) as nginx,
    ):
        yield nginx, road


@pytest.fixture
def front(shop, tls):
    with front_of(shop, tls) as (nginx, road):
        nginx.road = road
        yield nginx


@pytest.fixture
def owner():
    return make_user("owner@example.com", role=Role.STORE_OWNER)


@pytest.fixture
def product(owner):
    return make_options([5], price=1_000, store=make_store(owner=owner))[0].product


def wait_until_clock(moment):
    time.sleep(max(0.0, moment - time.time()))


def within_one_second(ask):
    """What `ask(n)` returns in a whole second of the clock: asked again, with another n, until it fits."""
    for n in range(20):
        wait_until_clock(int(time.time()) + 1)
        begun = int(time.time())
        found = ask(n)
        if int(time.time()) == begun:
            return found
    raise AssertionError("no second was long enough")


def change(front, product, owner, **changes):
    """The owner changes the product over the API; returns when that had been done."""
    answer = front.ask(
        f"{PRODUCTS}{product.pk}/", method="PATCH", body=changes, Authorization=f"Bearer {token_of(owner)}"
    )
    assert answer.status == 200, answer.body
    return time.time()


def test_nginx_takes_the_configuration(tls, tmp_path):
    authority, pair = tls
    nginx = Nginx(8000, pair, authority=authority)
    nginx.directory, nginx.port = tmp_path, 8443
    nginx.prepare()
    command = [*nginx.command(), "-t"]
    checked = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert checked.returncode == 0, checked.stderr
    assert "[warn]" not in checked.stderr


def test_strangers_within_a_second_are_one_request(front, product):
    def ask(n):
        address = f"{PRODUCTS}?min_price={n}"
        front.road.seen.clear()
        crowd = [
            front.ask(address),
            front.ask(address, Cookie="visitor=7; django_language=ko; nottoken=1"),
            front.ask(address, method="HEAD"),
            front.ask(address, Accept_Encoding="br", User_Agent="another"),
        ]
        return crowd, front.road.seen.copy()

    crowd, seen = within_one_second(ask)
    assert len(seen) == 1
    assert [answer.status for answer in crowd] == [200] * 4
    assert json.loads(crowd[1].body) == json.loads(crowd[0].body)
    assert crowd[2].body == b""
    assert "X-Accel-Expires" not in crowd[0].headers


def test_a_page_is_compressed_once_for_all_who_take_it(front, owner):
    make_options([1] * 20)
    browsers = ["gzip, deflate, br", "gzip", "br;q=1.0, gzip;q=0.8, *;q=0.1"]

    def ask(n):
        address = f"{PRODUCTS}?min_price={n}"
        front.road.seen.clear()
        plain = front.ask(address, Accept_Encoding="gzip;q=0")
        return plain, [front.ask(address, Accept_Encoding=each) for each in browsers], len(front.road.seen)

    plain, compressed, requests = within_one_second(ask)
    assert requests == 2
    for answer in compressed:
        assert answer.headers["Content-Encoding"] == "gzip"
        assert gzip.decompress(answer.body) == plain.body


@pytest.mark.parametrize(
    "sign_in", ["Authorization", "sessionid=x", "token=x", "a=b; __Host-token=x", "a=b;token =x"]
)
def test_what_is_personal_is_asked_for_each_time_and_kept_for_nobody(front, product, owner, sign_in):
    value = f"Bearer {token_of(owner)}" if sign_in == "Authorization" else sign_in
    header = {"Authorization" if sign_in == "Authorization" else "Cookie": value}

    def ask(n):
        address = f"{PRODUCTS}?min_price={n}"
        front.road.seen.clear()
        whose = [header, {}, header, {}, header]
        return [front.ask(address, **sent) for sent in whose], front.road.seen.copy()

    answers, seen = within_one_second(ask)
    assert len(seen) == 4  # three of theirs, and one for both strangers
    assert ["public" in answer.headers["Cache-Control"] for answer in answers] == [
        False, True, False, True, False,
    ]  # fmt: skip


def test_who_sells_is_never_shown_to_strangers(front, product, owner):
    change(front, product, owner, is_active=False)
    signed_in = {"Authorization": f"Bearer {token_of(owner)}"}
    address = f"{PRODUCTS}{product.pk}/"
    statuses = within_one_second(lambda n: [front.ask(address, **h).status for h in (signed_in, {}) * 3])
    assert statuses == [200, 404] * 3


def test_a_change_is_shown_after_two_seconds_however_often_somebody_looks(front, product, owner):
    address = f"{PRODUCTS}{product.pk}/"
    for price in (2_000, 3_000):
        front.ask(address)
        changed = change(front, product, owner, price=price)
        asked = time.time()
        while json.loads(front.ask(address).body)["price"] != price:
            assert asked < changed + STALE
            asked = time.time()
    # Nobody looks meanwhile: who comes then is not shown what somebody was shown long ago.
    changed = change(front, product, owner, is_active=False)
    wait_until_clock(changed + STALE)
    assert front.ask(address).status == 404
    changed = change(front, product, owner, is_active=True)
    wait_until_clock(changed + STALE)
    assert front.ask(address).status == 200


def test_while_one_asks_the_others_are_shown_the_page_before(front, product):
    before = front.ask(PRODUCTS)
    wait_until_clock(time.time() + KEPT + 0.5)
    front.road.let_through.clear()
    front.road.seen.clear()
    while front.road.came.acquire(blocking=False):
        pass
    with ThreadPoolExecutor(1) as pool:
        one = pool.submit(front.ask, PRODUCTS)
        try:
            assert front.road.came.acquire(timeout=30)
            others = [front.ask(PRODUCTS) for _ in range(3)]
            assert not one.done()
        finally:
            front.road.let_through.set()
        assert one.result(60).body == before.body
    assert [other.body for other in others] == [before.body] * 3
    assert len(front.road.seen) == 1


def test_a_shop_that_is_away_leaves_its_pages_for_as_long_as_it_said(shop, tls, product):
    seconds = 3
    said = (b"stale-if-error=30", b"stale-if-error=%02d" % seconds)
    with front_of(shop, tls, replaced=said) as (front, road):
        last = front.ask(PRODUCTS)
        at = time.time()
        road.go_away()
        shop.stop()
        shown = []

        def is_gone():
            asked, answer = time.time() - at, front.ask(PRODUCTS)
            if answer.status == 200:
                assert answer.body == last.body
                shown.append(asked)
            return answer.status == 502

        until(is_gone, seconds=60)
        # nginx counts whole seconds here as well.
        assert 2 < shown[-1] < KEPT + seconds + 1
        assert front.ask(f"{PRODUCTS}?min_price=7").status == 502


def test_who_has_a_page_is_not_sent_it_again(front, product):
    def ask(n):
        address = f"{PRODUCTS}?min_price={n}"
        tag = front.ask(address).headers["ETag"]
        known = [f'"other", W/{tag}', tag, "*", '"other"']
        return [front.ask(address, If_None_Match=sent) for sent in known]

    *same, other = within_one_second(ask)
    assert [(answer.status, answer.body) for answer in same] == [(304, b"")] * 3
    assert all("public" in answer.headers["Cache-Control"] for answer in same)
    assert other.status == 200


def test_a_refusal_is_in_the_callers_language_and_links_lead_back(front, product):
    korean, english = "ko-KR,ko;q=0.9,en;q=0.8", "en-US,en;q=0.9"
    gone = f"{PRODUCTS}987654321/"
    texts = within_one_second(
        lambda n: [front.ask(gone, Accept_Language=each).body for each in (korean, english, None) * 2]
    )
    assert texts[:3] == texts[3:]
    assert "There is nothing here." not in texts[0].decode()
    assert "There is nothing here." in texts[1].decode()
    assert texts[1] == texts[2]
    make_options([1])
    found = json.loads(front.ask(f"{PRODUCTS}?page_size=1").body)
    assert found["next"].startswith(f"{front.url}{PRODUCTS}?")
