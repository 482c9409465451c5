"""A shop from before order lines named their store, brought up to date: a program of its own.

`python -m tests.support.old_shop` takes an empty database (DATABASE_URL) to the last migration before,
fills it by the models of that time, migrates to the end, and prints what became of it as JSON. Time flows
in 2020: settlements of March are approved, those of April in part, May is a draft.
"""

import json
import os
from datetime import UTC, date, datetime
from typing import Any

import django

BEFORE = [
    ("orders", "0005_order_notes"), ("admin", "0003_logentry_add_action_flag_choices"),
    ("inventory", "0005_stocktake"), ("shop", "0004_store_commission"),
]  # fmt: skip
MONTHS = {3: (date(2020, 3, 1), date(2020, 3, 31)), 4: (date(2020, 4, 1), date(2020, 4, 30)),
          5: (date(2020, 5, 1), date(2020, 5, 31))}  # fmt: skip


def at(month: int, day: int = 10) -> datetime:
    return datetime(2020, month, day, 3, tzinfo=UTC)


class OldShop:
    """Fills tables by the models of a past state (`apps`)."""

    def __init__(self, apps: Any) -> None:
        self.model = apps.get_model
        User = self.model("shop", "User")
        self.buyer = User.objects.create(email="buyer@example.com", password="!")
        self.stores: dict[str, Any] = {}
        self.options: dict[str, Any] = {}
        self.orders: dict[str, Any] = {}
        self.category = self.model("shop", "Category").objects.first()

    def store(self, name: str, rate: int | None = None) -> None:
        Store = self.model("shop", "Store")
        self.stores[name] = Store.objects.create(
            owner=self.buyer, name=name, status="accepted", commission_rate=rate
        )

    def product(self, name: str, store: str, price: int) -> None:
        product = self.model("shop", "Product").objects.create(
            store=self.stores[store], category=self.category, name=name, price=price
        )
        self.options[name] = self.model("shop", "Option").objects.create(
            product=product, sku=name, size="M", color="Ecru"
        )
        self.model("inventory", "Stock").objects.create(option=self.options[name], on_hand=0, reserved=0)

    def sell(self, name: str, units: int, month: int, *, delivered: bool = True) -> str:
        """A delivered order; its name is the product's and a number."""
        Order, Event = self.model("orders", "Order"), self.model("orders", "OrderEvent")
        key = f"{name}{len(self.orders) + 1}"
        option = self.options[name]
        order = Order.objects.create(
            id=len(self.orders) + 1, number=key, buyer=self.buyer, total=units * option.product.price,
            status="delivered" if delivered else "shipped", expires_at=at(month), created_at=at(month, 1),
            recipient="Kim Minji", phone="010-1234-5678", tracking_number="6012-3456",
        )  # fmt: skip
        self.model("orders", "OrderLine").objects.create(
            order=order, option=option, product_name=name, quantity=units, unit_price=option.product.price
        )
        if delivered:
            Event.objects.create(
                order=order, from_status="shipped", to_status="delivered", created_at=at(month)
            )
        self.orders[key] = order
        return key

    def give_back(self, key: str, units: int, month: int) -> None:
        line = self.orders[key].lines.get()
        stock = line.option.stock
        stock.on_hand, stock.sequence = stock.on_hand + units, stock.sequence + 1
        stock.save()
        self.model("inventory", "Movement").objects.create(
            stock=stock, sequence=stock.sequence, kind="restock", delta_on_hand=units, delta_reserved=0,
            on_hand_after=stock.on_hand, reserved_after=0, reference=key, created_at=at(month, 20),
        )  # fmt: skip
        line.returned += units
        line.save()
        if line.returned == line.quantity:
            self.model("orders", "Order").objects.filter(number=key).update(status="returned")

    def move(self, name: str, store: str, *, logged: bool) -> None:
        """To another store, at the desk or behind its back."""
        product = self.options[name].product
        product.store = self.stores[store]
        product.save()
        if logged:
            ContentType = self.model("contenttypes", "ContentType")
            kind, _made = ContentType.objects.get_or_create(app_label="shop", model="product")
            self.model("admin", "LogEntry").objects.create(
                user=self.buyer, content_type=kind, object_id=str(product.pk), object_repr=name,
                action_flag=2, change_message='[{"changed": {"fields": ["Store"]}}]',
            )  # fmt: skip

    def settled(
        self, store: str, month: int, *, units: int = 0, gross: int = 0, back: int = 0, refunds: int = 0,
        rate: int = 1_000, approved: bool = True,
    ) -> None:  # fmt: skip
        """A settlement as the old rules computed it."""
        share = (gross - refunds) * rate // 10_000
        by = {"approved_by": self.buyer, "approved_at": at(month + 1), "status": "approved"}
        self.model("orders", "Settlement").objects.create(
            store=self.stores[store], period_start=MONTHS[month][0], period_end=MONTHS[month][1],
            units=units, gross=gross, returned_units=back, refunds=refunds, commission_rate=rate,
            commission=share, payable=gross - refunds - share, computed_at=at(month + 1),
            **(by if approved else {}),
        )  # fmt: skip


