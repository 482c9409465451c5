"""A drop's gate in Redis: open it, shut it, and see what it says.

The gate is admission, never the truth. One that is missing, of another epoch, or written in another life of
the server admits nobody until `rebuild` has computed it anew from the database.
"""

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any, NamedTuple

from django.utils.translation import gettext

from orders.drops.errors import RedisNeeded
from orders.drops.redis.connections import Script, client
from orders.drops.redis.keys import keys_of, left
from orders.models.drops import Drop, DropItem

OPEN, PAUSED, CLOSED, FENCED = "open", "paused", "closed", "fenced"
REBUILD_MS = 120_000
CHUNK = 1000

_set_status = Script("set_status.lua")
_open_gate = Script("open_gate.lua")


def check_server(redis: Any) -> None:
    """Raises `RedisNeeded` unless this Redis keeps what it is given."""
    policy = redis.info("memory").get("maxmemory_policy", "")
    if policy != "noeviction":
        text = gettext("Redis may throw counters away (maxmemory-policy %s): set it to noeviction.")
        raise RedisNeeded(text % (policy or "?"))


def set_status(drop_id: int, status: str, *, after: Iterable[str]) -> str:
    """Set the gate's status if it is one of `after`; returns what it is then, '' without a gate."""
    return str(_set_status.run(client(), [keys_of(drop_id).gate], status, *after))


def shut(drop_id: int, status: str = CLOSED) -> None:
    """From now on nothing is admitted. A gate that is missing is shut already."""
    set_status(drop_id, status, after=(OPEN, PAUSED, FENCED))


def begin_rebuild(redis: Any, drop_id: int, token: str) -> bool:
    """Only one may compute a drop's counters; False where somebody else does."""
    return bool(redis.set(keys_of(drop_id).rebuilding, token, nx=True, px=REBUILD_MS))


def end_rebuild(redis: Any, drop_id: int, token: str) -> None:
    """Let others try, after a rebuild that failed."""
    if redis.get(keys_of(drop_id).rebuilding) == token:
        redis.delete(keys_of(drop_id).rebuilding)


def write_people(
    redis: Any, drop_id: int, customers: Mapping[int, int], keys: Iterable[tuple[int, str | None, str, str]]
) -> None:
    """What customers have, and which idempotency keys are taken: (buyer, key, number, fingerprint)."""
    names = keys_of(drop_id)
    redis.delete(names.customers, names.keys)
    rest = iter(customers.items())
    while chunk := dict(islice(rest, CHUNK)):
        redis.hset(names.customers, mapping={str(buyer): units for buyer, units in chunk.items()})
    taken = iter(keys)
    while found := list(islice(taken, CHUNK)):
        redis.hset(
            names.keys,
            mapping={f"{buyer}:{key}": f"{number} {print_}" for buyer, key, number, print_ in found},
        )


def write_gate(redis: Any, drop: Drop, items: Iterable[DropItem], *, token: str, run: str) -> bool:
    """Open (or, while paused, not) a gate with what the database says is left; False if it was too late."""
    names = keys_of(drop.pk)
    fields: list[Any] = [
        "run", run, "status", PAUSED if drop.paused else OPEN, "limit", drop.limit_per_customer,
        "opens", int(drop.opens_at.timestamp() * 1000),
        "closes", int(drop.closes_at.timestamp() * 1000) if drop.closes_at else "",
        "rate", drop.admission_rate or "",
    ]  # fmt: skip
    for item in items:
        fields += ["epoch", item.epoch, left(item.option_id), item.left]
    return bool(_open_gate.run(redis, [names.gate, names.rebuilding, names.released], token, *fields))


def forget(drop_id: int) -> None:
    """A settled drop needs nothing in Redis any more."""
    client().delete(*keys_of(drop_id))


class Reading(NamedTuple):
    """What Redis says of a drop at one moment: `left` by option, None without a gate that is believed."""

    left: dict[int, int] | None
    status: str
    stream: int
    waiting: int


def read(drop: Drop, epoch: int, run: str) -> Reading:
    """The gate as operators and shoppers see it. Raises `RedisError`."""
    names = keys_of(drop.pk)
    redis = client()
    gate, stream = redis.pipeline().hgetall(names.gate).xlen(names.stream).execute()
    seconds, micros = redis.time()
    waiting = redis.zcount(names.queue, f"({seconds * 1000 + micros / 1000:.3f}", "+inf")
    believed = gate.get("run") == run and gate.get("epoch") == str(epoch)
    return Reading(left_of(gate) if believed else None, gate.get("status", ""), stream, waiting)


def left_of(gate: Mapping[str, str]) -> dict[int, int]:
    """The counters among a gate's fields."""
    return {int(name[5:]): int(value) for name, value in gate.items() if name.startswith("left:")}
