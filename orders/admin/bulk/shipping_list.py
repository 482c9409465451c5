"""A list of parcels (order, carrier, tracking number), as a file or pasted from a spreadsheet."""

from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import Any

from django import forms
from django.core.files.base import ContentFile
from django.utils.text import capfirst
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.widgets import UnfoldAdminFileFieldWidget

from orders.bulk.drafting import MAX_ORDERS, Parcel
from shop.desk import uploads
from shop.desk.operations import line_of_text
from shop.desk.widgets import style_field
from yousinsa.files.cells import head

COLUMNS: dict[str, tuple[str, ...]] = {
    "order": ("order", "ordernumber", "number", "주문번호", "주문"),
    "carrier": ("carrier", "courier", "택배사", "택배", "배송사", "배송업체"),
    "tracking number": (
        "trackingnumber", "tracking", "waybill", "송장번호", "송장", "운송장번호", "운송장",
    ),
}  # fmt: skip
"""What the head may call each column, as `yousinsa.files.cells.head` compares names."""

_MAX_TEXT = 200_000


class ShippingListForm(forms.Form):
    """A file, or its rows pasted; a carrier for the rows that name none."""

    file = forms.FileField(
        label=_("File"), required=False, widget=UnfoldAdminFileFieldWidget(),
        help_text=_("CSV or XLSX; its first row names the columns."),
    )  # fmt: skip
    text = forms.CharField(
        label=_("Or rows, pasted from a spreadsheet"), required=False, strip=False, max_length=_MAX_TEXT,
        widget=forms.Textarea(attrs={"rows": 8}),
        help_text=_("Without a first row of names: order, carrier, tracking number, in this order."),
    )  # fmt: skip
    carrier = line_of_text(
        _("carrier"), max_length=50, required=False, help_text=_("For the rows that name none.")
    )

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        for field in self.fields.values():
            field.label = capfirst(field.label)
            style_field(field)

    def clean(self) -> dict[str, Any]:
        pasted = self.cleaned_data.get("text", "").strip()
        if not self.errors and bool(pasted) == bool(self.cleaned_data.get("file")):
            raise forms.ValidationError(gettext("Send a file, or paste rows: one of the two."))
        return self.cleaned_data

    @property
    def source(self) -> str:
        file = self.cleaned_data["file"]
        return file.name if file else gettext("pasted")

    def parcels(self) -> list[Parcel]:
        """What the rows say. Raises `Invalid` naming `file` or `text`."""
        if file := self.cleaned_data["file"]:
            return _parcels(uploads.rows(file), self.cleaned_data["carrier"])
        # The head is the file's first row; that of a paste may be missing, and blank lines are above it.
        pasted = ContentFile(self.cleaned_data["text"].strip("\r\n").encode(), name="pasted.csv")
        return _parcels(uploads.rows(pasted), self.cleaned_data["carrier"], needs_head=False)


def _parcels(rows: Iterator[uploads.Row], carrier: str, *, needs_head: bool = True) -> list[Parcel]:
    first = next(rows, None)
    if first is None:
        raise uploads.refused(gettext("There are no rows below the head."))
    names = [head(cell) for cell in first[1]]
    has_head = any(name in called for name in names for called in COLUMNS.values())
    if has_head or needs_head:
        places = _places(names, first[1], needs_carrier=not carrier)
    else:
        places = {name: place for place, name in enumerate(COLUMNS)}
        rows = chain([first], rows)
    found = []
    # One more than are taken: so that too many are seen to be.
    for number, cells in islice(rows, MAX_ORDERS + 1):
        order, by, tracking = (_cell(cells, places.get(name)) for name in COLUMNS)
        found.append(Parcel(number, order, by or carrier, tracking))
    return found


def _places(names: Sequence[str], given: Sequence[str], *, needs_carrier: bool) -> dict[str, int]:
    places = {
        column: next((names.index(name) for name in called if name in names), None)
        for column, called in COLUMNS.items()
    }
    missing = [
        column for column, place in places.items() if place is None and (column != "carrier" or needs_carrier)
    ]
    if missing:
        text = gettext("The first row must name the columns: %(missing)s is missing among %(found)s.")
        found = ", ".join(name[:40] for name in given[:10]) or "–"
        raise uploads.refused(text % {"missing": ", ".join(missing), "found": found})
    return {column: place for column, place in places.items() if place is not None}


def _cell(cells: Sequence[str], place: int | None) -> str:
    return cells[place] if place is not None and place < len(cells) else ""
