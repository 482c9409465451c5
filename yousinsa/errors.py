"""Typed errors and the one handler that turns every error into RFC 9457 problem+json.

A service raises a `Problem` subclass that says what happened and carries the data; no view builds
an error body by hand. `code` is stable and meant for programs, `detail` is for people.
"""

import logging
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any, cast

import msgspec
from django.core.exceptions import PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.core.exceptions import ValidationError as DjangoValidationError
from django.db import DatabaseError, InterfaceError, connection
from django.http import Http404, HttpRequest, HttpResponse, UnreadablePostError
from django.utils.translation import gettext_lazy as _
from rest_framework import exceptions as drf

from yousinsa.db.errors import is_connection_lost, is_lock_conflict, may_be_half_done

logger = logging.getLogger(__name__)

CONTENT_TYPE = "application/problem+json"


class Problem(Exception):
    """A refusal that a client can act on.

    `errors` maps a field's path (`lines.0.quantity`) to what is wrong with it, `retry_after` is in
    seconds, `members` are further members of the body (RFC 9457, section 3.2).
    """

    status: int = 400
    code: str = "invalid"
    title: Any = _("The request is not valid.")

    def __init__(
        self,
        detail: Any = "",
        *,
        errors: Mapping[str, Any] | None = None,
        retry_after: float | None = None,
        **members: Any,
    ) -> None:
        super().__init__(detail or self.title)
        self.detail = detail
        self.errors = errors
        self.retry_after = retry_after
        self.members = members

    def body(self) -> dict[str, Any]:
        body: dict[str, Any] = {
            "type": f"/api/docs/#{self.code}",
            "title": str(self.title),
            "status": self.status,
            "code": self.code,
            "detail": str(self.detail or self.title),
        }
        if self.errors:
            body["errors"] = [{"field": field, "message": str(text)} for field, text in self.errors.items()]
        body.update(self.members)
        return body

    def response(self) -> HttpResponse:
        response = HttpResponse(
            msgspec.json.encode(self.body()), status=self.status, content_type=CONTENT_TYPE
        )
        if self.retry_after is not None:
            response["Retry-After"] = str(max(1, round(self.retry_after)))
        return response


class Invalid(Problem):
    """400: a field is missing, unknown, of the wrong type or out of range."""


class MalformedBody(Problem):
    code = "malformed_body"
    title = _("The body is not valid JSON.")


class Unauthenticated(Problem):
    status = 401
    code = "not_authenticated"
    title = _("Sign in first: this needs a valid bearer token.")


class Forbidden(Problem):
    status = 403
    code = "permission_denied"
    title = _("You may not do this.")


class NotFound(Problem):
    status = 404
    code = "not_found"
    title = _("There is nothing here.")


class Conflict(Problem):
    status = 409
    code = "conflict"
    title = _("The request conflicts with the present state.")


class TooLarge(Problem):
    status = 413
    code = "body_too_large"
    title = _("The body is too large.")


class TooManyRequests(Problem):
    status = 429
    code = "throttled"
    title = _("Too many requests.")


class Busy(Problem):
    """503: nothing was changed; the same request may simply be sent again."""

    status = 503
    code = "busy"
    title = _("The shop is too busy or a lock could not be had in time. Nothing was changed: try again.")

    def __init__(self, detail: Any = "", *, retry_after: float = 1, **members: Any) -> None:
        super().__init__(detail, retry_after=retry_after, **members)


class Interrupted(Problem):
    """503: the database was lost in the middle of a change: nobody knows yet whether it was made."""

    status = 503
    code = "outcome_unknown"
    title = _("The database was lost while it worked on this. Look at what came of it before you try again.")

    def __init__(self) -> None:
        super().__init__(retry_after=5)


class InternalError(Problem):
    status = 500
    code = "internal_error"
    title = _("Something went wrong on our side. It has been recorded.")


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


_TITLES = {
    405: _("Method Not Allowed"),
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
    if isinstance(exc, drf.MethodNotAllowed):
        response["Allow"] = ", ".join(cast(Any, context["view"]).allowed_methods)
    return response


def _page_error(request: HttpRequest, problem: Problem) -> HttpResponse:
    """Errors outside DRF: problem+json for the API, a sentence for a person at a page."""
    if request.path.startswith("/api/") or "text/html" not in request.headers.get("Accept", ""):
        return problem.response()
    from django.shortcuts import render

    return render(request, "problem.html", {"problem": problem}, status=problem.status)


def bad_request(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    return _page_error(request, Invalid())


def permission_denied(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    return _page_error(request, Forbidden())


def not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    return _page_error(request, NotFound())


def server_error(request: HttpRequest) -> HttpResponse:
    return _page_error(request, InternalError())
