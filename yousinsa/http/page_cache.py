"""Pages that many ask for at once are made once.

A page is shown again for at most MAX_AGE; sooner if anything that it shows has changed on this machine
(`pages_changed`). Then it is made anew, but not more often than every MIN_AGE: a flood of orders must not
turn into a flood of catalogue queries. While one request makes a page, others are shown the one before, as
long as that is not older than STALE_AGE: no visitor sees anything older than STALE_AGE plus one making.
"""

import gzip
import hashlib
import math
import struct
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import msgspec
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseNotModified
from django.http.response import HttpResponseBase
from django.utils.http import parse_etags

from yousinsa.http.endpoint import Endpoint
from yousinsa.process.shared import shared_bytes

MAX_AGE = 1.0
MIN_AGE = 0.025
STALE_AGE = 1.5
# At most 64 MB a process; larger pages are made for each request.
MAX_PAGES, MAX_BYTES = 500, 128 << 10

FOR_ALL = "public, max-age=1, stale-while-revalidate=5, stale-if-error=30"
# The caller may keep it, but has to ask each time whether it is still so.
FOR_THE_CALLER = "private, no-cache"
VARY = "Accept-Language, Accept-Encoding, Authorization, Cookie"
# Below, compressing spares nothing: it fits into one packet either way.
GZIP_BYTES = 1024

_changed = shared_bytes("pages-changed", 8)


def pages_changed() -> None:
    """Something that pages show is different: from the end of this transaction on they are made anew."""
    transaction.on_commit(_mark)


def _mark() -> None:
    # Any other value will do, and eight aligned bytes are written at once: no lock between processes.
    struct.pack_into("q", _changed, 0, time.time_ns())


@dataclass(frozen=True, eq=False)
class Made:
    """A rendered page: replaced as a whole, so that nobody sees one page's body with another's tag."""

    body: bytes
    etag: str
    version: bytes
    at: float

    @cached_property
    def gzipped(self) -> bytes:
        """The same, compressed once for all who take it so."""
        return gzip.compress(self.body, compresslevel=4, mtime=0)

    def age(self) -> float:
        return time.monotonic() - self.at

    def is_fresh(self, max_age: float) -> bool:
        age = self.age()
        return age < MIN_AGE or (age < min(max_age, MAX_AGE) and self.version == _changed[:8])


class Page:
    """What was made last, and the lock of the request that makes it anew."""

    __slots__ = ("made", "making")

    def __init__(self) -> None:
        self.made: Made | None = None
        self.making = threading.Lock()


Tag = Callable[[bytes], str]


def strong_tag(body: bytes) -> str:
    """The ETag of a page of which every byte counts."""
    return f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'


def make(render: Callable[[], bytes], tag: Tag) -> Made:
    # Noted before the questions: what changes while they are asked makes this page old at once.
    version, begun = _changed[:8], time.monotonic()
    body = render()
    return Made(body, tag(body), version, begun)


class PageCache:
    """The pages of one process, the least recently shown forgotten first."""

    def __init__(self) -> None:
        self._pages: OrderedDict[str, Page] = OrderedDict()
        self._lock = threading.Lock()

    def get(
        self, key: str, render: Callable[[], bytes], *, tag: Tag = strong_tag, max_age: float = math.inf
    ) -> Made:
        """The page named `key`; `render` (its JSON) makes one when none is fresh. Raises what that raises.

        max_age: for pages that change without `pages_changed` being called.
        """
        page = self._page(key)
        made = page.made
        if made and made.is_fresh(max_age):
            return made
        usable = made is not None and made.age() < STALE_AGE
        if not page.making.acquire(blocking=not usable):
            return cast(Made, made)
        try:
            made = page.made
            if made is None or not made.is_fresh(max_age):
                made = make(render, tag)
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


def is_stranger(request: HttpRequest) -> bool:
    """Whether nothing in the request can make its answer anybody's own."""
    return "HTTP_AUTHORIZATION" not in request.META and "HTTP_COOKIE" not in request.META


def is_known(etag: str, request: HttpRequest) -> bool:
    """Whether the caller has this page already: If-None-Match, compared weakly (RFC 9110, 13.1.2).

    Weakly, since a proxy that compresses a page makes its tag a weak one.
    """
    sent = request.META.get("HTTP_IF_NONE_MATCH")
    if not sent:
        return False
    known = parse_etags(sent)
    return known == ["*"] or etag.removeprefix("W/") in (one.removeprefix("W/") for one in known)


def takes_gzip(request: HttpRequest) -> bool:
    """Whether Accept-Encoding names gzip, and not with a weight of zero."""
    for coding in request.META.get("HTTP_ACCEPT_ENCODING", "").lower().split(","):
        name, _, weight = coding.partition(";")
        if name.strip() == "gzip":
            return not weight.strip() or weight.strip().removeprefix("q=").strip("0.") != ""
    return False


def response_of(page: Made, request: HttpRequest) -> HttpResponse:
    """The page as this caller takes it: 304 for who has it, compressed or as it is for the others."""
    compressed = len(page.body) >= GZIP_BYTES and takes_gzip(request)
    if is_known(page.etag, request):
        response: HttpResponse = HttpResponseNotModified()
    else:
        body = page.gzipped if compressed else page.body
        response = HttpResponse(body, content_type="application/json")
        response["Content-Length"] = str(len(body))
        if compressed:
            response["Content-Encoding"] = "gzip"
    # Other bytes, the same page: what a weak tag says.
    response["ETag"] = f"W/{page.etag.removeprefix('W/')}" if compressed else page.etag
    return response


def for_all_or_the_caller(response: HttpResponseBase, request: HttpRequest) -> HttpResponseBase:
    """`response`, saying who may keep it for how long."""
    response["Vary"] = VARY
    if is_stranger(request):
        response["Cache-Control"] = FOR_ALL
        # To nginx alone, which passes it on to nobody. It counts in whole seconds, and would keep for up to
        # two what may be kept for one: until the end of the one that is nearer.
        response["X-Accel-Expires"] = f"@{round(time.time())}"
    else:
        response["Cache-Control"] = FOR_THE_CALLER
    return response


class PublicEndpoint(Endpoint):
    """What everybody may look at, and many do at once."""

    def shown(
        self, look: Callable[[], msgspec.Struct], *, tag: Tag = strong_tag, max_age: float = math.inf
    ) -> HttpResponseBase:
        """What `look` finds: one page for all who ask at about the same time. 304 for who has it already.

        The page is that of its address: nothing else in the request may make a difference to it.
        """
        if not self.is_plain_json(self.request):
            return self.answer(look())
        request: HttpRequest = self.request._request
        address = f"{request.scheme}://{request.get_host()}{request.get_full_path()}"
        page = page_cache.get(address, lambda: msgspec.json.encode(look()), tag=tag, max_age=max_age)
        return for_all_or_the_caller(response_of(page, request), request)

    def handle_exception(self, exc: Exception) -> Any:
        """A crowd may ask for what is not there, too: a link with a typing error, a product that is gone."""
        response: HttpResponseBase = super().handle_exception(exc)
        request: HttpRequest = self.request._request
        if response.status_code == 404 and request.method in ("GET", "HEAD") and is_stranger(request):
            return for_all_or_the_caller(response, request)
        return response
