"""The WSGI application that gunicorn serves.

Calls of programs (`/api/v1/`, with a token or without any cookie) need no session, no CSRF token, no messages
and no static files: they take a chain that has none of that middleware. All others, and all that concern
accounts, take settings.MIDDLEWARE.
"""

import logging
import os
from collections.abc import Callable, Iterable, Iterator
from io import BytesIO
from typing import Any

import django
from django.conf import settings
from django.core.handlers.exception import convert_exception_to_response
from django.core.handlers.wsgi import WSGIHandler, WSGIRequest
from django.db import close_old_connections, connections
from django.middleware.security import SecurityMiddleware
from django.urls import get_resolver
from django.utils import translation

from yousinsa.language import preferred

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "yousinsa.settings")
django.setup(set_prefix=False)

from yousinsa.http.endpoint import WAITS_WITHOUT_THREAD, PendingResponse  # noqa: E402

logger = logging.getLogger(__name__)


class Request(WSGIRequest):
    """What Django makes of a request before any view or error handler could answer for it."""

    def __init__(self, environ: dict[str, Any]) -> None:
        if environ.get("wsgi.input_terminated") and "HTTP_TRANSFER_ENCODING" in environ:
            # Sent in chunks, without its length, which Django takes for no body at all.
            try:
                body = environ["wsgi.input"].read(settings.DATA_UPLOAD_MAX_MEMORY_SIZE + 1)
            except Exception:
                logger.info("a chunked body could not be read", exc_info=True)
                body = b""
            environ |= {"wsgi.input": BytesIO(body), "CONTENT_LENGTH": str(len(body))}
        super().__init__(environ)

    def _set_content_type_params(self, meta: dict[str, Any]) -> None:
        try:
            super()._set_content_type_params(meta)  # type: ignore[misc]
        except ValueError:
            # As in `application/json; charset*=no-such-charset''x`.
            self.content_type, self.content_params = "", {}


StartResponse = Callable[[str, list[tuple[str, str]]], Any]


class Later:
    """The body of a response that is not decided yet: WSGI lets an iterable start its response late.

    Iterating waits for it. A server that knows `when_ready` (yousinsa/http/worker.py) iterates only then, and
    needs no thread meanwhile.
    """

    def __init__(self, response: PendingResponse, start_response: StartResponse) -> None:
        self._response = response
        self._start_response = start_response

    def when_ready(self, callback: Callable[[], None]) -> None:
        self._response.pending.then(callback)

    @property
    def takes_long(self) -> bool:
        """Completing it may wait for the database: not to be done in a thread that has others to answer."""
        return bool(getattr(self._response.pending, "takes_long", False))

    def __iter__(self) -> Iterator[bytes]:
        self._response.complete()
        yield from _start(self._response, self._start_response)

    def close(self) -> None:
        # Django's own handler leaves the end of the request to this.
        if getattr(self._response, "_handler_class", None):
            self._response.close()


def _start(response: Any, start_response: StartResponse) -> list[bytes]:
    """Start a response that is not streamed; returns its body."""
    body = response.content
    headers = list(response.items())
    if body and not response.has_header("Content-Length"):
        headers.append(("Content-Length", str(len(body))))
    if response.cookies:
        headers += [("Set-Cookie", cookie.output(header="")) for cookie in response.cookies.values()]
    start_response(f"{response.status_code} {response.reason_phrase}", headers)
    return [body]


class PageHandler(WSGIHandler):
    """Django's handler with the middleware of the settings."""

    request_class = Request

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Any:
        started: list[Any] = []
        try:
            response: Any = super().__call__(environ, lambda *start: started.append(start))  # type: ignore[arg-type]
        finally:
            # LocaleMiddleware leaves its language to the thread's next request, which may be a program's.
            translation.deactivate()
        if isinstance(response, PendingResponse):
            close_old_connections()  # this thread's: another one will finish the request
            return Later(response, start_response)
        start_response(*started[0])
        return response


class ProgramHandler(WSGIHandler):
    """Django's handler with the one middleware that every answer needs, and without its signals' cost.

    `request_started` and `request_finished` make Django walk all databases' thread-local connections three
    times; an order uses none in its thread. Here the connection is given back if there is one.
    """

    def load_middleware(self, is_async: bool = False) -> None:
        super().load_middleware(is_async)
        handler: Any = self
        handler._view_middleware = []
        handler._template_response_middleware = []
        handler._exception_middleware = []
        inner = convert_exception_to_response(handler._get_response)
        handler._middleware_chain = convert_exception_to_response(SecurityMiddleware(inner))

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Any:
        response: Any = self.in_language(environ, environ.get("HTTP_ACCEPT_LANGUAGE"))
        for close in response._resource_closers:
            close()
        connection = getattr(connections._connections, "default", None)  # type: ignore[attr-defined]
        if connection is not None and connection.connection is not None:
            connection.close_if_unusable_or_obsolete()
        if isinstance(response, PendingResponse):
            return Later(response, start_response)
        body = _start(response, start_response)
        return [] if environ["REQUEST_METHOD"] == "HEAD" else body

    def in_language(self, environ: dict[str, Any], accepted: str | None) -> Any:
        """The response; its errors in the language that the caller prefers. None and English cost nothing."""
        if not accepted or (language := preferred(accepted)) == settings.LANGUAGE_CODE:
            return self.get_response(Request(environ))
        with translation.override(language, deactivate=True):
            response = self.get_response(Request(environ))
        response["Content-Language"] = language
        return response


pages = PageHandler()
programs = ProgramHandler()


def application(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    environ[WAITS_WITHOUT_THREAD] = True
    path: str = environ["PATH_INFO"]
    # Signing in and out changes the session as well.
    is_call = path.startswith("/api/v1/") and not path.startswith("/api/v1/users/")
    if is_call and ("HTTP_AUTHORIZATION" in environ or "HTTP_COOKIE" not in environ):
        return programs(environ, start_response)
    return pages(environ, start_response)


# Load every view now instead of during the first request.
get_resolver().url_patterns  # noqa: B018
