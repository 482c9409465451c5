"""The sidebar of the desk, which each app furnishes, and what leads from one app's pages to another's."""

import re
from typing import Any

import pytest
from django.contrib import admin
from django.db.models import Model
from django.test import Client
from django.urls import reverse

from inventory import permissions as inventory_permissions
from inventory.models import DeliveryLine, Difference, Movement, Stock, StocktakeLine
from orders import permissions as orders_permissions
from orders.models import BulkRow, Order, OrderLine
from orders.models.drops import DeadLetter, DropItem, DropRelease, DropTally
from shop.desk import links
from shop.models import Store, TokenRevocation
from shop.rights import groups as permissions
from tests.support.books import make_books
from tests.support.desk import signed_in, staff, url
from tests.support.factories import make_options, make_order, make_user

pytestmark = pytest.mark.django_db

# They are part of the pages of their documents and runs, which lead to them.
NOT_LISTED = {DeliveryLine, StocktakeLine, BulkRow}


@pytest.fixture
def desk(db: None) -> Client:
    return signed_in(make_user("operator@example.com", staff=True))


def sidebar(client: Client) -> dict[str, list[str]]:
    """The groups of the sidebar by title, and the addresses in each."""
    groups: Any = client.get(reverse("admin:index")).context["sidebar_navigation"]
    return {str(group["title"]): [item["link"] for item in group["items"]] for group in groups}


def test_every_list_is_in_the_sidebar_once(desk):
    shown = [address for group in sidebar(desk).values() for address in group]
    expected = [url(model) for model in admin.site._registry if model not in NOT_LISTED]
    assert sorted(shown) == sorted([*expected, reverse("admin:index")])


def test_daily_rooms_come_first_and_records_are_one_group_at_the_end(desk):
    groups = sidebar(desk)
    assert list(groups) == ["None", "Orders", "Stock", "Catalogue", "Money", "People", "Records"]
    records: list[type[Model]] = [
        OrderLine, DropItem, DropTally, DropRelease, DeadLetter, Difference, TokenRevocation,
    ]  # fmt: skip
    assert {url(model) for model in records} <= set(groups["Records"])


def test_records_are_folded_until_one_of_them_is_open(desk):
    def folded(address: str) -> str | None:
        page = desk.get(address).content.decode()
        found = re.search(r'<button[^>]*aria-expanded="(true|false)"[^>]*>\s*Records', page)
        return found and found.group(1)

    assert folded(url(Order)) == "false"
    assert folded(url(OrderLine)) == "true"


def test_a_link_of_the_sidebar_is_read_without_its_icon(desk):
    page = desk.get(reverse("admin:index")).content.decode()
    side = page[page.index('id="nav-sidebar-apps"') : page.index("</ol>", page.index("Records"))]
    icons = re.findall(r'<span class="material-symbols-outlined[^>]*>', side)
    assert len(icons) >= 25
    assert all('aria-hidden="true"' in icon for icon in icons)


def test_a_list_that_no_app_placed_is_a_record(desk, monkeypatch):
    from shop.desk import navigation

    rooms = [room for room in navigation._rooms if Stock not in room.daily]
    monkeypatch.setattr(navigation, "_rooms", rooms)
    assert url(Stock) in sidebar(desk)["Records"]


def test_who_may_see_little_has_no_empty_rooms():
    assert sidebar(staff("orders.view_order")) == {
        "None": [reverse("admin:index")],
        "Orders": [url(Order), "/admin/orders/hold/"],
    }


# --- Links upwards --------------------------------------------------------------------------------


def test_a_user_leads_to_what_other_apps_have_of_them(desk, buyer):
    page = desk.get(url(type(buyer), "change", buyer.pk)).content.decode()
    assert f"{url(Order)}?buyer__id__exact={buyer.pk}" in page
    assert f"{url(Store)}?owner__id__exact={buyer.pk}" in page


def test_movements_and_differences_lead_to_orders_and_are_plain_where_nobody_knows_them(
    desk, buyer, monkeypatch
):
    (option,) = make_options([5])
    order = make_order(buyer, (option, 1))
    make_books(option, buyer)
    Difference.objects.update(order_number=order.number)
    pages = [url(Movement), url(Difference), url(Stock, "timeline", option.stock.pk)]
    search, record = f"{url(Order)}?q={order.number}", url(Order, "change", order.pk)
    for page, address in zip(pages, (search, search, record), strict=True):
        assert address in desk.get(page).content.decode()
    monkeypatch.setattr(links, "_references", {})
    for page in pages:
        shown = desk.get(page).content.decode()
        assert order.number in shown
        assert url(Order, "change", order.pk) not in shown
        assert search not in shown


# --- Rights ---------------------------------------------------------------------------------------


def test_each_app_gives_rights_to_its_own_only_and_the_groups_have_all_of_them():
    tables = {
        "shop": permissions.RIGHTS,
        "inventory": inventory_permissions.RIGHTS,
        "orders": orders_permissions.RIGHTS,
    }
    for app, table in tables.items():
        assert {name.partition(".")[0] for names in table.values() for name in names} == {app}
    for group, names in permissions.GROUPS.items():
        assert set(names) == {name for table in tables.values() for name in table.get(group, ())}
    before = dict(permissions.GROUPS)
    permissions.add_rights(orders_permissions.RIGHTS)
    assert before == permissions.GROUPS
