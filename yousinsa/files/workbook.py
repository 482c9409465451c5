"""Rows of an XLSX file, read with bounds on all that a file can make a reader hold or do.

A workbook is an archive of XML: a few kilobytes unpack to gigabytes, and a tree of what they say takes ten
times as much. So nothing is read as a tree. Parts are parsed as they are unpacked, and what a file may hold
is limited: bytes, elements, names, cells of a row, formats, text. What is beyond is refused in words.
"""

import posixpath
import re
import time
import zipfile
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any, BinaryIO
from xml.parsers import expat

from django.utils.translation import gettext
from openpyxl.styles.numbers import BUILTIN_FORMATS, is_date_format
from openpyxl.utils.datetime import CALENDAR_MAC_1904, CALENDAR_WINDOWS_1900, from_excel

from yousinsa.files.archives import Refused, open_archive

# 100,000 rows of four cells are some 2 million elements.
MAX_ELEMENTS = 6_000_000
# Of a part that says how cells look, or where parts are.
MAX_ELEMENTS_ASIDE = 500_000
# Processor time, whatever the file found to spend it on.
MAX_SECONDS = 60.0
MAX_NAMES = 5_000
MAX_DEPTH = 60
MAX_TEXT = 32 * 1024 * 1024
# One tag or entity, of which the parser keeps all: a cell holds at most 32,767 characters.
MAX_TOKEN = 1 << 20
# Excel's own limits.
MAX_FORMATS = 65_490
LAST_COLUMN, LAST_ROW = 16_384, 1_048_576
_CHUNK = 1 << 16

Row = tuple[int, list[str]]
_REFERENCE = re.compile(r"([A-Z]{1,3})[0-9]+")
_NUMBER = re.compile(r"-?[0-9]{1,15}")


def workbook_rows(file: BinaryIO, *, columns: int, characters: int) -> Iterator[Row]:
    """The rows of a workbook's first sheet that are not blank: their numbers, and cells as one types them.

    Cells beyond the first `columns`, and a cell's text beyond `characters`, are left out. Raises `Refused`
    for what is no workbook, or too much of one.
    """
    with open_archive(file) as archive:
        reader = _Reader(archive, columns, characters)
        try:
            yield from reader.rows()
        except Refused:
            raise
        except (expat.ExpatError, KeyError, ValueError, IndexError, OverflowError) as exc:
            raise Refused(
                gettext("This is no workbook that can be read: save it as XLSX once more, or as CSV.")
            ) from exc


