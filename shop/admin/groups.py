"""Groups: which rights come together."""

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.models import Group
from django.db.models import QuerySet
from django.utils.translation import gettext_lazy as _

from shop.desk.access.permission_names import NamesPermissions
from shop.desk.base import DeskAdmin

admin.site.unregister(Group)


@admin.register(Group)
class GroupAdmin(NamesPermissions, DeskAdmin, DjangoGroupAdmin):
    search_help_text = _("Part of the name.")
    fieldsets = (
        (
            None,
            {
                "fields": ("name", "permissions"),
                "description": _(
                    "The groups that came with the shop get exactly their own rights back with each update. "
                    "For other rights make a group of another name."
                ),
            },
        ),
    )

    def find(self, queryset: QuerySet[Group], term: str) -> QuerySet[Group]:
        return queryset.filter(name__icontains=term)
