"""Plan a drop: what it will sell, when, at which price, to how many."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext

from inventory.models import MAX_UNITS
from orders.models.drops import Drop, DropItem, Lane
from shop.models import MAX_PRICE, Option
from yousinsa.errors import Invalid
from yousinsa.text.checking import cleaned

MAX_ITEMS = 200


class ItemDraft(NamedTuple):
    """One option of a new drop: units to sell, and the price in won (None: the product's)."""

    option_id: int
    allotment: int
    price: int | None = None


def create_drop(
    *,
    name: str,
    items: Sequence[ItemDraft],
    limit: int,
    lane: str = Lane.REDIS_LUA,
    opens_at: datetime | None = None,
    closes_at: datetime | None = None,
    admission_rate: int | None = None,
) -> Drop:
    """A scheduled drop; `opens_at` None means now. Raises `Invalid` naming the field."""
    opens_at = opens_at or timezone.now()
    name = cleaned(name, "name")
    _check(name, limit, lane, opens_at, closes_at, admission_rate)
    prices = _check_items(items)
    with transaction.atomic():
        drop = Drop.objects.create(
            name=name, lane=lane, limit_per_customer=limit, opens_at=opens_at, closes_at=closes_at,
            admission_rate=admission_rate,
        )  # fmt: skip
        for item in sorted(items):
            price = prices[item.option_id] if item.price is None else item.price
            DropItem.objects.create(drop=drop, option_id=item.option_id, price=price, allotted=item.allotment)
    return drop


def _check(
    name: str, limit: int, lane: str, opens_at: datetime, closes_at: datetime | None, rate: int | None
) -> None:
    errors = {}
    if not 1 <= len(name) <= 100:
        errors["name"] = gettext("Must be 1 to 100 characters.")
    if limit < 1 or limit > MAX_UNITS:
        errors["limit"] = gettext("Must be at least 1.")
    if lane not in Lane.values:
        errors["lane"] = gettext("Must be one of: %s.") % ", ".join(Lane.values)
    if closes_at and closes_at <= opens_at:
        errors["closes_at"] = gettext("Must be later than the opening.")
    if rate is not None and rate < 1:
        errors["admission_rate"] = gettext("Must be at least 1.")
    elif rate is not None and lane == Lane.GROUP_COMMIT:
        errors["admission_rate"] = gettext(
            "The queue is kept in Redis: choose a lane on Redis, or leave this out."
        )
    if errors:
        raise Invalid(errors=errors)


def _check_items(items: Sequence[ItemDraft]) -> dict[int, int]:
    """The products' prices by option id; raises `Invalid`."""
    ids = [item.option_id for item in items]
    if not 1 <= len(ids) <= MAX_ITEMS:
        raise Invalid(errors={"option": gettext("A drop has 1 to %d options.") % MAX_ITEMS})
    if len(set(ids)) < len(ids):
        raise Invalid(errors={"option": gettext("Name each option once.")})
    if any(not 1 <= item.allotment <= MAX_UNITS for item in items):
        raise Invalid(errors={"allotment": gettext("Must be at least 1.")})
    if any(item.price is not None and not 0 <= item.price <= MAX_PRICE for item in items):
        raise Invalid(errors={"price": gettext("Must be 0 to %s won.") % f"{MAX_PRICE:,}"})
    options = Option.objects.filter(pk__in=ids, stock__isnull=False)
    prices = dict(options.values_list("id", "product__price"))
    if missing := [str(id) for id in ids if id not in prices]:
        raise Invalid(errors={"option": gettext("Not kept in stock: %s.") % ", ".join(missing)})
    return prices
