"""Rows of an uploaded CSV or XLSX file, one at a time, with limits that are said in words."""

import csv
import io
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

from django.utils.translation import gettext

from yousinsa.errors import Invalid
from yousinsa.files.archives import Refused
from yousinsa.files.cells import as_typed
from yousinsa.files.charsets import NAMES, charset_of
from yousinsa.files.delimiters import guessed, hinted
from yousinsa.files.workbook import workbook_rows

MAX_ROWS = 100_000
MAX_BYTES = 20 * 1024 * 1024
MAX_COLUMNS = 50
MAX_CELL = 1_000
# A line of a text file; a cell of a spreadsheet has 32,767 characters at most.
MAX_LINE = 200_000

Row = tuple[int, list[str]]
"""A row's number in the file, and its cells as text."""


def rows(upload: Any) -> Iterator[Row]:
    """The rows of an uploaded file that are not blank, its head included.

    Raises `Invalid` naming `file` for what is too large, cannot be read, or is neither CSV nor XLSX.
    """
    name = str(upload.name).lower()
    if upload.size > MAX_BYTES:
        raise refused(gettext("At most %d MB a file: split it.") % (MAX_BYTES // 1024 // 1024))
    if not name.endswith((".csv", ".xlsx")):
        raise refused(gettext("Send a .csv or an .xlsx file."))
    found = _xlsx(upload.file) if name.endswith(".xlsx") else _csv(upload.file)
    for count, row in enumerate(found):
        if count > MAX_ROWS:
            raise refused(gettext("At most %s rows a file: split it.") % f"{MAX_ROWS:,}")
        yield row


def refused(text: Any) -> Invalid:
    return Invalid(errors={"file": text})


def letters(upload: Any) -> str:
    """What a text file is written in, where that is not UTF-8: for whoever may wonder about its words."""
    if str(upload.name).lower().endswith(".xlsx"):
        return ""
    charset = charset_of(upload.file)
    return "" if charset in (None, "utf-8-sig") else NAMES[str(charset)]


def _csv(file: Any) -> Iterator[Row]:
    charset = charset_of(file)
    if charset is None:
        raise refused(
            gettext("The file is in neither UTF-8, UTF-16 nor CP949: save it as CSV UTF-8, or as XLSX.")
        )
    file.seek(0)
    text = io.TextIOWrapper(file, encoding=charset, newline="")
    above, reader = 0, None
    try:
        first = text.readline(MAX_LINE)
        if mark := hinted(first):
            above, first = 1, text.readline(MAX_LINE)
        lines = chain([first], iter(lambda: text.readline(MAX_LINE), ""))
        reader = csv.reader(map(_bounded, lines), delimiter=mark or guessed(first), strict=True)
        for cells in reader:
            if any(cells):
                yield above + reader.line_num, _cells(cells)
    except csv.Error as exc:
        line = above + (reader.line_num if reader else 0)
        raise refused(gettext("Line %(line)d cannot be read: %(why)s.") % {"line": line, "why": exc}) from exc
    finally:
        if not text.closed:
            text.detach()  # the upload is closed by who opened it


def _bounded(line: str) -> str:
    if len(line) == MAX_LINE:
        raise csv.Error(gettext("it has more than %d characters") % MAX_LINE)
    return line


def _xlsx(file: Any) -> Iterator[Row]:
    file.seek(0)
    try:
        for number, values in workbook_rows(file, columns=MAX_COLUMNS, characters=MAX_CELL):
            cells = _cells(values)
            if any(cells):
                yield number, cells
    except Refused as exc:
        raise refused(str(exc)) from exc


def _cells(values: Iterable[str]) -> list[str]:
    return [as_typed(value.strip())[:MAX_CELL] for value in values][:MAX_COLUMNS]
