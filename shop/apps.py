from django.apps import AppConfig
from django.core import checks
from django.utils.translation import gettext_lazy as _


class ShopConfig(AppConfig):
    name = "shop"
    verbose_name = _("Shop")

    def ready(self) -> None:
        from shop.rights.groups import RIGHTS, add_rights, check_groups
        from yousinsa.db.checks import check_charset

        add_rights(RIGHTS)
        checks.register(check_groups)
        checks.register(check_charset)
