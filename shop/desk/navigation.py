"""The sidebar: rooms of lists, which each app furnishes (`admin/rooms.py`).

What an operator opens every day is in its room. What is only looked up is a record: the records of all rooms
are one group at the end, which is folded until somebody opens it.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest
from django.urls import reverse
from django.utils.text import capfirst
from django.utils.translation import gettext_lazy as _

Lists = dict[type[Model], str]
"""Models in the order in which they are shown, each with its icon: a name of Material Symbols."""

# Of a list that no app gave a place to.
PLAIN_ICON = "table"


class Room(NamedTuple):
    title: Any
    place: int
    daily: Lists
    records: Lists


_rooms: list[Room] = []


def add_room(title: Any, place: int, daily: Lists, records: Lists | None = None) -> None:
    """A group of the sidebar; `place` orders them, whichever apps they come from."""
    _rooms.append(Room(title, place, daily, records or {}))


def rooms(request: HttpRequest) -> list[dict[str, Any]]:
    """What the theme shows in its sidebar (UNFOLD["SIDEBAR"]["navigation"]): lists that the user may see."""
    first = {"title": None, "items": [_item(_("Today"), "today", reverse("admin:index"))]}
    return [first, *_groups(request)]


def _groups(request: HttpRequest) -> Iterator[dict[str, Any]]:
    seen: dict[type[Model], dict[str, Any]] = {
        page["model"]: page
        for app in admin.site.get_app_list(request)
        for page in app["models"]
        if page["admin_url"]
    }
    furnished = sorted(_rooms, key=lambda room: room.place)
    for room in furnished:
        if items := _items(room.daily, seen):
            yield {"title": room.title, "items": items}
    placed = {model for room in furnished for model in (*room.daily, *room.records)}
    records = {model: icon for room in furnished for model, icon in room.records.items()}
    records |= {model: PLAIN_ICON for model in seen if model not in placed}
    if items := _items(records, seen):
        yield {"title": _("Records"), "items": items, "collapsible": True}


def _items(lists: Lists, seen: dict[type[Model], dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        _item(capfirst(seen[model]["name"]), icon, seen[model]["admin_url"])
        for model, icon in lists.items()
        if model in seen
    ]


def _item(title: Any, icon: str, link: str) -> dict[str, Any]:
    return {"title": title, "icon": icon, "link": link}
