"""Rows of the books for tests that need any: a run with a difference, a closed month, a settlement."""

from datetime import date, timedelta

from django.db import connection
from django.utils import timezone

from inventory.models import Difference, MonthSeal, Movement, ReconciliationRun, SealedBalance, Stock
from orders.models import Settlement
from shop.models import Option, User

FIRST = date(2000, 1, 1)


def make_books(option: Option, clerk: User) -> None:
    """One row of each model of the books, with related rows of its own."""
    stock = Stock.objects.get(option=option)
    run = ReconciliationRun.objects.create(
        by=clerk, scope=f"option {option.pk}", found=1, status="differences", finished_at=timezone.now()
    )
    Difference.objects.create(
        run=run, stock=stock, option=option, sku=option.sku, kind="on_hand", expected=1, found=2,
        cause="counter without movement", fixed_by=Movement.objects.filter(stock=stock).first(),
    )  # fmt: skip
    month = (FIRST + timedelta(days=32 * MonthSeal.objects.count())).replace(day=1)
    seal = MonthSeal.objects.create(
        month=month, sealed_at=timezone.now(), by=clerk, previous=MonthSeal.objects.first(),
        previous_hash="0" * 64, hash="1" * 64,
    )  # fmt: skip
    SealedBalance.objects.create(
        seal=seal, stock=stock, opening_on_hand=0, opening_reserved=0, closing_on_hand=1, closing_reserved=0,
        first_sequence=1, last_sequence=1, shipped=0, restocked=0, head=bytes(32), marks=bytes(4),
    )  # fmt: skip
    make_settlement(option.product.store_id, approved_by=clerk)


def make_settlement(store_id: int, *, approved_by: User | None = None, **changes: object) -> Settlement:
    """A settlement of January 2000, a draft unless somebody approved it."""
    fields = {
        "store_id": store_id, "period_start": FIRST, "period_end": date(2000, 1, 31), "units": 1,
        "gross": 10_000, "returned_units": 0, "refunds": 0, "commission_rate": 1000, "commission": 1_000,
        "payable": 9_000,
    }  # fmt: skip
    if approved_by:
        fields |= {"status": "approved", "approved_by": approved_by, "approved_at": timezone.now()}
    return Settlement.objects.create(**(fields | changes))


def time_of_movements(*, to: str) -> None:
    """Date every movement that there is to a moment (UTC) in the past, behind the ledger's back."""
    with connection.cursor() as cursor:
        cursor.execute("UPDATE inventory_movement SET created_at = %s", [to])
