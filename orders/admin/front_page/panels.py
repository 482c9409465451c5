"""The panels of the front page: what each shows, where it leads, who may see it.

A panel is a function of the figures; `PANELS` lists them in the order of the page. A further one is a
function and a line in that list.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext, ngettext

from inventory.models import Difference, ReconciliationRun, Stock
from inventory.selectors import LOW_STOCK
from orders.admin.front_page.figures import NEWEST_LINES, Figures, OptionRow
from orders.models import Drop, DropStatus, Hold, Order, Payment, Refund, Status
from shop.desk.bounds import AtLeast
from shop.desk.columns import admin_url, won
from shop.models import Store


class Line(NamedTuple):
    """A line of a card: what, how much, and the page that shows it."""

    text: str
    value: str
    link: str = ""


class Chart(NamedTuple):
    """What the theme draws: `bar` or `line`, its data and options as JSON, and what it shows in words."""

    kind: str
    data: str
    options: str
    words: str


@dataclass
class Card:
    """A panel as it is shown: `value` is the figure, `note` what it counts, `empty` stands for no lines."""

    title: str
    link: str = ""
    value: str = ""
    note: str = ""
    lines: list[Line] = field(default_factory=list)
    empty: str = ""
    warning: str = ""
    chart: Chart | None = None


def _list(model: Any, query: str = "") -> str:
    return f"{admin_url(model, 'changelist')}{'?' if query else ''}{query}"


def _count(number: int) -> str:
    return str(number) if isinstance(number, AtLeast) else won(number)


def _clock(at: datetime) -> str:
    return date_format(timezone.localtime(at), "H:i")


def orders_today(figures: Figures) -> Card:
    today, link = figures.today(), _list(Order, "ordered=today")
    return Card(
        title=gettext("Orders placed today"),
        link=link,
        value=_count(sum(today.values())),
        lines=[
            Line(str(status.label), _count(today[status]), f"{link}&status__exact={status}")
            for status in Status if today[status]
        ],
        empty=gettext("No order yet today."),
    )  # fmt: skip


def to_do(figures: Figures) -> Card:
    waiting = [
        (gettext("paid, to be shipped"), Status.PAID),
        (gettext("pending, to be paid"), Status.PENDING),
        (gettext("shipped, on the way"), Status.SHIPPED),
    ]
    lines = [
        Line(text, _count(figures.waiting(status)), _list(Order, f"status__exact={status}"))
        for text, status in waiting
    ]
    return Card(
        title=gettext("Open orders"),
        value=lines[0].value,
        note=lines[0].text,
        link=lines[0].link,
        lines=lines[1:],
    )


def revenue(figures: Figures) -> Card:
    amount, payments = figures.money_in()
    card = Card(
        title=gettext("Revenue today"),
        link=_list(Payment, "status__exact=approved"),
        value=gettext("%s won") % won(amount),
        note=ngettext(
            "%(n)s payment approved today; refunds are not deducted.",
            "%(n)s payments approved today; refunds are not deducted.",
            payments,
        )
        % {"n": _count(payments)},
    )
    owed, refunds = figures.refunds_due()
    if refunds:
        text = ngettext("%(n)s refund is due", "%(n)s refunds are due", refunds) % {"n": _count(refunds)}
        card.lines = [Line(text, gettext("%s won") % won(owed), _list(Refund, "status__exact=due"))]
    return card


def held(figures: Figures) -> Card:
    held = figures.held()
    card = Card(
        title=gettext("Units held"),
        link=_list(Hold),
        value=_count(held.units),
        note=ngettext("by %(n)s pending order", "by %(n)s pending orders", held.orders)
        % {"n": _count(held.orders)},
        empty=gettext("No order holds any units."),
    )  # fmt: skip
    if held.first and held.last:
        card.lines = [
            Line(gettext("next hold ends"), _clock(held.first)),
            Line(gettext("last hold ends"), _clock(held.last)),
        ]
    if held.overdue:
        card.warning = ngettext(
            "%(n)s hold is over and its units are not free yet: does expire_orders run?",
            "%(n)s holds are over and their units are not free yet: does expire_orders run?",
            held.overdue,
        ) % {"n": _count(held.overdue)}
    return card


def low_stock(figures: Figures) -> Card:
    found, rows = figures.low()
    return Card(
        title=gettext("Low stock"),
        link=_list(Stock, "availability=low"),
        value=_count(found),
        note=gettext("Fewer than %(low)d units left, of what was ordered lately.") % {"low": LOW_STOCK},
        lines=[_option(row, gettext("%d left") % row.available) for row in rows],
        empty=gettext("Nothing that sells is running low."),
    )


def sold_out(figures: Figures) -> Card:
    found, rows = figures.missed()
    return Card(
        title=gettext("Sold out, and in demand"),
        link=_list(Stock, "availability=sold-out"),
        value=_count(found),
        note=gettext("Units ordered lately of options that nobody can buy now."),
        lines=[_option(row, ngettext("%d ordered", "%d ordered", row.ordered) % row.ordered) for row in rows],
        empty=gettext("Nothing that was ordered lately is sold out."),
    )


def _option(row: OptionRow, value: str) -> Line:
    return Line(f"{row.option} – {row.product}", value, admin_url(Stock, "change", row.stock_id))


def stores(figures: Figures) -> Card:
    found, waiting = figures.stores_waiting()
    return Card(
        title=gettext("Stores waiting for acceptance"),
        link=_list(Store, "status__exact=requested"),
        value=_count(found),
        lines=[
            Line(store.name, date_format(timezone.localtime(store.created_at), "SHORT_DATE_FORMAT"),
                 admin_url(store, "change", store.pk))
            for store in waiting
        ],
        empty=gettext("No application is waiting."),
    )  # fmt: skip


def differences(figures: Figures) -> Card:
    run, found = figures.last_run()
    if run is None:
        return Card(
            title=gettext("Open differences"),
            link=_list(ReconciliationRun),
            empty=gettext("The whole shop was never reconciled: run reconcile_stock every night."),
        )
    return Card(
        title=gettext("Open differences"),
        link=_list(Difference, f"run__id__exact={run.pk}&fixed_by__isempty=1"),
        value=_count(found),
        note=gettext("Found by the last reconciliation of the whole shop, %s, and not fixed since.")
        % date_format(timezone.localtime(run.started_at), "Y-m-d H:i"),
    )


def drops(figures: Figures) -> Card:
    return Card(
        title=gettext("Drops"),
        link=_list(Drop),
        lines=[_drop(drop) for drop in figures.drops()],
        empty=gettext("No drop is under way or planned."),
    )


def _drop(drop: Drop) -> Line:
    items = drop.items.all()
    if drop.status == DropStatus.SCHEDULED:
        value = date_format(timezone.localtime(drop.opens_at), "Y-m-d H:i")
    else:
        sold = {"sold": sum(i.applied for i in items), "of": sum(i.allotted for i in items)}
        value = gettext("%(sold)s of %(of)s sold") % {name: won(units) for name, units in sold.items()}
    state = gettext("paused") if drop.paused else drop.get_status_display()
    return Line(f"{drop.name} – {state}", value, admin_url(drop, "change", drop.pk))


def per_hour(figures: Figures) -> Card:
    counts = figures.by_hour()
    busiest = max(range(len(counts)), key=counts.__getitem__)
    words = gettext("Most orders, %(n)s, came between %(hour)02d:00 and %(next)02d:00.") % {
        "n": _count(counts[busiest]), "hour": busiest, "next": (busiest + 1) % 24,
    }  # fmt: skip
    return Card(
        title=gettext("Orders per hour, today"),
        link=_list(Order, "ordered=today"),
        note=words if any(counts) else "",
        empty="" if any(counts) else gettext("No order yet today."),
        chart=_chart([f"{hour:02d}" for hour in range(len(counts))], counts, gettext("orders"), words)
        if any(counts) else None,
    )  # fmt: skip


def top_options(figures: Figures) -> Card:
    top = figures.top_options()
    labels, units = [sku for sku, _units in top], [units for _sku, units in top]
    words = ", ".join(f"{sku}: {ordered}" for sku, ordered in top)
    return Card(
        title=gettext("Top options, today"),
        link=_list(Stock),
        note=gettext("Units ordered today, whatever became of the orders.") if top else "",
        empty="" if top else gettext("No order yet today."),
        chart=_chart(labels, units, gettext("units"), words, lying=True) if top else None,
    )  # fmt: skip


def _chart(
    labels: Sequence[str], values: Sequence[int], what: str, words: str, *, lying: bool = False
) -> Chart:
    """Bars, upright or lying. Only whole numbers are on the axes, since orders and units are."""
    bars = {
        "label": what, "data": values, "backgroundColor": "var(--color-primary-600)", "borderRadius": 3,
        "maxBarThickness": 22,
    }  # fmt: skip
    axis = {
        "ticks": {"precision": 0, "color": "#8b8f98", "maxRotation": 0},
        "grid": {"display": False},
        "beginAtZero": True,
    }
    options = {
        "indexAxis": "y" if lying else "x", "responsive": True, "maintainAspectRatio": False,
        "animation": False, "plugins": {"legend": {"display": False}}, "scales": {"x": axis, "y": axis},
    }  # fmt: skip
    data = json.dumps({"labels": labels, "datasets": [bars]})
    return Chart("bar", data, json.dumps(options), words)


class Panel(NamedTuple):
    """`permission` is what its reader needs; `wide` ones take half the page."""

    permission: str
    make: Callable[[Figures], Card]
    wide: bool = False


PANELS = (
    Panel("orders.view_order", orders_today),
    Panel("orders.view_order", to_do),
    Panel("orders.view_payment", revenue),
    Panel("orders.view_order", held),
    Panel("orders.view_order", per_hour, wide=True),
    Panel("orders.view_order", top_options, wide=True),
    Panel("inventory.view_stock", low_stock, wide=True),
    Panel("inventory.view_stock", sold_out, wide=True),
    Panel("orders.view_drop", drops, wide=True),
    Panel("inventory.view_difference", differences, wide=True),
    Panel("shop.view_store", stores, wide=True),
)


def lately(figures: Figures) -> str:
    """What `lately` means on this page."""
    recent = figures.recent
    if recent.since is None:
        return ""
    return gettext("Lately: the last %(lines)s order lines, of seven days at most, back to %(since)s.") % {
        "lines": won(NEWEST_LINES),
        "since": date_format(timezone.localtime(recent.since), "Y-m-d H:i"),
    }
