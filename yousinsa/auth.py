"""Who is asking: signed bearer tokens that verify without any look-up, and Django sessions.

A token states the user's id, role and lifetime under an HMAC (django.core.signing). Nothing is read to
believe it, so it is believed until it expires or until its revocation arrives: signing out, a new
password, withdrawal and deactivation write a revocation, which every process polls (seconds).
"""

import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple, Protocol, cast

import msgspec
from django.conf import settings
from django.core import signing
from django.db import connection
from django.utils import timezone
from django.utils.module_loading import import_string
from django.utils.translation import gettext
from rest_framework.authentication import BaseAuthentication
from rest_framework.authentication import SessionAuthentication as DRFSessionAuthentication
from rest_framework.request import Request

from yousinsa.errors import Busy, Unauthenticated
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


class Caller(Protocol):
    """Whoever is signed in, by token or by session."""

    id: int
    role: str
    is_staff: bool


def caller(request: Request) -> Caller:
    """The signed-in user of a request that permissions let through."""
    return cast(Caller, request.user)


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


class BearerAuthentication(BaseAuthentication):
    """`Authorization: Bearer <token>`; request.user becomes a `Principal`, request.auth the token's id."""

    def authenticate(self, request: Request) -> tuple[Principal, str] | None:
        header = request.META.get("HTTP_AUTHORIZATION", "")
        scheme, _space, token = header.partition(" ")
        if scheme.lower() != "bearer":
            return None
        principal = read_token(token.strip())
        if revocations.is_revoked(principal):
            raise Unauthenticated(gettext("This bearer token was revoked: sign in again."))
        return principal, principal.token_id

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="api"'


class SessionAuthentication(DRFSessionAuthentication):
    """Django's session cookie, for people in a browser; unsafe methods need the CSRF token."""

    def authenticate(self, request: Request) -> Any:
        # Without a cookie there is no session to ask for: spare the look-up.
        if settings.SESSION_COOKIE_NAME not in request.COOKIES:
            return None
        return super().authenticate(request)

    def enforce_csrf(self, request: Any) -> None:
        # The check looks for a form field: asked of DRF's request, it would parse the body away.
        super().enforce_csrf(request._request)
