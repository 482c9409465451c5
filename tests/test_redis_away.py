"""Redis helps, and nobody is turned away because it does not: stopped, full, or slower than anybody waits."""

import secrets
import socket

import pytest
from django.core.cache import cache, caches
from django.test import Client, override_settings

from tests.support.desk import signed_in
from tests.support.factories import PASSWORD, make_store
from tests.support.proxies import Proxy
from tests.support.services import Redis
from tests.support.services.server import free_port
from tests.support.wire import Wire
from yousinsa.process import redis_cache

pytestmark = pytest.mark.django_db

JSON = "django_redis.serializers.json.JSONSerializer"


class Mute(Proxy):
    """Redis, which is up and never answers."""

    def to_client(self, pair, data):
        return True


@pytest.fixture(params=["stopped", "full", "mute"])
def no_help(request, redis_server, monkeypatch):
    """The cache is on a Redis that is of no help, in one of three ways."""
    monkeypatch.setattr(redis_cache, "_away_until", 0.0)
    if request.param == "stopped":
        yield from on(f"redis://127.0.0.1:{free_port()}/0")
    elif request.param == "full":
        with Redis("no", options=["--maxmemory", "1"]) as full:
            yield from on(full.url)
    else:
        with Mute(redis_server.port) as mute:
            yield from on(redis_server.url.replace(str(redis_server.port), str(mute.port)))


def on(url):
    options = {"SERIALIZER": JSON, "SOCKET_TIMEOUT": 0.2, "SOCKET_CONNECT_TIMEOUT": 0.2}
    backend = {"BACKEND": "yousinsa.process.redis_cache.RedisCache", "LOCATION": url, "OPTIONS": options}
    with override_settings(CACHES={"default": backend}, REDIS_URL=url):
        yield caches["default"]


def test_who_signs_in_by_the_api_gets_in(no_help, buyer):
    buyer.set_password(PASSWORD)
    buyer.save()
    answer = Wire().post("users/sign-in/", {"email": buyer.email, "password": PASSWORD})
    assert answer.status_code == 200, answer.content
    wrong = {"email": buyer.email, "password": "wrong"}
    # Limits hold all the same, by this machine's own count.
    assert 429 in [Wire().post("users/sign-in/", wrong).status_code for _ in range(12)]
    new = {"email": "new@example.com", "name": "New", "password": "g00d-enough-77"}
    assert Wire().post("users/sign-up/", new).status_code == 201


def test_the_desk_opens_and_works(no_help, operator):
    operator.set_password(PASSWORD)
    operator.save()
    desk = Client()
    form = {"username": operator.email, "password": PASSWORD}
    assert desk.post("/admin/login/", form).status_code == 302
    assert desk.get("/admin/").status_code == 200
    assert desk.get("/admin/orders/order/").status_code == 200


def test_an_operation_is_done_once(no_help, desk):
    store = make_store(status="requested")
    path = f"/admin/shop/store/{store.pk}/accept/"
    form = {"once": secrets.token_hex(8)}
    for _ in range(2):
        assert desk.post(path, form).status_code == 302
    store.refresh_from_db()
    assert store.status == "accepted"


def test_nobody_is_signed_out_when_redis_is_slow_for_a_moment(no_help, operator):
    desk = signed_in(operator)
    for _ in range(3):
        answer = desk.get("/admin/")
        assert answer.status_code == 200
        assert "sessionid" not in answer.cookies or answer.cookies["sessionid"].value  # not deleted


def test_once_it_was_away_nobody_waits_for_it(no_help, monkeypatch):
    cache.set("a", 1)
    assert redis_cache.is_away()
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("asked again"))
    cache.set("b", {"x": [1, "two"]})
    assert cache.get("b") == {"x": [1, "two"]}
    assert cache.add("b", 2) is False


def test_what_is_kept_is_data_and_a_pickle_is_none(redis_server, monkeypatch):
    monkeypatch.setattr(redis_cache, "_away_until", 0.0)
    for kept in on(redis_server.url):
        kept.set("page", {"cards": [1, "x", None]}, 60)
        assert kept.get("page") == {"cards": [1, "x", None]}
        raw = kept.client.get_client(write=True)
        assert raw.get(kept.make_key("page")) == b'{"cards": [1, "x", null]}'
        # protocol 0: os.system, called with "false"
        raw.set(kept.make_key("evil"), b"cos\nsystem\n(S'false'\ntR.")
        assert kept.get("evil") is None
