"""What this process acknowledged and refused, written behind the requests at most once a second.

A refused order must not cost a query, and a Redis that forgets must not take the knowledge with it of how
many units it had acknowledged. So each process counts in memory, and a thread writes the sums.
"""

import atexit
import logging
import os
import secrets
import socket
import threading
import time
from collections import Counter, defaultdict

from django.conf import settings
from django.db import DatabaseError, connection
from django.db.models import F

from orders.drops.audit.observe import observe
from orders.drops.metrics import BY_ANSWER
from orders.drops.redis.answers import Answer
from orders.models.drops import DropTally
from yousinsa.db.transactions import transact
from yousinsa.errors import Busy
from yousinsa.process.once import PerProcess

logger = logging.getLogger(__name__)

OBSERVE_SECONDS = 2.0
_REFUSALS = {Answer.LIMIT, Answer.SHORT, Answer.CLOSED, Answer.LOST, Answer.REUSED, Answer.STRANGER}


def count(drop_id: int, answer: Answer, units: int = 0) -> None:
    """One attempt to buy (`units` in all) got this answer: for Prometheus, and for the drop's own numbers."""
    BY_ANSWER[answer].inc()
    if answer == Answer.ACCEPTED:
        tallies().add(drop_id, "acknowledged", units)
    elif answer == Answer.QUEUED:
        tallies().add(drop_id, "queued")
    elif answer in _REFUSALS:
        tallies().add(drop_id, "refused")


class Tallies:
    """The counters of one process, by drop and by the columns of `DropTally`; a thread writes them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[int, Counter[str]] = defaultdict(Counter)
        self._name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        threading.Thread(target=self._run, name="drop-tallies", daemon=True).start()
        atexit.register(self._flush_at_the_end, os.getpid())

    def add(self, drop_id: int, column: str, count: int = 1) -> None:
        with self._lock:
            self._counts[drop_id][column] += count

    def flush(self) -> None:
        """Write what was counted since the last time. Raises `DatabaseError`, `Busy`; nothing is lost."""
        with self._lock:
            counts, self._counts = self._counts, defaultdict(Counter)
        for drop_id in list(counts):
            try:
                self._write(drop_id, counts[drop_id])
            except (DatabaseError, Busy):
                with self._lock:
                    for left, values in counts.items():
                        self._counts[left].update(values)
                raise
            del counts[drop_id]

    def clear(self) -> None:
        with self._lock:
            self._counts.clear()

    def _write(self, drop_id: int, added: Counter[str]) -> None:
        def work() -> None:
            mine = DropTally.objects.filter(drop_id=drop_id, process=self._name)
            if not mine.update(**{column: F(column) + count for column, count in added.items()}):
                DropTally.objects.create(drop_id=drop_id, process=self._name, **added)

        transact(work)

    def _flush_at_the_end(self, pid: int) -> None:
        """A process that ends cleanly leaves nothing uncounted. A child inherits this, and does nothing."""
        if pid == os.getpid() and self._counts:
            try:
                self.flush()
            except Exception:
                logger.warning("the last drop tallies of this process are lost", exc_info=True)

    def _run(self) -> None:
        observed_at = 0.0
        while True:
            time.sleep(settings.DROP_TALLY_SECONDS)
            if not self._counts:
                continue
            try:
                self.flush()
                if time.monotonic() - observed_at > OBSERVE_SECONDS:
                    observe()
                    observed_at = time.monotonic()
            except Exception:
                logger.warning("drop tallies are written later", exc_info=True)
            finally:
                connection.close()


tallies = PerProcess(Tallies)
