"""A drop's gate in Redis: open it, shut it, and see what it says.

The gate is admission, never the truth. One that is missing, of another epoch, or written in another life of
the server admits nobody until `rebuild` has computed it anew from the database.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

from django.utils.translation import gettext

from orders.drops.errors import RedisNeeded
from orders.drops.redis.answers import GateStatus
from orders.drops.redis.connections import client
from orders.drops.redis.keys import keys_of, left, off_sale
from orders.drops.redis.scripts import Script
from orders.models.drops import Drop, DropItem, epoch_of

REBUILD_MS = 120_000
CHUNK = 1000

_set_status = Script("set_status.lua")
_set_off_sale = Script("set_off_sale.lua")
_open_gate = Script("open_gate.lua")


def check_server(redis: Any) -> None:
    """Raises `RedisNeeded` unless this Redis keeps what it is given."""
    policy = redis.info("memory").get("maxmemory_policy", "")
    if policy != "noeviction":
        text = gettext("Redis may throw counters away (maxmemory-policy %s): set it to noeviction.")
        raise RedisNeeded(text % (policy or "?"))


def set_paused(drop_id: int, paused: bool) -> None:
    """Let an open gate pause, or a paused one go on; any other stays as it is."""
    status = GateStatus.PAUSED if paused else GateStatus.OPEN
    _change(drop_id, status, (GateStatus.OPEN, GateStatus.PAUSED))


def set_off_sale(drop_id: int, option_ids: Iterable[int], off: Collection[int]) -> None:
    """Sell none of the options that are `off`, and the others again. A gate that is missing stays so."""
    flags = [value for option_id in option_ids for value in (off_sale(option_id), int(option_id in off))]
    _set_off_sale.run(client(), [keys_of(drop_id).gate], *flags)


def shut(drop_id: int) -> None:
    """From now on nothing is admitted. A gate that is missing is shut already."""
    _change(drop_id, GateStatus.CLOSED, (GateStatus.OPEN, GateStatus.PAUSED, GateStatus.FENCED))


def fence(drop_id: int) -> None:
    """The same while a drop's counters are computed anew."""
    _change(drop_id, GateStatus.FENCED, (GateStatus.OPEN, GateStatus.PAUSED))


def _change(drop_id: int, status: GateStatus, after: Iterable[GateStatus]) -> None:
    _set_status.run(client(), [keys_of(drop_id).gate], status, *after)


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


def write_gate(
    redis: Any, drop: Drop, items: Sequence[DropItem], off: Collection[int], *, token: str, run: str
) -> bool:
    """Open (or, while paused, not) a gate with what the database says is left; False if it was too late.

    Of the options that are `off` sale nothing is sold.
    """
    names = keys_of(drop.pk)
    fields: list[Any] = [
        "run", run, "epoch", epoch_of(items), "status", GateStatus.PAUSED if drop.paused else GateStatus.OPEN,
        "limit", drop.limit_per_customer,
        "opens", int(drop.opens_at.timestamp() * 1000),
        "closes", int(drop.closes_at.timestamp() * 1000) if drop.closes_at else "",
        "rate", drop.admission_rate or "",
    ]  # fmt: skip
    for item in items:
        fields += [left(item.option_id), item.left]
        if item.option_id in off:
            fields += [off_sale(item.option_id), 1]
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

    @property
    def is_fenced(self) -> bool:
        return self.status == GateStatus.FENCED


def read(drop_id: int, epoch: int, run: str) -> Reading:
    """The gate as operators and shoppers see it; `run` is the server's run_id. Raises `RedisError`."""
    names = keys_of(drop_id)
    redis = client()
    gate, stream = redis.pipeline().hgetall(names.gate).xlen(names.stream).execute()
    seconds, micros = redis.time()
    waiting = redis.zcount(names.queue, f"({seconds * 1000 + micros / 1000:.3f}", "+inf")
    return Reading(believed_left(gate, epoch, run), gate.get("status", ""), stream, waiting)


def believed_left(gate: Mapping[str, str], epoch: int, run: str) -> dict[int, int] | None:
    """The counters among a gate's fields, by option; None where they are not to be believed."""
    if gate.get("run") != run or gate.get("epoch") != str(epoch):
        return None
    return {int(name[5:]): int(value) for name, value in gate.items() if name.startswith("left:")}
