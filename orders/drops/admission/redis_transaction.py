"""Lane `redis_transaction`: the checks of admit.lua in this process, under WATCH, MULTI and EXEC.

Nothing is decided before EXEC: where anything that was read has changed meanwhile, Redis refuses the whole
block and all is read again. On a hot drop that is most of the time, which is what there is to compare.
"""

import time
from typing import Any

from orders.drops.admission.replies import Reply
from orders.drops.definitions import Definition
from orders.drops.redis.answers import Answer, GateStatus
from orders.drops.redis.connections import call, order_pool
from orders.drops.redis.entries import AdmittedOrder, encode_order
from orders.drops.redis.keys import keys_of, left, off_sale
from orders.drops.redis.scripts import Script
from orders.placement.requests import PlaceRequest
from yousinsa.errors import Busy
from yousinsa.http.deferred import Deferred

MAX_TRIES = 200
GIVE_UP_SECONDS = 2.0
_FIELDS = ("run", "epoch", "status", "opens", "closes", "limit", "rate")

_queue = Script("waiting_room.lua", "queue.lua")


def ask(request: PlaceRequest, definition: Definition, slot: str) -> Deferred[Reply]:
    """As `Ask`, and decided already. Raises `Busy` also when others were always faster."""
    order = AdmittedOrder.of(request, definition.epoch, definition.offers)
    give_up_at = time.monotonic() + GIVE_UP_SECONDS

    def work(connection: Any) -> Reply:
        for _ in range(MAX_TRIES):
            if reply := _attempt(connection, request, order, slot):
                return reply
            if time.monotonic() > give_up_at:
                break
        raise Busy

    return Deferred.of(order_pool().use(work))


def _attempt(connection: Any, request: PlaceRequest, order: AdmittedOrder, slot: str) -> Reply | None:
    """One answer, or None where somebody else was faster."""
    names = keys_of(request.drop_id or 0)
    call(connection, "WATCH", names.gate, names.customers, names.keys, names.orders)
    reply = _decide(connection, request, order, slot)
    if reply:
        call(connection, "UNWATCH")
        return reply
    raw = encode_order(order).decode()
    call(connection, "MULTI")
    for option_id, units in request.lines:
        call(connection, "HINCRBY", names.gate, left(option_id), -units)
    call(connection, "HINCRBY", names.customers, request.buyer_id, order.units)
    if request.idempotency_key:
        field = f"{request.buyer_id}:{request.idempotency_key}"
        call(connection, "HSET", names.keys, field, f"{request.number} {order.fingerprint}")
    call(connection, "HSET", names.orders, request.number, raw)
    call(connection, "XADD", names.stream, "*", "o", raw)
    return Reply(Answer.ACCEPTED, admitted=order) if call(connection, "EXEC") else None


def _decide(connection: Any, request: PlaceRequest, order: AdmittedOrder, slot: str) -> Reply | None:
    """What admit.lua would answer without writing, in its order; None to go on."""
    names = keys_of(request.drop_id or 0)
    run, epoch, status, opens, closes, limit, rate = call(connection, "HMGET", names.gate, *_FIELDS)
    if run != connection.run_id:
        return Reply(Answer.LOST)
    if epoch != str(order.epoch):
        return Reply(Answer.EPOCH, (epoch,))
    if request.idempotency_key:
        field = f"{request.buyer_id}:{request.idempotency_key}"
        if seen := call(connection, "HGET", names.keys, field):
            number, _, fingerprint = seen.partition(" ")
            is_same = fingerprint == order.fingerprint
            return Reply(Answer.REPLAYED, (number,)) if is_same else Reply(Answer.REUSED)
    if call(connection, "HEXISTS", names.orders, request.number):
        return Reply(Answer.ACCEPTED, admitted=order)
    if status != GateStatus.OPEN:
        return Reply(Answer.CLOSED)
    seconds, micros = call(connection, "TIME")
    now = int(seconds) * 1000 + int(micros) // 1000
    if now < int(opens) or (closes and now >= int(closes)):
        return Reply(Answer.CLOSED)
    bought = int(call(connection, "HGET", names.customers, request.buyer_id) or 0)
    if bought + order.units > int(limit):
        return Reply(Answer.LIMIT, (bought,))
    counters = call(connection, "HMGET", names.gate, *(left(option_id) for option_id, _ in request.lines))
    if None in counters:
        return Reply(Answer.LOST)
    off = call(connection, "HMGET", names.gate, *(off_sale(option_id) for option_id, _ in request.lines))
    short: list[Any] = []
    for (option_id, units), counter, is_off in zip(request.lines, counters, off, strict=True):
        found = "0" if is_off else counter
        if int(found) < units:
            short += [str(option_id), found]
    if short:
        return Reply(Answer.SHORT, short)
    return _queued(connection, request, slot) if rate else None


def _queued(connection: Any, request: PlaceRequest, slot: str) -> Reply | None:
    """The place of a shopper whose turn it is not. A new place changes the gate: then EXEC will refuse."""
    names = keys_of(request.drop_id or 0)
    arguments = (connection.run_id, request.buyer_id, slot)
    found = call(connection, "EVAL", _queue.source, 2, names.gate, names.queue, *arguments)
    return Reply(Answer(found[0]), found[1:]) if found else None
