"""An option's timeline: every movement, what it left, what is behind it, and where the chain is broken."""

from collections.abc import Sequence
from typing import Any

from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from inventory.admin.stock.movements import OF_ORDERS, balance, cause_link
from inventory.models import Movement, Stock
from shop.desk.links import ORDER, record_links
from yousinsa.language import recorded

Rows = list[dict[str, Any]]


def timeline(stock: Stock, *, before: int | None, size: int, full: bool) -> tuple[Rows, int | None]:
    """A page of a stock row's movements, newest first, and where the next page starts (None: at no place).

    Each row says in `broken` where its balance does not follow from the movement before it, or a number is
    missing between the two; the newest one also where the counters are not what it left behind. Only a
    `full` one leads to documents and moves, which are of other stores' options as well.
    """
    movements = stock.movements.select_related("actor").order_by("-sequence")
    if before is not None:
        movements = movements.filter(sequence__lt=before)
    found = list(movements[: size + 1])
    page, links = found[:size], _causes(found[:size], full=full)
    rows: Rows = []
    for i, movement in enumerate(page):
        older = found[i + 1] if i + 1 < len(found) else None
        broken = [_gap(movement, older)]
        if before is None and i == 0:
            broken.append(_drift(stock, movement))
        rows.append(
            {
                "movement": movement,
                "cause": links.get(movement.reference, ""),
                "why": recorded(movement.reason),
                "on_hand": balance(movement.on_hand_after, movement.delta_on_hand),
                "reserved": balance(movement.reserved_after, movement.delta_reserved),
                "available": movement.on_hand_after - movement.reserved_after,
                "broken": [text for text in broken if text],
            }
        )
    return rows, (page[-1].sequence if len(found) > size else None)


def _causes(movements: Sequence[Movement], *, full: bool) -> dict[str, SafeString | str]:
    """What leads to the cause of each movement, by its reference; one query for all orders among them."""
    numbers = {movement.reference for movement in movements if movement.kind in OF_ORDERS}
    found: dict[str, SafeString | str] = {**record_links(ORDER, numbers)}
    for reference in {movement.reference for movement in movements} - set(found):
        found[reference] = cause_link(reference) if full else reference
    return found


def _gap(movement: Movement, older: Movement | None) -> Any:
    sequence, on_hand, reserved = (
        (older.sequence, older.on_hand_after, older.reserved_after) if older else (0, 0, 0)
    )
    if movement.sequence != sequence + 1:
        first, last = sequence + 1, movement.sequence - 1
        return ngettext(
            "Movement %(first)d is missing here.",
            "Movements %(first)d to %(last)d are missing here.",
            last - first + 1,
        ) % {"first": first, "last": last}
    after = (on_hand + movement.delta_on_hand, reserved + movement.delta_reserved)
    if after == (movement.on_hand_after, movement.reserved_after):
        return ""
    return _(
        "This does not follow from the movement before, which left %(on_hand)d on hand, "
        "%(reserved)d reserved."
    ) % {"on_hand": on_hand, "reserved": reserved}


def _drift(stock: Stock, newest: Movement) -> Any:
    left = (newest.sequence, newest.on_hand_after, newest.reserved_after)
    if (stock.sequence, stock.on_hand, stock.reserved) == left:
        return ""
    return _("The counters differ from this: %(on_hand)d on hand, %(reserved)d reserved.") % {
        "on_hand": stock.on_hand, "reserved": stock.reserved,
    }  # fmt: skip
