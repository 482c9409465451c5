"""What tests of drops share: drops, attempts to buy, and what must add up whenever nobody is in between."""

import time
from typing import Any

from orders.drops.audit.escrow_check import check_escrow
from orders.drops.planning import ItemDraft, create_drop
from orders.drops.redis.connections import client
from orders.drops.redis.keys import keys_of
from orders.drops.services import open_drop
from orders.drops.writing.drain import Drain
from orders.models.drops import Drop, DropItem, Lane
from shop.models import Option
from tests.support.invariants import assert_books_balance
from tests.support.services import Redis

REDIS_LANES = [Lane.REDIS_LUA, Lane.REDIS_TRANSACTION]


def use_redis(settings: Any, server: Redis) -> None:
    """This process's drops are on this server, which is empty."""
    settings.REDIS_URL = server.url
    client().flushall()


def make_drop(
    *items: tuple[Option, int], lane: str = Lane.REDIS_LUA, limit: int = 1, opened: bool = True, **more: Any
) -> Drop:
    drafts = [ItemDraft(option.pk, units) for option, units in items]
    drop = create_drop(name="Air", items=drafts, limit=limit, lane=lane, **more)
    if opened:
        open_drop(drop.pk)
        drop.refresh_from_db()
    return drop


def drain_all() -> int:
    """Write what every stream holds, also what a worker beside us is at; the orders that this call wrote."""
    drain = Drain()
    done = drain.once()
    give_up_at = time.monotonic() + 30
    while not drain.is_done:
        assert time.monotonic() < give_up_at
        done += drain.once()
    drain.leave()
    return done


def item_of(drop: Drop) -> tuple[int, int, int]:
    """(allotted, applied, returned) of a drop's only item."""
    return DropItem.objects.values_list("allotted", "applied", "returned").get(drop=drop)


def left_in_redis(drop: Drop, option: Option) -> int | None:
    value = client().hget(keys_of(drop.pk).gate, f"left:{option.pk}")
    return None if value is None else int(value)


def assert_escrow_adds_up() -> None:
    """Counter, stream, orders, what is on its way back and what went back are the allotment, to the unit."""
    assert check_escrow() == []


def assert_all_adds_up() -> None:
    """The books balance, and so does what the drops set aside."""
    assert_books_balance()
    assert_escrow_adds_up()
