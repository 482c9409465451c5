"""The shop as it is deployed, on this run's database, and an operator with a browser in front of it.

The tests share one shop, one server and one sign-in, as a day does; each makes the records that it needs.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.core.management import call_command
from django.db import connection
from django.test import override_settings
from playwright.sync_api import Browser, Page

from shop.models import User
from tests.browser.chromium import MISSING, PROGRAM, chromium, sign_in, watch
from tests.support.factories import PASSWORD
from tests.support.server import WebServer


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    if not PROGRAM:
        pytest.skip(MISSING)
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="package")
def database(
    browser: Browser, django_db_blocker: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """A file of its own, which no other test empties or rolls back beneath the server."""
    file = tmp_path_factory.mktemp("database") / "shop.sqlite3"
    elsewhere = connection.settings_dict["NAME"]
    with django_db_blocker.unblock():
        connection.close()
        connection.settings_dict["NAME"] = str(file)
        try:
            call_command("migrate", verbosity=0)
            yield f"sqlite:///{file}"
        finally:
            connection.close()
            connection.settings_dict["NAME"] = elsewhere


@pytest.fixture(scope="package")
def server(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebServer]:
    """gunicorn with static files from WhiteNoise, which are not compressed beforehand."""
    plain = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    with override_settings(STORAGES={**django_settings.STORAGES, "staticfiles": plain}):
        call_command("collectstatic", interactive=False, verbosity=0)
    log = tmp_path_factory.mktemp("gunicorn") / "log"
    with WebServer({"DATABASE_URL": database, "WEB_CONCURRENCY": "1"}, log=log) as server:
        yield server


@dataclass
class Desk:
    """An operator who is signed in, and the page that they look at."""

    page: Page
    operator: User
    url: str
    wrong: list[str]

    def open(self, path: str) -> Page:
        self.page.goto(self.url + path)
        return self.page

    def room(self, name: str) -> Page:
        """A page of the sidebar, by its name there."""
        self.page.locator("#nav-sidebar").get_by_role("link", name=name, exact=True).click()
        return self.page


@pytest.fixture(scope="package")
def signed_in(server: WebServer, browser: Browser) -> Iterator[Desk]:
    operator = User.objects.create_superuser("operator@example.com", PASSWORD, name="Park Jiwoo")
    context = browser.new_context(locale="en-GB", viewport={"width": 1280, "height": 900})
    page = context.new_page()
    wrong = watch(page)
    sign_in(page, server.url, operator.email, PASSWORD)
    yield Desk(page, operator, server.url, wrong)
    context.close()


@pytest.fixture
def desk(signed_in: Desk) -> Iterator[Desk]:
    """On the front page. Nothing that the operator opens from here may fail behind their back."""
    signed_in.wrong.clear()
    signed_in.open("/admin/")
    yield signed_in
    assert signed_in.wrong == []
