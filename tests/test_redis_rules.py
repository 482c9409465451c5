"""The shop works as the one user that compose.yaml gives Redis, who may do what the shop does and no more."""

import os
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import redis
import yaml
from django.core.cache import cache
from django.test import override_settings
from django.utils import timezone

from orders.drops.audit.escrow_check import check_escrow
from orders.drops.audit.observe import observe
from orders.drops.audit.rebuild import rebuild
from orders.drops.redis.connections import client
from orders.drops.redis.keys import GROUP, keys_of
from orders.drops.redis.stream import Stream
from orders.drops.services import close_drop, finish_closing, pause_drop, resume_drop
from orders.drops.writing import drain as drain_module
from orders.lifecycle import cancel_order
from orders.models import Order
from orders.models.drops import Drop, DropStatus
from orders.placement.distributed_lock import distributed_lock
from orders.placement.requests import PlaceRequest
from shop.models import Option
from tests.support.drops import REDIS_LANES, assert_escrow_adds_up, drain_all, item_of, make_drop
from tests.support.factories import make_options, make_user, stock_of
from tests.support.server import ROOT
from tests.support.services import Redis
from yousinsa.limits import Rate, seconds_to_wait
from yousinsa.process import redis_cache

SERVICE = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["redis"]
BACKEND = "yousinsa.process.redis_cache.RedisCache"


