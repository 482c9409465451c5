"""Pages that many ask for at once are made once.

A page is shown again for at most MAX_AGE; sooner if anything that it shows has changed on this machine
(`pages_changed`). Then it is made anew, but not more often than every MIN_AGE: a flood of orders must not
turn into a flood of catalogue queries. While one request makes a page, others are shown the one before, as
long as that is not older than STALE_AGE: no visitor sees anything older than STALE_AGE plus one making.
"""

import hashlib
import struct
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple, cast

from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseNotModified

from yousinsa.process.shared import shared_bytes

MAX_AGE = 1.0
MIN_AGE = 0.025
STALE_AGE = 1.5
# At most 64 MB a process; larger pages are made for each request.
MAX_PAGES, MAX_BYTES = 500, 128 << 10

_changed = shared_bytes("pages-changed", 8)


def pages_changed() -> None:
    """Something that pages show is different: from the end of this transaction on they are made anew."""
    transaction.on_commit(_mark)


def _mark() -> None:
    # Any other value will do, and eight aligned bytes are written at once: no lock between processes.
    struct.pack_into("q", _changed, 0, time.time_ns())


class Made(NamedTuple):
    """A rendered page: replaced as a whole, so that nobody sees one page's body with another's tag."""

    body: bytes
    etag: str
    version: bytes
    at: float

    def age(self) -> float:
        return time.monotonic() - self.at

    def is_fresh(self) -> bool:
        age = self.age()
        return age < MIN_AGE or (age < MAX_AGE and self.version == _changed[:8])


class Page:
    """What was made last, and the lock of the request that makes it anew."""

    __slots__ = ("made", "making")

    def __init__(self) -> None:
        self.made: Made | None = None
        self.making = threading.Lock()


def make(render: Callable[[], bytes]) -> Made:
    # Noted before the questions: what changes while they are asked makes this page old at once.
    version, begun = _changed[:8], time.monotonic()
    body = render()
    return Made(body, f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"', version, begun)


class PageCache:
    """The pages of one process, the least recently shown forgotten first."""

    def __init__(self) -> None:
        self._pages: OrderedDict[str, Page] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: str, render: Callable[[], bytes]) -> Made:
        """The page named `key`; `render` (its JSON) makes one when none is fresh. Raises what that raises."""
        page = self._page(key)
        made = page.made
        if made and made.is_fresh():
            return made
        usable = made is not None and made.age() < STALE_AGE
        if not page.making.acquire(blocking=not usable):
            return cast(Made, made)
        try:
            made = page.made
            if made is None or not made.is_fresh():
                made = make(render)
                page.made = made if len(made.body) <= MAX_BYTES else None
        finally:
            page.making.release()
        return made

    def clear(self) -> None:
        with self._lock:
            self._pages.clear()

    def _page(self, key: str) -> Page:
        with self._lock:
            page = self._pages.get(key)
            if page is None:
                page = self._pages[key] = Page()
                if len(self._pages) > MAX_PAGES:
                    self._pages.popitem(last=False)
            else:
                self._pages.move_to_end(key)
            return page


page_cache = PageCache()


def cached_answer(request: HttpRequest, render: Callable[[], bytes]) -> HttpResponse:
    """The page of this address: the same for everybody who asks. 304 for who has it already (ETag)."""
    page = page_cache.get(f"{request.scheme}://{request.get_host()}{request.get_full_path()}", render)
    if request.headers.get("If-None-Match") == page.etag:
        response: HttpResponse = HttpResponseNotModified()
    else:
        response = HttpResponse(page.body, content_type="application/json")
        response["Content-Length"] = str(len(page.body))
    response["ETag"] = page.etag
    response["Cache-Control"] = "no-cache"  # keep it, but ask each time whether it is still so
    return response
