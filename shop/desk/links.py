"""Links to what another app knows of a record: the app that owns the page does not name that other app.

An app that has something to show for a record of a lower one says so here, from its `admin/rooms.py`; the
page of the lower one shows whatever was said. References are what one app writes down of another's records,
such as the number of an order in a stock movement.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

from django.db.models import Model
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from shop.desk.columns import link, text_link

# Kinds of references.
ORDER = "order"


class Reference(NamedTuple):
    """`search`: the address of a list that finds it; no query. `records`: those that exist, one query."""

    search: Callable[[str], str]
    records: Callable[[Collection[str]], Mapping[str, Model]]


_related: dict[type[Model], list[tuple[Any, Callable[[Any], str]]]] = defaultdict(list)
_references: dict[str, Reference] = {}


def add_related(model: type[Model], label: Any, address: Callable[[Any], str]) -> None:
    """From now on the page of a `model` record leads to `address(record)` too."""
    _related[model].append((label, address))


def related_links(record: Model) -> SafeString:
    """Where a record's page leads to, the app that was installed last first."""
    found = ((text_link(address(record), label),) for label, address in reversed(_related[type(record)]))
    return format_html_join(" · ", "{}", found)


def add_reference(kind: str, reference: Reference) -> None:
    _references[kind] = reference


def search_link(kind: str, text: str) -> SafeString | str:
    """A reference as a link to a list that finds it; plain where no app knows the kind. No query."""
    return text_link(_references[kind].search(text), text) if kind in _references else text


def record_links(kind: str, texts: Collection[str]) -> dict[str, SafeString]:
    """Links to the records behind these references; those that exist. One query."""
    if kind not in _references or not texts:
        return {}
    return {text: link(record) for text, record in _references[kind].records(texts).items()}
