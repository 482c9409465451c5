"""What every private server shares: a supervised process, a port, a directory, a life from start to stop."""

import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

START_SECONDS = 60
STOP_SECONDS = 60
# Below the range from which Linux takes ports of outgoing connections: one of those could otherwise hold
# the port of a killed server when it wants to come back.
PORTS = range(15_000, 32_000)
# Debian keeps daemons in /usr/sbin, which is not on every user's PATH.
SEARCH_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin"])
NAME = "yousinsa"
SUPERVISOR = Path(__file__).with_name("supervisor.py")


class ServerMissing(RuntimeError):
    """A server's program is not installed; the message names the Debian package that has it."""


class ServerFailed(RuntimeError):
    """A server did not start or stop in time; the message carries the end of its log."""


class PortTaken(ServerFailed):
    """Another process listens on the port that was chosen."""


def find_program(name: str, package: str) -> str:
    """Path of a server program. Raises `ServerMissing` where it is not installed."""
    path = shutil.which(name, path=SEARCH_PATH)
    if path is None:
        raise ServerMissing(f"{name} is not installed; on Debian: apt-get install {package}")
    return path


def free_port() -> int:
    """A port on 127.0.0.1 where nothing listens now (another process may still take it: see `PortTaken`)."""
    while True:
        port = random.choice(PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class Server:
    """What both servers share: a supervised process, a port, a directory, and a life from start to stop.

    `port` and `pid` are for tests that hurt the server; `pid` is 0 while it does not run.
    """

    name: str

    def __init__(self) -> None:
        self.port = 0
        self.pid = 0
        self.directory = Path()
        self._supervisor: subprocess.Popen[str] | None = None

    # --- What each server knows of itself ---------------------------------------------------------

    @property
    def url(self) -> str:
        """The address, as the project's environment takes it."""
        raise NotImplementedError

    def prepare(self) -> None:
        """Once, before the first start: write what the server needs in its directory."""

    def command(self) -> list[str]:
        """The server's command line on `self.port`."""
        raise NotImplementedError

    def ping(self) -> bool:
        """True once this very server answers."""
        raise NotImplementedError

    def settle(self) -> None:
        """Once, after the first start: create users and databases."""

    # --- Life ---------------------------------------------------------------------------------------

    def start(self) -> Self:
        """Start the server on a free port and return when it answers.

        Raises `ServerMissing` or `ServerFailed`; nothing is left behind then.
        """
        assert self._supervisor is None, "started already"
        self.directory = Path(tempfile.mkdtemp(prefix=f"{NAME}-{self.name}-"))
        # The supervisor has a session of its own, so that Ctrl-C and a killed process group pass it by.
        self._supervisor = subprocess.Popen(
            [sys.executable, "-I", str(SUPERVISOR), str(self.directory), str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            self.prepare()
            for attempt in range(1, 6):
                self.port = free_port()
                try:
                    self._launch()
                except PortTaken:
                    if attempt == 5:
                        raise
                else:
                    break
            self.settle()
        except BaseException:
            self._close()
            raise
        return self

    def kill(self, signal_number: int = signal.SIGKILL) -> None:
        """End the process at once (SIGTERM: cleanly) and keep its data for `restart`."""
        self._ask("signal", signal_number)
        self._wait()
        self.pid = 0

    def restart(self) -> None:
        """Start again on the same port and data; a server that still runs is killed first."""
        self.kill()
        give_up_at = time.monotonic() + START_SECONDS
        while True:
            try:
                return self._launch()
            except PortTaken:
                if time.monotonic() > give_up_at:
                    raise
                time.sleep(0.2)

    def stop(self) -> None:
        """Shut down cleanly and remove the directory. Does nothing to a server that is stopped already."""
        if self._supervisor is None:
            return
        try:
            self.kill(signal.SIGTERM)
        finally:
            self._close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def log_tail(self, lines: int = 15) -> str:
        """The end of what the server printed: the reason when it does not start."""
        try:
            text = (self.directory / "server.log").read_text(errors="replace")
        except OSError:
            return "(no log)"
        return "\n".join(text.splitlines()[-lines:])

    # --- Through the supervisor -------------------------------------------------------------------

    def _ask(self, verb: str, argument: Any) -> Any:
        assert self._supervisor, "not started"
        requests, answers = self._supervisor.stdin, self._supervisor.stdout
        assert requests
        assert answers
        answer = ""
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps([verb, argument]), file=requests, flush=True)
            answer = answers.readline()
        if not answer:
            raise ServerFailed(f"the supervisor of {self.name} is gone")
        return json.loads(answer)

    def _run(self, command: Sequence[str]) -> None:
        """Run a preparing program to its end; raises `ServerFailed` unless it succeeds."""
        self._ask("start", command)
        if self._wait() != 0:
            raise ServerFailed(f"{command[0]} failed:\n{self.log_tail()}")

    def _wait(self) -> int:
        """The exit status of the process, once it has ended; negative for a signal."""
        status = self._ask("wait", STOP_SECONDS)
        if status is None:
            raise ServerFailed(f"{self.name} has not ended within {STOP_SECONDS} s:\n{self.log_tail()}")
        return int(status)

    def _launch(self) -> None:
        self.pid = self._ask("start", self.command())
        give_up_at = time.monotonic() + START_SECONDS
        while not self.ping():
            if self._ask("wait", 0.02) is not None:
                log = self.log_tail()
                kind = PortTaken if "address already in use" in log.lower() else ServerFailed
                raise kind(f"{self.name} ended at its start on port {self.port}:\n{log}")
            if time.monotonic() > give_up_at:
                self.kill()
                raise ServerFailed(f"{self.name} does not answer after {START_SECONDS} s:\n{self.log_tail()}")

    def _close(self) -> None:
        """End the supervisor, and with it the server and the directory."""
        supervisor, self._supervisor, self.pid = self._supervisor, None, 0
        if supervisor is None:
            return
        with contextlib.suppress(BrokenPipeError), supervisor:  # closes the pipes, then waits
            pass
        shutil.rmtree(self.directory, ignore_errors=True)  # in case that the supervisor was killed
