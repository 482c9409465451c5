"""What the rows of a file mean: receipts or counts, each checked, each refusal with its row, column and fix.

The rules of a row are django-import-export's resources: fields and widgets that clean a cell or say what is
wrong with it. Rows are given to them in batches: the library by itself holds the whole file, a result for
each row and a rendered difference in memory, which a file of 100,000 rows must not cost.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
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

BATCH = 500
# Refusals that are kept to be shown; all are counted.
SHOWN = 100
ROW = "row"


class RowError(NamedTuple):
    row: int
    column: str
    text: str


class ParsedRow:
    """What a row says; its attributes are the fields of the resource."""

    stock: Any
    pk = None

    def __str__(self) -> str:
        return ""


class SkuWidget(Widget):
    """An SKU as the stock row (id, on hand, reserved) that it names; each may be named once in a file."""

    def __init__(self) -> None:
        super().__init__()
        self.known: dict[str, tuple[int, int, int]] = {}
        self.seen: dict[str, int] = {}

    def clean(self, value: Any, row: Any = None, **kwargs: Any) -> Any:
        sku = str(value or "")
        if not sku:
            raise ValueError(gettext("Missing: give the option's SKU."))
        if sku not in self.known:
            raise ValueError(gettext("There is no option with the SKU %s: look at how it is written.") % sku)
        first = self.seen.setdefault(sku, row[ROW])
        if first != row[ROW]:
            raise ValueError(
                gettext("%(sku)s is in row %(row)d already: give each SKU once.") % {"sku": sku, "row": first}
            )
        return self.known[sku]


class UnitsWidget(Widget):
    """A whole number from `least` on."""

    def __init__(self, least: int) -> None:
        super().__init__()
        self.least = least

    def clean(self, value: Any, row: Any = None, **kwargs: Any) -> int:
        text = str(value or "")
        if not text:
            raise ValueError(gettext("Missing: give a whole number."))
        if not re.fullmatch(r"[+-]?[0-9]{1,12}", text):
            raise ValueError(
                gettext("%s is no whole number: write it in digits alone, such as 1200.") % text[:40]
            )
        units = int(text)
        if not self.least <= units <= MAX_UNITS:
            limits = {"least": self.least, "most": MAX_UNITS, "units": units}
            raise ValueError(gettext("%(units)d: give a number from %(least)d to %(most)d.") % limits)
        return units


class TextWidget(Widget):
    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most

    def clean(self, value: Any, row: Any = None, **kwargs: Any) -> str:
        text = str(value or "").replace("\x00", "")
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

    @property
    def skus(self) -> SkuWidget:
        return self.fields["sku"].widget

    def before_import(self, dataset: Any, **kwargs: Any) -> None:
        """All SKUs of a batch are looked up at once."""
        named = [str(sku) for sku in dataset["sku"] if sku]
        found = Stock.objects.filter(option__sku__in=named).values_list(
            "option__sku", "id", "on_hand", "reserved"
        )
        self.skus.known = {sku: tuple(numbers) for sku, *numbers in found}  # type: ignore[misc]

    def get_or_init_instance(self, instance_loader: Any, row: Any) -> tuple[ParsedRow, bool]:
        return ParsedRow(), True

    def save_instance(self, instance: Any, is_create: bool, row: Any, **kwargs: Any) -> None:
        self.good.append(self.accept(instance))

    def accept(self, draft: Any) -> Any:
        """What a row that is in order becomes."""
        raise NotImplementedError


class ReceiptRows(Rows):
    columns = ("sku", "units")
    optional = ("reference", "note")
    sku = Field(attribute="stock", column_name="sku", widget=SkuWidget())
    units = Field(attribute="units", column_name="units", widget=UnitsWidget(least=1))
    reference = Field(attribute="reference", column_name="reference", widget=TextWidget(40))
    note = Field(attribute="note", column_name="note", widget=TextWidget(200))

    def validate_instance(self, instance: Any, import_validation_errors: Any = None, **kwargs: Any) -> None:
        errors = import_validation_errors or {}
        if not errors and instance.stock[1] + instance.units > MAX_UNITS:
            errors["units"] = [gettext("With what is on hand this would be more than %d.") % MAX_UNITS]
        super().validate_instance(instance, errors, **kwargs)

    def accept(self, draft: Any) -> Receipt:
        return Receipt(draft.stock[0], draft.units, draft.reference, draft.note)


class CountRows(Rows):
    """Counts for a stocktake that is under way, or for a new one, which begins with the file."""

    columns = ("sku", "counted")
    sku = Field(attribute="stock", column_name="sku", widget=SkuWidget())
    counted = Field(attribute="counted", column_name="counted", widget=UnitsWidget(least=0))

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
            elif on_hand + instance.counted - self.begun.get(stock_id, on_hand) < reserved:
                text = ngettext(
                    "%(counted)d counted, but %(reserved)d is reserved: count again, or cancel orders.",
                    "%(counted)d counted, but %(reserved)d are reserved: count again, or cancel orders.",
                    reserved,
                )
                errors["counted"] = [text % {"counted": instance.counted, "reserved": reserved}]
        super().validate_instance(instance, errors, **kwargs)

    def accept(self, draft: Any) -> tuple[int, int]:
        return draft.stock[0], draft.counted


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
            resource.good.clear()  # the file is refused as a whole
    if not resource.good and not count:
        raise refused(gettext("There are no rows below the head."))
    return resource.good, errors, count


def _places(resource: Rows, names: Sequence[str]) -> dict[str, int]:
    """Where each column is in a row, by the head's names in any case."""
    given = [name.casefold() for name in names]
    wanted = [*resource.columns, *resource.optional]
    if missing := [name for name in resource.columns if name not in given]:
        text = gettext("The first row must name the columns: %(missing)s is missing among %(found)s.")
        found = ", ".join(name[:40] for name in names[:10]) or "–"
        raise refused(text % {"missing": ", ".join(missing), "found": found})
    if twice := [name for name in wanted if given.count(name) > 1]:
        raise refused(gettext("The first row names the column %s twice.") % ", ".join(twice))
    return {name: given.index(name) for name in wanted if name in given}


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