def fill(shop: OldShop) -> None:
    """Five stores, and what happened to them."""
    for name in ("A", "B", "C", "D", "E"):
        shop.store(name)
    for name, store, price in (
        ("plain", "A", 10_000), ("quiet", "A", 20_000), ("logged", "A", 7_000), ("own", "B", 5_000),
        ("kept", "C", 1_000), ("lost", "D", 3_333), ("found", "D", 2_000), ("same", "E", 20_000),
    ):  # fmt: skip
        shop.product(name, store, price)
    shop.sell("plain", 2, 3)
    shop.sell("plain", 1, 3, delivered=False)
    quiet, logged = shop.sell("quiet", 1, 3), shop.sell("logged", 3, 3)
    shop.sell("own", 1, 3)
    shop.sell("kept", 1, 3)
    shop.sell("found", 1, 3)
    # Settled by the store that had them in March, each at 10 percent. E sold exactly what A did with `quiet`.
    shop.sell("same", 1, 3)
    shop.settled("A", 3, units=6, gross=61_000)
    shop.settled("B", 3, units=1, gross=5_000)
    shop.settled("D", 3, units=1, gross=2_000)
    shop.settled("E", 3, units=1, gross=20_000)
    shop.sell("lost", 1, 3)  # committed when D had been approved
    shop.move("quiet", "B", logged=False)
    shop.move("logged", "C", logged=True)
    # In April what came back was charged to the store that had the product by then.
    shop.give_back(quiet, 1, 4)
    shop.settled("B", 4, back=1, refunds=20_000)
    shop.give_back(logged, 1, 4)  # C's April is not settled
    shop.sell("plain", 3, 5)
    shop.settled("A", 5, units=3, gross=30_000, approved=False)
    shop.model("shop", "Store").objects.filter(name="A").update(commission_rate=3_000)


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "yousinsa.settings")
    django.setup()
    from django.core.management import call_command
    from django.db import connection
    from django.db.migrations.executor import MigrationExecutor

    executor = MigrationExecutor(connection)
    executor.migrate(BEFORE)
    fill(OldShop(MigrationExecutor(connection).loader.project_state(BEFORE).apps))
    from orders.models import Settlement

    columns = ("store__name", "period_start", "units", "gross", "refunds", "commission", "payable", "status")
    said = list(Settlement.objects.order_by("id").values_list(*columns))
    call_command("migrate", verbosity=0)
    result = {"untouched": said == list(Settlement.objects.order_by("id").values_list(*columns)), **look()}
    print(json.dumps(result, default=str))


def look() -> dict[str, Any]:
    """What the shop is like now, and what the present rules make of it."""
    from orders.lifecycle import return_order
    from orders.models import OrderLine, OrderTerm, Settlement, SettlementEntry
    from orders.settlements.services import approve, settle
    from shop.models import Store, User
    from yousinsa.errors import Conflict

    lines = OrderLine.objects.order_by("id").values_list("order__number", "store__name", "commission_rate")
    entries = SettlementEntry.objects.order_by("id").values_list(
        "line__order__number", "store__name", "units", "commission", "settlement__store__name",
        "settlement__period_start__month",
    )  # fmt: skip
    found: dict[str, Any] = {"lines": list(lines), "entries": list(entries)}
    found["looks"] = list(OrderLine.objects.order_by("id").values_list("sku", "size", "color"))
    found["terms"] = list(OrderTerm.objects.order_by("order", "kind").values_list("kind", "term"))
    by = User.objects.get().pk
    old_draft = Settlement.objects.get(status="draft")
    try:
        approve(old_draft.pk, actor_id=by)
    except Conflict as refusal:
        found["draft"] = str(refusal.detail)
    for number, option_id, order_id in OrderLine.objects.filter(order__status="delivered").values_list(
        "order__number", "option_id", "order_id"
    ):
        if number.startswith(("plain", "logged")):
            return_order(order_id=order_id, units=None, actor_id=by, reason=f"all of {option_id}")
    SettlementEntry.objects.filter(created_at__gt=datetime(2021, 1, 1, tzinfo=UTC)).update(created_at=at(5))
    found["new"] = {}
    for month, days in MONTHS.items():
        written = settle(*days).written
        found["new"][month] = [
            (row.store.name, row.gross, row.refunds, row.commission, row.payable, row.late_entries)
            for row in written
        ]
        for row in written:
            approve(row.pk, actor_id=by)
    found["in no settlement"] = SettlementEntry.objects.filter(settlement=None).count()
    found["kept"] = {
        store.name: sum(row.payable for row in store.settlements.all()) for store in Store.objects.all()
    }
    return found


if __name__ == "__main__":
    main()
