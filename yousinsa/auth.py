"""Who is asking: signed tokens that verify without any look-up, in a header or in a browser's cookie.

A token states the user's id, role and lifetime under an HMAC (django.core.signing). Nothing is read to
believe it, so it is believed until it expires or until its revocation arrives: signing out, a new
password, withdrawal and deactivation write a revocation, which every process polls (seconds).
"""

import logging
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple, cast

import msgspec
from django.conf import settings
from django.core import signing
from django.db import connection
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.middleware.csrf import rotate_token
from django.utils import timezone
from django.utils.module_loading import import_string
from django.utils.translation import gettext
from rest_framework.authentication import BaseAuthentication, CSRFCheck
from rest_framework.permissions import SAFE_METHODS
from rest_framework.request import Request

from yousinsa.errors import Busy, CsrfFailed, Unauthenticated
from yousinsa.process.once import PerProcess

logger = logging.getLogger(__name__)

_signer = signing.Signer(salt="yousinsa.bearer")
# Revocations are asked for from a little before the last poll: clocks differ, transactions commit late.
OVERLAP = timedelta(seconds=60)


class Principal(msgspec.Struct, frozen=True):
    """The user that a token speaks for: enough for permissions, without a database row."""

    id: int
    role: str
    is_staff: bool
    token_id: str
    issued_at: float
    expires_at: float

    is_authenticated: ClassVar[bool] = True
    is_active: ClassVar[bool] = True

    @property
    def pk(self) -> int:
        return self.id


def caller(request: Request) -> Principal:
    """The signed-in user of a request that permissions let through."""
    return cast(Principal, request.user)


class Revocation(NamedTuple):
    """Ends one token (`token_id`), or all that the user was given before `at` (`token_id` empty)."""

    user_id: int
    token_id: str
    at: float


def issue_token(
    *,
    user_id: int,
    role: str,
    is_staff: bool,
    lifetime: timedelta | None = None,
    not_before: datetime | None = None,
) -> str:
    """A bearer token, valid from now for `lifetime`: TOKEN_HOURS by default and at most.

    `not_before` is the user's last revocation of all tokens, should there be one: the token counts as
    issued after it, whatever the clock of the server says that wrote the revocation.
    """
    longest = timedelta(hours=settings.TOKEN_HOURS)  # for so long revocations are kept in mind
    now = time.time_ns() // 1000
    expires = now / 1_000_000 + min(lifetime or longest, longest).total_seconds()
    issued = max(now, _microseconds(not_before)) if not_before else now
    claims = f"{user_id}.{role}.{int(is_staff)}.{secrets.token_urlsafe(9)}.{issued}.{expires:.0f}"
    return _signer.sign(claims)


