"""Private MariaDB and Redis servers: for tests that need a real one, and for the load bench.

    with MariaDB() as mariadb, Redis() as redis:
        environment = {"DATABASE_URL": mariadb.url, "REDIS_URL": redis.url}

Each server gets a free port on 127.0.0.1 and a directory of its own, which goes when the server does. A
supervisor process starts the server and ends with whoever asked for it: a test run that crashes, or is killed
with SIGKILL, leaves neither a server nor a directory behind. Nothing here knows Django.
"""

import contextlib
import ctypes
import importlib.util
import json
import os
import random
import secrets
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

START_SECONDS = 60
STOP_SECONDS = 60
# Below the range from which Linux takes ports of outgoing connections: one of those could otherwise hold
# the port of a killed server when it wants to come back.
PORTS = range(15_000, 32_000)
# Debian keeps daemons in /usr/sbin, which is not on every user's PATH.
SEARCH_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin"])
NAME = "yousinsa"


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
            [sys.executable, "-I", __file__, str(self.directory), str(os.getpid())],
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


class MariaDB(Server):
    """A MariaDB server with an empty database `yousinsa` and a user who may do anything in `yousinsa%`.

    durable: flush each commit to disk, as in production; False survives a killed server, not a power cut.
    binlog: also write the binary log, as a primary with replicas does (with durable: flushed each commit).
    buffer_pool, log_file: sizes as the server takes them (`128M`).
    options: further mariadbd options, which win over those above.

    `utf8mb4_general_ci`, the collation that takes `a` for `A`, is meant: tests should meet what users run.
    """

    name = "mariadb"
    package = "mariadb-server-core"

    def __init__(
        self,
        durable: bool = True,
        binlog: bool = False,
        *,
        buffer_pool: str = "128M",
        log_file: str = "96M",
        options: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.password = secrets.token_urlsafe(16)
        self.tuning = [
            f"--innodb-buffer-pool-size={buffer_pool}",
            f"--innodb-log-file-size={log_file}",
            f"--innodb-flush-log-at-trx-commit={1 if durable else 2}",
            f"--innodb-doublewrite={'ON' if durable else 'OFF'}",
        ]
        if binlog:
            self.tuning += ["--log-bin=binlog", "--server-id=1", "--binlog-format=ROW"]
            self.tuning += [f"--sync-binlog={1 if durable else 0}"]
        self.tuning += options

    @property
    def url(self) -> str:
        return self.url_of(NAME)

    def url_of(self, database: str) -> str:
        """The address of one database on this server, as DATABASE_URL takes it."""
        return f"mysql://{NAME}:{self.password}@127.0.0.1:{self.port}/{database}"

    def create_database(self, database: str) -> str:
        """Create an empty database (`yousinsa…`, else the user may not use it) and return its address."""
        with self.root() as connection:
            connection.cursor().execute(f"CREATE DATABASE `{database}`")
        return self.url_of(database)

    @contextlib.contextmanager
    def root(self, **arguments: Any) -> Iterator[Any]:
        """A MySQLdb connection with every right, autocommitting: to see and to kill what others do."""
        import MySQLdb

        connection = MySQLdb.connect(
            unix_socket=str(self.socket_path), user="root", connect_timeout=5, **arguments
        )
        try:
            connection.autocommit(True)
            yield connection
        finally:
            connection.close()

    @property
    def socket_path(self) -> Path:
        return self.directory / "socket"

    def prepare(self) -> None:
        if importlib.util.find_spec("MySQLdb") is None:
            raise ServerMissing(
                "mysqlclient is not installed; on Debian: apt-get install libmariadb-dev pkg-config gcc, "
                "then make setup"
            )
        program = find_program("mariadb-install-db", self.package)
        find_program("mariadbd", self.package)
        self._run(
            [
                program,
                "--no-defaults",
                f"--datadir={self.directory / 'data'}",
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
                *self._as_root(),
            ]
        )

    def command(self) -> list[str]:
        return [
            find_program("mariadbd", self.package),
            "--no-defaults",
            f"--datadir={self.directory / 'data'}",
            f"--tmpdir={self.directory}",
            f"--socket={self.socket_path}",
            f"--pid-file={self.directory / 'pid'}",
            f"--port={self.port}",
            "--bind-address=127.0.0.1",
            "--skip-name-resolve",
            *self._as_root(),
            "--character-set-server=utf8mb4",
            "--collation-server=utf8mb4_general_ci",
            "--max-connections=400",
            # Room for what these databases hold, instead of for a machine of their own.
            "--key-buffer-size=1M",
            "--aria-pagecache-buffer-size=8M",
            "--table-definition-cache=400",
            *self.tuning,
        ]

    def ping(self) -> bool:
        import MySQLdb

        try:
            with self.root():
                return True
        except MySQLdb.OperationalError:
            return False

    def settle(self) -> None:
        with self.root() as connection:
            cursor = connection.cursor()
            # Only the socket in our own directory leads to root; anonymous users would shadow ours.
            cursor.execute(
                "DELETE FROM mysql.global_priv "
                "WHERE User NOT IN ('root', 'mariadb.sys') OR User = 'root' AND Host <> 'localhost'"
            )
            cursor.execute("FLUSH PRIVILEGES")
            cursor.execute(f"CREATE DATABASE {NAME}")
            cursor.execute(f"CREATE USER {NAME}@127.0.0.1 IDENTIFIED BY '{self.password}'")
            # Django calls its test databases test_yousinsa…
            for pattern in (rf"{NAME}%", rf"test\_{NAME}%"):
                cursor.execute(f"GRANT ALL ON `{pattern}`.* TO {NAME}@127.0.0.1")

    @staticmethod
    def _as_root() -> list[str]:
        # mariadbd refuses to run as root unless told so; anybody else runs it as themselves.
        return ["--user=root"] if os.getuid() == 0 else []


class Redis(Server):
    """A Redis server that keeps every key, like the one in production (`noeviction`).

    appendonly: when the log is flushed: `always`, `everysec` (a power cut loses a second), or `no` log at
    all, so that a restart forgets everything.
    options: further redis-server options, such as `["--maxmemory", "10mb"]`.
    """

    name = "redis"
    package = "redis-server"

    def __init__(
        self, appendonly: Literal["always", "everysec", "no"] = "everysec", *, options: Sequence[str] = ()
    ) -> None:
        super().__init__()
        self.password = secrets.token_urlsafe(16)
        log = ["--appendonly", "no"]
        if appendonly != "no":
            log = ["--appendonly", "yes", "--appendfsync", appendonly]
        self.tuning = [*log, *options]

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    def command(self) -> list[str]:
        return [
            find_program("redis-server", self.package),
            *("--bind", "127.0.0.1"),
            *("--port", str(self.port)),
            *("--dir", str(self.directory)),
            *("--requirepass", self.password),
            *("--save", ""),
            *("--maxmemory-policy", "noeviction"),
            *self.tuning,
        ]

    def ping(self) -> bool:
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        client = redis.Redis.from_url(self.url, socket_timeout=1, retry=Retry(NoBackoff(), 0))
        try:
            return bool(client.ping())
        except redis.RedisError:  # not up yet, still loading, or somebody else's server with another password
            return False
        finally:
            client.close()


# --- The supervisor, a process of its own -----------------------------------------------------------


def supervise(directory: Path, parent: int) -> None:
    """Start and end processes as the parent asks on standard input; end with the parent, whatever its end.

    The pipe closes when the parent dies. Should a fork of the parent hold it open, the changed parent id
    tells; should the supervisor itself be killed, the kernel kills its server (Linux only).
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    die_with_supervisor = (lambda: libc.prctl(1, signal.SIGKILL)) if libc else None  # 1: PR_SET_PDEATHSIG
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    process: subprocess.Popen[bytes] | None = None
    try:
        while os.getppid() == parent:
            if process:
                process.poll()  # a server that was killed from outside must not stay a zombie
            if not select.select([sys.stdin], [], [], 0.2)[0]:
                continue
            request = sys.stdin.readline()
            if not request:
                break
            verb, argument = json.loads(request)
            answer = None
            if verb == "start":
                with (directory / "server.log").open("wb") as log:
                    process = subprocess.Popen(
                        argument,
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        start_new_session=True,
                        preexec_fn=die_with_supervisor,
                    )
                answer = process.pid
            elif process and verb == "signal":
                process.send_signal(argument)
            elif process and verb == "wait":
                with contextlib.suppress(subprocess.TimeoutExpired):
                    answer = process.wait(argument)
            print(json.dumps(answer), flush=True)
    finally:
        if process and process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)  # its group: installing MariaDB is a script with children
            process.wait()
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    supervise(Path(sys.argv[1]), int(sys.argv[2]))
