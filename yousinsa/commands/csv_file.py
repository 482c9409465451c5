"""Reads files of comma-separated UTF-8 text, plain or gzip-compressed, of any length.

A file is never in memory as a whole. A row is a line of the file, so that one stray quote costs one row
instead of everything up to the next quote.
"""

import csv
import gzip
import io
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from django.core.management.base import CommandError

MAX_LINE = 10_000
# What table tools write where a value is missing.
_MISSING = frozenset({"", "na", "n/a", "nan", "null", "none"})


def read_table(
    path: Path, *, of: str, required: Sequence[str], columns: Sequence[str] = ()
) -> tuple[list[str], Iterator[tuple[int, list[str] | str]]]:
    """The columns' names in the file's order, and the rows below them that are not empty.

    A row is its number, as a spreadsheet counts (the header is 1), with its fields or the reason why it has
    none. `of` says in messages what the file holds; `required` are the columns that it must have, `columns`
    those that it usually has. Raises CommandError, naming the file and the remedy, where the file cannot be
    used at all, also later where its compressed data is damaged.
    """
    lines = _lines(path, of)
    header = _header(path, next(lines, None), required, columns or required)
    return header, ((row, split(line)) for row, line in lines if line.strip())


def is_missing(value: str) -> bool:
    return value.strip().lower() in _MISSING


def split(line: bytes) -> list[str] | str:
    """The fields of a line, or why it cannot be read."""
    if len(line) > MAX_LINE:
        return f"longer than {MAX_LINE:,} bytes"
    try:
        return _fields(line.decode())
    except UnicodeDecodeError:
        return "not UTF-8 text"
    except csv.Error:
        return "a quote is not closed, or text follows it"


def _open(path: Path, of: str) -> BinaryIO:
    """The file's bytes, decompressed."""
    if not path.exists():
        raise CommandError(f"{path}: there is no such file. Name a .csv or .csv.gz file of {of}.")
    if not path.is_file():
        raise CommandError(f"{path} is not a regular file. Name a .csv or .csv.gz file of {of}.")
    try:
        with path.open("rb") as file:
            start = file.read(4)
        if start.startswith(b"\x1f\x8b"):
            return io.BufferedReader(gzip.GzipFile(path))
        if start == b"PK\x03\x04":
            raise CommandError(f"{path} is a zip archive (or a spreadsheet): save it as CSV in UTF-8.")
        if path.suffix == ".gz":
            raise CommandError(
                f"{path} is named .gz but is not compressed with gzip: rename it to .csv, or compress it."
            )
        return path.open("rb")
    except OSError as exc:
        raise CommandError(f"{path} cannot be read ({exc.strerror}): give this user access to it.") from exc


def _lines(path: Path, of: str) -> Iterator[tuple[int, bytes]]:
    """Lines with their numbers; one that is too long is cut at `MAX_LINE` + 1 bytes and its rest left out."""
    number = 0
    with _open(path, of) as file:
        try:
            while line := file.readline(MAX_LINE + 1):
                number += 1
                yield number, line
                while line and not line.endswith(b"\n"):
                    line = file.readline(MAX_LINE)
        except (EOFError, zlib.error, gzip.BadGzipFile) as exc:
            raise CommandError(
                f"{path}: the compressed data is cut off or damaged after row {number} ({exc}). "
                "Fetch or compress the file again; what was read so far is not done twice."
            ) from exc


def _header(
    path: Path, first: tuple[int, bytes] | None, required: Sequence[str], columns: Sequence[str]
) -> list[str]:
    if first is None:
        raise CommandError(f"{path} is empty. Its first line must name the columns: {', '.join(columns)}.")
    try:
        names = [name.strip() for name in _fields(first[1].decode("utf-8-sig"))]
    except (UnicodeDecodeError, csv.Error) as exc:
        raise CommandError(
            f"{path}: the first line is not comma-separated UTF-8 text ({exc}). Save it as CSV in UTF-8."
        ) from exc
    if missing := [name for name in required if name not in names]:
        raise CommandError(
            f"{path}: no column {', '.join(missing)}. The first line must name the columns, separated by "
            f"commas: {', '.join(columns)}. It says: {', '.join(names)[:200]}"
        )
    return names


def _fields(text: str) -> list[str]:
    return next(csv.reader([text], strict=True), [])
