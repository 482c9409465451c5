"""What a browser may load and run on a page of the shop: its Content-Security-Policy.

Every answer has one, made from its address and what it is; a view that needs another one sets the header.
"""

from collections.abc import Callable
from typing import Any

from django.conf import settings

from yousinsa.error_handlers import DESK

HEADER = "Content-Security-Policy"

# For what is no page, should a browser show it all the same: data, files, pictures.
NOTHING = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
PAGE = (
    "default-src 'none'; style-src 'self'; img-src 'self'; font-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
# The API's description: Swagger's page has pictures in its style sheet and asks for the schema.
DOCS = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
# The theme's templates say in attributes what Alpine makes functions of ('unsafe-eval') and how wide a bar or
# a menu is (style attributes). No script and no style sheet is inline, and none comes from elsewhere.
DESK_PAGE = (
    "default-src 'none'; script-src 'self' 'unsafe-eval'; style-src-elem 'self'; "
    "style-src-attr 'unsafe-inline'; "
    "img-src 'self' data:; font-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)

StartResponse = Callable[..., Any]


def policy_of(path: str, content_type: str) -> str:
    """The policy of an answer at `path` that sets none itself."""
    if not content_type.startswith("text/html"):
        return NOTHING
    return DESK_PAGE if path.startswith(DESK) else PAGE


def with_policy(path: str, start_response: StartResponse) -> StartResponse:
    """`start_response` that adds the policy where the response has none yet."""

    def start(status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Any:
        content_type, is_set = "", False
        for name, value in headers:
            name = name.lower()
            if name == "content-type":
                content_type = value
            elif name == "content-security-policy":
                is_set = True
        # Django's pages with tracebacks, and DRF's pages of the API, are made of inline scripts.
        of_development = settings.DEBUG and (status[0] in "45" or path.startswith("/api/"))
        if not is_set and not (of_development and content_type.startswith("text/html")):
            headers.append((HEADER, policy_of(path, content_type)))
        return start_response(status, headers, *exc_info)

    return start