def _microseconds(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


@lru_cache(maxsize=10_000)
def _verified(token: str) -> Principal:
    """What a token states, once its signature is checked: a caller's next request need not prove it again."""
    user_id, role, is_staff, token_id, issued, expires = _signer.unsign(token).split(".")
    return Principal(int(user_id), role, is_staff == "1", token_id, int(issued) / 1_000_000, float(expires))


def read_token(token: str) -> Principal:
    """The principal of a valid token; raises `Unauthenticated` with the reason. No I/O."""
    try:
        principal = _verified(token)
    except (signing.BadSignature, ValueError) as exc:
        raise Unauthenticated(gettext("The bearer token is not valid: sign in again.")) from exc
    if principal.expires_at <= time.time():
        raise Unauthenticated(gettext("The bearer token has expired: sign in again."))
    return principal


class RevocationList:
    """The revocations that matter, kept in memory and polled by one thread a process.

    The first question in a process waits until the list is loaded, so a restart never forgets. While the
    database is away later, the last list stays in force; TOKEN_HOURS bounds what that can miss.
    """

    def __init__(self) -> None:
        self._tokens: dict[str, float] = {}
        self._users: dict[int, float] = {}
        self._since: datetime | None = None
        self._loaded = PerProcess(self._start)

    def is_revoked(self, principal: Principal) -> bool:
        """Raises `Busy` while the list could not be loaded even once."""
        loaded = self._loaded()
        if not loaded.is_set() and not loaded.wait(settings.LOCK_WAIT_SECONDS):
            raise Busy
        return principal.token_id in self._tokens or principal.issued_at < self._users.get(principal.id, 0)

    def add(self, revocations: Iterable[Revocation]) -> None:
        for revocation in revocations:
            if revocation.token_id:
                self._tokens[revocation.token_id] = revocation.at
            else:
                self._users[revocation.user_id] = max(revocation.at, self._users.get(revocation.user_id, 0))

    def refresh(self) -> None:
        """Ask the database for what is new. Raises what the database raises."""
        load: Callable[[datetime | None], Iterable[Revocation]] = import_string(settings.TOKEN_REVOCATIONS)
        asked_at = timezone.now()
        self.add(load(self._since))
        self._since = asked_at - OVERLAP

    def clear(self) -> None:
        """Forget what was learned; the next poll asks for everything again."""
        self._tokens, self._users, self._since = {}, {}, None

    def _start(self) -> threading.Event:
        """Poll from this process's first question on; the event is set once the list was loaded."""
        loaded = threading.Event()
        threading.Thread(target=self._poll, args=[loaded], name="token-revocations", daemon=True).start()
        return loaded

    def _poll(self, loaded: threading.Event) -> None:
        while True:
            try:
                self.refresh()
                self._forget_expired()
                loaded.set()
            except Exception:
                logger.exception("token revocations could not be read; the last list stays in force")
                connection.close()
            time.sleep(settings.TOKEN_REVOCATION_POLL_SECONDS)

    def _forget_expired(self) -> None:
        horizon = time.time() - settings.TOKEN_HOURS * 3600 - OVERLAP.total_seconds()
        self._tokens = {key: at for key, at in self._tokens.items() if at > horizon}
        self._users = {key: at for key, at in self._users.items() if at > horizon}


revocations = RevocationList()


def believe(token: str) -> Principal:
    """The principal of a token that is valid and not revoked. Raises `Unauthenticated`, `Busy`."""
    principal = read_token(token)
    if revocations.is_revoked(principal):
        raise Unauthenticated(gettext("This bearer token was revoked: sign in again."))
    return principal


class BearerAuthentication(BaseAuthentication):
    """`Authorization: Bearer <token>`; request.user becomes a `Principal`, request.auth the token's id."""

    def authenticate(self, request: Request) -> tuple[Principal, str] | None:
        header = request.META.get("HTTP_AUTHORIZATION", "")
        scheme, _space, token = header.partition(" ")
        if scheme.lower() != "bearer":
            return None
        principal = believe(token.strip())
        return principal, principal.token_id

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="api"'


# --- The cookie -------------------------------------------------------------------------------------------


class StaleCookie(Unauthenticated):
    """401 for a cookie whose token is not believed (any more): the answer takes it from the browser."""


class CookieAuthentication(BaseAuthentication):
    """The same token in the cookie TOKEN_COOKIE, unless there is an Authorization header, whatever it says.

    A browser sends a cookie whoever made it send the request: unsafe methods need `check_origin` as well.
    """

    def authenticate(self, request: Request) -> tuple[Principal, str] | None:
        if "HTTP_AUTHORIZATION" in request.META:
            return None
        token = token_in(request.META.get("HTTP_COOKIE", ""))
        if not token:
            return None
        try:
            principal = believe(token)
        except Unauthenticated as exc:
            raise StaleCookie(exc.detail) from exc
        if request.method not in SAFE_METHODS:
            check_origin(request._request)
        return principal, principal.token_id


def token_in(header: str) -> str:
    """The token of a Cookie header; empty where there is none. Raises `Unauthenticated` where there are two.

    Read by hand. Django takes the last of two cookies of one name, which may be one that a neighbouring site
    has set; and it strips more from names than spaces, so that a cookie with some other white space before
    `__Host-`, to which browsers do not apply that prefix's rules, would pass for ours.
    """
    wanted = settings.TOKEN_COOKIE
    if wanted not in header:
        return ""
    found = {value.strip(" \t") for value in _values_of(wanted).findall(header)} - {""}
    if len(found) > 1:
        # Not to be deleted by the answer: what another site has set would be the one that stays.
        text = gettext("The cookie %s was sent twice: clear the cookies of this site and sign in again.")
        raise Unauthenticated(text % wanted)
    return found.pop() if found else ""


@lru_cache(maxsize=8)
def _values_of(name: str) -> re.Pattern[str]:
    return re.compile(rf"(?:^|;)[ \t]*{re.escape(name)}[ \t]*=([^;]*)")


def is_by_cookie(request: Request) -> bool:
    """Whether it was the cookie that said who is asking."""
    return isinstance(request.successful_authenticator, CookieAuthentication)


def keep_token(response: Any, token: str) -> None:
    """Have the browser that gets this response carry the token, as long as it is valid at most."""
    response.set_cookie(
        settings.TOKEN_COOKIE, token, max_age=settings.TOKEN_HOURS * 3600, path="/",
        secure=settings.SESSION_COOKIE_SECURE, httponly=True, samesite="Lax",
    )  # fmt: skip


def forget_token(response: Any) -> None:
    """Have the browser that gets this response forget the token."""
    response.delete_cookie(settings.TOKEN_COOKIE, path="/", samesite="Lax")


# --- Whose page sent it -----------------------------------------------------------------------------------


def _is_own_origin(request: HttpRequest) -> bool:
    return request.META.get("HTTP_ORIGIN") == f"{request.scheme}://{request.get_host()}"


def is_same_origin(request: HttpRequest) -> bool:
    """Whether the browser says that a page of this very origin sent this: no script can say so for it.

    Where there are both, Sec-Fetch-Site decides: it knows of redirects, and proxies leave it alone.
    """
    site = request.META.get("HTTP_SEC_FETCH_SITE")
    return _is_own_origin(request) if site is None else site == "same-origin"


def check_origin(request: HttpRequest) -> None:
    """Raises `CsrfFailed` for a request without a proof that our page sent it, and without the CSRF token."""
    if is_same_origin(request):
        return
    check = _csrf_check()
    check.process_request(request)
    if check.process_view(request, None, (), {}):
        raise CsrfFailed


def refuse_other_sites(request: HttpRequest) -> None:
    """Raises `CsrfFailed` where the browser says that another site's page sent this.

    For signing in: nobody's browser is signed in to somebody else's account by a page that they only look at.
    """
    origin, site = request.META.get("HTTP_ORIGIN"), request.META.get("HTTP_SEC_FETCH_SITE")
    if (origin is None and site is None) or origin in settings.CSRF_TRUSTED_ORIGINS or site == "none":
        return
    if not is_same_origin(request):
        raise CsrfFailed


def give_csrf_token(request: HttpRequest, response: HttpResponseBase) -> None:
    """A new CSRF token for the browser that gets this response, in its cookie."""
    rotate_token(request)
    _csrf_check().process_response(request, response)


def _csrf_check() -> Any:
    return CSRFCheck(cast(Any, lambda request: None))
