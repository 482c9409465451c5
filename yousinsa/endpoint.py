"""The base of the views that programs call thousands of times a second."""

from typing import Any

import msgspec
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from yousinsa.api import JSONRenderer

_ANYTHING = ("*/*", "application/json", "application/json, */*")
_JSON_RENDERER = JSONRenderer()


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
