"""Lane `redis_transaction`: the checks of admit.lua in this process, under WATCH, MULTI and EXEC.

Nothing is decided before EXEC: where anything that was read has changed meanwhile, Redis refuses the whole
block and all is read again. On a hot drop that is most of the time, which is what there is to compare.
"""

import time
from collections.abc import Sequence
from typing import Any

from orders.drops.definitions import Definition
from orders.drops.redis.connections import Script, ask, order_pool
from orders.drops.redis.keys import keys_of, left
from orders.placement.requests import PlaceRequest
from yousinsa.errors import Busy

MAX_TRIES = 200
GIVE_UP_SECONDS = 2.0
_FIELDS = ("run", "epoch", "status", "opens", "closes", "limit", "rate")

_queue = Script("waiting_room.lua", "queue.lua")


def admit_in_transaction(
    request: PlaceRequest, definition: Definition, entry: str, slot: str
) -> Sequence[Any]:
    """Answers as admit.lua does. Raises `Busy` when others were always faster, and as `OrderPool.use`."""
    give_up_at = time.monotonic() + GIVE_UP_SECONDS

    def work(connection: Any) -> Sequence[Any]:
        for _ in range(MAX_TRIES):
            if answer := _attempt(connection, request, definition, entry, slot):
                return answer
            if time.monotonic() > give_up_at:
                break
        raise Busy

    return order_pool().use(work)


def _attempt(
    connection: Any, request: PlaceRequest, definition: Definition, entry: str, slot: str
) -> Sequence[Any] | None:
    """One answer, or None where somebody else was faster."""
    names = keys_of(definition.drop_id)
    ask(connection, "WATCH", names.gate, names.customers, names.keys, names.orders)
    refusal = _refusal(connection, request, definition, slot)
    if refusal:
        ask(connection, "UNWATCH")
        return refusal
    ask(connection, "MULTI")
    units = 0
    for option_id, n in request.lines:
        ask(connection, "HINCRBY", names.gate, left(option_id), -n)
        units += n
    ask(connection, "HINCRBY", names.customers, request.buyer_id, units)
    if request.idempotency_key:
        field = f"{request.buyer_id}:{request.idempotency_key}"
        ask(connection, "HSET", names.keys, field, f"{request.number} {request.fingerprint}")
    ask(connection, "HSET", names.orders, request.number, entry)
    ask(connection, "XADD", names.stream, "*", "o", entry)
    return ("accepted",) if ask(connection, "EXEC") else None


def _refusal(
    connection: Any, request: PlaceRequest, definition: Definition, slot: str
) -> Sequence[Any] | None:
    """What admit.lua would refuse with, in its order; None to go on."""
    names = keys_of(definition.drop_id)
    run, epoch, status, opens, closes, limit, rate = ask(connection, "HMGET", names.gate, *_FIELDS)
    if run != connection.run_id:
        return ("lost",)
    if epoch != str(definition.epoch):
        return ("epoch", epoch)
    if request.idempotency_key:
        field = f"{request.buyer_id}:{request.idempotency_key}"
        if seen := ask(connection, "HGET", names.keys, field):
            number, _, fingerprint = seen.partition(" ")
            return ("replayed", number) if fingerprint == request.fingerprint else ("reused",)
    if ask(connection, "HEXISTS", names.orders, request.number):
        return ("accepted",)
    if status != "open":
        return ("closed", status)
    seconds, micros = ask(connection, "TIME")
    now = int(seconds) * 1000 + int(micros) // 1000
    if now < int(opens) or (closes and now >= int(closes)):
        return ("closed", "early" if now < int(opens) else "over")
    bought = int(ask(connection, "HGET", names.customers, request.buyer_id) or 0)
    if bought + sum(units for _option, units in request.lines) > int(limit):
        return ("limit", bought)
    counters = ask(connection, "HMGET", names.gate, *(left(option_id) for option_id, _ in request.lines))
    if None in counters:
        return ("lost",)
    short: list[Any] = []
    for (option_id, units), found in zip(request.lines, counters, strict=True):
        if int(found) < units:
            short += [str(option_id), found]
    if short:
        return ("short", *short)
    return _queued(connection, request, names.gate, names.queue, slot) if rate else None


def _queued(connection: Any, request: PlaceRequest, gate: str, queue: str, slot: str) -> Sequence[Any] | None:
    """The place of a shopper whose turn it is not. A new place changes the gate: then EXEC will refuse."""
    answer = ask(connection, "EVAL", _queue.source, 2, gate, queue, connection.run_id, request.buyer_id, slot)
    return answer if answer[0] == "queued" else None
