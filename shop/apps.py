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

        from django.db.models.signals import m2m_changed

        from shop.models import User
        from shop.services import rights_changed

        for relation in (User.groups.through, User.user_permissions.through):
            m2m_changed.connect(rights_changed, sender=relation, dispatch_uid=f"rights:{relation.__name__}")
