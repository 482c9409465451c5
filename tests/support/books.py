"""Rows for tests that need any: of the books (a run, a closed month, a settlement), of every model."""

from datetime import date, timedelta

from django.contrib.auth.models import Group
from django.utils import timezone

from inventory import documents, ledger
from inventory.models import Difference, MonthSeal, Movement, ReconciliationRun, SealedBalance, Stock
from orders.bulk.drafting import draft_of_orders
from orders.lifecycle import add_note, cancel_order
from orders.models import BulkRun, Order, OrderLine, Settlement, SettlementEntry, Status
from orders.models.troubles import Trouble
from orders.payments.services import confirm_transfer
from orders.placement.numbers import new_number, new_order_id
from shop import services
from shop.models import Option, User
from tests.support.drop_rows import make_drop_rows
from tests.support.factories import make_category, make_options, make_order, make_user

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
    settlement = make_settlement(option.product.store_id, approved_by=clerk)
    order = Order.objects.create(
        id=new_order_id(), number=new_number(), buyer=clerk, status=Status.EXPIRED, total=10_000,
        expires_at=timezone.now(),
    )  # fmt: skip
    Trouble.objects.create(
        job=Trouble.Job.EXPIRY, item=order.pk, subject=order.number, order=order, reason="Its row is locked.",
        retry_at=timezone.now(),
    )  # fmt: skip
    line = OrderLine.objects.create(
        order=order, option=option, product_name="Shirt", quantity=1, unit_price=10_000,
        store=option.product.store, commission_rate=1000,
    )  # fmt: skip
    SettlementEntry.objects.create(
        line=line, store=line.store, units=1, won=10_000, commission=1_000, returned=0, settlement=settlement
    )


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


def make_rows(count: int) -> None:
    """At least so many rows of every model, each with related rows of its own."""
    clerk = make_user(staff=True)
    for n in range(count):
        Group.objects.create(name=f"Group {clerk.pk} {n}")
        make_category(f"root-{clerk.pk}-{n}")
        (option,) = make_options([5])
        ledger.adjust(option_id=option.pk, delta=-1, reason="counted", actor_id=clerk.pk)
        buyer = make_user(address=True)
        order = make_order(buyer, (option, 1))
        confirm_transfer(order_id=order.pk, actor_id=clerk.pk)
        cancel_order(order_id=order.pk, actor_id=clerk.pk)
        services.revoke_all_tokens(user_id=buyer.pk)
        make_books(option, clerk)
        make_drop_rows(option)
        add_note(order_id=order.pk, author_id=clerk.pk, text="Called the buyer")
        held = make_order(buyer, (option, 1))
        draft_of_orders(BulkRun.Action.CONFIRM, [held.pk], actor_id=clerk.pk)
        documents.draft_delivery(receipts=[documents.Receipt(option.stock.pk, 1)], actor_id=clerk.pk)
        documents.begin_stocktake(stock_ids=[option.stock.pk], actor_id=clerk.pk)


def figures(**scope: object) -> list[tuple[int, ...]]:
    """What settlements say: units, gross, returned units, refunds, commission, payable."""
    return list(
        Settlement.objects.filter(**scope)
        .order_by("store_id", "period_start")
        .values_list("units", "gross", "returned_units", "refunds", "commission", "payable")
    )
