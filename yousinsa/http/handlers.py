"""From a WSGI environment to a response: Django's handlers, and which of them a request takes.

Calls of programs, and of scripts in a browser (`/api/v1/`), need no session, no messages and no static files,
and who is asking proves itself in yousinsa/auth.py: they take a chain that has none of that middleware,
whatever cookies they bring. Pages take settings.MIDDLEWARE.
"""

import logging
from collections.abc import Callable, Iterable
from functools import lru_cache
from io import BytesIO
from typing import Any, cast

from django.conf import settings
from django.core.handlers.exception import convert_exception_to_response
from django.core.handlers.wsgi import LimitedStream, WSGIHandler, WSGIRequest
from django.http import HttpRequest, HttpResponse
from django.http.request import split_domain_port, validate_host
from django.middleware.security import SecurityMiddleware
from django.urls import Resolver404, ResolverMatch, get_resolver, resolve
from django.utils import translation
from django.utils.translation import gettext

from yousinsa.content_policy import with_policy
from yousinsa.db.transactions import give_back_connection
from yousinsa.error_handlers import METHOD_NOT_ALLOWED, page_error
from yousinsa.errors import CutShort, Invalid, Problem, TooLarge
from yousinsa.http.deferred import WAITS_WITHOUT_THREAD, DeferredResponse, StartResponse, start
from yousinsa.language import asked_for

logger = logging.getLogger(__name__)

NO_STORE = "no-store"
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


class WholeStream(LimitedStream):
    """A body of the length that was announced. Raises `CutShort` where less of it came."""

    _pos: int

    def read(self, size: int | None = -1, /) -> bytes:
        left = self.limit - self._pos
        if size is None or size < 0 or size > left:
            size = left
        try:
            data = super().read(size)
        except OSError as exc:
            raise CutShort from exc
        if len(data) < size:
            raise CutShort
        return data


class Request(WSGIRequest):
    """What Django makes of a request before any view or error handler could answer for it."""

    def __init__(self, environ: dict[str, Any]) -> None:
        if environ.get("wsgi.input_terminated") and "HTTP_TRANSFER_ENCODING" in environ:
            # Sent in chunks, without its length, which Django takes for no body at all.
            body = b""
            try:
                body = environ["wsgi.input"].read(settings.DATA_UPLOAD_MAX_MEMORY_SIZE + 1)
                length = len(body)
            except Exception:
                logger.info("a chunked body could not be read", exc_info=True)
                length = 1  # of which nothing is there
            environ |= {"wsgi.input": BytesIO(body), "CONTENT_LENGTH": str(length)}
        super().__init__(environ)
        stream = cast(LimitedStream, self._stream)
        if stream.limit:
            self._stream = cast(Any, WholeStream)(environ["wsgi.input"], stream.limit)

    def _set_content_type_params(self, meta: dict[str, Any]) -> None:
        try:
            super()._set_content_type_params(meta)  # type: ignore[misc]
        except ValueError:
            # As in `application/json; charset*=no-such-charset''x`.
            self.content_type, self.content_params = "", {}


def bounded_bodies(get_response: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:
    """Middleware: long bodies (files) are read from operators only, before anything looks into one."""

    def middleware(request: HttpRequest) -> Any:
        length = request.META.get("CONTENT_LENGTH") or "0"
        if len(length) > 5 and length.isdigit() and int(length) > settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
            is_operator = getattr(request.user, "is_staff", False)
            most = settings.UPLOAD_MAX_BYTES if is_operator else settings.DATA_UPLOAD_MAX_MEMORY_SIZE
            if int(length) > most:
                return page_error(request, TooLarge(gettext("At most %d bytes.") % most))
        return get_response(request)

    return middleware


class PageHandler(WSGIHandler):
    """Django's handler with the middleware of the settings."""

    request_class = Request

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Any:
        try:
            return super().__call__(environ, cast(Any, start_response))
        finally:
            # LocaleMiddleware leaves its language to the thread's next request, which may be a program's.
            translation.deactivate()


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

    def resolve_request(self, request: HttpRequest) -> Any:
        found = request.resolver_match = answering(request.path_info)
        return found.func, found.args, found.kwargs

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Any:
        host = environ.get("HTTP_HOST") or environ["SERVER_NAME"]
        if not is_ours(host, tuple(settings.ALLOWED_HOSTS)):
            text = gettext("The shop does not answer to the host name of this request (ALLOWED_HOSTS).")
            return start(Invalid(text).response(), start_response)
        response: Any = self.in_language(environ, asked_for(environ))
        # Of one caller and for nobody else; what all may see says so itself.
        response.headers.setdefault("Cache-Control", NO_STORE)
        for close in response._resource_closers:
            close()
        give_back_connection()
        if isinstance(response, DeferredResponse):
            response.start_response = start_response
            return response
        body = start(response, start_response)
        return [] if environ["REQUEST_METHOD"] == "HEAD" else body

    def in_language(self, environ: dict[str, Any], language: str) -> Any:
        """The response; its errors in this language. English costs nothing."""
        if language == settings.LANGUAGE_CODE:
            return self.get_response(Request(environ))
        with translation.override(language, deactivate=True):
            response = self.get_response(Request(environ))
        response["Content-Language"] = language
        return response


@lru_cache(maxsize=256)
def is_ours(host: str, allowed: tuple[str, ...]) -> bool:
    """Whether the shop answers to a Host header; `allowed` as ALLOWED_HOSTS."""
    domain, _port = split_domain_port(host)
    return bool(domain) and validate_host(domain, allowed)


@lru_cache(maxsize=1_000)
def answering(path: str) -> ResolverMatch:
    """What answers at a path; a busy one need not be looked for again. Raises `Resolver404`."""
    return resolve(path)


def not_allowed(path: str) -> HttpResponse | None:
    """405 to a method that no address knows (TRACE), before anybody has to sign in; None where nothing is."""
    try:
        found = resolve(path)
    except Resolver404:
        return None
    if found.url_name is None:  # what answers for all that is not there
        return None
    view = getattr(found.func, "cls", None)
    known = [m for m in METHODS if view is None or hasattr(view, "get" if m == "HEAD" else m.lower())]
    problem = Problem(METHOD_NOT_ALLOWED)
    problem.status, problem.code, problem.title = 405, "method_not_allowed", METHOD_NOT_ALLOWED
    response = problem.response()
    response["Allow"] = ", ".join(known)
    return response


class Application:
    """The WSGI application. To be made once Django is set up: it loads every view."""

    def __init__(self) -> None:
        self._pages = PageHandler()
        self._programs = ProgramHandler()
        # Now instead of during the first request.
        get_resolver().url_patterns  # noqa: B018

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        environ[WAITS_WITHOUT_THREAD] = True
        path: str = environ["PATH_INFO"]
        start_response = with_policy(path, start_response)
        if environ["REQUEST_METHOD"] not in METHODS and (refusal := not_allowed(path)):
            return start(refusal, start_response)
        if path.startswith("/api/v1/"):
            return self._programs(environ, start_response)
        return self._pages(environ, start_response)
