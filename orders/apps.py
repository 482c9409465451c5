from django.apps import AppConfig
from django.core import checks
from django.db.models.signals import post_migrate
from django.utils.translation import gettext_lazy as _


class OrdersConfig(AppConfig):
    name = "orders"
    verbose_name = _("Orders")

    def ready(self) -> None:
        from orders.checks import check_placement, check_sandbox

        checks.register(check_placement)
        checks.register(check_sandbox, deploy=True)

        from orders.permissions import RIGHTS
        from shop.permissions import add_rights, grant_groups

        add_rights(RIGHTS)
        # This is the last of our apps: the permissions of all of them exist by then.
        post_migrate.connect(grant_groups, sender=self, dispatch_uid="grant_groups")
