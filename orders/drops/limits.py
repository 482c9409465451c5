"""How much of a drop a customer has: counted over the orders themselves, so that nothing can drift."""

from collections.abc import Iterable

from django.db.models import Sum

from orders.models import OrderLine, Status

# These gave their units, and so the customer's limit, back.
GIVEN_BACK = (Status.CANCELLED, Status.EXPIRED)


def units_bought(drop_id: int, buyer_ids: Iterable[int] | None = None) -> dict[int, int]:
    """Units by buyer (all buyers for None) in this drop's orders, without those that gave them back.

    One query. It decides about a limit only under the drop's lock, which keeps other orders of it out.
    """
    lines = OrderLine.objects.filter(order__drop_id=drop_id).exclude(order__status__in=GIVEN_BACK)
    if buyer_ids is not None:
        lines = lines.filter(order__buyer_id__in=list(buyer_ids))
    rows = lines.order_by().values_list("order__buyer_id").annotate(units=Sum("quantity"))
    return dict(rows)
