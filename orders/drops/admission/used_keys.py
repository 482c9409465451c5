"""An idempotency key that was used outside of the drop: Redis knows those of the drop alone.

Who is refused is not asked about: the answer would be no other. Orders that Redis admitted at the same time
are looked up together, and one whose key is another order's is taken back before its buyer hears of it. What
happens in the same moment elsewhere is found when the order is written (writing/drain.py).
"""

import logging
import threading
import time
from collections.abc import Sequence
from queue import SimpleQueue
from typing import NamedTuple

from django.db import DatabaseError, connection
from redis.exceptions import RedisError

from orders.drops.admission.replies import Reply
from orders.drops.redis.answers import Answer
from orders.drops.redis.connections import client
from orders.drops.redis.entries import AdmittedOrder, encode_order
from orders.drops.redis.keys import keys_of
from orders.drops.selectors import live_drops
from orders.drops.writing.dead_letters import set_aside
from orders.errors import IdempotencyKeyReused
from orders.placement.decisions import orders_under_keys
from yousinsa.errors import Busy
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


class _KeyCheck:
    """The admitted orders of one process whose keys are to be looked up, and the thread that does it."""

    def __init__(self) -> None:
        self.inbox: SimpleQueue[_Question] = SimpleQueue()
        self._live: list[int] = []
        self._live_until = 0.0
        threading.Thread(target=self._run, name="drop-keys", daemon=True).start()

    def _run(self) -> None:
        while True:
            questions = take_together(self.inbox, MAX_TOGETHER, patience=KEEP_CONNECTION_SECONDS)
            if not questions:
                connection.close()
                questions = take_together(self.inbox, MAX_TOGETHER)
            used: set[str] = set()
            try:
                used = self._used(questions)
            except (DatabaseError, RedisError, Busy) as exc:
                # What was admitted stands, as it does while the database is away.
                logger.warning("the keys of %d admitted orders were not looked up: %s", len(questions), exc)
                connection.close()
            except Exception:
                logger.exception("the keys of %d admitted orders were not looked up", len(questions))
                connection.close()
            for _drop_id, order, reply, answer in questions:
                is_used = order.number in used
                answer.decide(Reply(Answer.REUSED, admitted=order) if is_used else reply)

    def _used(self, questions: Sequence[_Question]) -> set[str]:
        """The numbers of those whose key is another order's: in the database, or in another drop's Redis."""
        placed = orders_under_keys([(q.order.buyer, str(q.order.key)) for q in questions])
        used = set()
        for question in questions:
            found = placed.get((question.order.buyer, str(question.order.key)))
            if found and found[0] != question.order.number:
                used.add(question.order.number)
        live = self._live_drops({question.drop_id for question in questions})
        pairs = [(q, other) for q in questions for other in live if other != q.drop_id]
        if pairs:
            pipe = client().pipeline(transaction=False)
            for question, other in pairs:
                pipe.hexists(keys_of(other).keys, f"{question.order.buyer}:{question.order.key}")
            answers = zip(pairs, pipe.execute(), strict=True)
            used |= {question.order.number for (question, _other), is_used in answers if is_used}
        return used

    def _live_drops(self, known: set[int]) -> list[int]:
        """All live drops; `known` are some of them."""
        if time.monotonic() > self._live_until or not known <= set(self._live):
            self._live, self._live_until = live_drops(), time.monotonic() + REFRESH_SECONDS
        return self._live


_check = PerProcess(_KeyCheck)


def unless_used(asked: Deferred[Reply], drop_id: int) -> Deferred[Reply]:
    """The reply of a lane on Redis; REUSED, with the order that Redis admitted, where its key is another's.

    Such an order is to be taken back. Where neither the database nor Redis can be asked, the reply stands.
    """
    checked: Deferred[Reply] = Deferred()

    def go_on() -> None:
        try:
            reply = asked.result()
        except Exception as exc:
            checked.decide(exc)
            return
        if reply.answer == Answer.ACCEPTED and reply.admitted and reply.admitted.key:
            _check().inbox.put(_Question(drop_id, reply.admitted, reply, checked))
        else:
            checked.decide(reply)

    asked.then(go_on)
    return checked


def take_back(drop_id: int, order: AdmittedOrder) -> bool:
    """Give the units and the limit of such an order back; False where that cannot be done: it stands."""
    reused = IdempotencyKeyReused()
    try:
        return set_aside(
            drop_id, order, code=reused.code, reason=str(reused.title), raw=encode_order(order).decode(),
            entry_id="",
        )  # fmt: skip
    except (DatabaseError, RedisError, Busy) as exc:
        logger.warning("drop %d: order %s was not taken back: %s", drop_id, order.number, exc)
        connection.close()
        return False
