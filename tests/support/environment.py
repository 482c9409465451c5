"""A pytest plugin (`-p tests.support.environment`) that sets the stage before Django reads its settings.

TEST_DATABASE=sqlite (default) or mariadb: the whole suite runs on either. MariaDB is a private server of
this run, started here and stopped at the end; tests/support/services makes sure that even a crash
stops it.
"""

import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as property_settings

from tests.support.services import MariaDB

DATABASE = os.environ.get("TEST_DATABASE", "sqlite")

# Properties are about what comes out, not about how fast on a machine that has other work.
property_settings.register_profile("yousinsa", deadline=None, suppress_health_check=[HealthCheck.too_slow])
property_settings.load_profile("yousinsa")
_scratch = tempfile.TemporaryDirectory(prefix="yousinsa-tests-", ignore_cleanup_errors=True)
_server: MariaDB | None = None

for name in [name for name in os.environ if name in ("DATABASE_URL", "REDIS_URL", "PLACEMENT", "HTTPS")]:
    del os.environ[name]
os.environ |= {
    "SECRET_KEY": "tests-only-" + "k" * 48,
    "DEBUG": "0",
    "PAYMENT_SANDBOX": "1",
    # Committers that tests start keep their connection to the end of the run.
    "DB_POOL_SIZE": "24",
    "VAR_DIR": _scratch.name,
    "ALLOWED_HOSTS": "testserver,localhost,127.0.0.1",
    "DJANGO_SETTINGS_MODULE": "yousinsa.settings",
}

Path(_scratch.name, "static").mkdir()  # WhiteNoise warns where it is missing

if DATABASE == "mariadb":
    _server = MariaDB(durable=False).start()
    os.environ["DATABASE_URL"] = _server.url
elif DATABASE != "sqlite":
    raise pytest.UsageError(f"TEST_DATABASE must be sqlite or mariadb, not {DATABASE!r}")


def mariadb_server() -> MariaDB:
    """This run's MariaDB; only tests marked `mariadb` may ask."""
    assert _server is not None, "not a MariaDB run"
    return _server


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "mariadb: needs MariaDB itself (row locks, killed connections)")
    config.addinivalue_line("markers", "sqlite: needs SQLite itself")


def pytest_collection_modifyitems(config: pytest.Config, items: list[Any]) -> None:
    """Leave out what is meant for the other database: deselected, not skipped, since its own run has it."""
    other = "sqlite" if DATABASE == "mariadb" else "mariadb"
    left_out = [item for item in items if item.get_closest_marker(other)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def pytest_report_header() -> str:
    return f"database: {DATABASE}; scratch: {Path(_scratch.name).name}"


def pytest_unconfigure() -> None:
    if _server is not None:
        _server.stop()
    _scratch.cleanup()
