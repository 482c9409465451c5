"""What was written down wrongly of an order that is paid for or on its way: corrected by an operator.

A corrected address is for the parcel that has not left, a corrected tracking number for the one that has.
"""

import hashlib
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from orders.locking import lock_order
from orders.models import Order, OrderCorrection, OrderTerm, Status
from orders.models.orders import SHIPPING_FIELDS
from yousinsa.db.transactions import transact
from yousinsa.errors import Conflict, Invalid

TRACKING_FIELDS = ("carrier", "tracking_number")
# How long after its delivery somebody may still ask where a parcel is.
TRACKED_FOR = timedelta(days=30)
# How long the values before and after are kept: they are personal data, and disputes are over by then.
KEPT_FOR = timedelta(days=90)
FORGOTTEN_AT_ONCE = 500
_MAY_BE_EMPTY = {"address2"}
_LONGEST = {field.name: int(field.max_length or 0) for field in Order._meta.fields}


class ChangedMeanwhile(Conflict):
    """409: what was to be corrected is not any more what was looked at."""

    code = "changed_meanwhile"
    title = _("Somebody else has changed this meanwhile.")


def version(order: Order, fields: tuple[str, ...]) -> str:
    """A mark of these fields' values: equal for equal values."""
    values = repr([getattr(order, field) for field in fields])
    return hashlib.blake2b(values.encode(), digest_size=8).hexdigest()


def address_is_final(order: Order) -> Any:
    """Why the address cannot be corrected now: a sentence, or None."""
    if order.status == Status.PAID:
        return None
    return gettext("It is %s: an address is corrected while the order is paid and has not shipped.") % (
        order.get_status_display()
    )


def tracking_is_final(order: Order) -> Any:
    """Why carrier and tracking number cannot be corrected now: a sentence, or None."""
    if order.status == Status.SHIPPED:
        return None
    if order.status != Status.DELIVERED:
        return gettext("It is %s: only what has shipped has a tracking number.") % order.get_status_display()
    since = timezone.now() - TRACKED_FOR
    if order.events.filter(to_status=Status.DELIVERED, created_at__gte=since).exists():
        return None
    return gettext("It was delivered more than %d days ago: its tracking number stays.") % TRACKED_FOR.days


def correct_address(*, order_id: int, actor_id: int, seen: str, address: Mapping[str, str]) -> None:
    """Send a paid order somewhere else: `address` has the fields of `SHIPPING_FIELDS`.

    `seen` is the `version` of the address that the decision was made on. Raises `Invalid` (a field is missing
    or too long, nothing differs), `Conflict` (it has shipped, or is not paid), `ChangedMeanwhile`,
    `OrderNotFound`, `Busy`.
    """
    values = {field: address[field] for field in SHIPPING_FIELDS}
    _correct(order_id, values, actor_id=actor_id, seen=seen, is_final=address_is_final)


def correct_tracking(*, order_id: int, actor_id: int, seen: str, carrier: str, tracking_number: str) -> None:
    """Say who really carries a shipped order, and under which number.

    `seen` and what is raised: as in `correct_address`, for `TRACKING_FIELDS`.
    """
    values = {"carrier": carrier, "tracking_number": tracking_number}
    _correct(order_id, values, actor_id=actor_id, seen=seen, is_final=tracking_is_final)


def _correct(
    order_id: int,
    values: Mapping[str, str],
    *,
    actor_id: int,
    seen: str,
    is_final: Callable[[Order], Any],
) -> None:
    values = {field: value.strip() for field, value in values.items()}
    _check(values)

    def work() -> None:
        order = lock_order(order_id)
        if reason := is_final(order):
            raise Conflict(reason)
        if version(order, tuple(values)) != seen:
            raise ChangedMeanwhile(_said(order, tuple(values)))
        changed = {field: value for field, value in values.items() if getattr(order, field) != value}
        if not changed:
            raise Invalid(gettext("Nothing is different from what it was."))
        OrderCorrection.objects.bulk_create(
            OrderCorrection(
                order=order, field=field, before=getattr(order, field), after=value, actor_id=actor_id
            )
            for field, value in changed.items()
        )
        for field, value in changed.items():
            setattr(order, field, value)
        order.save(update_fields=list(changed))
        OrderTerm.objects.note([order])

    transact(work)


def _check(values: Mapping[str, str]) -> None:
    errors = {}
    for field, value in values.items():
        longest = _LONGEST[field]
        if not value and field not in _MAY_BE_EMPTY:
            errors[field] = gettext("Required.")
        elif len(value) > longest:
            errors[field] = gettext("At most %d characters.") % longest
    if errors:
        raise Invalid(errors=errors)


def _said(order: Order, fields: tuple[str, ...]) -> str:
    now = ", ".join(filter(None, [getattr(order, field) for field in fields]))
    text = gettext("Nothing was saved: somebody else has changed this meanwhile. It says now: %s.")
    return text % now


def forget_corrections() -> int:
    """Forget the values of old corrections; that something was corrected, and by whom, stays.

    Returns how many were forgotten.
    """
    old = OrderCorrection.objects.filter(created_at__lt=timezone.now() - KEPT_FOR)
    ids = list(
        old.exclude(before="", after="").order_by("pk").values_list("pk", flat=True)[:FORGOTTEN_AT_ONCE]
    )
    return OrderCorrection.objects.filter(pk__in=ids).update(before="", after="")
