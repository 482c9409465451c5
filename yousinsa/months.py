"""Calendar months and days in the shop's time zone, as moments."""

from argparse import ArgumentTypeError
from datetime import date, datetime, time, timedelta

from django.utils import timezone


def day_start(day: date) -> datetime:
    """Midnight, when `day` begins."""
    return timezone.make_aware(datetime.combine(day, time.min))


def day_end(day: date) -> datetime:
    """Midnight, when the next day begins."""
    return day_start(day + timedelta(days=1))


def next_month(month: date) -> date:
    """The first day of the month after."""
    return (month.replace(day=28) + timedelta(days=4)).replace(day=1)


def month_end(month: date) -> datetime:
    """Midnight, when the month after begins."""
    return day_start(next_month(month))


def month_argument(text: str) -> date:
    """The first day of a month that was typed as `2026-03`. Raises ArgumentTypeError."""
    try:
        return date.fromisoformat(f"{text}-01")
    except ValueError as exc:
        raise ArgumentTypeError("must be a month such as 2026-03") from exc


def day_argument(text: str) -> date:
    """A day that was typed as `2026-03-01`. Raises ArgumentTypeError."""
    try:
        return date.fromisoformat(text)
    except ValueError as exc:
        raise ArgumentTypeError("must be a date such as 2026-03-01") from exc
