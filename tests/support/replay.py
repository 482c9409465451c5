"""Invoices as a replay reads them, and what it makes of them."""

import csv
import io
from pathlib import Path
from typing import Any

from django.core.management import call_command

from inventory.models import Movement, Stock
from orders.models import Order, OrderEvent, OrderLine, Payment, Refund
from shop.models import Product, User

COLUMNS = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"


def line(
    invoice: Any,
    code: str = "85123A",
    quantity: Any = 1,
    price: Any = "2.55",
    customer: Any = 17850,
    *,
    name: str = "WHITE HANGING HEART",
    date: str = "2010-12-01 08:26:00",
    country: str = "United Kingdom",
) -> str:
    row = io.StringIO()
    csv.writer(row, lineterminator="\n").writerow(
        [invoice, code, name, quantity, date, price, customer, country]
    )
    return row.getvalue()


def replay_file(path: Path, **options: Any) -> str:
    out = io.StringIO()
    call_command("replay_orders", str(path), stdout=out, stderr=io.StringIO(), **options)
    return out.getvalue()


def order(key: str) -> Order:
    return Order.objects.get(idempotency_key=f"replay:{key}")


def lines_of(key: str) -> list[tuple[str, int, int, int]]:
    """(SKU, units, unit price, returned) of an order."""
    lines = order(key).lines.order_by("option__sku")
    return list(lines.values_list("option__sku", "quantity", "unit_price", "returned"))


def state() -> dict[str, Any]:
    """Everything that a replay writes, without ids and times."""
    key = "order__idempotency_key"
    names = dict(Order.objects.values_list("number", "idempotency_key"))
    movements = Movement.objects.order_by("stock__option__sku", "sequence")
    return {
        "orders": list(
            Order.objects.order_by("idempotency_key").values_list(
                "buyer__email", "idempotency_key", "status", "total", "note", "address1", "tracking_number"
            )
        ),
        "lines": list(
            OrderLine.objects.order_by(key, "option__sku").values_list(
                key, "option__sku", "product_name", "quantity", "unit_price", "returned"
            )
        ),
        "events": list(OrderEvent.objects.order_by(key, "id").values_list(key, "from_status", "to_status")),
        "payments": list(Payment.objects.order_by(key, "id").values_list(key, "amount", "status", "live")),
        "refunds": sorted(Refund.objects.values_list(f"payment__{key}", "amount", "status", "reason")),
        "stock": list(
            Stock.objects.order_by("option__sku").values_list("option__sku", "on_hand", "reserved")
        ),
        "movements": [
            (sku, kind, on_hand, reserved, names.get(reference, reference), reason)
            for sku, kind, on_hand, reserved, reference, reason in movements.values_list(
                "stock__option__sku", "kind", "delta_on_hand", "delta_reserved", "reference", "reason"
            )
        ],
        "products": list(Product.objects.order_by("source_id").values_list("source_id", "name", "price")),
        "users": sorted(User.objects.values_list("email", flat=True)),
    }
