"""What the rows of a file mean: receipts or counts, each checked, each refusal with its row, column and fix.

The rules of a row are django-import-export's resources: fields and widgets that clean a cell or say what is
wrong with it. Rows are given to them in batches: the library by itself holds the whole file, a result for
each row and a rendered difference in memory, which a file of 100,000 rows must not cost.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, ClassVar, NamedTuple

from django.utils.translation import gettext, ngettext
from import_export.fields import Field
from import_export.instance_loaders import BaseInstanceLoader
from import_export.resources import Resource
from import_export.widgets import Widget
from tablib import Dataset

from inventory.documents import Receipt
from inventory.models import MAX_UNITS, Stock, Stocktake, StocktakeLine
from shop.desk.uploads import MAX_COLUMNS, Row, refused
from yousinsa.files.cells import head, whole_number
from yousinsa.text.cleaning import clean_line, clean_sku, tidied_sku

BATCH = 500
# Refusals that are kept to be shown; all are counted.
SHOWN = 100
ROW = "row"


class RowError(NamedTuple):
    row: int
    column: str
    text: str


# What else the head may call a column, the likeliest first.
ALSO_CALLED: Mapping[str, tuple[str, ...]] = {
    "sku": ("상품코드", "옵션코드", "품번"),
    "units": ("수량", "입고수량"),
    "counted": ("실사수량", "실사", "수량"),
    "reference": ("전표번호", "참조번호"),
    "note": ("비고", "메모"),
}


class ParsedRow:
    """What a row says; its attributes are the fields of the resource."""

    stock: Any
    row = 0
    pk = None

    def __str__(self) -> str:
        return ""


class SkuWidget(Widget):
    """An SKU as the stock row (id, on hand, reserved) that it names; once in a file unless it `repeats`."""

    def __init__(self, *, repeats: bool = False) -> None:
        super().__init__()
        self.repeats = repeats
        self.known: dict[str, tuple[int, int, int]] = {}
        self.seen: dict[str, int] = {}

    def clean(self, value: Any, row: Any = None, **kwargs: Any) -> Any:
        sku = clean_sku(str(value or ""))
        if not sku:
            raise ValueError(gettext("Missing: give the option's SKU."))
        if sku not in self.known:
            raise ValueError(gettext("There is no option with the SKU %s: look at how it is written.") % sku)
        first = self.seen.setdefault(sku, row[ROW])
        if first != row[ROW] and not self.repeats:
            raise ValueError(
                gettext("%(sku)s is in row %(row)d already: give each SKU once.") % {"sku": sku, "row": first}
            )
        return self.known[sku]


class UnitsWidget(Widget):
    """A whole number from `least` on; None for an empty cell, unless that is `required`."""

    def __init__(self, least: int, *, required: bool = True) -> None:
        super().__init__()
        self.least = least
        self.required = required

    def clean(self, value: Any, row: Any = None, **kwargs: Any) -> int | None:
        text = str(value or "").strip()
        if not text and not self.required:
            return None
        if not text:
            raise ValueError(gettext("Missing: give a whole number."))
        units = whole_number(text)
        if units is None:
            raise ValueError(
                gettext("%s is no whole number: write it in digits alone, such as 1200.") % text[:40]
            )
        if not self.least <= units <= MAX_UNITS:
            limits = {"least": self.least, "most": MAX_UNITS, "units": units}
            raise ValueError(gettext("%(units)d: give a number from %(least)d to %(most)d.") % limits)
        return units


class TextWidget(Widget):
    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most

    def clean(self, value: Any, row: Any = None, **kwargs: Any) -> str:
        text = clean_line(str(value or ""))
        if len(text) > self.most:
            raise ValueError(gettext("Too long: at most %d characters.") % self.most)
        return text


class Rows(Resource):
    """A kind of row. `columns` must be in the file's head, `optional` may be; any others are ignored."""

    columns: ClassVar[tuple[str, ...]]
    optional: ClassVar[tuple[str, ...]] = ()

    class Meta:
        import_id_fields = ("sku",)
        instance_loader_class = BaseInstanceLoader
        skip_diff = True
        use_transactions = False

    def __init__(self) -> None:
        super().__init__()
        self.good: list[Any] = []
        # What to tell about rows that were taken otherwise than they stand there.
        self.notes: list[str] = []

    @property
    def skus(self) -> SkuWidget:
        return self.fields["sku"].widget

    def before_import(self, dataset: Any, **kwargs: Any) -> None:
        """All SKUs of a batch are looked up at once."""
        named = [tidied_sku(str(sku)) for sku in dataset["sku"] if sku]
        found = Stock.objects.filter(option__sku__in=named).values_list(
            "option__sku", "id", "on_hand", "reserved"
        )
        self.skus.known = {sku: tuple(numbers) for sku, *numbers in found}  # type: ignore[misc]

    def get_or_init_instance(self, instance_loader: Any, row: Any) -> tuple[ParsedRow, bool]:
        return ParsedRow(), True

    def import_instance(self, instance: ParsedRow, row: Any, **kwargs: Any) -> None:
        instance.row = row[ROW]
        super().import_instance(instance, row, **kwargs)

    def save_instance(self, instance: Any, is_create: bool, row: Any, **kwargs: Any) -> None:
        self.accept(instance)

    def accept(self, draft: Any) -> None:
        """Put what a row that is in order becomes with the `good` ones."""
        raise NotImplementedError

    def forget(self) -> None:
        """The file is refused as a whole: what was accepted is let go."""
        self.good.clear()
        self.notes.clear()


