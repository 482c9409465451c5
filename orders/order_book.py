"""What the orders say of an option's units: all that inventory's reconciliation and seals ask of them."""

from collections.abc import Iterator, Sequence

from django.db.models import Sum
from django.utils.translation import gettext_noop

from inventory.reconciliation import ESCROW, Finding, OrderBook, OrderedUnits, Scope
from orders.drops.audit.escrow_check import check_escrow
from orders.drops.selectors import escrow_units
from orders.models import OrderLine, Status
from orders.states import HOLDING, SHIPPED_OUT
from shop.models import Option
from yousinsa.language import recordable

LINES_AT_A_TIME = 5_000
IN_A_DROP = recordable(gettext_noop("drop %(drop)d: %(cause)s"))


def order_units(option_ids: Sequence[int]) -> dict[int, OrderedUnits]:
    """What the orders of these options hold, have shipped and got back, by option id. One query."""
    rows = (
        OrderLine.objects.filter(option_id__in=option_ids)
        .order_by()
        .values_list("option_id", "order__status")
        .annotate(units=Sum("quantity"), back=Sum("returned"))
    )
    totals: dict[int, OrderedUnits] = {}
    for option_id, status, units, back in rows:
        promised, shipped, returned, _expired = totals.get(option_id, OrderedUnits())
        if status in HOLDING:
            promised += units
        elif status in SHIPPED_OUT:
            shipped += units
            returned += back
        totals[option_id] = OrderedUnits(promised, shipped, returned)
    return totals


def order_lines(option_id: int) -> Iterator[tuple[str, OrderedUnits]]:
    """What each order of an option says of it, as (order number, units), a page of lines at a time."""
    lines = (
        OrderLine.objects.filter(option_id=option_id)
        .order_by("pk")
        .values_list("pk", "order__number", "order__status", "quantity", "returned")
    )
    after, more = 0, True
    while more:
        page = list(lines.filter(pk__gt=after)[:LINES_AT_A_TIME])
        for after, number, status, quantity, returned in page:  # noqa: B007
            if status in HOLDING:
                yield number, OrderedUnits(promised=quantity)
            elif status in SHIPPED_OUT:
                yield number, OrderedUnits(shipped=quantity, returned=returned)
            else:
                yield number, OrderedUnits(expired=quantity if status == Status.EXPIRED else 0)
        more = len(page) == LINES_AT_A_TIME


def escrow_findings(scope: Scope) -> list[Finding]:
    """What Redis and the database do not agree on, of the drops that sell from Redis now. Raises `Busy`."""
    off = check_escrow(option_id=scope.option_id)
    options = Option.objects.filter(pk__in={d.option_id for d in off})
    if scope.store_id is not None:
        options = options.filter(product__store_id=scope.store_id)
    known = {id: (stock, sku) for id, stock, sku in options.values_list("id", "stock__id", "sku")}
    return [
        Finding(
            known[d.option_id][0], d.option_id, known[d.option_id][1], ESCROW, d.allotted, d.found,
            IN_A_DROP % {"drop": d.drop_id, "cause": d.cause},
        )
        for d in off
        if d.option_id in known
    ]  # fmt: skip


ORDERS = OrderBook(units=order_units, lines=order_lines, escrow=escrow_units, elsewhere=escrow_findings)
