"""Orders that wait in one process ask Redis together: one write, one read, an answer for each.

With a connection for each thread every order would pay for two system calls and twice for the interpreter
lock. Nothing waits for a timer: while one group is asked, the next one gathers.
"""

import logging
import threading
import time
from collections.abc import Sequence
from queue import Empty, SimpleQueue
from typing import Any

from redis.exceptions import NoScriptError, ResponseError

from orders.drops.redis.connections import AnswerLost, OrderPool, Script
from yousinsa.errors import Busy
from yousinsa.http.deferred import Promise

logger = logging.getLogger(__name__)

MAX_TOGETHER = 64
# Whoever waited for longer than this before being sent is told to come again.
QUEUE_SECONDS = 2.0


class Question(Promise[Any]):
    """A script that waits to be run. Its outcome is the answer, or the exception that stands for it."""

    __slots__ = ("args", "keys", "script", "since")

    def __init__(
        self, script: Script, keys: Sequence[str], args: Sequence[Any], lock: threading.Lock
    ) -> None:
        super().__init__(lock)
        self.script, self.keys, self.args = script, keys, args
        self.since = time.monotonic()

    def answer(self) -> Any:
        """Wait for the answer. Raises `Busy` where the script certainly did not run, else `AnswerLost`."""
        outcome = self.wait()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


class OrderPipe:
    """The questions of one process, and the thread that asks them."""

    def __init__(self, pool: OrderPool) -> None:
        self._pool = pool
        self._inbox: SimpleQueue[Question] = SimpleQueue()
        self._lock = threading.Lock()
        threading.Thread(target=self._run, name="drop-admission", daemon=True).start()

    def ask(self, script: Script, keys: Sequence[str], *args: Any) -> Question:
        """Have a script run whose first argument is the connection's run_id."""
        question = Question(script, keys, args, self._lock)
        self._inbox.put(question)
        return question

    def _run(self) -> None:
        while True:
            together, late = self._gather()
            answers: dict[Question, Any] = dict.fromkeys(late, Busy())
            failure: Exception = AnswerLost()  # nobody is left without an answer
            try:
                if together:
                    self._pool.use(lambda connection: _ask(connection, together, answers))  # noqa: B023
            except (Busy, AnswerLost) as exc:
                failure = exc
            except Exception:
                logger.exception("the admission goes on")
            self._tell(
                [
                    (question, failure if answers.get(question) is None else answers[question])
                    for question in (*together, *late)
                ]
            )

    def _tell(self, answers: Sequence[tuple[Question, Any]]) -> None:
        with self._lock:
            callbacks = [question.decide(answer) for question, answer in answers]
        for callback in callbacks:
            if callback:
                callback()

    def _gather(self) -> tuple[list[Question], list[Question]]:
        """Those who wait now, and those who waited too long; without any, sleep until somebody comes."""
        found = [self._inbox.get()]
        try:
            while len(found) < MAX_TOGETHER:
                found.append(self._inbox.get_nowait())
        except Empty:
            pass
        patience = time.monotonic() - QUEUE_SECONDS
        return [q for q in found if q.since >= patience], [q for q in found if q.since < patience]


def _ask(connection: Any, together: Sequence[Question], answers: dict[Question, Any]) -> None:
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
