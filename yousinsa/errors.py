"""Typed errors, each an RFC 9457 problem document.

A service raises a `Problem` subclass that says what happened and carries the data; no view builds
an error body by hand. `code` is stable and meant for programs, `detail` is for people.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from django.core.exceptions import BadRequest
from django.http import HttpResponse
from django.utils.translation import gettext_lazy as _

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


class CutShort(MalformedBody, BadRequest):
    """400: less of the body arrived than was announced. What came is never taken for the whole.

    Django's own handlers know it as a BadRequest, wherever on a page the body is read.
    """

    title = _("The body did not arrive whole. Nothing was done: send it again.")


class Unauthenticated(Problem):
    status = 401
    code = "not_authenticated"
    title = _("Sign in first: this needs a valid bearer token.")


class Forbidden(Problem):
    status = 403
    code = "permission_denied"
    title = _("You may not do this.")


class CsrfFailed(Forbidden):
    code = "csrf_failed"
    title = _(
        "A browser's request must come from the shop's own pages: with Sec-Fetch-Site or Origin, or with "
        "the CSRF token as X-CSRFToken."
    )


class NotFound(Problem):
    status = 404
    code = "not_found"
    title = _("There is nothing here.")


class Conflict(Problem):
    status = 409
    code = "conflict"
    title = _("The request conflicts with the present state.")


class IdempotencyKeyReused(Problem):
    """422: the key named another request before."""

    status = 422
    code = "idempotency_key_reused"
    title = _("This Idempotency-Key was used with another body.")


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
