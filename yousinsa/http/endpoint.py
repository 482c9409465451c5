"""The base of the views that programs call thousands of times a second."""

from collections.abc import Callable
from typing import Any, Protocol

import msgspec
from django.conf import settings
from django.core.handlers.exception import response_for_exception
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils import translation
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from yousinsa.http.bodies import JSONRenderer

_ANYTHING = ("*/*", "application/json", "application/json, */*")
_JSON_RENDERER = JSONRenderer()
# In the WSGI environment: whoever called knows what to do with a PendingResponse.
WAITS_WITHOUT_THREAD = "yousinsa.waits_without_thread"


class Pending(Protocol):
    """Something whose outcome is not known yet."""

    def then(self, callback: Callable[[], None]) -> None:
        """Call back once it is known, in any thread; now, if it is known already."""


class PendingResponse(HttpResponse):
    """A response whose status and body are made once something else is decided.

    It takes its way through the middleware first, which therefore sees neither. `yousinsa.wsgi` makes an
    iterable of it that says when it is ready, so that a server need not keep a thread waiting.
    """

    def __init__(self, pending: Pending, make: Callable[[], HttpResponseBase]) -> None:
        super().__init__()
        self.pending = pending
        self._make = make
        self._language = translation.get_language()

    def complete(self) -> None:
        """Make it, in the request's language. Waits where nothing is decided yet."""
        if self._language == settings.LANGUAGE_CODE:
            made: Any = self._make()
        else:
            with translation.override(self._language, deactivate=True):
                made = self._make()
        self.status_code = made.status_code
        self.content = made.content
        self.headers.pop("Content-Type", None)
        for name, value in made.items():
            self[name] = value


class Endpoint(APIView):
    """A DRF view on the shop's busiest path: everything that DRF checks, without what JSON does not need.

    Authentication, permissions, throttles and the exception handler are DRF's. The answer is JSON without
    the renderer machinery, unless the caller asks for something else (a browser in development).
    """

    def perform_content_negotiation(self, request: Request, force: bool = False) -> Any:
        if request.META.get("HTTP_ACCEPT", "*/*") in _ANYTHING:
            return _JSON_RENDERER, JSONRenderer.media_type
        return super().perform_content_negotiation(request, force)

    def is_plain_json(self, request: Request) -> bool:
        """True where the caller takes JSON as it is."""
        return request.accepted_renderer is _JSON_RENDERER

    def answer(
        self, data: Any, *, status: int = 200, headers: dict[str, str] | None = None
    ) -> HttpResponseBase:
        """`data` (a struct; None: no body) as the response."""
        if not self.is_plain_json(self.request):
            return Response(data, status=status, headers=headers)
        if data is None:
            return HttpResponse(status=status, headers=headers)
        body = msgspec.json.encode(data)
        # What CommonMiddleware would add; without it the server would send chunks.
        headers = {"Content-Length": str(len(body)), **(headers or {})}
        return HttpResponse(body, JSONRenderer.media_type, status, headers=headers)

    def answer_later(self, pending: Pending, make: Callable[[], HttpResponseBase]) -> HttpResponseBase:
        """What `make` returns or raises, once `pending` is decided. `make` must wait for it by itself.

        Where the server can wait without a thread (`yousinsa.wsgi` says so), nothing waits here.
        """
        if not self.request.META.get(WAITS_WITHOUT_THREAD) or not self.is_plain_json(self.request):
            return make()
        return PendingResponse(pending, lambda: self._made(make))

    def _made(self, make: Callable[[], HttpResponseBase]) -> HttpResponseBase:
        try:
            return make()
        except Exception as exc:
            try:
                return self.handle_exception(exc)
            except Exception as unforeseen:
                request: HttpRequest = self.request._request
                return response_for_exception(request, unforeseen)
