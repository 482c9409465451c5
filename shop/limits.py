"""How often somebody may try to sign in, at whichever door."""

from typing import Any

from django.conf import settings

from shop.models import User
from yousinsa import limits


def limit_sign_in(request: Any, email: str) -> None:
    """SIGN_IN_RATE for an account from one address; ten times that for either alone.

    One guesser cannot lock an account's owner out, and cannot try many accounts or addresses for long.
    Raises `TooManyRequests`.
    """
    rate = limits.Rate.parse(settings.SIGN_IN_RATE)
    wide = limits.Rate(rate.count * 10, rate.seconds, rate.burst * 10)
    account, address = User.objects.normalize_email(email), limits.client_address(request)
    budgets = [
        (f"sign-in:{account}:{address}", rate),
        (f"sign-in-account:{account}", wide),
        (f"sign-in-address:{address}", wide),
    ]
    limits.check(budgets, everywhere=True)
