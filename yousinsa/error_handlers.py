"""Every error that reaches the edge becomes a problem document, or for a person at a page a sentence.

`problem_handler` answers for DRF's views, the functions below it for Django's (`handler404` and its like).
"""

import logging
import sys
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any, cast

from django.core.exceptions import (
    PermissionDenied,
    RequestDataTooBig,
    SuspiciousOperation,
    TooManyFieldsSent,
)
from django.core.exceptions import ValidationError as DjangoValidationError
from django.db import DatabaseError, InterfaceError, connection
from django.http import Http404, HttpRequest, HttpResponse, UnreadablePostError
from django.template.loader import render_to_string
from django.utils.translation import gettext_lazy as _
from rest_framework import exceptions as drf

from yousinsa.auth import StaleCookie, forget_token
from yousinsa.db.errors import is_connection_lost, is_lock_conflict, may_be_half_done
from yousinsa.errors import (
    Busy,
    Forbidden,
    InternalError,
    Interrupted,
    Invalid,
    MalformedBody,
    NotFound,
    Problem,
    TooLarge,
    TooManyRequests,
    Unauthenticated,
)

logger = logging.getLogger(__name__)


def flatten(detail: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Nested DRF error details as (field path, message) pairs."""
    if isinstance(detail, Mapping):
        for key, value in detail.items():
            yield from flatten(value, f"{path}.{key}" if path else str(key))
    elif isinstance(detail, list | tuple) and any(isinstance(item, Mapping | list) for item in detail):
        for index, value in enumerate(detail):
            yield from flatten(value, f"{path}.{index}" if path else str(index))
    else:
        messages = detail if isinstance(detail, list | tuple) else [detail]
        yield path or "body", " ".join(str(message) for message in messages)


def as_problem(exc: Exception) -> Problem | None:
    """The problem that an exception stands for; None for one that nobody foresaw."""
    match exc:
        case Problem():
            return exc
        case drf.ValidationError():
            return Invalid(errors=dict(flatten(exc.detail)))
        case DjangoValidationError():
            fields = exc.message_dict if hasattr(exc, "error_dict") else {"body": exc.messages}
            return Invalid(errors={name: " ".join(texts) for name, texts in fields.items()})
        case drf.ParseError():
            return MalformedBody(str(exc.detail))
        case drf.NotAuthenticated():
            return Unauthenticated()
        case drf.AuthenticationFailed():
            return Unauthenticated(str(exc.detail))
        case drf.Throttled():
            return TooManyRequests(retry_after=getattr(exc, "wait", None) or 1)
        case drf.PermissionDenied() | PermissionDenied():
            return Forbidden(str(exc) if str(exc) else "")
        case Http404() | drf.NotFound():
            return NotFound()
        case RequestDataTooBig():
            return TooLarge()
        case drf.APIException():
            return _other_api_error(exc)
        case DatabaseError() if is_lock_conflict(exc) or is_connection_lost(exc):
            return Busy(_("The database did not answer in time. Nothing was changed: try again."))
        case InterfaceError():
            return Busy(_("The connection to the database was lost. Nothing was changed: try again."))
        case UnreadablePostError():
            return MalformedBody(_("The body ended too early."))
        case SuspiciousOperation():
            return Invalid(str(exc))
        case _:
            return None


METHOD_NOT_ALLOWED = _("Method Not Allowed")
_TITLES = {
    405: METHOD_NOT_ALLOWED,
    406: _("Not Acceptable"),
    415: _("Unsupported Media Type"),
}


def _other_api_error(exc: drf.APIException) -> Problem:
    problem = Problem(str(exc.detail))
    problem.status = exc.status_code
    problem.code = str(exc.default_code)
    problem.title = _TITLES.get(exc.status_code) or HTTPStatus(exc.status_code).phrase
    return problem


def problem_handler(exc: Exception, context: dict[str, Any]) -> HttpResponse | None:
    """DRF's EXCEPTION_HANDLER: every foreseen error becomes problem+json with a stable `code`."""
    problem = as_problem(exc)
    if problem is None:
        return None
    if may_be_half_done(exc) and context["request"].method not in ("GET", "HEAD", "OPTIONS"):
        problem = Interrupted()
    if isinstance(exc, DatabaseError | InterfaceError):
        logger.warning("database trouble: %s", exc)
        connection.close()
    response = problem.response()
    if isinstance(problem, Unauthenticated):
        response["WWW-Authenticate"] = 'Bearer realm="api"'
    if isinstance(exc, StaleCookie):
        forget_token(response)
    if isinstance(exc, drf.MethodNotAllowed):
        response["Allow"] = ", ".join(cast(Any, context["view"]).allowed_methods)
    return response


DESK = "/admin/"


def page_error(request: HttpRequest, problem: Problem) -> HttpResponse:
    """Errors outside DRF: problem+json for the API, a sentence for a person at a page or at the desk."""
    at_desk = request.path.startswith(DESK)
    if not at_desk and (
        request.path.startswith("/api/") or "text/html" not in request.headers.get("Accept", "")
    ):
        return problem.response()
    # Without the request: who it is from is in the database, which may be what is away.
    text = render_to_string("problem.html", {"problem": problem, "home": DESK if at_desk else "/"})
    response = HttpResponse(text, status=problem.status)
    if problem.retry_after is not None:
        response["Retry-After"] = str(max(1, round(problem.retry_after)))
    return response


def bad_request(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    if isinstance(exception, TooManyFieldsSent | RequestDataTooBig):
        return page_error(request, TooLarge())
    return page_error(request, Invalid())


def permission_denied(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    return page_error(request, Forbidden())


def not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    return page_error(request, NotFound())


def server_error(request: HttpRequest) -> HttpResponse:
    """What nobody foresaw, and a page that found the database away or busy: 503, no error of ours."""
    exc = sys.exc_info()[1]
    foreseen = as_problem(exc) if isinstance(exc, Exception) else None
    if not isinstance(foreseen, Busy):
        return page_error(request, InternalError())
    if isinstance(exc, DatabaseError | InterfaceError):
        connection.close()
        if may_be_half_done(exc) and request.method not in ("GET", "HEAD", "OPTIONS"):
            foreseen = Interrupted()
    return page_error(request, foreseen)
