"""Reads files of separated text, plain or gzip-compressed, of any length, in the letters they were saved in.

A file is never in memory as a whole. A row is a line of the file, so that one stray quote costs one row
instead of everything up to the next quote.
"""

import csv
import gzip
import io
import zlib
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from django.core.management.base import CommandError

from yousinsa.files.charsets import KOREAN, NAMES, charset_of
from yousinsa.files.delimiters import guessed, hinted

MAX_LINE = 10_000
# What table tools write where a value is missing.
_MISSING = frozenset({"", "na", "n/a", "nan", "null", "none"})


def read_table(
    path: Path,
    *,
    of: str,
    required: Sequence[str],
    columns: Sequence[str] = (),
    charsets: Sequence[str] = (KOREAN,),
) -> tuple[list[str], Iterator[tuple[int, list[str] | str]]]:
    """The columns' names in the file's order, and the rows below them that are not empty.

    A row is its number, as a spreadsheet counts (the first line is 1), with its fields or the reason why it
    has none. `of` says in messages what the file holds; `required` are the columns that it must have,
    `columns` those that it usually has, `charsets` what it may be written in besides UTF-8 and UTF-16. Raises
    CommandError, naming the file and the remedy, where the file cannot be used at all, also later where its
    compressed data is damaged.
    """
    charset = _charset(path, of, charsets)
    lines = _lines(path, of, charset)
    header, mark = _header(path, lines, required, columns or required, charset)
    return header, ((row, split(line, charset, mark)) for row, line in lines if line.strip(b" \t\r\n,;"))


def charset_name(path: Path, *, of: str, charsets: Sequence[str] = (KOREAN,)) -> str:
    """The letters that a file is read in, in words. Raises CommandError (see `read_table`)."""
    return NAMES[_charset(path, of, charsets)]


def is_missing(value: str) -> bool:
    return value.strip().lower() in _MISSING


def split(line: bytes, charset: str = "utf-8", mark: str = ",") -> list[str] | str:
    """The fields of a line, or why it cannot be read."""
    if len(line) > MAX_LINE:
        return f"longer than {MAX_LINE:,} bytes"
    try:
        return _fields(_text(line, charset), mark)
    except UnicodeDecodeError:
        return "not UTF-8 text"
    except csv.Error:
        return "a quote is not closed, or text follows it"


def _charset(path: Path, of: str, charsets: Sequence[str]) -> str:
    """What all of the file can be read as; UTF-8 where there is nothing, as then a few rows are damaged."""
    _open(path, of).close()  # refuses what is no such file
    facts = path.stat()
    return _detected(path, of, tuple(charsets), facts.st_size, facts.st_mtime_ns)


@lru_cache(maxsize=4)
def _detected(path: Path, of: str, charsets: tuple[str, ...], _size: int, _changed: int) -> str:
    try:
        with _open(path, of) as file:
            return charset_of(file, charsets) or "utf-8-sig"
    except (EOFError, zlib.error, gzip.BadGzipFile):
        return "utf-8-sig"  # told where the reader gets there


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


def _lines(path: Path, of: str, charset: str) -> Iterator[tuple[int, bytes]]:
    """Lines with their numbers; one that is too long is cut at `MAX_LINE` + 1 bytes and its rest left out.

    In UTF-16, where a line end is two bytes, lines are given in UTF-8.
    """
    number = 0
    with _open(path, of) as file:
        try:
            text = io.TextIOWrapper(file, charset, newline="\n") if charset == "utf-16" else None
            read = (lambda n: text.readline(n).encode()) if text else file.readline
            while line := read(MAX_LINE + 1):
                number += 1
                yield number, line[: MAX_LINE + 1]
                while line and not line.endswith(b"\n"):
                    line = read(MAX_LINE)
        except (EOFError, zlib.error, gzip.BadGzipFile) as exc:
            raise CommandError(
                f"{path}: the compressed data is cut off or damaged after row {number} ({exc}). "
                "Fetch or compress the file again; what was read so far is not done twice."
            ) from exc


def _header(
    path: Path,
    lines: Iterator[tuple[int, bytes]],
    required: Sequence[str],
    columns: Sequence[str],
    charset: str,
) -> tuple[list[str], str]:
    """The columns' names, and the mark between them."""
    first = next(lines, None)
    if first is None:
        raise CommandError(f"{path} is empty. Its first line must name the columns: {', '.join(columns)}.")
    try:
        line = _text(first[1], charset)
        if mark := hinted(line):
            line = _text(next(lines, (0, b""))[1], charset)
        mark = mark or guessed(line)
        names = [name.strip() for name in _fields(line, mark)]
    except (UnicodeDecodeError, csv.Error) as exc:
        raise CommandError(
            f"{path}: the first line is not comma-separated UTF-8 text ({exc}). Save it as CSV in UTF-8."
        ) from exc
    if missing := [name for name in required if name not in names]:
        raise CommandError(
            f"{path}: no column {', '.join(missing)}. The first line must name the columns, separated by "
            f"commas: {', '.join(columns)}. It says: {', '.join(names)[:200]}"
        )
    return names, mark


def _text(line: bytes, charset: str) -> str:
    return line.decode("utf-8-sig" if charset == "utf-16" else charset)


def _fields(text: str, mark: str) -> list[str]:
    return next(csv.reader([text], delimiter=mark, strict=True), [])
