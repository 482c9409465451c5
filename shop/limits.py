"""How often somebody may try to sign in, at whichever door.

Guessing is slowed, and nobody is locked out by it: a device that has signed in to an account before has a
budget of its own, and an address that is new to an account one attempt, however many others are guessing.
"""

import hashlib
import ipaddress
import secrets
from contextlib import suppress
from typing import Any

from django.conf import settings
from django.core import signing

from shop.models import User
from yousinsa import limits

DEVICE_COOKIE = "device"
DEVICE_SECONDS = 365 * 24 * 3600
# While an account is tried from many places: for each address that is none of its devices.
UNDER_ATTACK = limits.Rate(1, 600, 1)

_signer = signing.TimestampSigner(salt="yousinsa.device")


def limit_sign_in(request: Any, email: str) -> None:
    """SIGN_IN_RATE for each device that knows the account, or for the account from one unknown address.

    Ten times that for all accounts from one address; and for one account from everywhere, after which an
    unknown address may try once in ten minutes. Raises `TooManyRequests`.
    """
    rate = limits.Rate.parse(settings.SIGN_IN_RATE)
    account = User.objects.normalize_email(email)
    if device := _device(request, account):
        limits.check([(f"sign-in-device:{device}", rate)], everywhere=True)
        return
    wide = limits.Rate(rate.count * 10, rate.seconds, rate.burst * 10)
    address = _place(limits.client_address(request))
    budgets = [(f"sign-in:{account}:{address}", rate), (f"sign-in-address:{address}", wide)]
    limits.check(budgets, everywhere=True)
    if limits.seconds_to_wait(f"sign-in-account:{account}", wide, everywhere=True):
        limits.check([(f"sign-in-attacked:{account}:{address}", UNDER_ATTACK)], everywhere=True)


def remember_device(response: Any, email: str) -> None:
    """The browser that gets this response has signed in to the account."""
    response.set_cookie(
        DEVICE_COOKIE, _signer.sign(f"{_name(User.objects.normalize_email(email))}.{secrets.token_hex(8)}"),
        max_age=DEVICE_SECONDS, secure=settings.SESSION_COOKIE_SECURE, httponly=True, samesite="Lax",
    )  # fmt: skip


def _device(request: Any, account: str) -> str:
    """The device's own name, where it signed in to this account; else nothing."""
    with suppress(signing.BadSignature):
        name, _dot, device = _signer.unsign(
            request.COOKIES.get(DEVICE_COOKIE, ""), max_age=DEVICE_SECONDS
        ).partition(".")
        if name == _name(account):
            return device
    return ""


def _name(account: str) -> str:
    return hashlib.sha256(account.encode()).hexdigest()[:32]


def _place(address: str) -> str:
    """An address, or for IPv6 the network that one customer has (/64)."""
    with suppress(ValueError):
        parsed = ipaddress.ip_address(address)
        if parsed.version == 6 and not parsed.ipv4_mapped:
            return str(ipaddress.ip_network((parsed, 64), strict=False))
    return address
