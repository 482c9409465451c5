"""What operators do to orders. Each is a service's use case; the transition table has the last word."""

from typing import Any

from django import forms
from django.contrib.admin.widgets import AdminIntegerFieldWidget, AdminTextareaWidget
from django.utils.translation import gettext, ngettext, ngettext_lazy
from django.utils.translation import gettext_lazy as _

from orders import lifecycle, states
from orders.errors import ShippingRequired
from orders.lifecycle.losing import MAX_REASON
from orders.models import MAX_NOTE, Order, OrderLine, Payment, Status
from orders.payments.services import confirm_transfer
from shop.desk.operations import Operation, OperationForm, line_of_text
from yousinsa.errors import Invalid
from yousinsa.language import recorded
from yousinsa.text.fields import TextFormField


class ConfirmPaymentForm(OperationForm):
    def run(self, *, actor_id: int) -> None:
        order: Order = self.record
        try:
            confirm_transfer(order_id=order.pk, actor_id=actor_id)
        except ShippingRequired as exc:
            text = gettext("Nobody has said where to ship it. Save an address in the buyer's account first.")
            raise Invalid(text) from exc
        order.refresh_from_db(fields=["status", "note"])
        if order.status != Status.PAID:
            self.warning = recorded(order.note)


class ShipForm(OperationForm):
    carrier = line_of_text(_("carrier"), max_length=50, short=True)
    tracking_number = line_of_text(_("tracking number"), max_length=50, short=True)

    def run(self, *, actor_id: int) -> None:
        lifecycle.ship_order(order_id=self.record.pk, actor_id=actor_id, **self.cleaned_data)


class DeliverForm(OperationForm):
    def run(self, *, actor_id: int) -> None:
        lifecycle.deliver_order(order_id=self.record.pk, actor_id=actor_id)


class CancelForm(OperationForm):
    note = line_of_text(_("note"), max_length=200, help_text=_("Why. Kept in the order's history."))

    def run(self, *, actor_id: int) -> None:
        lifecycle.cancel_order(order_id=self.record.pk, actor_id=actor_id, **self.cleaned_data)


class ReturnAllForm(OperationForm):
    reason = line_of_text(_("reason"), max_length=200, help_text=_("Kept in the ledger and on the refund."))

    def run(self, *, actor_id: int) -> None:
        lifecycle.return_order(order_id=self.record.pk, units=None, actor_id=actor_id, **self.cleaned_data)


class ReturnForm(OperationForm):
    """A quantity for each line of which units are still out."""

    reason = line_of_text(_("reason"), max_length=200, help_text=_("Kept in the ledger and on the refund."))

    def __init__(self, data: Any = None, *, record: Order, **options: Any) -> None:
        super().__init__(data, record=record, **options)
        self.out = [line for line in record.lines.all() if line.quantity > line.returned]
        for line in self.out:
            self.fields[_field_name(line)] = _quantity_back(line)

    def clean(self) -> dict[str, Any]:
        if not self.errors and not self._units():
            raise forms.ValidationError(gettext("Say how many units came back."))
        return self.cleaned_data

    def _units(self) -> dict[int, int]:
        """What came back: option id -> units."""
        given = {line.option_id: self.cleaned_data.get(_field_name(line)) or 0 for line in self.out}
        return {option_id: units for option_id, units in given.items() if units}

    def run(self, *, actor_id: int) -> None:
        lifecycle.return_order(
            order_id=self.record.pk, units=self._units(), actor_id=actor_id,
            reason=self.cleaned_data["reason"],
        )  # fmt: skip


class LoseForm(OperationForm):
    reason = line_of_text(
        _("reason"), max_length=MAX_REASON,
        help_text=_("What the carrier says. Kept in the order's history and in the ledger."),
    )  # fmt: skip

    def run(self, *, actor_id: int) -> None:
        lifecycle.lose_order(order_id=self.record.pk, actor_id=actor_id, **self.cleaned_data)


