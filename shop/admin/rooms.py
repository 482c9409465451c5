"""Where the shop's lists are in the sidebar, and what leads to them from a record."""

from django.contrib.auth.models import Group
from django.utils.translation import gettext_lazy as _

from shop.desk.columns import admin_url
from shop.desk.links import add_related
from shop.desk.navigation import add_room
from shop.models import Category, Option, Product, Store, TokenRevocation, User

add_room(
    _("Catalogue"),
    place=30,
    daily={Product: "apparel", Option: "straighten", Category: "account_tree", Store: "storefront"},
)
add_room(_("People"), place=50, daily={User: "person", Group: "group"}, records={TokenRevocation: "key_off"})
add_related(User, _("stores"), lambda user: f"{admin_url(Store, 'changelist')}?owner__id__exact={user.pk}")
