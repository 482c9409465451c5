"""Fixtures that every test file may use."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client
from django.utils import translation

from orders.drops.admission.tallies import tallies
from orders.drops.definitions import definitions
from orders.drops.selectors import board
from shop.models import User
from tests.support.environment import DATABASE
from tests.support.factories import make_user
from tests.support.services import Redis
from yousinsa.auth import issue_token, revocations
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
    board.clear()
    tallies.clear()
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
    tallies.clear()


@pytest.fixture(autouse=True)
def plain_lane(settings: Any) -> None:
    """One transaction an order: the group commit cannot see what a test has not committed."""
    settings.PLACEMENT = "row_lock"


@pytest.fixture(autouse=True)
def pages_made_for_each_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test changes in its own transaction is never committed, so no page would be made anew."""
    monkeypatch.setattr(page_cache_module, "MIN_AGE", 0)
    monkeypatch.setattr(page_cache_module, "MAX_AGE", 0)


@pytest.fixture(autouse=True)
def quick_passwords(settings: Any) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


class Api:
    """The API as one caller uses it: JSON in and out, a bearer token if there is a user."""

    def __init__(self, user: User | None = None) -> None:
        self.user = user
        self.client = Client(raise_request_exception=False)
        self.headers: dict[str, str] = {}
        if user is not None:
            token = issue_token(user_id=user.pk, role=user.role, is_staff=user.is_staff)
            self.headers["Authorization"] = f"Bearer {token}"

    def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """Send `body` as JSON to `/api/v1/…`; header names are written with underscores."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.client.generic(
            method,
            path if path.startswith("/") else f"/api/v1/{path}",
            b"" if body is None else _json(body),
            content_type="application/json",
            headers={**self.headers, **named},
        )

    def get(self, path: str, **headers: str) -> Any:
        return self("GET", path, **headers)

    def post(self, path: str, body: Any = None, **headers: str) -> Any:
        return self("POST", path, body, **headers)

    def patch(self, path: str, body: Any = None) -> Any:
        return self("PATCH", path, body)

    def delete(self, path: str) -> Any:
        return self("DELETE", path)


def _json(body: Any) -> bytes:
    import json

    return body if isinstance(body, bytes) else json.dumps(body).encode()


@pytest.fixture
def api() -> Callable[..., Api]:
    """`api(user)` is that user's API, `api()` a stranger's."""
    return Api


@pytest.fixture
def buyer(db: None) -> User:
    return make_user("buyer@example.com", address=True)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Redis]:
    """One private Redis for the tests that need one; it is emptied by whoever uses it."""
    with Redis() as server:
        yield server
