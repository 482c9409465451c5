"""What drops do by themselves, at their time."""

import logging
from datetime import datetime

from django.utils import timezone
from redis.exceptions import RedisError

from orders.drops.services import close_drop, finish_closing, look_after, open_drop
from orders.drops.writing import outbox
from orders.models.drops import Drop, DropStatus
from yousinsa.db.errors import is_outage
from yousinsa.errors import Problem

logger = logging.getLogger(__name__)


def run_due() -> int:
    """Open and close what is due, and deliver what came back; returns how many drops were moved.

    What one drop is refused is written down with it and stops no other. Safe when several run.
    """
    now = timezone.now()
    moved = 0
    ahead = Drop.objects.exclude(status=DropStatus.SETTLED).order_by("id")
    for drop in list(ahead):
        try:
            moved += _run(drop, now)
        except Exception as exc:
            if is_outage(exc):
                raise
            text = str(getattr(exc, "detail", "") or getattr(exc, "title", "") or repr(exc))[:300]
            if drop.problem != text:
                unforeseen = not isinstance(exc, Problem | RedisError)
                logger.warning("drop %d (%s): %s", drop.pk, drop.name, text, exc_info=unforeseen and exc)
                Drop.objects.filter(pk=drop.pk).update(problem=text)
    if any(drop.on_redis for drop in ahead):
        try:
            outbox.deliver_due()
        except (RedisError, Problem) as exc:
            logger.warning("units that came back are delivered to Redis later: %s", exc)
    return moved


def _run(drop: Drop, now: datetime) -> bool:
    match drop.status:
        case DropStatus.SCHEDULED if drop.opens_at <= now:
            if drop.closes_at and drop.closes_at <= now:
                close_drop(drop.pk)
            else:
                open_drop(drop.pk)
            return True
        case DropStatus.OPEN if drop.closes_at and drop.closes_at <= now:
            close_drop(drop.pk)
            return True
        case DropStatus.OPEN if drop.on_redis and drop.primed_at is None:
            open_drop(drop.pk)
            return True
        case DropStatus.OPEN if drop.on_redis:
            look_after(drop)
        case DropStatus.CLOSED:
            return finish_closing(drop.pk)
    return False