class _Reader:
    """One workbook. What its parts say is counted together."""

    def __init__(self, archive: zipfile.ZipFile, columns: int, characters: int) -> None:
        self._archive = archive
        self._columns = columns
        self._characters = characters
        self._elements = 0
        self._text = 0
        self._seconds = 0.0
        self._epoch: datetime = CALENDAR_WINDOWS_1900

    def rows(self) -> Iterator[Row]:
        main = dict(self._related("").values())["officeDocument"]
        parts = self._related(main)
        by_kind = dict(parts.values())
        sheets = [parts[id][1] for id in self._sheet_ids(main) if parts[id][0] == "worksheet"]
        dates = self._date_formats(by_kind["styles"]) if "styles" in by_kind else []
        strings = self._shared_strings(by_kind["sharedStrings"]) if "sharedStrings" in by_kind else []
        yield from self._sheet(sheets[0], _Values(strings, dates, self._epoch))

    def _parse(
        self,
        part: str,
        start: Callable[[str, dict[str, str]], None],
        end: Callable[[str], None] | None = None,
        text: Callable[[str], None] | None = None,
        most: int = MAX_ELEMENTS_ASIDE,
    ) -> Iterator[None]:
        """Read a part, element by element (by names without prefix); stops after every chunk."""
        names: dict[str, str] = {}
        local: dict[str, str] = {}
        parser = expat.ParserCreate(intern=names)
        parser.buffer_text = True
        depth, most = 0, min(MAX_ELEMENTS, self._elements + most)

        def started(tag: str, attributes: dict[str, str]) -> None:
            nonlocal depth
            depth += 1
            self._elements += 1
            if depth > MAX_DEPTH or self._elements > most:
                raise Refused(gettext("The workbook holds too much: split it, or save it as CSV."))
            start(local.get(tag) or local.setdefault(tag, tag.rpartition(":")[2]), attributes)

        def ended(tag: str) -> None:
            nonlocal depth
            depth -= 1
            if end is not None:
                end(local[tag])

        parser.StartElementHandler = started
        parser.EndElementHandler = ended
        parser.CharacterDataHandler = text
        parser.StartDoctypeDeclHandler = _no_doctype
        fed = 0
        with self._archive.open(part) as content:
            while chunk := content.read(_CHUNK):
                began = time.thread_time()
                parser.Parse(chunk)
                self._seconds += time.thread_time() - began
                fed += len(chunk)
                held = fed - parser.CurrentByteIndex
                if held > MAX_TOKEN or len(names) > MAX_NAMES or self._seconds > MAX_SECONDS:
                    raise Refused(gettext("The workbook holds too much: split it, or save it as CSV."))
                yield
        parser.Parse(b"", True)
        yield

    def _related(self, part: str) -> dict[str, tuple[str, str]]:
        """The parts that a part refers to: (kind, name) by id."""
        folder, name_in_it = posixpath.split(part)
        found: dict[str, tuple[str, str]] = {}

        def start(tag: str, attributes: dict[str, str]) -> None:
            if tag == "Relationship" and attributes.get("TargetMode") != "External":
                target = attributes["Target"]
                name = posixpath.normpath(posixpath.join("/", folder, target))[1:]
                found[attributes["Id"]] = (attributes["Type"].rpartition("/")[2], name)

        for _ in self._parse(posixpath.join(folder, "_rels", f"{name_in_it}.rels"), start):
            pass
        return found

    def _sheet_ids(self, main: str) -> list[str]:
        """The ids of the sheets, in their order; notes from which day on the workbook counts."""
        ids: list[str] = []

        def start(tag: str, attributes: dict[str, str]) -> None:
            if tag == "workbookPr" and attributes.get("date1904") in ("1", "true"):
                self._epoch = CALENDAR_MAC_1904
            elif tag == "sheet":
                ids.extend(value for name, value in attributes.items() if name.rpartition(":")[2] == "id")

        for _ in self._parse(main, start):
            pass
        return ids

    def _date_formats(self, part: str) -> list[bool]:
        """Of each cell format, whether it shows a number as a date."""
        codes: dict[int, str] = dict(BUILTIN_FORMATS)
        formats: list[int] = []
        inside = False

        def start(tag: str, attributes: dict[str, str]) -> None:
            nonlocal inside
            if tag == "numFmt":
                codes[int(attributes["numFmtId"])] = attributes["formatCode"]
            elif tag == "cellXfs":
                inside = True
            elif tag == "xf" and inside:
                formats.append(int(attributes.get("numFmtId", 0)))
            if len(formats) > MAX_FORMATS or len(codes) > MAX_FORMATS:
                raise Refused(gettext("The workbook has too many formats: copy its cells into a new one."))

        def end(tag: str) -> None:
            nonlocal inside
            inside = inside and tag != "cellXfs"

        for _ in self._parse(part, start, end):
            pass
        dates = {number: is_date_format(codes.get(number, "General")) for number in set(formats)}
        return [dates[number] for number in formats]

    def _shared_strings(self, part: str) -> list[str]:
        strings: list[str] = []
        text = _Text(self._characters)

        def start(tag: str, attributes: dict[str, str]) -> None:
            text.start(tag)
            if tag == "si":
                text.clear()

        def end(tag: str) -> None:
            text.end(tag)
            if tag == "si":
                strings.append(self._kept(text.value))

        for _ in self._parse(part, start, end, text.add, MAX_ELEMENTS):
            pass
        return strings

    def _kept(self, text: str) -> str:
        self._text += len(text)
        if self._text > MAX_TEXT:
            raise Refused(gettext("The workbook holds too much text: split it, or save it as CSV."))
        return text

    def _sheet(self, part: str, values: "_Values") -> Iterator[Row]:
        sheet = _Sheet(values, self._columns, self._characters)
        for _ in self._parse(part, sheet.start, sheet.end, sheet.text.add, MAX_ELEMENTS):
            yield from sheet.taken()
            if sheet.at_end:
                return