class NoteForm(OperationForm):
    text = TextFormField(label=_("note"), max_length=MAX_NOTE, widget=AdminTextareaWidget())

    def run(self, *, actor_id: int) -> None:
        lifecycle.add_note(order_id=self.record.pk, author_id=actor_id, **self.cleaned_data)


def _field_name(line: OrderLine) -> str:
    return f"line-{line.option_id}"


def _quantity_back(line: OrderLine) -> forms.IntegerField:
    out = line.quantity - line.returned
    return forms.IntegerField(
        label=" · ".join(
            filter(None, [line.product_name, line.size, line.color, line.sku])
        ),
        min_value=0, max_value=out, required=False, initial=0,
        widget=AdminIntegerFieldWidget(),
        help_text=ngettext("Of %d that is still out.", "Of %d that are still out.", out) % out,
    )  # fmt: skip


def _payable(order: Order) -> bool:
    """An expired order is paid late only by a transfer that was announced while it was pending."""
    if order.status == Status.EXPIRED:
        return order.payments.filter(live=True, status=Payment.Status.WAITING).exists()
    return states.allowed(order.status, Status.PAID)


def _may_become(status: Status) -> Any:
    return lambda order: states.allowed(order.status, status)


CONFIRM_PAYMENT = Operation(
    name="confirm-payment",
    permission="orders.confirm_payment",
    label=_("confirm payment"),
    explanation=_("The buyer's transfer is on the account, in full: the order is paid and can be shipped."),
    done=_("paid."),
    form=ConfirmPaymentForm,
    possible=_payable,
)
SHIP = Operation(
    name="ship",
    permission="orders.ship_order",
    label=_("ship"),
    explanation=_("The parcel is with the carrier: its units leave the stock."),
    done=_("shipped."),
    form=ShipForm,
    possible=_may_become(Status.SHIPPED),
    action=_("Ship selected orders"),
    done_many=ngettext_lazy("%d order shipped.", "%d orders shipped."),
    asks=True,
    each=True,
)
DELIVER = Operation(
    name="deliver",
    permission="orders.deliver_order",
    label=_("mark as delivered"),
    explanation=_("The carrier says that the buyer has the parcel."),
    done=_("delivered."),
    form=DeliverForm,
    possible=_may_become(Status.DELIVERED),
)
CANCEL = Operation(
    name="cancel",
    permission="orders.cancel_order",
    label=_("cancel order"),
    explanation=_(
        "This cannot be undone. The units are for sale again at once; what was paid goes back to the buyer."
    ),
    done=_("cancelled."),
    form=CancelForm,
    possible=_may_become(Status.CANCELLED),
    action=_("Cancel selected orders"),
    done_many=ngettext_lazy("%d order cancelled.", "%d orders cancelled."),
    asks=True,
)
RETURN = Operation(
    name="return",
    permission="orders.return_order",
    label=_("take units back"),
    explanation=_(
        "This cannot be undone. The units go back into stock, and their price is owed to the buyer. "
        "The order is returned once its last unit is back."
    ),
    done=_("units taken back."),
    form=ReturnForm,
    possible=lambda order: order.status == Status.DELIVERED,
    action=_("Take back all units of selected orders"),
    done_many=ngettext_lazy("%d order returned.", "%d orders returned."),
    asks=True,
    action_form=ReturnAllForm,
)
LOSE = Operation(
    name="lose",
    permission="orders.lose_order",
    label=_("mark as lost"),
    explanation=_(
        "This cannot be undone. The parcel was lost on its way: the buyer gets back what was paid, the units "
        "are written off, and the store is not paid for them."
    ),
    done=_("marked as lost."),
    form=LoseForm,
    possible=lambda order: order.status == Status.SHIPPED,
)
ADD_NOTE = Operation(
    name="note",
    permission="orders.add_ordernote",
    label=_("add note"),
    explanation=_("For other operators. The buyer does not see it; it cannot be changed or taken back."),
    done=_("note kept."),
    form=NoteForm,
    possible=lambda order: True,
)
