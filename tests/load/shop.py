"""Shops to be measured: a private database with its shoppers, and gunicorn as it is deployed, one a lane."""

import json
import os
import random
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tests.load.checks import Query
from tests.load.machine import memory_available
from tests.support.server import ROOT, WebServer
from tests.support.services import MariaDB, Redis

SHOPPERS = 500
# Of the shop that is browsed, and of those that only sell one option.
PRODUCTS, FEW_PRODUCTS = 500, 20
# What the caller's shell names must not leak into the shops; WEB_CONCURRENCY and WEB_THREADS may.
FOREIGN = (
    "DATABASE_URL", "REDIS_URL", "PLACEMENT", "HTTPS", "DEBUG", "ORDER_RATE", "SIGN_UP_RATE", "SIGN_IN_RATE",
    "ORDER_HOLD_MINUTES", "TRUSTED_PROXIES", "DB_POOL_SIZE", "LOCK_WAIT_SECONDS", "TOKEN_HOURS", "BIND_HOST",
    "ACCESS_LOG", "PROMETHEUS_MULTIPROC_DIR", "SHARED_DIR", "COMMISSION_RATE", "FOUR_EYES",
    "TRANSFER_HOLD_HOURS",
)  # fmt: skip
# Everybody signs in from one address here: the limit is checked, but must not be what is measured.
SIGN_IN_RATE = "100000/s"
# The scheme of seed_demo.
DEMO_BUYER, DEMO_PASSWORD = "buyer%d@demo.yousinsa.test", "demo-yousinsa"
DEFAULT_LANE = "group_commit"
_DJANGO = "import django; django.setup(); from tests.load.{} import main; main()"


class Shop:
    """A database with demo products, 500 shoppers who are signed in, and what the scenarios sell."""

    def __init__(
        self,
        name: str,
        *,
        scratch: Path,
        database_url: str,
        database_pid: int,
        query: Query,
        redis: str,
        settings: Mapping[str, str],
    ) -> None:
        self.name = name
        self.database_pid = database_pid
        self.query = query
        self.directory = scratch / name
        (self.directory / "static").mkdir(parents=True)
        self._environment = {name: value for name, value in os.environ.items() if name not in FOREIGN} | {
            "DATABASE_URL": database_url,
            "SECRET_KEY": "bench-only-" + "k" * 48,
            # 500 shoppers stand for everybody's, and pay for nothing.
            "UNPAID_ORDERS": "0",
            "UNPAID_UNITS": "0",
            "PAYMENT_SANDBOX": "1",
            "PAYMENT_RATE": "1000000/s",
            "DEBUG": "0",
            "ALLOWED_HOSTS": "127.0.0.1",
            "VAR_DIR": str(self.directory),
            "DJANGO_SETTINGS_MODULE": "yousinsa.settings",
            "SIGN_IN_RATE": SIGN_IN_RATE,
            "DEMO_PASSWORD": DEMO_PASSWORD,
            **settings,
        }
        if redis:
            self._environment["REDIS_URL"] = redis
        self._servers: dict[str, WebServer] = {}
        self.goods: dict[str, Any] = {}

    # --- Filling it ---------------------------------------------------------------------------------

    def open(self, *, products: int, history: int = 0) -> None:
        """Create the tables, demo products, shoppers; `history` orders in the past."""
        tokens = self.directory / "tokens"
        self.goods = self.inside(
            "seed", "fill", products=products, shoppers=SHOPPERS, history=history, tokens=str(tokens)
        )
        self.shoppers.write_text(
            "".join(f"Authorization: Bearer {token}\n" for token in tokens.read_text().split())
        )

    @property
    def environment(self) -> dict[str, str]:
        """What a process of this shop's needs to know."""
        return dict(self._environment)

    def command(self, module: str, function: str, **keywords: Any) -> list[str]:
        """The command line that calls a function of tests/load in a process of its own."""
        return [sys.executable, "-c", _DJANGO.format(module), function, json.dumps(keywords)]

    def inside(self, module: str, function: str, **keywords: Any) -> dict[str, Any]:
        """Call a function of tests/load/seed.py or batches.py in a process of this shop's."""
        done = subprocess.run(
            self.command(module, function, **keywords),
            cwd=ROOT,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"{module}.{function} failed:\n{done.stderr[-3000:]}")
        # What the project logs on standard output comes first.
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found

    # --- Its shoppers -------------------------------------------------------------------------------

    @property
    def shoppers(self) -> Path:
        """The headers that sign shoppers in, a line each: bearer tokens."""
        return self.directory / "shoppers"

    def browsers(self) -> Path:
        """The same tokens as browsers send them: a cookie beside others, and whose page it was."""
        out = self.directory / "browsers"
        if not out.exists():
            others, page = f"csrftoken={'c' * 32}; django_language=en", "Sec-Fetch-Site: same-origin"
            tokens = self.shoppers.read_text().replace("Authorization: Bearer ", "").split()
            out.write_text("".join(f"Cookie: {others}; token={token}\t{page}\n" for token in tokens))
        return out

    def requests(self, name: str, rows: Iterable[tuple[str, str, str, int | None]]) -> Path:
        """A file for prepared.lua: (method, path, body, index of the shopper or None for a stranger)."""
        headers = self.shoppers.read_text().splitlines()
        out = self.directory / f"requests-{name}"
        with out.open("w") as lines:
            for method, path, body, shopper in rows:
                sign_in = "" if shopper is None else f"\t{headers[shopper]}"
                lines.write(f"{method}\t{path}\t{body}{sign_in}\n")
        return out

    def anybody(self, count: int) -> list[int]:
        """Indexes of shoppers, at random."""
        return random.choices(range(SHOPPERS), k=count)

    # --- Its servers --------------------------------------------------------------------------------

    def server(self, lane: str = DEFAULT_LANE) -> WebServer:
        """gunicorn with this lane; started when it is first asked for."""
        if lane not in self._servers:
            log = self.directory / f"gunicorn-{lane}.log"
            self._servers[lane] = WebServer({**self._environment, "PLACEMENT": lane}, log=log).start()
        return self._servers[lane]

    def start(self, lanes: Sequence[str]) -> None:
        """Start the servers of these lanes beside each other."""
        with ThreadPoolExecutor() as pool:
            list(pool.map(self.server, lanes))

    def complaints(self) -> list[str]:
        """What the servers logged as errors, by lane."""
        found = []
        for log in sorted(self.directory.glob("gunicorn-*.log")):
            lines = log.read_text(errors="replace").splitlines()
            found += [f"{log.stem}: {line[:300]}" for line in lines if " ERROR " in line or "[ERROR]" in line]
        return found

    def deadlocks(self) -> int:
        """How many deadlocks the database has found so far (0 for SQLite, which has none)."""
        if not self.database_pid:
            return 0
        rows = self.query("SHOW GLOBAL STATUS LIKE 'Innodb_deadlocks'")
        return int(rows[0][1]) if rows else 0

    def close(self) -> None:
        for server in self._servers.values():
            server.stop()


