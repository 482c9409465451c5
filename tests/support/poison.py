"""Orders that cannot be written, each for a reason of its own, to be put among others in a batch."""

import itertools
from collections.abc import Callable

from django.utils import timezone

from inventory.models import Stock
from orders.placement.requests import PlaceRequest
from shop.models import User
from tests.support.factories import make_options, make_order, make_user

_keys = itertools.count(1)


def wish(
    buyer_id: int, *lines: tuple[int, int], key: str | None = None, expected: int | None = None
) -> PlaceRequest:
    return PlaceRequest.build(buyer_id=buyer_id, lines=lines, idempotency_key=key, expected_total=expected)


def buyer_is_gone(option_id: int) -> PlaceRequest:
    """A token outlives its account: a backup was loaded."""
    user = make_user()
    user_id = user.pk
    user.delete()
    return wish(user_id, (option_id, 1))


def buyer_is_deactivated(option_id: int) -> PlaceRequest:
    user = make_user()
    User.objects.filter(pk=user.pk).update(is_active=False)
    return wish(user.pk, (option_id, 1))


def buyer_withdrew(option_id: int) -> PlaceRequest:
    user = make_user()
    User.objects.filter(pk=user.pk).update(withdrawn_at=timezone.now())
    return wish(user.pk, (option_id, 1))


def sequence_is_behind(_option_id: int) -> PlaceRequest:
    """The number of its next movement is taken."""
    (other,) = make_options([100])
    make_order(make_user(), (other, 1))
    stock = Stock.objects.get(option=other)
    Stock.objects.filter(pk=stock.pk).update(sequence=stock.sequence - 1)
    return wish(make_user().pk, (other.pk, 1))


def units_below_one(option_id: int) -> PlaceRequest:
    return wish(make_user().pk, (option_id, 0))


def option_beyond_any_column(_option_id: int) -> PlaceRequest:
    return wish(make_user().pk, (2**70, 1))


def option_is_unknown(_option_id: int) -> PlaceRequest:
    return wish(make_user().pk, (2**40, 1))


def more_than_there_is(option_id: int) -> PlaceRequest:
    return wish(make_user().pk, (option_id, 900_000))


def total_beyond_bounds(_option_id: int) -> PlaceRequest:
    dear = make_options([1_000_000] * 10, price=1_000_000_000)
    return wish(make_user().pk, *((option.pk, 1_000_000) for option in dear))


def key_was_used(option_id: int) -> PlaceRequest:
    buyer, key = make_user(), f"used-{next(_keys)}"
    (other,) = make_options([1])
    make_order(buyer, (other, 1), key=key)
    return wish(buyer.pk, (option_id, 1), key=key)


def another_price_was_seen(option_id: int) -> PlaceRequest:
    return wish(make_user().pk, (option_id, 1), expected=1)


KINDS: list[Callable[[int], PlaceRequest]] = [
    buyer_is_gone, buyer_is_deactivated, buyer_withdrew, sequence_is_behind, units_below_one,
    option_beyond_any_column, option_is_unknown, more_than_there_is, total_beyond_bounds, key_was_used,
    another_price_was_seen,
]  # fmt: skip
