"""Files from people: their letters, their cells, and workbooks that are larger than they look."""

import io
import tracemalloc
import zipfile
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openpyxl import Workbook
from openpyxl.styles import Font

from yousinsa.files import workbook
from yousinsa.files.archives import MAX_PARTS, MAX_UNPACKED, Refused
from yousinsa.files.cells import amount, as_text, as_typed, head, whole_number
from yousinsa.files.charsets import KOREAN, WESTERN, charset_of
from yousinsa.files.workbook import workbook_rows

# --- Letters ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "codec"),
    [
        (b"sku,units\n", "utf-8-sig"),
        ("\ufeffsku,한글".encode(), "utf-8-sig"),
        ("상품코드,수량\n가방-1,3\n".encode("cp949"), KOREAN),
        ("똠방각하 펲시콜라".encode("cp949"), KOREAN),
        ("sku,수량\n".encode("utf-16"), "utf-16"),
        (b"\xfe\xff" + "sku,수량\n".encode("utf-16-be"), "utf-16"),
        ("Café crème, 3 £\n".encode("latin-1"), WESTERN),
        (b"\xff\xfea", None),
        (b"a\x81\n", None),
        (b"", "utf-8-sig"),
    ],
)
def test_the_letters_of_a_file_are_told_by_its_mark_or_its_bytes(content: bytes, codec: str | None) -> None:
    assert charset_of(io.BytesIO(content), (KOREAN, WESTERN)) == codec


# --- Cells --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "=1",
        "-A",
        "'-A",
        "''-A",
        "+1",
        "@x",
        " =1",
        "\t=1",
        "＝1",
        "\u200b=1",
        "'\u00a0=1",
        "'plain",
        "plain",
        "'",
        "",
    ],
)
def test_what_would_run_is_quoted_and_read_back(text: str) -> None:
    cell = as_text(text)
    assert not cell.lstrip("\u200b\t ").startswith(("=", "+", "-", "@", "＝"))
    assert as_typed(cell) == text


@given(st.lists(st.text("'=-@ aA\u200b\n가", max_size=6), min_size=2, max_size=2, unique=True))
def test_two_texts_are_two_cells_and_each_is_read_back(texts: list[str]) -> None:
    cells = [as_text(text) for text in texts]
    assert cells[0] != cells[1]
    assert [as_typed(cell) for cell in cells] == texts


@pytest.mark.parametrize("control", ["\x00", "\x01", "\x1f", "\x7f", "\x9b", "\ufffe"])
def test_what_no_cell_can_hold_does_not_hide_a_formula(control: str) -> None:
    assert as_text(f"{control}=1+1") == "'=1+1"
    assert as_text(f"a{control}b") == "ab"


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("12", 12), ("1,000", 1000), ("12,345,678", 12345678), ("-3", -3), ("１２", 12), ("1,00", None),
        ("1,0000", None), ("1.5", None), ("1e3", None), ("", None), ("x", None),
        ("1234567890123", None), ("²", 2), ("٣", None),
    ],
)  # fmt: skip
def test_whole_numbers_as_people_write_them(text: str, number: int | None) -> None:
    assert whole_number(text) == number


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("2.55", "2.55"), ("2,55", "2.55"), ("1,234", "1234"), ("1.234", "1.234"), ("0,125", "0.125"),
        ("-2,5", "-2.5"), ("1,234.50", "1234.50"), ("1.234,50", "1234.50"),
        ("1,234,567", "1234567"), ("1.234.567", "1234567"),
        ("1 234,5", "1234.5"), ("1'234.5", "1234.5"), ("7", "7"), ("2,,5", None), ("x", None), ("", None),
        ("1,2,3", None),
    ],
)  # fmt: skip
def test_amounts_in_either_notation(text: str, number: str | None) -> None:
    assert amount(text) == (None if number is None else Decimal(number))


def test_heads_are_compared_without_case_and_spaces() -> None:
    assert head(" 상품 코드 *") == head("상품코드") == "상품코드"
    assert head("SKU") == head("ｓｋｕ") == "sku"


# --- Workbooks ----------------------------------------------------------------------------------------


def book(*lines: list[object]) -> io.BytesIO:
    made, file = Workbook(), io.BytesIO()
    for line in lines:
        made.active.append(line)
    made.save(file)
    file.seek(0)
    return file


def rows(file: io.BytesIO, columns: int = 50, characters: int = 1_000) -> list[tuple[int, list[str]]]:
    return list(workbook_rows(file, columns=columns, characters=characters))


