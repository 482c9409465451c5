"""What a cell of a spreadsheet says: text that is never run as a formula, numbers as people write them."""

import re
import unicodedata
from decimal import Decimal

# Where a spreadsheet takes text for a formula (OWASP, "CSV Injection"), full width included; what is not seen
# before it does not count. Quotes that are there already get another one, so that each text has its own cell.
_RUNS = re.compile(r"'*[\s\u200b-\u200f\u2060\ufeff]*[=+\-@\t\r\n＝＋－＠]")
# Neither a cell nor XML has a way to write these; a tab and line ends are text.
_UNWRITABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffe\uffff\ud800-\udfff]")

_WHOLE = re.compile(r"[+-]?([0-9]{1,12}|[0-9]{1,3}(,[0-9]{3}){1,3})")
_AMOUNT = re.compile(r"[+-]?([0-9]{1,12}|[0-9]{1,3}([.,'\u00a0 ][0-9]{3}){1,3})([.,][0-9]{1,4})?")


def as_text(text: str) -> str:
    """Text that a spreadsheet shows and never runs: a quote before what would begin a formula."""
    text = _UNWRITABLE.sub("", text)
    return f"'{text}" if _RUNS.match(text) else text


def as_typed(text: str) -> str:
    """What `as_text` was given (less what no cell can hold)."""
    return text[1:] if text[:1] == "'" and _RUNS.match(text) else text


def whole_number(text: str) -> int | None:
    """A whole number in digits, thousands marked by commas or not: `1200`, `1,200`; else None."""
    text = unicodedata.normalize("NFKC", text).strip()
    return int(text.replace(",", "")) if _WHOLE.fullmatch(text) else None


def amount(text: str) -> Decimal | None:
    """A number with a fraction, in either notation: `2.55`, `2,55`, `1,234.5`, `1.234,50`. None for others.

    A single comma before three digits marks thousands (`1,234`), unless a zero stands before it.
    """
    text = unicodedata.normalize("NFKC", text).strip()
    if not _AMOUNT.fullmatch(text):
        return None
    text = text.replace(" ", "").replace("'", "")
    point = max(text.rfind("."), text.rfind(","))
    if point < 0:
        return Decimal(text)
    mark = text[point]
    if text.count(mark) > 1 or (mark == "," and "." not in text and _is_thousands(text, point)):
        return Decimal(text.replace(mark, ""))
    return Decimal(re.sub("[.,]", "", text[:point]) + "." + text[point + 1 :])


def _is_thousands(text: str, comma: int) -> bool:
    return len(text) - comma == 4 and text[:comma].lstrip("+-") != "0"


def head(name: str) -> str:
    """A column's name as it is compared: without case, spaces and marks (`상품 코드*`, `SKU `)."""
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", name).casefold())
