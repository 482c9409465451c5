"""What has to be right before the first order comes."""

from typing import Any

from django.conf import settings
from django.core import checks

from orders.placement.lanes import LANES


def check_sandbox(app_configs: Any, **kwargs: Any) -> list[checks.CheckMessage]:
    """No card is approved that nobody charged (`check --deploy`)."""
    if not settings.PAYMENT_SANDBOX:
        return []
    return [
        checks.Error(
            "PAYMENT_SANDBOX is on: any order can be paid without money.",
            hint="Unset PAYMENT_SANDBOX, and DEBUG.",
            id="orders.E003",
        )
    ]


def check_placement(app_configs: Any, **kwargs: Any) -> list[checks.CheckMessage]:
    """PLACEMENT names a lane, and the lane has what it needs."""
    if settings.PLACEMENT not in LANES:
        return [
            checks.Error(
                f"PLACEMENT is {settings.PLACEMENT!r}, which is no lane.",
                hint=f"Use one of: {', '.join(LANES)}.",
                id="orders.E001",
            )
        ]
    if settings.PLACEMENT == "distributed_lock" and not settings.REDIS_URL:
        return [
            checks.Error(
                "PLACEMENT=distributed_lock needs Redis.",
                hint="Set REDIS_URL, or use another lane.",
                id="orders.E002",
            )
        ]
    return []
