"""What commands take and print: whole numbers between bounds, and numbers with their nouns."""

import sys
from argparse import ArgumentTypeError
from collections.abc import Callable

from django.template.defaultfilters import pluralize


def whole_number(least: int = 1, most: int = sys.maxsize) -> Callable[[str], int]:
    """An argument's type: a whole number in digits, from `least` to `most`."""

    def number(text: str) -> int:
        if not (text.isascii() and text.isdigit()) or not least <= int(text) <= most:
            upto = f" to {most:,}" if most != sys.maxsize else ""
            raise ArgumentTypeError(f"must be a whole number from {least:,}{upto or ' on'}")
        return int(text)

    return number


def counted(number: int, noun: str) -> str:
    """`1 difference`, `1,200 differences`: a command's English, for nouns that take an s."""
    return f"{number:,} {noun}{pluralize(number)}"
