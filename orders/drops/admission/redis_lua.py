"""Lane `redis_lua`: one script decides and admits, asked together with the orders that wait beside it."""

from typing import Any

from orders.drops.admission.replies import Reply
from orders.drops.definitions import Definition
from orders.drops.redis.answers import Answer
from orders.drops.redis.entries import AdmittedOrder, encode_order
from orders.drops.redis.keys import keys_of
from orders.drops.redis.pipe import order_pipe
from orders.drops.redis.scripts import Script
from orders.placement.requests import PlaceRequest
from yousinsa.http.deferred import Deferred

_admit = Script("waiting_room.lua", "admit.lua")


def ask(request: PlaceRequest, definition: Definition, slot: str) -> Deferred[Reply]:
    """As `Ask`."""
    order = AdmittedOrder.of(request, definition.epoch, definition.offers)
    names = keys_of(definition.drop_id)
    found: Deferred[list[Any]] = order_pipe().ask(
        _admit,
        (names.gate, names.customers, names.keys, names.orders, names.stream, names.queue),
        definition.epoch, request.number, request.buyer_id, request.idempotency_key or "", order.fingerprint,
        encode_order(order).decode(), order.units, slot, *(value for line in request.lines for value in line),
    )  # fmt: skip

    def reply(table: list[Any]) -> Reply:
        answer = Answer(table[0])
        return Reply(answer, table[1:], admitted=order if answer == Answer.ACCEPTED else None)

    return found.map(reply)