class Shops:
    """The shops of one bench, each opened when a scenario first needs it; all are gone at the end."""

    def __init__(self, stack: ExitStack, scratch: Path, say: Callable[[str], None]) -> None:
        self._stack = stack
        self._scratch = scratch
        self._say = say
        self._open: dict[str, Shop] = {}
        self._mariadb: dict[bool, MariaDB] = {}
        self._redis: Redis | None = None

    def mariadb(
        self,
        name: str = "mariadb",
        *,
        binlog: bool = False,
        history: int = 0,
        products: int = 0,
        settings: Mapping[str, str] = MappingProxyType({}),
    ) -> Shop:
        """A shop on MariaDB, which flushes every commit; with `binlog` also its binary log.

        Shops differ by `name` and are databases of one server. `settings`: of its environment.
        """
        if name not in self._open:
            server = self._mariadb_server(binlog)
            url = server.create_database(f"yousinsa_{name}")
            query = _mariadb_query(server, f"yousinsa_{name}")
            products = products or (PRODUCTS if name == "mariadb" else FEW_PRODUCTS)
            self._add(name, url, server.pid, query, self._redis_url(), products, history, settings)
        return self._open[name]

    def sqlite(self) -> Shop:
        """A shop as `make run` sets it up: the embedded database, no other server."""
        if "sqlite" not in self._open:
            path = self._scratch / "sqlite.sqlite3"
            self._add("sqlite", f"sqlite:///{path}", 0, _sqlite_query(path), "", FEW_PRODUCTS, 0, {})
        return self._open["sqlite"]

    def restart_mariadb(self) -> None:
        """Kill the server that the shops share (not that with the binary log), and start it again."""
        server = self._mariadb[False]
        before = server.pid
        server.restart()
        for shop in self._open.values():
            if shop.database_pid == before:
                shop.database_pid = server.pid

    def all(self) -> list[Shop]:
        return list(self._open.values())

    def _add(
        self, name: str, url: str, pid: int, query: Query, redis: str, products: int, history: int,
        settings: Mapping[str, str],
    ) -> None:  # fmt: skip
        self._say(f"opening the shop {name!r}" + (f" with {history:,} orders" if history else ""))
        shop = Shop(
            name, scratch=self._scratch, database_url=url, database_pid=pid, query=query, redis=redis,
            settings=settings,
        )  # fmt: skip
        self._stack.callback(shop.close)
        shop.open(products=products, history=history)
        self._open[name] = shop

    def _mariadb_server(self, binlog: bool) -> MariaDB:
        if binlog not in self._mariadb:
            # As a shop's own server has: room for the pages in use, a log that lasts for a run.
            megabytes = max(128, min(1024, memory_available() // 2**20 // 8))
            server = MariaDB(binlog=binlog, buffer_pool=f"{megabytes}M", log_file=f"{megabytes}M")
            self._mariadb[binlog] = self._stack.enter_context(server)
        return self._mariadb[binlog]

    def _redis_url(self) -> str:
        if self._redis is None:
            self._redis = self._stack.enter_context(Redis())
        return self._redis.url


def _mariadb_query(server: MariaDB, database: str) -> Query:
    def query(sql: str) -> list[tuple[Any, ...]]:
        with server.root(database=database) as connection:
            cursor = connection.cursor()
            cursor.execute(sql)
            return list(cursor.fetchall())

    return query


def _sqlite_query(path: Path) -> Query:
    def query(sql: str) -> list[tuple[Any, ...]]:
        with _sqlite(path) as connection:
            return list(connection.execute(sql))

    return query


@contextmanager
def _sqlite(path: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(path, timeout=30)
    try:
        yield connection
    finally:
        connection.close()
