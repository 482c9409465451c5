"""A private MariaDB server."""

import contextlib
import importlib.util
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.support.services.server import NAME, Server, ServerFailed, ServerMissing, find_program


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
        data = self.directory / "data"
        command = [
            program, "--no-defaults", f"--datadir={data}", "--auth-root-authentication-method=normal",
            "--skip-test-db", *self._as_root(),
        ]  # fmt: skip
        try:
            self._run(command)
        except ServerFailed:
            # Several that start at once may ask the kernel for more than it has to give: once more, alone.
            shutil.rmtree(data, ignore_errors=True)
            self._run(command)

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
