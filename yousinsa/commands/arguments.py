"""What commands take and print: numbers between bounds, days and moments, files, numbers with their nouns.

A type says what is wrong in words, so that nothing absurd reaches a service or the database. Days end far
from the ends of the calendar: midnight in another time zone, or the day after, must still be one.
"""

import sys
from argparse import ArgumentTypeError
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path

from django.template.defaultfilters import pluralize
from django.utils import timezone
from django.utils.dateparse import parse_datetime

YEARS = range(1970, 3000)


def whole_number(least: int = 1, most: int = sys.maxsize) -> Callable[[str], int]:
    """An argument's type: a whole number in digits, from `least` to `most`."""

    def number(text: str) -> int:
        # 19 digits are the most that `most` has; beyond 4,300 Python would not even try.
        if not (text.isascii() and text.isdigit()) or len(text) > 19 or not least <= int(text) <= most:
            upto = f" to {most:,}" if most != sys.maxsize else ""
            raise ArgumentTypeError(f"must be a whole number from {least:,}{upto or ' on'}")
        return int(text)

    return number


def seconds_argument(text: str) -> float:
    """Seconds between two looks, from a hundredth to a day. Raises ArgumentTypeError."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.01 <= seconds <= 86_400:  # also what is no number
        raise ArgumentTypeError("must be seconds from 0.01 to 86,400")
    return seconds


def month_argument(text: str) -> date:
    """The first day of a month that was typed as `2026-03`. Raises ArgumentTypeError."""
    return _day(f"{text}-01", "month such as 2026-03")


def day_argument(text: str) -> date:
    """A day that was typed as `2026-03-01`. Raises ArgumentTypeError."""
    return _day(text, "date such as 2026-03-01")


def moment_argument(text: str) -> datetime:
    """A moment typed as `2026-12-24T20:00:00+09:00`, or in the shop's time. Raises ArgumentTypeError."""
    try:
        moment = parse_datetime(text)
    except ValueError:
        moment = None
    if moment is None:
        raise ArgumentTypeError("must be a time such as 2026-12-24T20:00:00+09:00")
    _check_year(moment)
    return timezone.make_aware(moment) if timezone.is_naive(moment) else moment


def _day(text: str, what: str) -> date:
    try:
        day = date.fromisoformat(text)
    except ValueError as exc:
        raise ArgumentTypeError(f"must be a {what}") from exc
    _check_year(day)
    return day


def _check_year(day: date) -> None:
    if day.year not in YEARS:
        raise ArgumentTypeError(f"must be in the years {YEARS[0]} to {YEARS[-1]}")


def file_argument(text: str) -> Path:
    """A path that this system can have; what is there is asked later. Raises ArgumentTypeError."""
    path = Path(text)
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        pass
    except (OSError, ValueError) as exc:
        said = exc.strerror if isinstance(exc, OSError) else str(exc)
        raise ArgumentTypeError(f"cannot be a file ({said})") from exc
    return path


def counted(number: int, noun: str) -> str:
    """`1 difference`, `1,200 differences`: a command's English, for nouns that take an s."""
    return f"{number:,} {noun}{pluralize(number)}"
