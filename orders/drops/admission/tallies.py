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
from collections import defaultdict

from django.conf import settings
from django.db import DatabaseError, connection
from django.db.models import F

from orders.drops.audit.observe import observe
from orders.models.drops import DropTally
from yousinsa.db.transactions import transact
from yousinsa.errors import Busy

logger = logging.getLogger(__name__)

OBSERVE_SECONDS = 2.0
FIELDS = ("acknowledged", "refused", "queued")


class Tallies:
    """The counters of one process, by drop: [units acknowledged, attempts refused, attempts queued]."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[int, list[int]] = defaultdict(lambda: [0, 0, 0])
        self._pid = 0
        self._name = ""

    def add(self, drop_id: int, field: int, count: int = 1) -> None:
        """`field` is an index of FIELDS."""
        with self._lock:
            self._counts[drop_id][field] += count
            if self._pid != os.getpid():
                self._start()

    def flush(self) -> None:
        """Write what was counted since the last time. Raises `DatabaseError`, `Busy`; nothing is lost."""
        with self._lock:
            counts, self._counts = self._counts, defaultdict(lambda: [0, 0, 0])
        for drop_id in list(counts):
            try:
                self._write(drop_id, counts[drop_id])
            except (DatabaseError, Busy):
                with self._lock:
                    for left, values in counts.items():
                        for i, value in enumerate(values):
                            self._counts[left][i] += value
                raise
            del counts[drop_id]

    def clear(self) -> None:
        with self._lock:
            self._counts.clear()

    def _write(self, drop_id: int, values: list[int]) -> None:
        added = dict(zip(FIELDS, values, strict=True))

        def work() -> None:
            mine = DropTally.objects.filter(drop_id=drop_id, process=self._name)
            if not mine.update(**{field: F(field) + value for field, value in added.items()}):
                DropTally.objects.create(drop_id=drop_id, process=self._name, **added)

        transact(work)

    def _start(self) -> None:
        """Threads do not survive a fork: each process writes for itself, from its first count on."""
        self._pid = os.getpid()
        self._name = f"{socket.gethostname()}-{self._pid}-{secrets.token_hex(4)}"
        threading.Thread(target=self._run, name="drop-tallies", daemon=True).start()
        atexit.register(self._flush_at_the_end, self._pid)

    def _flush_at_the_end(self, pid: int) -> None:
        """A process that ends cleanly leaves nothing uncounted."""
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


tallies = Tallies()
