"""Reads a file of styles row by row: what each row says, or why it cannot be used.

The file is comma-separated UTF-8 text, plain or gzip-compressed, and never in memory as a whole. A row is a
line, so that one stray quote costs one row instead of everything up to the next quote.
"""

import csv
import gzip
import io
import re
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from django.core.management.base import CommandError

COLUMNS = (
    "id", "gender", "masterCategory", "subCategory", "articleType", "baseColour", "productDisplayName",
)  # fmt: skip
ALL_COLUMNS = (*COLUMNS[:-1], "season", "year", "usage", "productDisplayName")

MAX_LINE = 10_000
MAX_ID_DIGITS = 18
# Characters, as the models have room for.
_LIMITS = {
    "productDisplayName": 200,
    "masterCategory": 100,
    "subCategory": 100,
    "articleType": 100,
    "baseColour": 50,
}

# What table tools write where a value is missing.
_MISSING = frozenset({"", "na", "n/a", "nan", "null", "none"})
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
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


def read_styles(path: Path) -> Iterator[Style | Skipped]:
    """Every row below the header, in the file's order; of rows with the same id only the first is a `Style`.

    Raises CommandError where the file as a whole cannot be used; it names the file and the remedy.
    """
    lines = _lines(path)
    header = _header(path, next(lines, None))
    seen: set[int] = set()
    for row, line in lines:
        if not line.strip():
            continue
        style = _style(row, line, header)
        if isinstance(style, Style):
            if style.id in seen:
                style = Skipped(row, "its id was used by a row above")
            else:
                seen.add(style.id)
        yield style


def _open(path: Path) -> BinaryIO:
    """The file's bytes, decompressed. Raises CommandError."""
    if not path.exists():
        raise CommandError(f"{path}: there is no such file. Name a .csv or .csv.gz file of styles.")
    if not path.is_file():
        raise CommandError(f"{path} is not a regular file. Name a .csv or .csv.gz file of styles.")
    try:
        with path.open("rb") as file:
            start = file.read(4)
        if start.startswith(b"\x1f\x8b"):
            return io.BufferedReader(gzip.GzipFile(path))
        if start == b"PK\x03\x04":
            raise CommandError(f"{path} is a zip archive: unpack it and name the .csv file in it.")
        if path.suffix == ".gz":
            raise CommandError(
                f"{path} is named .gz but is not compressed with gzip: rename it to .csv, or compress it."
            )
        return path.open("rb")
    except OSError as exc:
        raise CommandError(f"{path} cannot be read ({exc.strerror}): give this user access to it.") from exc


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Lines with their numbers; one that is too long is cut at `MAX_LINE` + 1 bytes and its rest left out."""
    number = 0
    with _open(path) as file:
        try:
            while line := file.readline(MAX_LINE + 1):
                number += 1
                yield number, line
                while not line.endswith(b"\n") and line:
                    line = file.readline(MAX_LINE)
        except (EOFError, zlib.error, gzip.BadGzipFile) as exc:
            raise CommandError(
                f"{path}: the compressed data is cut off or damaged after row {number} ({exc}). "
                "Fetch or compress the file again."
            ) from exc


def _header(path: Path, first: tuple[int, bytes] | None) -> list[str]:
    """The columns' names in the file's order. Raises CommandError naming those that are missing."""
    if first is None:
        raise CommandError(
            f"{path} is empty. Its first line must name the columns: {', '.join(ALL_COLUMNS)}."
        )
    try:
        names = [name.strip() for name in _fields(first[1].decode("utf-8-sig"))]
    except (UnicodeDecodeError, csv.Error) as exc:
        raise CommandError(
            f"{path}: the first line is not comma-separated UTF-8 text ({exc}). Save the file as such."
        ) from exc
    if missing := [name for name in COLUMNS if name not in names]:
        found = ", ".join(names)[:200]
        raise CommandError(
            f"{path}: no column {', '.join(missing)}. The first line must name the columns, separated by "
            f"commas: {', '.join(ALL_COLUMNS)}. It says: {found}"
        )
    return names


def _fields(text: str) -> list[str]:
    return next(csv.reader([text], strict=True), [])


def _style(row: int, line: bytes, header: Sequence[str]) -> Style | Skipped:
    if len(line) > MAX_LINE:
        return Skipped(row, f"longer than {MAX_LINE:,} bytes")
    try:
        fields = _fields(line.decode())
    except UnicodeDecodeError:
        return Skipped(row, "not UTF-8 text")
    except csv.Error:
        return Skipped(row, "a quote is not closed, or text follows it")
    if len(fields) < len(header):
        return Skipped(row, "fewer columns than the header")
    mended = len(fields) > len(header)
    if mended:
        fields = _rejoin(fields, header)
        if not fields:
            return Skipped(row, "more columns than the header")
    values = {
        name: "" if value.strip().lower() in _MISSING else " ".join(value.split())
        for name, value in zip(header, fields, strict=True)
    }
    if reason := _reason(values):
        return Skipped(row, reason)
    category = (values["masterCategory"], values["subCategory"], values["articleType"])
    return Style(
        row, int(values["id"]), values["gender"], category, values["baseColour"],
        values["productDisplayName"], mended,
    )  # fmt: skip


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
        if _CONTROL.search(values[column]):
            return f"{column} has control characters"
    return ""
