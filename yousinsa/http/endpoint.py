"""The base of the views that programs call thousands of times a second."""

from functools import lru_cache
from typing import Any

import msgspec
from django.core.handlers.exception import response_for_exception
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from yousinsa.http.bodies import JSONRenderer
from yousinsa.http.deferred import WAITS_WITHOUT_THREAD, Deferred, DeferredResponse

_ANYTHING = ("*/*", "application/json", "application/json, */*")
_JSON_RENDERER = JSONRenderer()


@lru_cache
def made_once(kinds: tuple[type[Any], ...]) -> tuple[Any, ...]:
    """An object of each of these, for all requests: they keep nothing of any."""
    return tuple(kind() for kind in kinds)


class Endpoint(APIView):
    """A DRF view on the shop's busiest path: everything that DRF checks, without what JSON does not need.

    Authentication, permissions, throttles and the exception handler are DRF's. The answer is JSON without
    the renderer machinery, unless the caller asks for something else (a browser in development).
    """

    def initialize_request(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Request:
        return Request(
            request,
            made_once(tuple(self.parser_classes)),
            made_once(tuple(self.authentication_classes)),
            self.get_content_negotiator(),
        )

    def perform_content_negotiation(self, request: Request, force: bool = False) -> Any:
        if request.META.get("HTTP_ACCEPT", "*/*") in _ANYTHING:
            return _JSON_RENDERER, JSONRenderer.media_type
        return super().perform_content_negotiation(request, force)

    def is_plain_json(self, request: Request) -> bool:
        """True where the caller takes JSON as it is."""
        return isinstance(request.accepted_renderer, JSONRenderer)

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

    def answer_later(self, answer: Deferred[HttpResponseBase]) -> HttpResponseBase:
        """The answer, or what becomes of the exception in its place, once that is decided.

        Where the server can wait without a thread (handlers.py says so), nothing waits here.
        """
        waits_here = not self.request.META.get(WAITS_WITHOUT_THREAD) or not self.is_plain_json(self.request)
        if answer.decided or waits_here:
            return answer.result()
        return DeferredResponse(answer, self._refuse)

    def _refuse(self, exc: Exception) -> HttpResponseBase:
        """What DRF and Django make of an exception that a view raises."""
        try:
            return self.handle_exception(exc)
        except Exception as unforeseen:
            request: HttpRequest = self.request._request
            return response_for_exception(request, unforeseen)
