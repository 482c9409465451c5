"""What commands take and print: whole numbers between bounds, months, days, and numbers with their nouns."""

import sys
from argparse import ArgumentTypeError
from collections.abc import Callable
from datetime import date

from django.template.defaultfilters import pluralize


def whole_number(least: int = 1, most: int = sys.maxsize) -> Callable[[str], int]:
    """An argument's type: a whole number in digits, from `least` to `most`."""

    def number(text: str) -> int:
        if not (text.isascii() and text.isdigit()) or not least <= int(text) <= most:
            upto = f" to {most:,}" if most != sys.maxsize else ""
            raise ArgumentTypeError(f"must be a whole number from {least:,}{upto or ' on'}")
        return int(text)

    return number


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


def counted(number: int, noun: str) -> str:
    """`1 difference`, `1,200 differences`: a command's English, for nouns that take an s."""
    return f"{number:,} {noun}{pluralize(number)}"
