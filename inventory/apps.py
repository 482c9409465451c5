from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class InventoryConfig(AppConfig):
    name = "inventory"
    verbose_name = _("Inventory")

    def ready(self) -> None:
        from inventory.permissions import RIGHTS
        from shop.permissions import add_rights

        add_rights(RIGHTS)
