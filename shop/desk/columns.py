"""Columns and cells: times, money, what was recorded, links to other records."""

from collections.abc import Callable
from operator import attrgetter
from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import quote
from django.db.models import Model
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from yousinsa.language import recorded


def admin_url(model: Model | type[Model], page: str, *args: Any) -> str:
    """The address of an admin page of this model: `changelist`, `change`, an operation's name."""
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}", args=args)


def text_link(address: str, text: Any) -> SafeString:
    return format_html('<a href="{}" class="text-link">{}</a>', address, text)


def link(record: Model, text: Any = None) -> SafeString:
    """A link to a record's page."""
    return text_link(admin_url(record, "change", quote(record.pk)), text or record)


def linked(path: str, label: Any) -> Callable[[Any, Any], SafeString]:
    """A column that leads to another record: `of_order = linked("payment.order", …)`."""
    other = attrgetter(path)

    @admin.display(description=label)
    def shown(self: Any, record: Any) -> SafeString:
        return link(other(record))

    return shown


def moment(field: str, label: Any) -> Callable[[Any, Any], SafeString | None]:
    """A column of times to the second, in two lines where it is tight: `at = moment("created_at", …)`."""

    @admin.display(description=label)
    def shown(self: Any, record: Any) -> SafeString | None:
        at = getattr(record, field)
        if at is None:
            return None
        day, time = timezone.localtime(at).strftime("%Y-%m-%d %H:%M:%S").split()
        return format_html('<span><span class="nowrap">{}</span> {}</span>', day, time)

    return shown


def recorded_text(field: str, label: Any) -> Callable[[Any, Any], str]:
    """A column of what was recorded, in the reader's language: `why = recorded_text("reason", …)`."""

    @admin.display(description=label)
    def shown(self: Any, record: Any) -> str:
        return recorded(getattr(record, field))

    return shown


def money(field: str, label: Any) -> Callable[[Any, Any], str]:
    """A column of an amount in won; `label` names the unit: `price = money("unit_price", …)`."""

    @admin.display(description=label)
    def shown(self: Any, record: Any) -> str:
        return won(getattr(record, field))

    return shown


def stacked(first: Any, *below: Any) -> SafeString:
    """A cell of several lines: what matters on top, the rest below. Empty lines are left out."""
    rest = format_html_join("", '<div class="desk-sub">{}</div>', ((line,) for line in below if line))
    return format_html("<div><div>{}</div>{}</div>", first, rest)


def won(amount: int) -> str:
    """Money with thousands marked: `1,234,000`."""
    return f"{amount:,}"
