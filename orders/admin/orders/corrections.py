"""Corrections of an order at the desk: where it goes, who carries it. A form knows what it was made of."""

from typing import Any, ClassVar

from django import forms
from django.utils.translation import gettext_lazy as _

from orders import lifecycle
from orders.lifecycle.correcting import TRACKING_FIELDS, address_is_final, tracking_is_final, version
from orders.locking import SHIPPING_FIELDS
from orders.models import Order
from shop.desk.operations import Operation, OperationForm, line_of_text


class CorrectionForm(OperationForm):
    """Shows what is there now; sent after somebody else's change it saves nothing, and says what is there."""

    corrected: ClassVar[tuple[str, ...]]

    seen = forms.CharField(widget=forms.HiddenInput)

    def __init__(self, data: Any = None, *, record: Order, **options: Any) -> None:
        now = {field: getattr(record, field) for field in self.corrected}
        initial = {**now, "seen": version(record, self.corrected)}
        super().__init__(data, record=record, initial=initial, **options)

    def attempt(self, *, actor_id: int) -> bool:
        if super().attempt(actor_id=actor_id):
            return True
        self.record.refresh_from_db(fields=self.corrected)
        data: Any = self.data
        self.data = data = data.copy()
        data[self.add_prefix("seen")] = version(self.record, self.corrected)
        return False


class AddressForm(CorrectionForm):
    corrected = SHIPPING_FIELDS

    recipient = line_of_text(_("recipient"), max_length=100)
    phone = line_of_text(_("phone"), max_length=30)
    postal_code = line_of_text(_("postal code"), max_length=10)
    address1 = line_of_text(_("address"), max_length=200)
    address2 = line_of_text(_("address, second line"), max_length=200, required=False)

    def run(self, *, actor_id: int) -> None:
        values = dict(self.cleaned_data)
        seen = values.pop("seen")
        lifecycle.correct_address(order_id=self.record.pk, actor_id=actor_id, seen=seen, address=values)


class TrackingForm(CorrectionForm):
    corrected = TRACKING_FIELDS

    carrier = line_of_text(_("carrier"), max_length=50)
    tracking_number = line_of_text(_("tracking number"), max_length=50)

    def run(self, *, actor_id: int) -> None:
        lifecycle.correct_tracking(order_id=self.record.pk, actor_id=actor_id, **self.cleaned_data)


CORRECT_ADDRESS = Operation(
    name="correct-address",
    permission="orders.correct_order",
    label=_("correct address"),
    explanation=_(
        "Where the parcel goes, until it ships. What was there before, and who changed it, is kept with the "
        "order for 90 days. Print the packing list anew."
    ),
    done=_("address corrected."),
    form=AddressForm,
    possible=lambda order: address_is_final(order) is None,
)
CORRECT_TRACKING = Operation(
    name="correct-tracking",
    permission="orders.correct_order",
    label=_("correct tracking number"),
    explanation=_("Who carries the parcel, and under which number: the buyer sees it at once."),
    done=_("tracking number corrected."),
    form=TrackingForm,
    possible=lambda order: tracking_is_final(order) is None,
)
