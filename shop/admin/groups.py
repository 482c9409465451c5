"""Groups: which rights come together."""

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.models import Group
from django.db.models import QuerySet

from shop.admin.base import DeskAdmin

admin.site.unregister(Group)


@admin.register(Group)
class GroupAdmin(DeskAdmin, DjangoGroupAdmin):
    search_help_text = None

    def find(self, queryset: QuerySet[Group], term: str) -> QuerySet[Group]:
        return queryset.filter(name__icontains=term)
