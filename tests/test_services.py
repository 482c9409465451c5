"""The private servers that other tests stand on: they answer, keep what they must, and never outlive us."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import MySQLdb
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.support.concurrency import until
from tests.support.services import MariaDB, Nginx, Redis, ServerFailed, ServerMissing, free_port
from tests.support.services import server as services

# These tests start what they need: once is enough, in the run that has no MariaDB of its own.
pytestmark = pytest.mark.sqlite

ROOT = Path(__file__).resolve().parent.parent

# Starts a server and says where it is. With `fork`, a second process holds every pipe when this one dies.
CHILD = """
import os, sys, time
from tests.support.services import MariaDB, Nginx, Redis
server = {"mariadb": MariaDB, "redis": Redis}[sys.argv[1]]().start()
fork = os.fork() if "fork" in sys.argv else 0
if fork or "fork" not in sys.argv:
    print(server.port, server.pid, server.directory, fork, flush=True)
time.sleep(120)
"""


def listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@contextlib.contextmanager
def connected(server: MariaDB, database: str = "yousinsa") -> Iterator[Any]:
    """A connection as the project makes it: over TCP, as the user in `url`."""
    connection = MySQLdb.connect(
        host="127.0.0.1", port=server.port, user="yousinsa", password=server.password, database=database
    )
    try:
        yield connection
    finally:
        connection.close()


def fetch(connection: Any, query: str) -> list[Any]:
    cursor = connection.cursor()
    cursor.execute(query)
    return [value for row in cursor.fetchall() for value in row]


@pytest.fixture(scope="module")
def mariadb() -> Iterator[MariaDB]:
    with MariaDB(binlog=True) as server:
        yield server


def test_mariadb_answers_with_the_settings_asked_for(mariadb: MariaDB) -> None:
    assert mariadb.url == f"mysql://yousinsa:{mariadb.password}@127.0.0.1:{mariadb.port}/yousinsa"
    settings = (
        "@@innodb_flush_log_at_trx_commit, @@sync_binlog, @@log_bin, @@collation_database, @@max_connections"
    )
    with connected(mariadb) as connection:
        assert fetch(connection, f"SELECT {settings}") == [1, 1, 1, "utf8mb4_general_ci", 400]


def test_mariadb_without_durability_does_not_wait_for_the_disk() -> None:
    with MariaDB(durable=False) as server, connected(server) as connection:
        assert fetch(connection, "SELECT @@innodb_flush_log_at_trx_commit, @@log_bin") == [2, 0]


def test_the_mariadb_user_may_use_our_databases_only(mariadb: MariaDB) -> None:
    with connected(mariadb) as connection:
        for allowed in ("yousinsa_extra", "test_yousinsa"):
            fetch(connection, f"CREATE DATABASE {allowed}")
            fetch(connection, f"DROP DATABASE {allowed}")
        with pytest.raises(MySQLdb.OperationalError, match="Access denied"):
            fetch(connection, "CREATE DATABASE elsewhere")
        with pytest.raises(MySQLdb.OperationalError, match="denied"):
            fetch(connection, "SELECT User FROM mysql.global_priv")
    with pytest.raises(MySQLdb.OperationalError, match="Access denied"):
        MySQLdb.connect(host="127.0.0.1", port=mariadb.port, user="root")


def test_a_further_database_has_an_address_of_its_own(mariadb: MariaDB) -> None:
    assert mariadb.create_database("yousinsa_other").endswith(f"@127.0.0.1:{mariadb.port}/yousinsa_other")
    with connected(mariadb, "yousinsa_other") as connection:
        assert fetch(connection, "SELECT DATABASE()") == ["yousinsa_other"]


def test_mariadb_comes_back_from_sigkill_with_what_was_committed(mariadb: MariaDB) -> None:
    port = mariadb.port
    with connected(mariadb) as connection:
        fetch(connection, "CREATE TABLE kept (id INT PRIMARY KEY) ENGINE=InnoDB")
        fetch(connection, "INSERT INTO kept VALUES (1)")
        connection.commit()
        fetch(connection, "INSERT INTO kept VALUES (2)")  # not committed
        mariadb.kill()
    assert not listens(port)
    mariadb.restart()
    assert mariadb.port == port
    with connected(mariadb) as connection:
        assert fetch(connection, "SELECT id FROM kept") == [1]


@pytest.mark.parametrize(("appendonly", "kept"), [("always", b"1"), ("no", None)])
def test_redis_comes_back_from_sigkill_as_its_log_allows(appendonly: Any, kept: bytes | None) -> None:
    with Redis(appendonly) as server, redis.Redis.from_url(server.url) as client:
        assert client.config_get("maxmemory-policy")["maxmemory-policy"] == "noeviction"
        client.set("key", 1)
        port = server.port
        server.kill()
        assert not listens(port)
        server.restart()
        assert server.port == port
        assert client.get("key") == kept


def test_redis_asks_for_its_password() -> None:
    with Redis() as server:
        stranger = redis.Redis(port=server.port, retry=Retry(NoBackoff(), 0))
        with pytest.raises(redis.AuthenticationError):
            stranger.ping()


def test_stop_ends_the_server_and_removes_its_directory() -> None:
    server = Redis().start()
    port, directory = server.port, server.directory
    assert listens(port)
    assert directory.exists()
    server.stop()
    server.stop()  # a second time does nothing
    assert not listens(port)
    assert not directory.exists()


@pytest.mark.parametrize("arguments", [["mariadb"], ["redis"], ["redis", "fork"]], ids=" ".join)
def test_a_server_dies_with_the_process_that_started_it(arguments: list[str]) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout
    port, server, directory, fork = child.stdout.readline().split()
    try:
        assert listens(int(port))
        child.kill()
        child.wait()
        until(lambda: not listens(int(port)))
        until(lambda: not Path(f"/proc/{server}").exists())
        until(lambda: not Path(directory).exists())
    finally:
        child.stdout.close()
        if fork != "0":
            os.kill(int(fork), signal.SIGKILL)


def test_a_server_dies_with_its_supervisor() -> None:
    server = Redis().start()
    port, directory = server.port, server.directory
    supervisor = Path(f"/proc/{server.pid}/stat").read_text().rpartition(")")[2].split()[1]
    os.kill(int(supervisor), signal.SIGKILL)
    until(lambda: not listens(port))
    with pytest.raises(ServerFailed, match="supervisor"):
        server.stop()
    assert not directory.exists()


def test_a_port_that_somebody_took_meanwhile_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as somebody:
        taken = somebody.getsockname()[1]
        ports = iter([taken, free_port()])
        monkeypatch.setattr(services, "free_port", lambda: next(ports))
        with Redis() as server:
            assert server.port != taken


def test_a_server_that_cannot_start_says_why() -> None:
    server = Redis(options=["--no-such-option", "1"])
    with pytest.raises(ServerFailed, match="no-such-option"):
        server.start()
    assert not server.directory.exists()


@pytest.mark.parametrize(
    ("server", "message"),
    [
        (MariaDB(), "mariadb-install-db is not installed.*apt-get install mariadb-server-core"),
        (Redis(), "redis-server is not installed.*apt-get install redis-server"),
        (Nginx(8000, None), "nginx is not installed.*apt-get install nginx-light"),
    ],
    ids=["mariadb", "redis", "nginx"],
)
def test_a_missing_program_names_its_package(
    server: services.Server, message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(services, "SEARCH_PATH", str(tmp_path))
    with pytest.raises(ServerMissing, match=message):
        server.start()
    assert not server.directory.exists()
