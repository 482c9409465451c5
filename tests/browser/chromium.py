"""Debian's Chromium, headless, and a page of it that remembers everything that went wrong."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, Page, expect, sync_playwright

PROGRAM = shutil.which("chromium") or ""
MISSING = "the browser tests need `chromium` on PATH: on Debian, apt-get install chromium"


@contextmanager
def chromium() -> Iterator[Browser]:
    """The browser that is installed; none is downloaded. Its sandbox does not work for root."""
    # Playwright's calls run inside an event loop of their own, which Django takes for an asynchronous view.
    before = os.environ.get("DJANGO_ALLOW_ASYNC_UNSAFE")
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=PROGRAM, args=arguments)
            yield browser
            browser.close()
    finally:
        if before is None:
            del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]
        else:
            os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = before


def watch(page: Page) -> list[str]:
    """What goes wrong on this page from now on: errors of scripts, requests that fail or are refused."""
    wrong: list[str] = []

    def answered(response: Any) -> None:
        if response.status >= 400:
            wrong.append(f"{page.url}: {response.status} for {response.url}")

    def failed(request: Any) -> None:
        # Leaving a page gives up what it still asks for.
        if "ERR_ABORTED" not in (request.failure or ""):
            wrong.append(f"{page.url}: {request.failure} for {request.url}")

    def logged(message: Any) -> None:
        if message.type == "error":
            wrong.append(f"{page.url}: console: {message.text}")

    page.on("response", answered)
    page.on("requestfailed", failed)
    page.on("console", logged)
    page.on("pageerror", lambda error: wrong.append(f"{page.url}: {error}"))
    return wrong


def sign_in(page: Page, url: str, email: str, password: str) -> None:
    page.goto(f"{url}/admin/")
    page.locator("[name=username]").fill(email)
    page.locator("[name=password]").fill(password)
    page.locator("#login-form button").click()
    expect(page.locator("#nav-sidebar")).to_be_attached()
