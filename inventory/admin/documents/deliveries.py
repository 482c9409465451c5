"""Receipts from a file: a draft that shows each option before and after, received as a whole."""

from typing import Any

from django.contrib import admin
from django.db.models import F
from django.utils.translation import gettext_lazy as _

from inventory import documents
from inventory.admin.documents.base import DocumentAdmin, LineAdmin
from inventory.admin.documents.rows import ReceiptRows
from inventory.models import Delivery, DeliveryLine, StockDocument


@admin.register(Delivery)
class DeliveryAdmin(DocumentAdmin):
    permission = "inventory.receive_stock"
    row_rules = ReceiptRows
    units = F("units")
    import_label = _("Import receipts")
    import_help = _("One row an option: how many units arrived. Nothing is received before you have seen it.")

    @staticmethod
    def apply(pk: int, *, version: int, actor_id: int) -> int:
        return documents.apply_delivery(delivery_id=pk, version=version, actor_id=actor_id)

    def draft(self, document: Any, good: list[Any], *, actor_id: int, source: str) -> StockDocument:
        return documents.draft_delivery(receipts=good, actor_id=actor_id, source=source)


@admin.register(DeliveryLine)
class DeliveryLineAdmin(LineAdmin):
    exported = {
        "sku": "stock__option__sku", "product": "stock__option__product__name",
        "size": "stock__option__size", "colour": "stock__option__color", "units": "units",
        "reference": "reference", "note": "note",
    }  # fmt: skip
    document_field = "delivery"
    list_select_related = ("delivery", "stock__option__product")
    list_display = ("sku", "delivery", "product", "units", "reference", "note")
