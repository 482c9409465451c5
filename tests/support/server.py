"""The shop as it is deployed: gunicorn with its own configuration, for tests and for the load bench."""

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from django.db import connection

from tests.support.services import free_port

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 60


def database_url(port: int = 0) -> str:
    """DATABASE_URL of the database that this test uses; by way of another port, if one is given."""
    values = {**connection.settings_dict}
    if connection.vendor == "sqlite":
        return f"sqlite:///{values['NAME']}"
    values["PORT"] = port or values["PORT"]
    return "mysql://{USER}:{PASSWORD}@{HOST}:{PORT}/{NAME}".format(**values)


def environment_of_tests(var_dir: Path, *, database_port: int = 0, **more: str) -> dict[str, str]:
    """What a process needs to work on the database that this test uses."""
    # One buyer stands for many in most tests.
    uncapped = {"UNPAID_ORDERS": "0", "UNPAID_UNITS": "0"}
    return {"DATABASE_URL": database_url(database_port), "VAR_DIR": str(var_dir), **uncapped, **more}


class WebServer:
    """gunicorn on a free port of 127.0.0.1, with `environment` on top of this process's."""

    def __init__(self, environment: Mapping[str, str], *, log: Path | None = None) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._environment = {**os.environ, **environment, "PORT": str(self.port)}
        self._log = log

    def start(self) -> Self:
        command = [sys.executable, "-m", "gunicorn", "-c", "deploy/gunicorn.conf.py", "yousinsa.wsgi"]
        with contextlib.ExitStack() as files:
            output = files.enter_context(self._log.open("wb")) if self._log else subprocess.DEVNULL
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=self._environment, stdout=output, stderr=subprocess.STDOUT
            )
        give_up_at = time.monotonic() + START_SECONDS
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > give_up_at:
                self.stop()
                raise RuntimeError(f"gunicorn did not start: {self._log.read_text() if self._log else ''}")
            time.sleep(0.05)
        return self

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/healthz", timeout=5) as answer:
                return bool(answer.status == 200)
        except (OSError, urllib.error.URLError):
            return False

    def terminate(self) -> None:
        """Ask for the clean end: what was accepted is finished."""
        self.process.send_signal(signal.SIGTERM)

    def stop(self) -> None:
        if self.process.poll() is None:
            self.terminate()
        try:
            self.process.wait(timeout=40)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def workers(self) -> list[int]:
        """Process ids of the workers."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in children.split()]

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
