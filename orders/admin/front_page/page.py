"""The front page put together, and kept for a while: many operators look at it, and it asks a lot."""

from dataclasses import asdict
from typing import Any

from django.core.cache import cache
from django.http import HttpRequest
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import get_language, gettext, ngettext

from orders.admin.front_page.figures import Figures, about
from orders.admin.front_page.panels import PANELS, lately
from orders.models import Order
from shop.desk.access.owners import is_store_owner
from shop.desk.columns import won

# The page says of which time its figures are.
SECONDS = 30


def context(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """What the front page shows this user (UNFOLD["DASHBOARD_CALLBACK"]).

    Its figures are the whole shop's: a store owner gets a list of pages instead.
    """
    if is_store_owner(request.user):
        return context
    page: Any = cache.get_or_set(f"desk:front-page:{get_language()}", make, SECONDS)
    cards = [
        card | {"wide": panel.wide}
        for panel, card in zip(PANELS, page["cards"], strict=True)
        if request.user.has_perm(panel.permission)
    ]
    return context | page | {"cards": cards}


def make() -> dict[str, Any]:
    """All panels in the present language, as plain data that any cache can keep."""
    figures = Figures()
    orders = about(Order)
    return {
        "cards": [asdict(panel.make(figures)) for panel in PANELS],
        "lately": lately(figures),
        "about_orders": ngettext("About %s order in all, by the database's estimate.",
                                 "About %s orders in all, by the database's estimate.", orders)
        % won(orders) if orders else "",
        "refresh": gettext("Figures of %(time)s, renewed every %(seconds)d seconds.")
        % {"time": date_format(timezone.localtime(), "H:i:s"), "seconds": SECONDS},
    }  # fmt: skip
