"""Orders that wait in one process ask Redis together: one write, one read, an answer for each.

With a connection for each thread every order would pay for two system calls and twice for the interpreter
lock. Nothing waits for a timer: while one group is asked, the next one gathers.
"""

import logging
import threading
from collections.abc import Sequence
from queue import Empty, SimpleQueue
from typing import Any

from redis.exceptions import NoScriptError, ResponseError

from orders.drops.connections import ANSWER_SECONDS, CONNECT_SECONDS, AnswerLost, OrderPool, Script
from yousinsa.errors import Busy

logger = logging.getLogger(__name__)

MAX_TOGETHER = 64
# How long an order may wait to be sent, and then for its answer.
QUEUE_SECONDS = 2.0
SENT_SECONDS = CONNECT_SECONDS + ANSWER_SECONDS + 1.0


class Question:
    """A script that waits to be run; `wake` is locked until its answer is there."""

    __slots__ = ("answer", "args", "gone", "keys", "script", "sent", "wake")

    def __init__(self, script: Script, keys: Sequence[str], args: Sequence[Any]) -> None:
        self.script, self.keys, self.args = script, keys, args
        self.answer: Any = None
        self.sent = self.gone = False
        self.wake = threading.Lock()
        self.wake.acquire()


class OrderPipe:
    """The questions of one process, and the thread that asks them."""

    def __init__(self, pool: OrderPool) -> None:
        self._pool = pool
        self._inbox: SimpleQueue[Question] = SimpleQueue()
        self._lock = threading.Lock()
        threading.Thread(target=self._run, name="drop-admission", daemon=True).start()

    def run(self, script: Script, keys: Sequence[str], *args: Any) -> Any:
        """Run a script whose first argument is the connection's run_id, and return its answer.

        Raises `Busy` where it certainly did not run, `AnswerLost` where nobody knows.
        """
        question = Question(script, keys, args)
        self._inbox.put(question)
        if not question.wake.acquire(timeout=QUEUE_SECONDS):
            with self._lock:
                question.gone = not question.sent
            if question.gone:
                raise Busy
            if not question.wake.acquire(timeout=SENT_SECONDS):
                raise AnswerLost
        if isinstance(question.answer, Exception):
            raise question.answer
        return question.answer

    def _run(self) -> None:
        while True:
            together = self._gather()
            try:
                self._pool.use(lambda connection: _ask(connection, together))  # noqa: B023 (asked at once)
            except (Busy, AnswerLost) as exc:
                failure: Exception = exc
            except Exception:
                logger.exception("the admission goes on")
                failure = AnswerLost()
            else:
                failure = AnswerLost()  # nobody is left without an answer
            for question in together:
                if question.answer is None:
                    question.answer = failure
                question.wake.release()

    def _gather(self) -> list[Question]:
        """Those who wait now; without any, sleep until somebody comes."""
        together: list[Question] = []
        while not together:
            found = [self._inbox.get()]
            try:
                while len(found) < MAX_TOGETHER:
                    found.append(self._inbox.get_nowait())
            except Empty:
                pass
            with self._lock:
                for question in found:
                    question.sent = not question.gone
            together = [question for question in found if question.sent]
        return together


def _ask(connection: Any, together: Sequence[Question]) -> None:
    """Send all, then read all. Raises `RedisError` where the connection is lost on the way."""
    _send(connection, together, "EVALSHA")
    unknown = [question for question in together if not _read(connection, question)]
    if unknown:
        _send(connection, unknown, "EVAL")
        for question in unknown:
            _read(connection, question)


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


def _read(connection: Any, question: Question) -> bool:
    """False where Redis does not know the script."""
    try:
        question.answer = connection.read_response()
    except NoScriptError:
        return False
    except ResponseError:
        # Redis checks memory, role and disk before a script's first write: nothing was done.
        question.answer = Busy()
    return True