class ReceiptRows(Rows):
    """Receipts. An SKU that comes again is added up, as parcels of one delivery are."""

    columns = ("sku", "units")
    optional = ("reference", "note")
    sku = Field(attribute="stock", column_name="sku", widget=SkuWidget(repeats=True))
    units = Field(attribute="units", column_name="units", widget=UnitsWidget(least=1))
    reference = Field(attribute="reference", column_name="reference", widget=TextWidget(40))
    note = Field(attribute="note", column_name="note", widget=TextWidget(200))

    def __init__(self) -> None:
        super().__init__()
        # Stock id -> where its receipt is among the good ones, and its first row.
        self.known: dict[int, tuple[int, int]] = {}

    def validate_instance(self, instance: Any, import_validation_errors: Any = None, **kwargs: Any) -> None:
        errors = import_validation_errors or {}
        if not errors:
            receipt = self._receipt(instance)
            if instance.stock[1] + receipt.units > MAX_UNITS:
                errors["units"] = [gettext("With what is on hand this would be more than %d.") % MAX_UNITS]
            for name, most in (("reference", 40), ("note", 200)):
                if len(getattr(receipt, name)) > most:
                    text = gettext(
                        "Together with the rows above of this SKU too long: at most %d characters."
                    )
                    errors[name] = [text % most]
        super().validate_instance(instance, errors, **kwargs)

    def _receipt(self, draft: Any) -> Receipt:
        """A row, with those above it that name the same option."""
        stock_id = draft.stock[0]
        if stock_id not in self.known:
            return Receipt(stock_id, draft.units, draft.reference, draft.note)
        before: Receipt = self.good[self.known[stock_id][0]]
        return Receipt(
            stock_id, before.units + draft.units, _joined(before.reference, draft.reference),
            _joined(before.note, draft.note),
        )  # fmt: skip

    def accept(self, draft: Any) -> None:
        receipt, stock_id = self._receipt(draft), draft.stock[0]
        if stock_id not in self.known:
            self.known[stock_id] = len(self.good), draft.row
            self.good.append(receipt)
            return
        at, first = self.known[stock_id]
        self.good[at] = receipt
        text = gettext("Rows %(first)d and %(row)d are of one SKU: added up to %(units)d units.")
        self.notes.append(text % {"first": first, "row": draft.row, "units": receipt.units})

    def forget(self) -> None:
        super().forget()
        self.known.clear()


def _joined(one: str, other: str) -> str:
    return ", ".join(dict.fromkeys(filter(None, [*one.split(", "), other])))


