"""The shop as gunicorn serves it: requests go through `yousinsa.wsgi.application`, byte by byte.

Django's test client builds its requests itself and always takes all of the middleware; what a strange request
does to the application, and the shorter way of programs' requests, only shows here.
"""

import io
import json
import sys
from http.cookies import SimpleCookie
from typing import Any
from unittest.mock import patch
from urllib.parse import unquote_to_bytes

from django.db import connections

from shop.models import User
from yousinsa.auth import issue_token
from yousinsa.wsgi import application

JSON = "application/json"


def token_of(user: User, **how: Any) -> str:
    """A bearer token of this user; `how` as `issue_token` takes it."""
    return issue_token(user_id=user.pk, role=user.role, is_staff=user.is_staff, **how)


class Answer:
    """What came back: `status_code`, `content`, and headers by `answer["Name"]`."""

    def __init__(self, status: str, headers: list[tuple[str, str]], content: bytes) -> None:
        self.status_code = int(status.partition(" ")[0])
        self.headers = {name.lower(): value for name, value in headers}
        self.cookies: SimpleCookie = SimpleCookie()
        for name, value in headers:
            if name.lower() == "set-cookie":
                self.cookies.load(value)
        self.content = content

    def __getitem__(self, name: str) -> str:
        return self.headers[name.lower()]

    def __contains__(self, name: str) -> bool:
        return name.lower() in self.headers

    def json(self) -> Any:
        return json.loads(self.content)


class Wire:
    """One caller: with a bearer token if there is a user, or with the `token` that is given."""

    def __init__(self, user: User | None = None, *, token: str | None = None) -> None:
        self.user = user
        if user is not None:
            token = token_of(user)
        self.headers = {} if token is None else {"Authorization": f"Bearer {token}"}

    def __call__(
        self,
        method: str,
        path: str,
        body: Any = b"",
        *,
        content_type: str | None = JSON,
        length: int | None = None,
        **headers: str,
    ) -> Answer:
        """Send `body` (bytes and streams as they are, anything else as JSON); headers with underscores.

        `path` is percent-encoded, as on the wire; without a leading slash it is below `/api/v1/`. `length` is
        what Content-Length announces, should it be another than the body's.
        """
        stream = body if hasattr(body, "read") else None
        path, _, query = (path if path.startswith("/") else f"/api/v1/{path}").partition("?")
        raw = body if isinstance(body, bytes) else b"" if stream else json.dumps(body).encode()
        environ: dict[str, Any] = {
            "REQUEST_METHOD": method,
            "SCRIPT_NAME": "",
            "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
            "QUERY_STRING": query,
            "SERVER_NAME": "testserver",
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "127.0.0.1",
            "HTTP_HOST": "testserver",
            "CONTENT_LENGTH": str(len(raw) if length is None else length),
            "wsgi.input": stream or io.BytesIO(raw),
            "wsgi.input_terminated": True,
            "wsgi.errors": sys.stderr,
            "wsgi.url_scheme": "http",
            "wsgi.version": (1, 0),
            "wsgi.multithread": True,
            "wsgi.multiprocess": True,
            "wsgi.run_once": False,
        }
        if content_type is not None:
            environ["CONTENT_TYPE"] = content_type
        for name, value in {**self.headers, **headers}.items():
            environ[f"HTTP_{name.upper().replace('-', '_')}"] = value
        started: list[tuple[str, list[tuple[str, str]]]] = []
        # The connection stays with the test, whose transaction may be open; Django's client sees to that too.
        with patch.object(connections["default"], "close_if_unusable_or_obsolete"):
            content = b"".join(application(environ, lambda status, head, *_: started.append((status, head))))
        ((status, head),) = started
        return Answer(status, head, content)

    def get(self, path: str, **headers: Any) -> Answer:
        return self("GET", path, **headers)

    def post(self, path: str, body: Any = b"", **headers: Any) -> Answer:
        return self("POST", path, body, **headers)

    def patch(self, path: str, body: Any, **headers: Any) -> Answer:
        return self("PATCH", path, body, **headers)

    def delete(self, path: str, **headers: Any) -> Answer:
        return self("DELETE", path, **headers)
