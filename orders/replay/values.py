"""Dates and amounts in the notations that shops' programs write them in."""

import re
from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal

from yousinsa.files.cells import amount, whole_number

_PARTS = re.compile(
    r"(?P<a>[0-9]{1,4})[/.\-] ?(?P<b>[0-9]{1,2})[/.\-] ?(?P<c>[0-9]{1,4})\.?"
    r"(?:[ T]+(?P<hour>[0-9]{1,2}):(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2}))?)?"
)
_PRICE = re.compile(r"-?[0-9]{1,9}(\.[0-9]{1,4})?")


class Dates:
    """Reads dates as `2010-12-01 08:26:00`, `12/1/2010 8:26`, `1.12.2010` and `2010. 12. 1`.

    Whether the day or the month comes first is decided once, by all dates of a file together.
    """

    def __init__(self, *, day_first: bool = False) -> None:
        self.day_first = day_first

    @classmethod
    def of(cls, texts: Iterable[str]) -> "Dates":
        """How dates are written in a file that has all of these: a number above 12 is no month.

        Where none tells, slashes mean the month first, as they do in the country that writes them so, and
        dots the day.
        """
        dots = slashes = 0
        for text in texts:
            found = _PARTS.fullmatch(text.strip())
            if found is None or len(found["a"]) == 4:
                continue
            if int(found["a"]) > 12:
                return cls(day_first=True)
            if int(found["b"]) > 12:
                return cls(day_first=False)
            dots += "." in text
            slashes += "/" in text
        return cls(day_first=dots > slashes)

    def read(self, text: str) -> datetime | None:
        """The moment that a text says; None where it says none."""
        try:
            return datetime.fromisoformat(text)
        except ValueError:
            pass
        found = _PARTS.fullmatch(text.strip())
        if found is None or (len(found["a"]) == 4) == (len(found["c"]) == 4):
            return None
        year, month, day = (int(part) for part in found.group("a", "b", "c"))
        if len(found["a"]) != 4:
            year, month, day = day, *((month, year) if self.day_first else (year, month))
        hour, minute, second = (int(part or 0) for part in found.group("hour", "minute", "second"))
        try:
            return datetime(year, month, day, hour, minute, second)
        except ValueError:
            return None


def price(text: str) -> Decimal | None:
    """An amount of at most nine digits and four decimals, in either notation; None for anything else."""
    value = amount(text)
    if value is None or not _PRICE.fullmatch(f"{value:f}"):
        return None
    return value


def digits(text: str) -> str:
    """A whole number as spreadsheets write it (`1,200`, `1200.0`) as `1200`; anything else as it is."""
    number = whole_number(text.removesuffix(".0"))
    return text if number is None else str(number)
