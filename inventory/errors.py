"""What inventory refuses, as problems that carry their data."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypedDict

from django.utils.functional import lazy
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from yousinsa.errors import Conflict, Invalid

if TYPE_CHECKING:
    from inventory.locks import LockedStock


class Shortage(TypedDict):
    """One option that cannot be had: ids and units."""

    option: int
    requested: int
    available: int


def _sentence(lines: Sequence[Shortage]) -> str:
    if len(lines) == 1 and lines[0]["available"] <= 0:
        return gettext("Option %(option)s is sold out.") % lines[0]
    return "; ".join(
        gettext("option %(option)s: %(requested)s asked for, %(available)s available") % line
        for line in lines
    )


# Said where it is read: the batch that refuses is another thread's, which knows nothing of languages.
_said_later: Any = lazy(_sentence, str)


class InsufficientStock(Conflict):
    """409: some lines ask for more than is available. `lines` says which, and what there is."""

    code = "insufficient_stock"
    title = _("Not enough stock.")

    def __init__(self, lines: Sequence[Shortage]) -> None:
        self.lines = list(lines)
        super().__init__(_said_later(self.lines), lines=self.lines)


class UnknownStock(Invalid):
    """400: an option that is not kept in stock."""

    code = "unknown_option"
    title = _("There is no such option.")


class InvalidMovement(Invalid):
    """400: a movement that would break a counter's rule, or that lacks its reason."""

    code = "invalid_movement"
    title = _("Stock cannot move like that.")


class StockMoved(Conflict):
    """409: the stock is no longer what the decision was made on. `row` is what it is now."""

    code = "stock_moved"
    title = _("The stock has moved meanwhile. Nothing was changed.")

    def __init__(self, row: "LockedStock") -> None:
        self.row = row
        super().__init__(option=row.option_id, on_hand=row.on_hand, reserved=row.reserved)


class DocumentRefused(Conflict):
    """409: a delivery or stocktake cannot be applied, or changed, as it is."""

    code = "sheet_refused"
    title = _("This cannot be applied as it is. Nothing was changed.")
