"""The operators' desk: Django admin for all apps. What every page shares is in `base` and `operations`."""

from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from shop.admin import catalog, users

__all__ = ["catalog", "users"]

admin.site.site_header = _("YOUSINSA: operators' desk")
admin.site.site_title = _("YOUSINSA")
admin.site.index_title = _("Shop, stock and orders")
admin.site.site_url = "/"
admin.site.empty_value_display = "–"
