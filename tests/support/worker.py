"""`manage.py run_worker` as it is deployed: a process of its own, on the database of the test that asks."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Self

from tests.support.concurrency import until
from tests.support.server import ROOT, database_url

PATIENCE_SECONDS = 60


class Worker:
    """One run_worker; what it prints is in `log`."""

    def __init__(self, log: Path, **environment: str) -> None:
        self._log = log
        self._environment = {**os.environ, "DATABASE_URL": database_url(), **environment}

    def __enter__(self) -> Self:
        with self._log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "run_worker"],
                cwd=ROOT, env=self._environment, stdout=output, stderr=subprocess.STDOUT,
            )  # fmt: skip
        return self

    @property
    def log(self) -> str:
        return self._log.read_text()

    def wait_until(self, done: Callable[[], object]) -> None:
        """Raises AssertionError with what the worker printed where `done()` does not come true in time."""

        def done_or_ended() -> object:
            return done() or self.process.poll() is not None

        until(done_or_ended, seconds=PATIENCE_SECONDS, why=lambda: self.log)
        assert self.process.poll() is None, f"the worker ended:\n{self.log}"

    def stop(self, seconds: float = 30) -> int:
        """End it as a supervisor does; its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=seconds)

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