class CountRows(Rows):
    """Counts for a stocktake that is under way, or for a new one, which begins with the file."""

    columns = ("sku", "counted")
    sku = Field(attribute="stock", column_name="sku", widget=SkuWidget())
    counted = Field(attribute="counted", column_name="counted", widget=UnitsWidget(least=0, required=False))

    def __init__(self, stocktake: Stocktake | None = None) -> None:
        super().__init__()
        self.stocktake = stocktake
        self.begun: dict[int, int] = {}

    def before_import(self, dataset: Any, **kwargs: Any) -> None:
        super().before_import(dataset, **kwargs)
        if self.stocktake is not None:
            ids = [numbers[0] for numbers in self.skus.known.values()]
            lines = StocktakeLine.objects.filter(stocktake=self.stocktake, stock__in=ids)
            self.begun = dict(lines.values_list("stock_id", "on_hand"))

    def validate_instance(self, instance: Any, import_validation_errors: Any = None, **kwargs: Any) -> None:
        errors = import_validation_errors or {}
        if not errors:
            stock_id, on_hand, reserved = instance.stock
            if self.stocktake is not None and stock_id not in self.begun:
                errors["stock"] = [gettext("This option is not counted in this stocktake: take the row out.")]
            elif instance.counted is not None and (
                on_hand + instance.counted - self.begun.get(stock_id, on_hand) < reserved
            ):
                text = ngettext(
                    "%(counted)d counted, but %(reserved)d is reserved: count again, or cancel orders.",
                    "%(counted)d counted, but %(reserved)d are reserved: count again, or cancel orders.",
                    reserved,
                )
                errors["counted"] = [text % {"counted": instance.counted, "reserved": reserved}]
        super().validate_instance(instance, errors, **kwargs)

    def accept(self, draft: Any) -> None:
        """An option with its count, None for not counted."""
        self.good.append((draft.stock[0], draft.counted))


def read(resource: Rows, found: Iterable[Row]) -> tuple[list[Any], list[RowError], int]:
    """All rows of a file: what they say, the first refusals, and how many there are.

    Raises `Invalid` naming `file` where there is no row, or the head lacks a column.
    """
    lines = iter(found)
    _number, names = next(lines, (0, [""]))
    places = _places(resource, names)
    errors: list[RowError] = []
    count = 0
    for batch in _batches(lines):
        for refusal in _refusals(resource, batch, places):
            count += 1
            if len(errors) < SHOWN:
                errors.append(refusal)
        if count:
            resource.forget()
    if not resource.good and not count:
        raise refused(gettext("There are no rows below the head."))
    return resource.good, errors, count


def _places(resource: Rows, names: Sequence[str]) -> dict[str, int]:
    """Where each column is in a row, by the head's names in any case, in English or Korean."""
    given = [head(name) for name in names]
    wanted = {
        name: next((called for called in (name, *ALSO_CALLED[name]) if called in given), "")
        for name in [*resource.columns, *resource.optional]
    }
    if missing := [name for name in resource.columns if not wanted[name]]:
        text = gettext("The first row must name the columns: %(missing)s is missing among %(found)s.")
        found = ", ".join(name[:40] for name in names[:10]) or "–"
        raise refused(text % {"missing": ", ".join(missing), "found": found})
    if twice := [called for called in wanted.values() if given.count(called) > 1]:
        raise refused(gettext("The first row names the column %s twice.") % ", ".join(twice))
    return {name: given.index(called) for name, called in wanted.items() if called}


def _refusals(resource: Rows, batch: Sequence[Row], places: dict[str, int]) -> Iterator[RowError]:
    """What the resource finds wrong with a batch of rows; the others it accepts."""
    names = [*resource.columns, *resource.optional]
    dataset = Dataset(headers=[ROW, *names])
    for number, cells in batch:
        values = (places.get(name, MAX_COLUMNS) for name in names)
        dataset.append([number, *(cells[i] if i < len(cells) else "" for i in values)])
    result = resource.import_data(dataset, dry_run=False, raise_errors=False)
    for error in [*result.base_errors, *(error for row in result.error_rows for error in row.errors)]:
        raise error.error
    column_of = {field.attribute: field.column_name for field in resource.fields.values()}
    for invalid in result.invalid_rows:
        for attribute, texts in invalid.error_dict.items():
            row = batch[invalid.number - 1][0]
            yield RowError(row, column_of.get(attribute, attribute), " ".join(texts))


def _batches(rows: Iterator[Row]) -> Iterator[list[Row]]:
    while batch := list(islice(rows, BATCH)):
        yield batch
