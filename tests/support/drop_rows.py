"""Rows of drops for tests that need any, without a sale behind them."""

from django.utils import timezone

from orders.models import DeadLetter, Drop, DropItem, DropRelease, DropTally
from orders.placement.numbers import new_number
from shop.models import Option


def make_drop_rows(option: Option) -> None:
    """A planned drop of this option, with a row of every other model."""
    drop = Drop.objects.create(name="Air", opens_at=timezone.now(), limit_per_customer=1)
    DropItem.objects.create(drop=drop, option=option, price=1, allotted=1)
    DropTally.objects.create(drop=drop, process="p")
    number = new_number()
    DeadLetter.objects.create(drop=drop, number=number, code="c", reason="r", entry="{}")
    DropRelease.objects.create(
        drop=drop, release_id=f"order-{number}", number=number, buyer_id=1, units="[]", epoch=1
    )
