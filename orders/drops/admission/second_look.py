"""What Redis cannot know of an order that it admitted: is there such a buyer, is the key used elsewhere?

Tokens are believed without asking for their account, and Redis knows the idempotency keys of the drop alone.
Who is refused is not asked about: the answer would be no other. Orders that were admitted at the same time
are looked up together, in one statement, and what should not have been admitted is taken back before its
buyer hears of it. What happens in the same moment elsewhere is found when the order is written
(writing/drain.py).
"""

import logging
import threading
import time
from collections.abc import Collection, Sequence
from queue import SimpleQueue
from typing import Any, NamedTuple

from django.db import DatabaseError, connection
from redis.exceptions import RedisError

from orders.drops.admission.replies import Reply
from orders.drops.redis.answers import Answer
from orders.drops.redis.connections import client
from orders.drops.redis.entries import AdmittedOrder, encode_order
from orders.drops.redis.keys import keys_of
from orders.drops.selectors import live_drops
from orders.drops.writing.dead_letters import set_aside
from orders.models import Order
from orders.placement.decisions import Key
from shop.models import User
from yousinsa.errors import Busy, Problem
from yousinsa.http.deferred import Deferred
from yousinsa.process.once import PerProcess
from yousinsa.process.together import take_together

logger = logging.getLogger(__name__)

MAX_TOGETHER = 128
# Drops that opened since, or a connection that nobody uses.
REFRESH_SECONDS = 0.25
KEEP_CONNECTION_SECONDS = 1.0


class _Question(NamedTuple):
    drop_id: int
    order: AdmittedOrder
    reply: Reply
    answer: Deferred[Reply]


class _SecondLook:
    """The admitted orders of one process that are to be looked up, and the thread that does it."""

    def __init__(self) -> None:
        self.inbox: SimpleQueue[_Question] = SimpleQueue()
        self._live: list[int] = []
        self._live_until = 0.0
        threading.Thread(target=self._run, name="drop-second-look", daemon=True).start()

    def _run(self) -> None:
        while True:
            questions = take_together(self.inbox, MAX_TOGETHER, patience=KEEP_CONNECTION_SECONDS)
            if not questions:
                connection.close()
                questions = take_together(self.inbox, MAX_TOGETHER)
            wrong: dict[str, Answer] = {}
            try:
                wrong = self._wrong(questions)
            except (DatabaseError, RedisError, Busy) as exc:
                # What was admitted stands, as it does while the database is away.
                logger.warning("%d admitted orders were not looked up: %s", len(questions), exc)
                connection.close()
            except Exception:
                logger.exception("%d admitted orders were not looked up", len(questions))
                connection.close()
            for _drop_id, order, reply, answer in questions:
                found = wrong.get(order.number)
                answer.decide(reply if found is None else Reply(found, admitted=order))

    def _wrong(self, questions: Sequence[_Question]) -> dict[str, Answer]:
        """Why those that should not have been admitted are refused, by their numbers."""
        orders = [question.order for question in questions]
        keys = [(order.buyer, order.key) for order in orders if order.key]
        buyers, placed = _look_up({order.buyer for order in orders}, keys)
        wrong = {order.number: Answer.STRANGER for order in orders if order.buyer not in buyers}
        keyed = [q for q in questions if q.order.key and q.order.number not in wrong]
        for _drop_id, order, _reply, _answer in keyed:
            if placed.get((order.buyer, str(order.key)), order.number) != order.number:
                wrong[order.number] = Answer.REUSED
        return wrong | dict.fromkeys(self._used_in_other_drops(keyed), Answer.REUSED)

    def _used_in_other_drops(self, questions: Sequence[_Question]) -> set[str]:
        """The numbers of those whose key is another order's in another drop's Redis."""
        if not questions:
            return set()
        live = self._live_drops({question.drop_id for question in questions})
        pairs = [(q, other) for q in questions for other in live if other != q.drop_id]
        if not pairs:
            return set()
        pipe = client().pipeline(transaction=False)
        for question, other in pairs:
            pipe.hexists(keys_of(other).keys, f"{question.order.buyer}:{question.order.key}")
        answers = zip(pairs, pipe.execute(), strict=True)
        return {question.order.number for (question, _other), is_used in answers if is_used}

    def _live_drops(self, known: set[int]) -> list[int]:
        """All live drops; `known` are some of them."""
        if time.monotonic() > self._live_until or not known <= set(self._live):
            self._live, self._live_until = live_drops(), time.monotonic() + REFRESH_SECONDS
        return self._live


def _look_up(buyer_ids: Collection[int], keys: Sequence[Key]) -> tuple[set[int], dict[Key, str]]:
    """Those of these buyers whose account is open, and the orders' numbers under these keys. One query."""
    marks = ", ".join(["%s"] * len(buyer_ids))
    sql = (
        f"SELECT id, NULL, NULL FROM {User._meta.db_table} "  # noqa: S608
        f"WHERE id IN ({marks}) AND is_active AND withdrawn_at IS NULL"
    )
    values: list[Any] = sorted(buyer_ids)
    if keys:
        matches = " OR ".join(["buyer_id = %s AND idempotency_key = %s"] * len(keys))
        sql += (
            f" UNION ALL SELECT buyer_id, idempotency_key, number FROM {Order._meta.db_table} "  # noqa: S608
            f"WHERE {matches}"
        )
        values += [value for key in keys for value in key]
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        rows = cursor.fetchall()
    return (
        {buyer_id for buyer_id, key, _number in rows if key is None},
        {(buyer_id, key): number for buyer_id, key, number in rows if key is not None},
    )


_second_look = PerProcess(_SecondLook)


def unless_wrong(asked: Deferred[Reply], drop_id: int) -> Deferred[Reply]:
    """The reply of a lane on Redis; STRANGER or REUSED, with the order, for one that should not be admitted.

    Such an order is to be taken back. Where neither the database nor Redis can be asked, the reply stands.
    """
    checked: Deferred[Reply] = Deferred()

    def go_on() -> None:
        try:
            reply = asked.result()
        except Exception as exc:
            checked.decide(exc)
            return
        if reply.answer == Answer.ACCEPTED and reply.admitted:
            _second_look().inbox.put(_Question(drop_id, reply.admitted, reply, checked))
        else:
            checked.decide(reply)

    asked.then(go_on)
    return checked


def take_back(drop_id: int, order: AdmittedOrder, refusal: Problem) -> bool:
    """Give the units and the limit of such an order back; False where that cannot be done: it stands."""
    try:
        return set_aside(
            drop_id, order, code=refusal.code, reason=str(refusal.detail or refusal.title),
            raw=encode_order(order).decode(), entry_id="",
        )  # fmt: skip
    except (DatabaseError, RedisError, Busy) as exc:
        logger.warning("drop %d: order %s was not taken back: %s", drop_id, order.number, exc)
        connection.close()
        return False
