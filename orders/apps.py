from functools import partial
from typing import Any

from django.apps import AppConfig
from django.core import checks
from django.db import transaction
from django.db.models import Model
from django.db.models.signals import post_migrate, post_save
from django.utils.translation import gettext_lazy as _


def _follow_sale(of: str, instance: Model, **_more: Any) -> None:
    """What is taken off sale, or put on sale again, is so in drops at once. `of`: its options by this."""
    from orders.drops.services import follow_sale
    from shop.models import Option

    transaction.on_commit(lambda: follow_sale(Option.objects.filter(**{of: instance.pk})), robust=True)


class OrdersConfig(AppConfig):
    name = "orders"
    verbose_name = _("Orders")

    def ready(self) -> None:
        from orders.checks import check_placement, check_sandbox

        checks.register(check_placement)
        checks.register(check_sandbox, deploy=True)

        from orders.permissions import RIGHTS
        from shop.rights.groups import add_rights, grant_groups

        add_rights(RIGHTS)
        for model, options in (("Store", "product__store"), ("Product", "product"), ("Option", "pk")):
            post_save.connect(partial(_follow_sale, options), sender=f"shop.{model}", weak=False)

        # This is the last of our apps: the permissions of all of them exist by then.
        post_migrate.connect(grant_groups, sender=self, dispatch_uid="grant_groups")