def changed(part: str, change: Callable[[bytes], bytes], *lines: list[object]) -> io.BytesIO:
    """A workbook with other words in one of its parts."""
    file = io.BytesIO()
    with (
        zipfile.ZipFile(book(*(lines or (["sku"],)))) as old,
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        assert part in old.namelist()
        for name in old.namelist():
            new.writestr(name, change(old.read(name)) if name == part else old.read(name))
    file.seek(0)
    return file


SHEET, STYLES = "xl/worksheets/sheet1.xml", "xl/styles.xml"


def sheet(body: bytes) -> io.BytesIO:
    return changed(SHEET, lambda xml: xml.replace(b"</sheetData>", body + b"</sheetData>"))


def test_cells_are_read_as_people_type_them() -> None:
    made = Workbook()
    made.active.append(
        ["sku", "=1+1", 5, 5.0, 5.5, True, date(2026, 11, 28), datetime(2026, 11, 28, 9, 30), 1e20]
    )
    made.active.append([])
    made.active.append(["", None, "한글 & <b>", 1_000_000, -3])
    made.active["D3"].font = Font(bold=True)
    made.active["A5"] = "last"
    file = io.BytesIO()
    made.save(file)
    file.seek(0)
    assert rows(file) == [
        (1, ["sku", "", "5", "5", "5.5", "TRUE", "2026-11-28T00:00:00", "2026-11-28T09:30:00", "1e+20"]),
        (3, ["", "", "한글 & <b>", "1000000", "-3"]),
        (5, ["last"]),
    ]  # fmt: skip


def test_cells_in_other_programs_words_are_read() -> None:
    body = (
        b'<row r="4"><c r="B4" t="inlineStr"><is><r><t>in</t></r><r><t>line</t></r></is></c><c t="str">'
        b'<f>A1</f><v>text</v></c><c t="e"><v>#N/A</v></c><c t="b"><v>0</v></c><c><v>1E3</v></c></row>'
        b'<row><c><v>7</v></c></row><row r="99999999999"><c><v>8</v></c></row>'
    )
    assert rows(sheet(body))[1:] == [(4, ["", "inline", "text", "#N/A", "FALSE", "1000"]), (5, ["7"])]
    prefixed = changed(SHEET, lambda xml: xml.replace(b"<row", b"<x:row").replace(b"</row", b"</x:row"))
    assert rows(prefixed) == [(1, ["sku"])]


def test_shared_strings_are_read_without_how_they_are_pronounced() -> None:
    file = shared(b"<si><t>one</t></si><si><r><t>t</t></r><r><t>wo</t></r><rPh><t>x</t></rPh></si>")
    assert rows(file) == [(1, ["two", "one"])]


def shared(strings: bytes) -> io.BytesIO:
    """A workbook of two cells that refer to strings."""
    cells = b'<row><c t="s"><v>1</v></c><c t="s"><v>0</v></c></row>'
    relations = b"<Relationships>%s</Relationships>"
    relation = b'<Relationship Id="%s" Type="http://x/%s" Target="%s"/>'
    parts = {
        "_rels/.rels": relations % (relation % (b"r", b"officeDocument", b"/xl/workbook.xml")),
        "xl/workbook.xml": b'<workbook><sheets><sheet r:id="s"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": relations
        % (relation % (b"s", b"worksheet", b"s.xml") + relation % (b"t", b"sharedStrings", b"./t.xml")),
        "xl/s.xml": b"<worksheet><sheetData>" + cells + b"</sheetData></worksheet>",
        "xl/t.xml": b"<sst>" + strings + b"</sst>",
    }
    return archive(**parts)


def test_what_is_beyond_the_bounds_of_a_row_is_left_out() -> None:
    assert rows(book(["a", "b", "c"], ["x" * 50]), columns=2, characters=10) == [
        (1, ["a", "b"]),
        (2, ["x" * 10]),
    ]


BOMBS: dict[str, Callable[[], io.BytesIO]] = {
    "18 million formats": lambda: changed(
        STYLES, lambda xml: xml.replace(b"</cellXfs>", b"<xf/>" * 18_000_000 + b"</cellXfs>")
    ),
    "a row of 5.6 million cells": lambda: sheet(b"<row>" + b"<c><v>1</v></c>" * 5_600_000 + b"</row>"),
    "fills without end": lambda: changed(
        STYLES, lambda xml: xml.replace(b"</fills>", b"<fill/>" * 2_000_000 + b"</fills>")
    ),
    "a tree without ground": lambda: sheet(b"<a>" * 5_000_000),
    "names without end": lambda: sheet(b"".join(b"<a%d/>" % i for i in range(200_000))),
    "one attribute": lambda: sheet(b"<row x='" + b"a" * 50_000_000 + b"'/>"),
    "too large": lambda: sheet(b" " * (MAX_UNPACKED + 1)),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_small_file_that_unpacks_to_much_is_refused_in_words_and_in_little_memory(bomb: str) -> None:
    file = BOMBS[bomb]()
    assert len(file.getvalue()) < 3 * 1024 * 1024
    tracemalloc.start()
    try:
        with pytest.raises(Refused) as refusal:
            rows(file)
        _now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 30 * 1024 * 1024
    assert "save it as" in str(refusal.value) or "copy its cells" in str(refusal.value)


def test_time_and_text_are_bounded_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workbook, "MAX_TEXT", 3)
    with pytest.raises(Refused):
        rows(shared(b"<si><t>four</t></si>" * 2))
    monkeypatch.undo()
    monkeypatch.setattr(workbook, "MAX_SECONDS", -1.0)
    with pytest.raises(Refused):
        rows(book(["a"]))


def archive(**parts: bytes) -> io.BytesIO:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as made:
        for name, content in parts.items():
            made.writestr(name, content)
    file.seek(0)
    return file


@pytest.mark.parametrize(
    "file",
    [
        io.BytesIO(b""),
        io.BytesIO(b"PK no archive"),
        io.BytesIO(book(["a"]).getvalue()[:-30]),
        archive(hello=b"hello"),
        archive(**{f"part{i}": b"" for i in range(MAX_PARTS + 1)}),
        changed(SHEET, lambda xml: xml.replace(b"</row>", b"")),
        changed(SHEET, lambda xml: b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>'),
        changed("xl/workbook.xml", lambda xml: b"<workbook/>"),
        changed("_rels/.rels", lambda xml: b"<Relationships/>"),
        sheet(b'<row><c t="s"><v>99</v></c></row>'),
        sheet(b"<row><c><v>many</v></c></row>"),
    ],
)
def test_what_is_no_workbook_is_refused_in_words(file: io.BytesIO) -> None:
    with pytest.raises(Refused):
        rows(file)
