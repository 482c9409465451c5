from django.apps import AppConfig
from django.core import checks
from django.utils.translation import gettext_lazy as _


class ShopConfig(AppConfig):
    name = "shop"
    verbose_name = _("Shop")

    def ready(self) -> None:
        from shop.permissions import RIGHTS, add_rights, check_groups

        add_rights(RIGHTS)
        checks.register(check_groups)
