"""Reads a file of invoice lines: what each line says, or why it cannot be used, gathered by invoice.

`yousinsa.commands.csv_file` reads the file itself, which is never in memory as a whole.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

from orders.replay.values import Dates, digits, price
from yousinsa.commands.csv_file import charset_name, is_missing, read_table
from yousinsa.files.charsets import KOREAN, WESTERN

COLUMNS = (
    "InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country",
)  # fmt: skip

# The real file's largest invoice has 675; a file that never changes the number must not fill the memory.
MAX_INVOICE_LINES = 10_000

# So many cells that were read last are kept, of each kind: most rows say again what rows near them say.
NOTATIONS = 5000

_INVOICE = re.compile(r"C?[0-9]{1,12}")
_CODE = re.compile(r"[0-9A-Z][0-9A-Z _-]{0,29}")
_CUSTOMER = re.compile(r"[0-9A-Za-z_-]{1,40}")
_QUANTITY = re.compile(r"-?[0-9]{1,9}")
_OF, _CHARSETS = "invoice lines", (KOREAN, WESTERN)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class Line(NamedTuple):
    """One row. `row` is counted as a spreadsheet does (the header is 1), `price` is in pounds a unit.

    `code` is in upper case: the file writes some articles both ways, and they are the same. `customer` is
    empty for a sale to nobody in particular.
    """

    row: int
    invoice: str
    code: str
    description: str
    quantity: int
    date: datetime
    price: Decimal
    customer: str
    country: str

    def __str__(self) -> str:
        return f"{self.invoice} {self.code} {self.description!r} {self.quantity} x {self.price}"


class Skipped(NamedTuple):
    """A row that is not used, and why; the reasons are few, so that they can be counted."""

    row: int
    reason: str
    text: str = ""


@dataclass(slots=True)
class Invoice:
    """The lines under one invoice number; `number` has a C in front where it is a cancellation."""

    number: str
    customer: str
    date: datetime
    country: str
    lines: list[Line] = field(default_factory=list)

    @property
    def is_cancellation(self) -> bool:
        return self.number.startswith("C")


class Survey(NamedTuple):
    """What must be known of a file before it is replayed: its number of `rows`, how dates are written."""

    rows: int
    dates: Dates


def survey(path: Path, *, limit: int | None = None) -> Survey:
    """Look through a file. `rows` are those of the first `limit` invoices, at a guess where some are damaged.

    Raises CommandError (see `read_invoices`).
    """
    header, rows = _table(path)
    number, date = header.index("InvoiceNo"), header.index("InvoiceDate")
    texts: dict[str, None] = {}
    counted = found = 0
    last = ""
    for _row, fields in rows:
        if isinstance(fields, list) and len(fields) == len(header):
            texts[fields[date]] = None
            if fields[number] != last:
                last = fields[number]
                found += 1
        counted += limit is None or found <= limit
    return Survey(counted, Dates.of(texts))


def read_invoices(path: Path, dates: Dates, *, limit: int | None = None) -> Iterator[Invoice | Skipped]:
    """Up to `limit` invoices in the file's order, and the rows that belong to none or cannot be used.

    Raises CommandError where the file as a whole cannot be used; it names the file and the remedy.
    """
    invoice: Invoice | None = None
    found = 0
    for line in read_lines(path, dates):
        if isinstance(line, Skipped):
            yield line
            continue
        if invoice is None or line.invoice != invoice.number:
            if invoice is not None:
                yield invoice
            if found == limit:
                return
            found += 1
            invoice = Invoice(line.invoice, line.customer, line.date, line.country)
        if line.customer != invoice.customer:
            yield Skipped(line.row, "another customer than the invoice's first line", str(line))
        elif len(invoice.lines) == MAX_INVOICE_LINES:
            yield Skipped(line.row, f"its invoice has more than {MAX_INVOICE_LINES:,} lines", str(line))
        else:
            invoice.lines.append(line)
    if invoice is not None:
        yield invoice


def read_lines(path: Path, dates: Dates) -> Iterator[Line | Skipped]:
    """Every row below the header. Raises CommandError (see `read_invoices`)."""
    header, rows = _table(path)
    ours = itemgetter(*(header.index(name) for name in COLUMNS))
    read_number = lru_cache(NOTATIONS)(digits)
    read_date = lru_cache(NOTATIONS)(dates.read)
    read_price = lru_cache(NOTATIONS)(price)
    for row, fields in rows:
        if isinstance(fields, str):
            yield Skipped(row, fields)
        elif len(fields) != len(header):
            yield Skipped(row, "more or fewer columns than the header")
        else:
            values = _Values(*map(_clean, ours(fields)))
            yield _line(
                row, values, read_number(values.quantity), read_date(values.date), read_price(values.price)
            )


def charset(path: Path) -> str:
    """The letters that a file is read in, in words. Raises CommandError (see `read_invoices`)."""
    return charset_name(path, of=_OF, charsets=_CHARSETS)


def _table(path: Path) -> tuple[list[str], Iterator[tuple[int, list[str] | str]]]:
    return read_table(path, of=_OF, required=COLUMNS, charsets=_CHARSETS)


class _Values(NamedTuple):
    """What a row's cells say, in the order of `COLUMNS`."""

    invoice: str
    code: str
    description: str
    quantity: str
    date: str
    price: str
    customer: str
    country: str


@lru_cache(NOTATIONS)
def _clean(cell: str) -> str:
    return "" if is_missing(cell) else " ".join(_CONTROL.sub(" ", cell).split())


def _line(
    row: int, values: _Values, quantity: str, date: datetime | None, pounds: Decimal | None
) -> Line | Skipped:
    # Spreadsheets turn whole numbers into 17850.0.
    invoice, customer = values.invoice.removesuffix(".0").upper(), values.customer.removesuffix(".0")
    code = values.code.upper()
    if reason := _reason(invoice, code, quantity, customer):
        return Skipped(row, reason)
    if date is None:
        return Skipped(row, "InvoiceDate is not like 2010-12-01 08:26:00 or 12/1/2010 8:26")
    if pounds is None:
        return Skipped(row, "UnitPrice is not an amount in pounds")
    return Line(
        row, invoice, code, values.description, int(quantity), date, pounds, customer.lower(), values.country
    )


def _reason(invoice: str, code: str, quantity: str, customer: str) -> str:
    """Why a row's values cannot be used; empty where they can."""
    if not _INVOICE.fullmatch(invoice):
        return "InvoiceNo is neither a number nor a C and a number"
    if not _CODE.fullmatch(code):
        return "StockCode is missing or has other characters than letters, digits, blanks, _ and -"
    if not _QUANTITY.fullmatch(quantity):
        return "Quantity is not a whole number"
    if customer and not _CUSTOMER.fullmatch(customer):
        return "CustomerID has other characters than letters, digits, _ and -"
    return ""
