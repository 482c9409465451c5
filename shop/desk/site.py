"""The admin site of the desk: the theme's site, with the shop's names and rooms."""

from django.utils.translation import gettext_lazy as _
from unfold.sites import UnfoldAdminSite


class DeskSite(UnfoldAdminSite):
    index_title = _("Today")
    index_template = "desk/front_page.html"
    empty_value_display = "–"