class _Text:
    """What the text elements (`t`, `v`) inside of something say together, but not how it is pronounced."""

    def __init__(self, characters: int) -> None:
        self._most = characters
        self._parts: list[str] = []
        self._room = characters
        self._open = False
        self._aside = False

    def clear(self) -> None:
        self._parts, self._room = [], self._most

    def start(self, tag: str) -> None:
        if tag == "rPh":
            self._aside = True
        self._open = tag in ("t", "v") and not self._aside

    def end(self, tag: str) -> None:
        self._open = False
        if tag == "rPh":
            self._aside = False

    def add(self, text: str) -> None:
        if self._open and self._room > 0:
            self._parts.append(text[: self._room])
            self._room -= len(text)

    @property
    def value(self) -> str:
        return "".join(self._parts)


class _Values:
    """What a cell's number, type and format say together."""

    def __init__(self, strings: list[str], dates: list[bool], epoch: datetime) -> None:
        self._strings = strings
        self._dates = dates
        self._epoch = epoch

    def shown(self, text: str, kind: str, style: str) -> str:
        """A cell as a person would type it: 5, not 5.0; a date as in 2026-11-28."""
        if not text or kind in ("str", "inlineStr", "e", "d"):
            return text
        if kind == "s":
            return self._strings[int(text)]
        if kind == "b":
            return "TRUE" if text.strip() == "1" else "FALSE"
        if style and int(style) < len(self._dates) and self._dates[int(style)]:
            return self._date(float(text))
        return text if _NUMBER.fullmatch(text) else _plain(float(text))

    def _date(self, number: float) -> str:
        try:
            value = from_excel(number, self._epoch)
        except (OverflowError, ValueError):
            return _plain(number)
        return str(value) if isinstance(value, timedelta) else str(value.isoformat())


def _plain(number: float) -> str:
    return str(int(number)) if number.is_integer() and abs(number) < 1e15 else str(number)


class _Sheet:
    """Gathers the rows of a sheet from its elements."""

    def __init__(self, values: _Values, columns: int, characters: int) -> None:
        self.text = _Text(characters)
        self.at_end = False
        self._values = values
        self._columns = columns
        self._rows: list[Row] = []
        self._number = 0
        self._cells: list[str] = []
        self._column = 0
        self._count = 0
        self._kind = self._style = ""

    def taken(self) -> list[Row]:
        rows, self._rows = self._rows, []
        return rows

    def start(self, tag: str, attributes: dict[str, Any]) -> None:
        if tag == "c":
            self._begin_cell(attributes)
        elif tag == "row":
            number = attributes.get("r", "")
            self._number = int(number) if number.isdecimal() else self._number + 1
            self._cells, self._column, self._count = [], 0, 0
            self.at_end = self.at_end or self._number > LAST_ROW
        self.text.start(tag)

    def _begin_cell(self, attributes: dict[str, str]) -> None:
        self._count += 1
        if self._count > LAST_COLUMN:
            raise Refused(
                gettext("Row %d has more cells than a spreadsheet holds: save it as XLSX once more.")
                % self._number
            )
        found = _REFERENCE.fullmatch(attributes.get("r", ""))
        self._column = _column(found.group(1)) if found else self._column + 1
        self._kind, self._style = attributes.get("t", "n"), attributes.get("s", "")
        self.text.clear()

    def end(self, tag: str) -> None:
        self.text.end(tag)
        if tag == "c" and self._column <= self._columns:
            value = self._values.shown(self.text.value, self._kind, self._style)
            if value:
                self._cells += [""] * (self._column - len(self._cells))
                self._cells[self._column - 1] = value
        elif tag == "row" and self._cells and not self.at_end:
            self._rows.append((self._number, self._cells))
            self._cells = []


def _column(letters: str) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - 64
    return number


def _no_doctype(*_: Any) -> None:
    raise Refused(gettext("This is no XLSX file: save it as XLSX once more, or as CSV."))
