"""Fixtures that every test file may use."""

import json
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import cache
from django.core.management import call_command
from django.test import Client
from django.utils import translation

from orders.drops.admission.tallies import tallies
from orders.drops.audit import rebuild as rebuild_module
from orders.drops.definitions import definitions
from orders.drops.selectors import drop_views
from orders.engine.suspects import suspects
from orders.models import Order
from orders.payments.providers import PROVIDERS
from shop.models import Option, User
from tests.support.desk import signed_in
from tests.support.drops import use_redis
from tests.support.environment import DATABASE
from tests.support.factories import make_options, make_order, make_user
from tests.support.payments import Bank
from tests.support.replay import COLUMNS, replay_file
from tests.support.services import Redis
from tests.support.wire import Wire
from yousinsa.auth import revocations
from yousinsa.http import page_cache as page_cache_module
from yousinsa.http.page_cache import page_cache
from yousinsa.limits import shared_memory


@pytest.fixture(autouse=True)
def fresh_process_state(settings: Any) -> Iterator[None]:
    """What a new process would start with: no limit used, nothing cached, no revocation known, English."""
    # The thread that polls looks once and not between tests, when there is no database to ask.
    settings.TOKEN_REVOCATION_POLL_SECONDS = 24 * 3600
    settings.DROP_TALLY_SECONDS = 24 * 3600
    definitions.clear()
    drop_views.clear()
    tallies().clear()
    suspects.clear()
    shared_memory.clear()
    page_cache.clear()
    cache.clear()
    translation.deactivate()  # Django's test client leaves the language of its last request
    if DATABASE == "mariadb":
        from yousinsa.db.mysql import base

        # Threads that a test left behind keep their connections: with them gone the pool would be empty.
        base.pool_of.forget()
    yield
    revocations.clear()
    tallies().clear()


@pytest.fixture(autouse=True)
def plain_lane(settings: Any) -> None:
    """One transaction an order: the group commit cannot see what a test has not committed."""
    settings.PLACEMENT = "row_lock"


@pytest.fixture(autouse=True)
def no_cap_on_what_is_unpaid(settings: Any) -> None:
    """One buyer stands for many in most tests; those of the cap set it."""
    settings.UNPAID_ORDERS = settings.UNPAID_UNITS = 0


@pytest.fixture(autouse=True)
def pages_made_for_each_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test changes in its own transaction is never committed, so no page would be made anew."""
    monkeypatch.setattr(page_cache_module, "MIN_AGE", 0)
    monkeypatch.setattr(page_cache_module, "MAX_AGE", 0)


@pytest.fixture(autouse=True)
def quick_passwords(settings: Any) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


# --- Who asks -------------------------------------------------------------------------------------


@pytest.fixture
def api() -> Callable[..., Wire]:
    """`api(user)` is that user's API, `api()` a stranger's."""
    return Wire


@pytest.fixture
def buyer(db: None) -> User:
    return make_user("buyer@example.com", address=True)


@pytest.fixture
def operator(db: None) -> User:
    """Somebody who may do everything at the desk."""
    return make_user("operator@example.com", staff=True)


@pytest.fixture
def desk(operator: User) -> Client:
    """The desk, as the operator uses it."""
    return signed_in(operator)


# --- What is there ----------------------------------------------------------------------------------


@pytest.fixture
def option(db: None) -> Option:
    """An option of which there are ten."""
    return make_options([10], price=10_000)[0]


@pytest.fixture
def order(buyer: User, option: Option) -> Order:
    """The buyer's pending order of two of them."""
    return make_order(buyer, (option, 2))


@pytest.fixture
def bank(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bank]:
    """Nothing but the shop's own transactions are open when it is asked."""
    bank = Bank()
    monkeypatch.setitem(PROVIDERS, "bank", bank)
    yield bank
    assert not bank.asked_inside_a_transaction


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Redis]:
    """One private Redis for the tests that need one; it is emptied by whoever uses it."""
    with Redis() as server:
        yield server


@pytest.fixture
def on_redis(settings: Any, redis_server: Redis, monkeypatch: pytest.MonkeyPatch) -> Redis:
    """Drops are on this Redis, which is empty."""
    use_redis(settings, redis_server)
    monkeypatch.setattr(rebuild_module, "TALLIES_SECONDS", 0)  # no process but this one
    return redis_server


@pytest.fixture(scope="session")
def schema() -> dict[str, Any]:
    """The OpenAPI description; making it fails on a warning."""
    out = StringIO()
    call_command("spectacular", format="openapi-json", validate=True, fail_on_warn=True, stdout=out)
    described: dict[str, Any] = json.loads(out.getvalue())
    return described


@pytest.fixture
def replay(tmp_path: Path) -> Callable[..., str]:
    """`replay(line(…), …)` writes the lines to a file, replays it and returns what was said."""

    def run(*lines: str | bytes, **options: Any) -> str:
        path = tmp_path / "orders.csv"
        rows = (text.encode() if isinstance(text, str) else text for text in lines)
        path.write_bytes(COLUMNS.encode() + b"\n" + b"".join(rows))
        return replay_file(path, **options)

    return run
