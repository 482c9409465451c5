"""The WSGI application that gunicorn serves.

Requests of programs (`/api/`, with an Authorization header) need no session, no CSRF token, no messages
and no static files: they take a chain that has none of that middleware. All others take settings.MIDDLEWARE.
"""

import os
from collections.abc import Callable, Iterable
from typing import Any

import django
from django.core.handlers.exception import convert_exception_to_response
from django.core.handlers.wsgi import WSGIHandler, WSGIRequest
from django.db import connections
from django.middleware.security import SecurityMiddleware
from django.urls import get_resolver

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "yousinsa.settings")
django.setup(set_prefix=False)


class ProgramHandler(WSGIHandler):
    """Django's handler with the one middleware that every answer needs, and without its signals' cost.

    `request_started` and `request_finished` make Django walk all databases' thread-local connections three
    times; an order uses none in its thread. Here the connection is given back if there is one.
    """

    def load_middleware(self, is_async: bool = False) -> None:
        super().load_middleware(is_async)
        self._view_middleware, self._template_response_middleware, self._exception_middleware = [], [], []
        inner = convert_exception_to_response(self._get_response)
        self._middleware_chain = convert_exception_to_response(SecurityMiddleware(inner))

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        response = self.get_response(WSGIRequest(environ))
        body = response.content
        headers = list(response.items())
        if response.cookies:
            headers += [("Set-Cookie", cookie.output(header="")) for cookie in response.cookies.values()]
        for close in response._resource_closers:
            close()
        connection = getattr(connections._connections, "default", None)  # type: ignore[attr-defined]
        if connection is not None and connection.connection is not None:
            connection.close_if_unusable_or_obsolete()
        start_response(f"{response.status_code} {response.reason_phrase}", headers)
        return [body]


pages = WSGIHandler()
programs = ProgramHandler()


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    if "HTTP_AUTHORIZATION" in environ and environ["PATH_INFO"].startswith("/api/"):
        return programs(environ, start_response)
    return pages(environ, start_response)


# Load every view now instead of during the first request.
get_resolver().url_patterns  # noqa: B018
