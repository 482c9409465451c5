"""Calendar months and days in the shop's time zone, as moments."""

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
