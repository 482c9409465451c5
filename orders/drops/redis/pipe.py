"""Orders that wait in one process ask Redis together: one write, one read, an answer for each.

With a connection for each thread every order would pay for two system calls and twice for the interpreter
lock. Nothing waits for a timer: while one group is asked, the next one gathers.
"""

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any

from redis.exceptions import NoScriptError, ResponseError

from orders.drops.redis.connections import AnswerLost, OrderPool, order_pool
from orders.drops.redis.scripts import Script
from yousinsa.errors import Busy
from yousinsa.http.deferred import Deferred
from yousinsa.process.once import PerProcess
from yousinsa.process.together import take_together

logger = logging.getLogger(__name__)

MAX_TOGETHER = 64
# Whoever waited for longer than this before being sent has to come again.
QUEUE_SECONDS = 2.0


@dataclass(slots=True, eq=False)
class Question:
    """A script that is to be run, and where its answer goes."""

    script: Script
    keys: Sequence[str]
    args: Sequence[Any]
    answer: Deferred[Any] = field(default_factory=Deferred)
    since: float = field(default_factory=time.monotonic)


class OrderPipe:
    """The questions of one process, and the thread that asks them."""

    def __init__(self, pool: OrderPool) -> None:
        self._pool = pool
        self._inbox: SimpleQueue[Question] = SimpleQueue()
        threading.Thread(target=self._run, name="drop-admission", daemon=True).start()

    def ask(self, script: Script, keys: Sequence[str], *args: Any) -> Deferred[Any]:
        """Have a script run whose first argument is the connection's run_id, and get what it answers.

        `Busy` where it certainly did not run, `AnswerLost` where nobody knows.
        """
        question = Question(script, keys, args)
        self._inbox.put(question)
        return question.answer

    def _run(self) -> None:
        while True:
            together, late = self._gather()
            for question in late:
                question.answer.decide(Busy())
            if together:
                answers: dict[Question, Any] = {}
                failure = self._ask(together, answers)
                for question in together:
                    answer = answers.get(question)
                    question.answer.decide(failure if answer is None else answer)

    def _ask(self, together: Sequence[Question], answers: dict[Question, Any]) -> Exception:
        """Fill `answers`; returns what there is to say to those who get none. Raises nothing."""
        try:
            self._pool.use(lambda connection: _exchange(connection, together, answers))
        except (Busy, AnswerLost) as exc:
            return exc
        except Exception:
            logger.exception("the admission goes on")
        return AnswerLost()

    def _gather(self) -> tuple[list[Question], list[Question]]:
        """Those who wait now, and those who waited too long; without any, sleep until somebody comes."""
        found = take_together(self._inbox, MAX_TOGETHER)
        patience = time.monotonic() - QUEUE_SECONDS
        return [q for q in found if q.since >= patience], [q for q in found if q.since < patience]


_pipes = PerProcess(OrderPipe)


def order_pipe() -> OrderPipe:
    """What asks this process's Redis for its orders. Raises `Busy` without REDIS_URL."""
    return _pipes(order_pool())


def _exchange(connection: Any, together: Sequence[Question], answers: dict[Question, Any]) -> None:
    """Send all, then read all. Raises `RedisError` where the connection is lost on the way."""
    _send(connection, together, "EVALSHA")
    for question in together:
        answers[question] = _read(connection)
    if unknown := [question for question in together if answers[question] is None]:
        _send(connection, unknown, "EVAL")
        for question in unknown:
            answers[question] = _read(connection)


def _send(connection: Any, questions: Sequence[Question], command: str) -> None:
    connection.send_packed_command(
        connection.pack_commands(
            [
                (
                    command, q.script.sha if command == "EVALSHA" else q.script.source,
                    len(q.keys), *q.keys, connection.run_id, *q.args,
                )
                for q in questions
            ]
        )
    )  # fmt: skip


def _read(connection: Any) -> Any:
    """An answer, or the exception that stands for it; None where Redis does not know the script."""
    try:
        return connection.read_response()
    except NoScriptError:
        return None
    except ResponseError:
        # Redis checks memory, role and disk before a script's first write: nothing was done.
        return Busy()
