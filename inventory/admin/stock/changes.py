"""Receive, adjust, move: a form, then what it would do, then the change: of what was looked at, or none.

Each page carries the sequence of the stock rows that it shows. If one has moved when the operator confirms,
nothing is done and the numbers are shown anew. A form that is sent twice is done once for the same reason.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django import forms
from django.contrib.admin.widgets import AdminIntegerFieldWidget, AdminTextInputWidget
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext, gettext_noop, ngettext
from django.utils.translation import gettext_lazy as _

from inventory import ledger
from inventory.documents import fits
from inventory.models import MAX_UNITS, Movement, Stock
from inventory.reasons import ADJUSTED
from inventory.selectors import stocks_of_sku
from shop.desk.access.owners import sees_own_only
from shop.desk.operations import OperationForm, line_of_text
from shop.models import Option
from yousinsa.language import english, recordable
from yousinsa.text.fields import LineFormField


def _units(label: Any, **options: Any) -> forms.IntegerField:
    return forms.IntegerField(label=label, widget=AdminIntegerFieldWidget(), **options)


class ChangeForm(OperationForm):
    """What is to be changed. `record` is the stock row on whose page the operator is."""

    def moves(self) -> list[tuple[Stock, int]]:
        """The stock rows that a valid form moves, as they are now, and by how much on hand."""
        raise NotImplementedError

    def words(self) -> str:
        """What the ledger will say, in English where the words are ours."""
        raise NotImplementedError

    def apply(self, *, seen: Sequence[int], actor_id: int) -> None:
        """Do it, if the rows of `moves` are still at these sequences. Raises `StockMoved`, `Problem`."""
        raise NotImplementedError

    # The field that is wrong where there are too few or too many units.
    amount = "quantity"

    def check_amount(self) -> bool:
        """Whether the units fit; if not, the form says why."""
        for stock, delta in self.moves():
            if fits(stock, delta):
                continue
            if delta > 0:
                text = gettext("More than %d on hand cannot be recorded.") % MAX_UNITS
            else:
                text = ngettext(
                    "At most %(available)d can be taken away: %(reserved)d of the %(on_hand)d on hand is "
                    "reserved.",
                    "At most %(available)d can be taken away: %(reserved)d of the %(on_hand)d on hand are "
                    "reserved.",
                    stock.reserved,
                ) % {"available": stock.available, "reserved": stock.reserved, "on_hand": stock.on_hand}
            self.add_error(self.amount, text)
        return not self.errors

    def was_done(self, *, seen: Sequence[int], actor_id: int) -> bool:
        """Whether this very form was applied already: then each row's next movement is the form's."""
        moves = self.moves()
        if len(seen) != len(moves):
            return False
        return all(
            Movement.objects.filter(
                stock=stock, sequence=sequence + 1, actor=actor_id, delta_on_hand=delta, delta_reserved=0,
                reason=self.words(),
            ).exists()
            for (stock, delta), sequence in zip(moves, seen, strict=True)
        )  # fmt: skip


class ReceiveForm(ChangeForm):
    quantity = _units(_("units received"), min_value=1, max_value=MAX_UNITS)
    reason = line_of_text(_("reason"), max_length=200, help_text=_("Where they come from."))
    reference = line_of_text(
        _("reference"), max_length=40, required=False, help_text=_("The delivery note's number, if any.")
    )

    def moves(self) -> list[tuple[Stock, int]]:
        return [(self.record, self.cleaned_data["quantity"])]

    def words(self) -> str:
        return self.cleaned_data["reason"]

    def apply(self, *, seen: Sequence[int], actor_id: int) -> None:
        ledger.receive(
            option_id=self.record.option_id, quantity=self.cleaned_data["quantity"], actor_id=actor_id,
            reference=self.cleaned_data["reference"], reason=self.words(), seen=seen[0],
        )  # fmt: skip


REASONS = {
    "counted": _("counted"),
    "found": _("found"),
    "damaged": _("damaged"),
    "lost": _("lost or stolen"),
    "used": _("used as a sample or gift"),
    "mistake": _("entered by mistake"),
    "other": _("other (say which)"),
}


class AdjustForm(ChangeForm):
    delta = _units(
        _("difference"), min_value=-MAX_UNITS, max_value=MAX_UNITS,
        help_text=_("By how much: 3 for three more than on record, -3 for three fewer."),
    )  # fmt: skip
    reason = forms.ChoiceField(label=_("reason"), choices=[("", "---------"), *REASONS.items()])
    note = line_of_text(_("note"), max_length=150, required=False, help_text=_("What happened, in words."))
    amount = "delta"

    def clean_delta(self) -> int:
        if self.cleaned_data["delta"] == 0:
            raise forms.ValidationError(gettext("Must not be 0."))
        return self.cleaned_data["delta"]

    def clean(self) -> dict[str, Any]:
        if self.cleaned_data.get("reason") == "other" and not self.cleaned_data.get("note"):
            self.add_error("note", gettext("Say which other reason."))
        return self.cleaned_data

    def moves(self) -> list[tuple[Stock, int]]:
        return [(self.record, self.cleaned_data["delta"])]

    def words(self) -> str:
        why, note = self.cleaned_data["reason"], self.cleaned_data["note"]
        return ADJUSTED[why] % {"note": note} if note else english(REASONS[why])

    def apply(self, *, seen: Sequence[int], actor_id: int) -> None:
        ledger.adjust(
            option_id=self.record.option_id, delta=self.cleaned_data["delta"], reason=self.words(),
            actor_id=actor_id, seen=seen[0],
        )  # fmt: skip


class SkuInput(AdminTextInputWidget):
    """Text, with the SKUs that are meant most often to choose from."""

    suggested: Sequence[Option] = ()

    def render(self, name: str, value: Any, attrs: Any = None, renderer: Any = None) -> SafeString:
        field = super().render(name, value, {**(attrs or {}), "list": f"{name}-list"}, renderer)
        options = ((o.sku, " · ".join(filter(None, [o.size, o.color]))) for o in self.suggested)
        choices = format_html_join("", '<option value="{}">{}</option>', options)
        return format_html('{}<datalist id="{}-list">{}</datalist>', field, name, choices)


class TransferForm(ChangeForm):
    to = LineFormField(
        label=_("to (SKU)"), max_length=64, widget=SkuInput(),
        help_text=_("The option that the units belong to. Those of the same product are suggested."),
    )  # fmt: skip
    quantity = _units(_("units"), min_value=1, max_value=MAX_UNITS)
    reason = line_of_text(_("reason"), max_length=100, help_text=_("Why: wrong label, wrong shelf …"))

    def __init__(self, data: Any = None, *, record: Stock, **options: Any) -> None:
        super().__init__(data, record=record, **options)
        siblings = Option.objects.filter(product=record.option.product_id).exclude(pk=record.option_id)
        widget: Any = self.fields["to"].widget
        widget.suggested = siblings.order_by("id")[:50]

    def clean_to(self) -> Stock:
        sku = self.cleaned_data["to"]
        found = list(Stock.objects.select_related("option__product").filter(pk__in=stocks_of_sku(sku)))
        # `Shirt-1` and `shirt-1` are two: what is typed exactly is meant, else the only one there is.
        exact = [stock for stock in found if stock.option.sku == sku]
        target = exact[0] if exact else found[0] if len(found) == 1 else None
        if target is None:
            raise forms.ValidationError(
                gettext("There is no option with this SKU: look at how it is written.")
            )
        if target.pk == self.record.pk:
            raise forms.ValidationError(gettext("These units are there already: choose another option."))
        return target

    def moves(self) -> list[tuple[Stock, int]]:
        quantity = self.cleaned_data["quantity"]
        return [(self.record, -quantity), (self.cleaned_data["to"], quantity)]

    def words(self) -> str:
        target, source = self.cleaned_data["to"].option.sku[:40], self.record.option.sku[:40]
        return f"{source} → {target}: {self.cleaned_data['reason']}"

    def apply(self, *, seen: Sequence[int], actor_id: int) -> None:
        ledger.transfer(
            from_option_id=self.record.option_id, to_option_id=self.cleaned_data["to"].option_id,
            quantity=self.cleaned_data["quantity"], reason=self.words(), actor_id=actor_id,
            seen=(seen[0], seen[1]),
        )  # fmt: skip


@dataclass(frozen=True)
class Change:
    """`name` is the address of its page, `permission` who may do it; texts are lazy translations.

    `logged` is what the stock row's history says afterwards, in English, with `%(delta)s`. `by_owners`: store
    owners may do it too, to what is theirs.
    """

    name: str
    label: Any
    logged: str
    explanation: Any
    permission: str
    form: type[ChangeForm]
    by_owners: bool = False

    def is_open_to(self, user: Any) -> bool:
        """Whether the user may do this to the stock rows that they see."""
        return bool(user.has_perm(self.permission)) and (self.by_owners or not sees_own_only(user))


CHANGES = (
    Change(
        "receive",
        _("receive"),
        recordable(gettext_noop("receive %(delta)s")),
        _("Units arrived: they are added to what is on hand and can be sold at once."),
        "inventory.receive_stock",
        ReceiveForm,
        by_owners=True,
    ),
    Change(
        "adjust",
        _("adjust"),
        recordable(gettext_noop("adjust %(delta)s")),
        _("What is on hand differs from the record. Say by how much, not what it should be."),
        "inventory.adjust_stock",
        AdjustForm,
    ),
    Change(
        "transfer",
        _("move"),
        recordable(gettext_noop("move %(delta)s")),
        _("Units are kept as this option and belong to another one. Promised units stay."),
        "inventory.transfer_stock",
        TransferForm,
    ),
)