class RuledRedis(Redis):
    """Has the users of compose.yaml, and one for the test, who sees what was refused."""

    @property
    def url(self) -> str:
        return super().url.replace("redis://", "redis://yousinsa")

    @property
    def chief(self) -> Any:
        address = super().url.replace("redis://", "redis://chief")
        return redis.Redis.from_url(address, decode_responses=True)

    def command(self) -> list[str]:
        program, *_theirs = super().command()
        told = [
            ">" + self.password if word.startswith(">$") else word.replace("${REDIS_MEMORY:-256mb}", "256mb")
            for word in map(str, SERVICE["command"][1:])
        ]
        chief = ["--user", "chief", "on", f">{self.password}", "~*", "&*", "+@all"]
        place = ["--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self.directory)]
        return [program, *told, *place, *chief]

    def refused(self) -> set[str]:
        """What clients say of themselves since Redis 7.2 is of no use to anybody, and no harm."""
        log = {f"{entry['reason']} {entry['object']}" for entry in self.chief.acl_log()}
        return log - {"command client|setinfo"}


@pytest.fixture(scope="module")
def server() -> Iterator[RuledRedis]:
    with RuledRedis() as server:
        yield server


@pytest.fixture
def ruled(server: RuledRedis, monkeypatch: pytest.MonkeyPatch) -> Iterator[RuledRedis]:
    """The shop is on this Redis; whatever it did there was allowed, also what it would have done without."""
    monkeypatch.setattr(redis_cache, "_away_until", 0.0)
    server.chief.flushall()
    server.chief.acl_log_reset()
    backend = {
        "BACKEND": BACKEND, "LOCATION": server.url, "KEY_PREFIX": "yousinsa-json",
        "OPTIONS": {"SERIALIZER": "django_redis.serializers.json.JSONSerializer"},
    }  # fmt: skip
    with override_settings(CACHES={"default": backend}, REDIS_URL=server.url):
        yield server
    assert server.refused() == set()


def buy(api: Any, drop: Drop, option: Option, buyer: Any = None, **headers: str) -> Any:
    body = {"drop": drop.pk, "lines": [{"option": option.pk, "quantity": 1}]}
    return api(buyer or make_user(address=True)).post("orders/", body, **headers)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("lane", REDIS_LANES)
def test_a_drop_from_its_opening_to_its_end(ruled: RuledRedis, api: Any, lane: str, monkeypatch: Any) -> None:
    monkeypatch.setattr("orders.drops.audit.rebuild.TALLIES_SECONDS", 0)  # no process but this one
    (option,) = make_options([10])
    drop = make_drop((option, 3), lane=lane)
    buyer = make_user(address=True)
    first = buy(api, drop, option, buyer, Idempotency_Key="k1")
    assert first.status_code == 202
    assert buy(api, drop, option, buyer, Idempotency_Key="k1").json()["number"] == first.json()["number"]
    assert buy(api, drop, option, buyer).status_code == 409  # one a customer
    pause_drop(drop.pk)
    assert buy(api, drop, option).status_code == 409
    resume_drop(drop.pk)
    # A worker that died keeps what it was given until another one takes it over.
    monkeypatch.setattr(drain_module, "CLAIM_EVERY_SECONDS", 0)
    (entry,) = Stream(client(), drop.pk, "dead").read(10)
    ruled.chief.execute_command(
        "XCLAIM",
        keys_of(drop.pk).stream,
        GROUP,
        "dead",
        0,
        entry.id,
        "IDLE",
        drain_module.CLAIM_IDLE_MS,
        "JUSTID",
    )
    drain_all()
    number = first.json()["number"]
    assert Order.objects.filter(number=number).exists()
    cancel_order(order_id=Order.objects.get(number=number).pk, actor_id=buyer.pk)
    assert [buy(api, drop, option).status_code for _ in range(4)] == [202, 202, 202, 409]
    drain_all()
    assert check_escrow() == []
    observe()
    assert_escrow_adds_up()
    rebuild(drop.pk)
    Drop.objects.filter(pk=drop.pk).update(closes_at=timezone.now())
    if not close_drop(drop.pk):
        finish_closing(drop.pk)
    assert Drop.objects.get().status == DropStatus.SETTLED
    assert item_of(drop) == (3, 3, 0)
    assert ruled.chief.keys() == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("lane", REDIS_LANES)
def test_a_waiting_room(ruled: RuledRedis, api: Any, lane: str) -> None:
    (option,) = make_options([10])
    drop = make_drop((option, 5), lane=lane, admission_rate=1)
    assert [buy(api, drop, option).status_code for _ in range(3)] == [202, 429, 429]
    assert ruled.chief.zcard(keys_of(drop.pk).queue) > 0


@pytest.mark.django_db(transaction=True)
def test_locks_limits_and_the_cache(ruled: RuledRedis, settings: Any) -> None:
    settings.PLACEMENT = "distributed_lock"
    (option,) = make_options([5])
    for _ in range(2):
        distributed_lock(PlaceRequest.build(buyer_id=make_user().pk, lines=[(option.pk, 1)]))
    assert stock_of(option) == (5, 2)
    rate = Rate(1, 3600, 1)
    assert [bool(seconds_to_wait("k", rate, everywhere=True)) for _ in range(2)] == [False, True]
    assert ruled.chief.keys("limit:*") == ["limit:k"]
    cache.set("a", [1], 60)
    cache.set_many({"b": 2, "c": 3}, 60)
    assert cache.add("a", 2) is False
    assert cache.get_many(["a", "b"]) == {"a": [1], "b": 2}
    assert cache.has_key("c")
    assert cache.touch("c", 90)
    assert cache.touch("c", None)
    cache.delete("a")
    cache.delete_many(["b"])
    assert ruled.chief.keys("yousinsa-json:*") == ["yousinsa-json:1:c"]


# --- What this user may not ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [
        ["FLUSHALL"], ["FLUSHDB"], ["CONFIG", "GET", "*"], ["CONFIG", "SET", "dir", "/"], ["KEYS", "*"],
        ["SCAN", "0"], ["ACL", "LIST"], ["MONITOR"], ["SHUTDOWN"], ["REPLICAOF", "h", "1"], ["SAVE"],
        ["SCRIPT", "FLUSH"], ["FUNCTION", "LIST"], ["CLIENT", "LIST"], ["MODULE", "LIST"],

        ["PUBLISH", "c", "x"],
        ["GET", "other"], ["SET", "other", "1"], ["DEL", "limits"], ["HGETALL", "drop:1"],
        ["EVAL", "return redis.call('GET', KEYS[1])", "1", "other"],
        ["EVAL", "return redis.call('KEYS', '*')", "0"],
    ],
)  # fmt: skip
def test_it_may_do_nothing_else(server: RuledRedis, command: list[str]) -> None:
    shop = redis.Redis.from_url(server.url)
    with pytest.raises(redis.ResponseError, match=r"permission|can't run this command"):
        shop.execute_command(*command)


def test_nobody_else_gets_in(server: RuledRedis) -> None:
    for credentials in ("", ":wrong", f":{server.password}", "yousinsa:wrong", f"default:{server.password}"):
        stranger = redis.Redis.from_url(f"redis://{credentials}@127.0.0.1:{server.port}/0")
        with pytest.raises((redis.AuthenticationError, redis.ResponseError)):
            stranger.ping()


def test_the_health_check_is_answered(server: RuledRedis) -> None:
    check = SERVICE["healthcheck"]["test"][1].replace("redis-cli", f"redis-cli -p {server.port}")
    environment = {"PATH": os.environ["PATH"], "REDISCLI_AUTH": server.password}
    assert subprocess.run(["sh", "-c", check], env=environment, timeout=30, check=False).returncode == 0
