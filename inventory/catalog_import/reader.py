"""Reads a file of styles row by row: what each row says, or why it cannot be used.

`yousinsa.commands.csv_file` reads the file itself, which is never in memory as a whole.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from yousinsa.commands.csv_file import charset_name, is_missing, read_table
from yousinsa.text.cleaning import UnclearText, clean_line

COLUMNS = (
    "id", "gender", "masterCategory", "subCategory", "articleType", "baseColour", "productDisplayName",
)  # fmt: skip
ALL_COLUMNS = (*COLUMNS[:-1], "season", "year", "usage", "productDisplayName")

_OF = "styles"
MAX_ID_DIGITS = 18
# Characters, as the models have room for.
_LIMITS = {
    "productDisplayName": 200,
    "masterCategory": 100,
    "subCategory": 100,
    "articleType": 100,
    "baseColour": 50,
}

# In place of a value with something that is not let in.
UNCLEAR = "\ufffd"
_YEAR = re.compile(r"(\d{4}(\.0)?)?")


class Style(NamedTuple):
    """One row: a product as the file describes it. `row` is counted as a spreadsheet does, the header is 1.

    `mended` says that the name had a comma without quotes around it, and was put together again.
    """

    row: int
    id: int
    gender: str
    category: tuple[str, str, str]
    color: str
    name: str
    mended: bool


class Skipped(NamedTuple):
    """A row that cannot be used, and why; the reasons are few, so that they can be counted."""

    row: int
    reason: str


def charset(path: Path) -> str:
    """The letters that a file is read in, in words. Raises CommandError (see `read_styles`)."""
    return charset_name(path, of=_OF)


def read_styles(path: Path) -> Iterator[Style | Skipped]:
    """Every row below the header, in the file's order; of rows with the same id only the first is a `Style`.

    Raises CommandError where the file as a whole cannot be used; it names the file and the remedy.
    """
    header, rows = read_table(path, of=_OF, required=COLUMNS, columns=ALL_COLUMNS)
    seen: set[int] = set()
    for row, fields in rows:
        style = Skipped(row, fields) if isinstance(fields, str) else _style(row, fields, header)
        if isinstance(style, Style):
            if style.id in seen:
                style = Skipped(row, "its id was used by a row above")
            else:
                seen.add(style.id)
        yield style


def _style(row: int, fields: list[str], header: Sequence[str]) -> Style | Skipped:
    if len(fields) < len(header):
        return Skipped(row, "fewer columns than the header")
    mended = len(fields) > len(header)
    if mended:
        fields = _rejoin(fields, header)
        if not fields:
            return Skipped(row, "more columns than the header")
    values = {name: _value(field) for name, field in zip(header, fields, strict=True)}
    if reason := _reason(values):
        return Skipped(row, reason)
    category = (values["masterCategory"], values["subCategory"], values["articleType"])
    return Style(
        row, int(values["id"]), values["gender"], category, values["baseColour"],
        values["productDisplayName"], mended,
    )  # fmt: skip


def _value(field: str) -> str:
    if is_missing(field):
        return ""
    try:
        return clean_line(field)
    except UnclearText:
        return UNCLEAR


def _rejoin(fields: list[str], header: Sequence[str]) -> list[str]:
    """Put a name with unquoted commas together again; empty where the comma may be in another column."""
    last = len(header) - 1
    if header[last] != "productDisplayName" or "year" not in header:
        return []
    # A comma further left would have moved some other value into the year's place.
    if not _YEAR.fullmatch(fields[header.index("year")].strip()):
        return []
    return [*fields[:last], ",".join(fields[last:])]


def _reason(values: dict[str, str]) -> str:
    """Why a row's values cannot be used; empty where they can."""
    id = values["id"]
    if not (id.isascii() and id.isdigit() and len(id) <= MAX_ID_DIGITS):
        return "id is not a whole number"
    for column, limit in _LIMITS.items():
        if not values[column] and column != "baseColour":
            return f"no {column}"
        if len(values[column]) > limit:
            return f"{column} is longer than {limit} characters"
        if values[column] == UNCLEAR:
            return f"{column} has control characters or others that cannot be seen"
    return ""
