"""Rows of an uploaded CSV or XLSX file, one at a time, with limits that are said in words.

A file is judged before it is unpacked: an archive that says it is small and unpacks to gigabytes is refused
by the sizes in its directory, which `zipfile` does not read beyond.
"""

import csv
import io
import re
import zipfile
from collections.abc import Iterable, Iterator
from datetime import date
from itertools import islice
from typing import Any

from django.utils.translation import gettext
from openpyxl import load_workbook

from shop.desk.export import as_typed
from yousinsa.errors import Invalid

MAX_ROWS = 100_000
MAX_BYTES = 20 * 1024 * 1024
# What an XLSX file unpacks to: 100,000 rows of four cells are some 30 MiB.
MAX_UNPACKED = 96 * 1024 * 1024
MAX_COLUMNS = 50
MAX_CELL = 1_000
# Where every spreadsheet ends; rows that are left out up to there are read as blank ones.
LAST_ROW = 1_048_576

# The root element, after at most an XML declaration: no document type, and so no entities that expand.
_PLAIN_XML = re.compile(rb"(\xef\xbb\xbf)?\s*(<\?xml[^>]*\?>)?\s*<[A-Za-z]")

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


def _csv(file: Any) -> Iterator[Row]:
    file.seek(0)
    text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
    try:
        first = text.readline(10_000)
        delimiter = max(",;\t", key=first.count)
        text.seek(0)
        reader = csv.reader(text, delimiter=delimiter, strict=True)
        for cells in reader:
            if any(cells):
                yield reader.line_num, _cells(cells)
    except UnicodeDecodeError as exc:
        raise refused(gettext("The file is not in UTF-8: save it as CSV UTF-8, or as XLSX.")) from exc
    except csv.Error as exc:
        raise refused(
            gettext("Line %(line)d cannot be read: %(why)s.") % {"line": reader.line_num, "why": exc}
        ) from exc
    finally:
        if not text.closed:
            text.detach()  # the upload is closed by who opened it


def _xlsx(file: Any) -> Iterator[Row]:
    file.seek(0)
    _check_archive(file)
    try:
        book = load_workbook(file, read_only=True, data_only=True, keep_links=False)
        worksheet: Any = book.worksheets[0]
        worksheet.reset_dimensions()  # what some programs write there is less than there is
        lines = worksheet.iter_rows(max_col=MAX_COLUMNS, values_only=True)
        for number, values in enumerate(islice(lines, LAST_ROW), start=1):
            if values.count(None) < len(values):  # quick, as there may be a million blank ones
                cells = _cells(_as_typed_in(value) for value in values)
                if any(cells):
                    yield number, cells
    except Invalid:
        raise
    except Exception as exc:  # openpyxl raises whatever the broken file made it stumble over
        raise refused(
            gettext("This is no workbook that can be read: save it as XLSX once more, or as CSV.")
        ) from exc


def _check_archive(file: Any) -> None:
    try:
        with zipfile.ZipFile(file) as archive:
            parts = archive.infolist()
            if sum(part.file_size for part in parts) > MAX_UNPACKED or len(parts) > 1_000:
                text = gettext("The workbook unpacks to more than %d MB: split it, or save it as CSV.")
                raise refused(text % (MAX_UNPACKED // 1024 // 1024))
            for part in parts:
                if part.filename.endswith((".xml", ".rels")):
                    _check_xml(archive, part)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError, EOFError) as exc:
        raise refused(gettext("This is no XLSX file: save it as XLSX once more, or as CSV.")) from exc
    file.seek(0)


def _check_xml(archive: zipfile.ZipFile, part: zipfile.ZipInfo) -> None:
    with archive.open(part) as content:
        if not _PLAIN_XML.match(content.read(1_000)):
            raise zipfile.BadZipFile(part.filename)


def _as_typed_in(value: Any) -> str:
    """A worksheet's value as a person would type it: 5, not 5.0."""
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return value.isoformat() if isinstance(value, date) else str(value)


def _cells(values: Iterable[str]) -> list[str]:
    return [as_typed(value.strip())[:MAX_CELL] for value in values][:MAX_COLUMNS]
