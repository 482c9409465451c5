"""Who may open which page of the desk and run which action: every page there is, for everybody.

The pages are found by walking the site's addresses. One that the table does not know is a failure: whoever
adds a page says here who may open it.
"""

from collections.abc import Iterator
from datetime import date
from typing import Any, NamedTuple

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group
from django.contrib.contenttypes.models import ContentType
from django.core.management import call_command
from django.test import Client
from django.urls import URLPattern, URLResolver

from inventory import documents
from inventory.models import (
    Delivery,
    Difference,
    MonthSeal,
    Movement,
    ReconciliationRun,
    SealedBalance,
    Stock,
    Stocktake,
)
from orders.bulk.drafting import draft_of_orders
from orders.lifecycle import add_note, cancel_order
from orders.models import (
    BulkRun,
    DeadLetter,
    Drop,
    DropItem,
    DropRelease,
    DropTally,
    Hold,
    Order,
    OrderEvent,
    Payment,
    Refund,
    SettlementEntry,
)
from orders.models.troubles import Trouble
from orders.payments.services import confirm_transfer
from shop import services
from shop.models import Category, Option, Product, Role, Store, TokenRevocation, User
from shop.rights import groups as permissions
from shop.rights.groups import CATALOGUE_EDITOR, FINANCE, ORDER_DESK, STOCK_CLERK, STORE_OWNER
from tests.support.books import make_books, make_settlement
from tests.support.drop_rows import make_drop_rows
from tests.support.factories import make_category, make_options, make_order, make_store, make_user

# What the database is does not matter here.
pytestmark = [pytest.mark.django_db, pytest.mark.sqlite]

SUPERUSER, BUYER, NOBODY = "superuser", "buyer", "nobody signed in"
GROUPS = (CATALOGUE_EDITOR, STOCK_CLERK, ORDER_DESK, FINANCE, STORE_OWNER)
PEOPLE = (SUPERUSER, *GROUPS, BUYER, NOBODY)

# --- The table ------------------------------------------------------------------------------------
# Letters: E catalogue editor, S stock clerk, D order desk, F finance, O store owner (own store), U superuser.

LETTERS = dict(zip("ESDFOU", (*GROUPS, SUPERUSER), strict=True))

# model -> page or action -> who. `view` is the list, its export, a record (to look at) and its history.
MODELS: dict[str, dict[str, str]] = {
    "shop_product": {"view": "ESDFOU", "add": "EOU", "change": "EOU", "delete": "EU"},
    "shop_option": {"view": "ESDFOU", "add": "", "change": "", "delete": ""},
    "shop_category": {"view": "ESDFOU", "add": "EU", "change": "EU", "delete": "EU"},
    "shop_store": {
        "view": "ESDFOU", "add": "U", "change": "U", "delete": "U",
        "accept": "EU", "reject": "EU", "close": "EU",
    },
    "shop_user": {
        "view": "DU", "add": "U", "change": "U", "delete": "", "deactivate": "U", "remove-second-factor": "U",
    },
    "shop_tokenrevocation": {"view": "U", "add": "", "change": "", "delete": ""},
    "auth_group": {"view": "U", "add": "U", "change": "U", "delete": "U"},
    "inventory_stock": {
        "view": "ESDFOU", "add": "", "change": "", "delete": "", "timeline": "ESDFOU",
        "receive": "SOU", "adjust": "SU", "transfer": "SU", "count": "SU",
    },
    "inventory_movement": {"view": "SDFOU", "add": "", "change": "", "delete": ""},
    # The page of a document answers a post of those who may only look by showing the document.
    "inventory_delivery": {
        "view": "SDFU", "add": "", "change": "SDFU", "delete": "", "import": "SU",
        "apply": "SU", "discard": "SU",
    },
    "inventory_deliveryline": {"view": "SDFU", "add": "", "change": "", "delete": ""},
    "inventory_stocktake": {
        "view": "SDFU", "add": "", "change": "SDFU", "delete": "", "import": "SU",
        "apply": "SU", "discard": "SU",
        "preview": "SDFU", "counts": "SU",
    },
    "inventory_stocktakeline": {"view": "SDFU", "add": "", "change": "", "delete": ""},
    "orders_order": {
        "view": "DFOU", "add": "", "change": "", "delete": "",
        "confirm-payment": "DFU", "ship": "DU", "deliver": "DU", "cancel": "DU", "return": "DU",
        "correct-address": "DU", "correct-tracking": "DU", "lose": "DU",
        "note": "DFU", "packing-list": "DFU",
    },
    # The runs of what somebody may do; the one of these tests confirms payments.
    "orders_bulkrun": {
        "view": "DFU", "add": "", "change": "DFU", "delete": "",
        "ship": "DU", "begin": "DFU", "discard": "DFU", "again": "DFU",
    },
    "orders_bulkrow": {"view": "DFU", "add": "", "change": "", "delete": ""},
    "orders_hold": {"view": "DFU", "add": "", "change": "", "delete": "", "release": "DU"},
    "orders_orderline": {"view": "DFOU", "add": "", "change": "", "delete": ""},
    "orders_orderevent": {"view": "DFU", "add": "", "change": "", "delete": ""},
    "orders_ordernote": {"view": "DFU", "add": "", "change": "", "delete": ""},
    "orders_payment": {"view": "DFU", "add": "", "change": "", "delete": ""},
    "inventory_reconciliationrun": {"view": "SFU", "add": "", "change": "", "delete": "", "run": "SFU"},
    "inventory_difference": {"view": "SFU", "add": "", "change": "", "delete": "", "fix": "FU"},
    "inventory_monthseal": {"view": "FU", "add": "", "change": "", "delete": ""},
    "inventory_sealedbalance": {"view": "FU", "add": "", "change": "", "delete": ""},
    "orders_settlement": {
        "view": "FOU", "add": "", "change": "", "delete": "FU", "compute": "FU", "approve": "FU",
        "print": "FOU",
    },
    "orders_settlemententry": {"view": "FU", "add": "", "change": "", "delete": ""},
    "orders_drop": {
        "view": "SDFU", "add": "DU", "change": "DU", "delete": "DU", "numbers": "SDFU",
        "open": "DU", "pause": "DU", "resume": "DU", "close": "DU", "rebuild": "DU",
    },
    "orders_dropitem": {"view": "SDFU", "add": "", "change": "", "delete": ""},
    "orders_droptally": {"view": "SDFU", "add": "", "change": "", "delete": ""},
    "orders_droprelease": {"view": "SDFU", "add": "", "change": "", "delete": ""},
    "orders_deadletter": {"view": "SDFU", "add": "", "change": "", "delete": ""},
    "orders_trouble": {"view": "DFU", "add": "", "change": "", "delete": ""},
    "orders_refund": {"view": "DFU", "add": "", "change": "", "delete": "", "paid-out": "FU"},
}  # fmt: skip

# Actions whose name is no page. Nobody deletes what is sold from, or counted, by ticking boxes.
ACTIONS = {
    "auth_group": {"delete_selected": "U"},
    "inventory_stock": {"count_selected": "SU"},
    "orders_order": {"print_packing_lists": "DFU", "confirm_selected": "DFU", "deliver_selected": "DU"},
}

# Pages that belong to no model, by name, or by route where they have none.
OTHERS = {
    "index": "ESDFOU",
    "search": "ESDFOU",
    "password_change": "ESDFOU",
    "password_change_done": "ESDFOU",
    "second_factor": "ESDFOU",
    "autocomplete": "ESDFOU",  # then asks for the permission of what is looked for
    "jsi18n": "ESDFOU",
    "view_on_site": "ESDFOU",
    "app_list": "ESDFOU",
    "auth_user_password_change": "U",
    "shop_category children": "ESDFOU",
    "shop_category move": "EU",
}
# Open to everybody: the door itself, and what only leads elsewhere.
DOORS = {"login", "logout", "catch-all", "old change address", "shop_category javascript-catalog"}

# --- Finding the pages ----------------------------------------------------------------------------


class Page(NamedTuple):
    """An address of the desk: its name in the table above, and its pattern."""

    name: str
    pattern: URLPattern
    prefix: str


def pages(patterns: Any = None, prefix: str = "") -> Iterator[Page]:
    for pattern in admin.site.urls[0] if patterns is None else patterns:
        if isinstance(pattern, URLResolver):
            yield from pages(pattern.url_patterns, prefix + str(pattern.pattern))
        else:
            yield Page(name_of(pattern, prefix), pattern, prefix)


def name_of(pattern: URLPattern, prefix: str) -> str:
    model, route = prefix.strip("/").replace("/", "_"), str(pattern.pattern)
    if route == "(?P<url>.*)$":
        return "catch-all"
    if route == "<path:object_id>/":
        return "old change address"
    if pattern.name and pattern.name != "javascript-catalog":
        return pattern.name
    return f"{model} {route.split('/')[0].replace('jsi18n', 'javascript-catalog')}"


def in_the_table() -> dict[str, str]:
    """Every page that the tables name, and the letters of those who may open it."""
    table = dict(OTHERS)
    for model, rows in MODELS.items():
        table |= {f"{model}_{page}": who for page, who in rows.items() if page != "view"}
        table |= {f"{model}_{page}": rows["view"] for page in ("changelist", "export", "history")}
    return table


TABLE = in_the_table()


def test_the_table_knows_every_page_and_no_other():
    assert {page.name for page in pages()} == TABLE.keys() | DOORS


def test_the_table_names_every_model():
    registered = {f"{m._meta.app_label}_{m._meta.model_name}" for m in admin.site._registry}
    assert registered == MODELS.keys()


# --- Trying them ----------------------------------------------------------------------------------


class Shop:
    """A record of every model; products, options, stock and order lines are the store owner's own."""

    def __init__(self) -> None:
        for group in GROUPS:  # the migration made them, and a test that empties all tables took them away
            Group.objects.get_or_create(name=group)
        permissions.grant_groups()
        self.owner = make_user("owner@example.com", role=Role.STORE_OWNER)
        store = make_store(owner=self.owner)
        (option,) = make_options([5], store=store)
        clerk, buyer = make_user(staff=True), make_user("buyer@example.com", address=True)
        order = make_order(buyer, (option, 1))
        confirm_transfer(order_id=order.pk, actor_id=clerk.pk)
        cancel_order(order_id=order.pk, actor_id=clerk.pk)
        held = make_order(buyer, (option, 1))
        note = add_note(order_id=order.pk, author_id=clerk.pk, text="Called the buyer")
        receipt = documents.Receipt(option.stock.pk, 1)
        delivery = documents.draft_delivery(receipts=[receipt], actor_id=clerk.pk)
        stocktake = documents.begin_stocktake(stock_ids=[option.stock.pk], actor_id=clerk.pk)
        services.revoke_all_tokens(user_id=buyer.pk)
        make_books(option, clerk)
        make_drop_rows(option)
        draft = make_settlement(store.pk, period_start=date(2000, 2, 1), period_end=date(2000, 2, 29))
        bulk = draft_of_orders(BulkRun.Action.CONFIRM, [held.pk], actor_id=clerk.pk)
        self.buyer = buyer
        self.records: dict[str, Any] = {
            "shop_product": option.product, "shop_option": option, "shop_category": make_category("leaf"),
            "shop_store": store, "shop_user": buyer, "shop_tokenrevocation": TokenRevocation.objects.get(),
            "auth_group": Group.objects.create(name="Others"), "inventory_stock": option.stock,
            "inventory_movement": Movement.objects.first(), "orders_order": order,
            "inventory_delivery": delivery, "inventory_deliveryline": delivery.lines.get(),
            "inventory_stocktake": stocktake, "inventory_stocktakeline": stocktake.lines.get(),
            "orders_bulkrun": bulk, "orders_bulkrow": bulk.rows.get(),
            "orders_hold": Hold.objects.get(pk=held.pk), "orders_ordernote": note,
            "orders_orderline": order.lines.get(), "orders_orderevent": OrderEvent.objects.first(),
            "inventory_reconciliationrun": ReconciliationRun.objects.get(),
            "inventory_difference": Difference.objects.get(), "inventory_monthseal": MonthSeal.objects.get(),
            "inventory_sealedbalance": SealedBalance.objects.get(), "orders_settlement": draft,
            "orders_settlemententry": SettlementEntry.objects.get(),
            "orders_drop": Drop.objects.get(), "orders_dropitem": DropItem.objects.get(),
            "orders_droptally": DropTally.objects.get(), "orders_droprelease": DropRelease.objects.get(),
            "orders_deadletter": DeadLetter.objects.get(), "orders_trouble": Trouble.objects.get(),
            "orders_payment": Payment.objects.get(), "orders_refund": Refund.objects.get(),
        }  # fmt: skip
        bare = {"store": store, "category": make_category("top"), "price": 1}
        # What has no history may be deleted.
        self.deletable = self.records | {
            "shop_product": Product.objects.create(name="Never sold", **bare),
            "shop_store": make_store(owner=self.owner),
        }

    def client_of(self, person: str) -> Client:
        client = Client()
        if person == NOBODY:
            return client
        user = self.buyer
        if person == STORE_OWNER:
            user = self.owner
            user.is_staff = True
            user.save()
        elif person != BUYER:
            user = make_user(staff=True)
            user.is_superuser = person == SUPERUSER
            user.save()
        if person in GROUPS:
            user.groups.add(Group.objects.get(name=person))
        client.force_login(user)
        return client


@pytest.fixture
def shop(db: None) -> Shop:
    return Shop()


def address(page: Page, shop: Shop) -> str:
    """The page's address, for a record that is there."""
    model = page.prefix.strip("/").replace("/", "_")
    record = (shop.deletable if page.name.endswith("_delete") else shop.records).get(model)
    arguments = {
        **dict.fromkeys(("object_id", "id", "pk", "parent_id"), getattr(record, "pk", "")),
        "app_label": "shop",
        "kind": "csv",
        "content_type_id": ContentType.objects.get_for_model(Product).pk,
    }  # fmt: skip
    route = str(page.pattern.pattern)
    if page.name == "view_on_site":
        route = f"r/{arguments['content_type_id']}/{shop.records['shop_product'].pk}/"
    elif page.name == "app_list":
        route = "shop/"
    for name, value in arguments.items():
        for kind in ("path:", "str:", "int:", ""):
            route = route.replace(f"<{kind}{name}>", str(value))
    assert "<" not in route, route
    return f"/admin/{page.prefix}{route}"


def opens(client: Client, page: Page, shop: Shop) -> bool:
    """Whether the page lets this client in: to the form for what changes something, to look otherwise."""
    where = address(page, shop)
    if page.name == "autocomplete":
        where += "?app_label=shop&model_name=product&field_name=category&term=x"
    if page.name.endswith("_change"):
        answer = client.post(where, {})  # whoever may only look is shown the page, but may not post
    elif page.name == "shop_category move":
        node, target = shop.records["shop_category"].pk, make_category("outer").pk
        answer = client.post(where, {"node": node, "target": target, "relation": "sibling"})
    else:
        answer = client.get(where)
    # To the door, or home where there is no such record for this user.
    if answer.status_code == 302 and answer["Location"].partition("?")[0] in ("/admin/login/", "/admin/"):
        return False
    assert answer.status_code in (200, 302, 403, 404), f"{where}: {answer.status_code}"
    return answer.status_code != 403


def who(letters: str) -> set[str]:
    return {LETTERS[letter] for letter in letters}


@pytest.mark.parametrize("person", PEOPLE)
def test_everybody_gets_to_their_pages_and_to_no_other(shop, person):
    client = shop.client_of(person)
    asked = [page for page in pages() if page.name not in DOORS]
    opened = {page.name for page in asked if opens(client, page, shop)}
    assert opened == {page.name for page in asked if person in who(TABLE[page.name])}


@pytest.mark.parametrize("person", [SUPERUSER, *GROUPS])
def test_everybody_is_offered_their_actions_and_no_other(shop, person):
    client = shop.client_of(person)
    for model in admin.site._registry:
        name = f"{model._meta.app_label}_{model._meta.model_name}"
        if person not in who(MODELS[name]["view"]):
            continue
        form = client.get(f"/admin/{name.replace('_', '/', 1)}/").context["action_form"]
        offered = {value for value, _text in form.fields["action"].choices if value} if form else set()
        many = {o.name for o in getattr(admin.site._registry[model], "operations", ()) if o.action}
        rows = {action: MODELS[name][action] for action in many} | ACTIONS.get(name, {})
        assert offered == {action for action, letters in rows.items() if person in who(letters)}, name


@pytest.mark.parametrize("person", [*GROUPS, BUYER, NOBODY])
def test_an_action_that_is_not_offered_does_nothing(shop, person):
    """Posting its name all the same changes no record."""
    client = shop.client_of(person)
    before = Store.objects.get(pk=shop.deletable["shop_store"].pk).status, Group.objects.count()
    for model, rows in MODELS.items():
        denied = [name for name, letters in rows.items() if person not in who(letters)]
        for action in [*denied, "delete_selected"]:
            form = {"action": action, "index": 0, "_selected_action": [shop.records[model].pk], "apply": 1}
            answer = client.post(f"/admin/{model.replace('_', '/', 1)}/", form | {"note": "x", "post": "yes"})
            assert answer.status_code in (200, 302, 403)
    assert (Store.objects.get(pk=shop.deletable["shop_store"].pk).status, Group.objects.count()) == before
    assert User.objects.get(pk=shop.buyer.pk).is_active
    assert [order.status for order in Order.objects.order_by("pk")] == ["cancelled", "pending", "expired"]
    assert not Movement.objects.filter(kind="adjust").exists()
    assert Stocktake.objects.get().status == Delivery.objects.get().status == "draft"
    assert Refund.objects.get().status == "due"
    for model in (Product, Option, Category, Stock):
        assert model.objects.exists()


# --- The groups themselves ------------------------------------------------------------------------


def rights(group: str) -> set[str]:
    names = Group.objects.get(name=group).permissions.values_list("content_type__app_label", "codename")
    return {f"{app}.{codename}" for app, codename in names}


def test_migrating_gives_each_group_exactly_its_rights(shop):
    known = permissions.declared()
    for group, names in permissions.GROUPS.items():
        assert rights(group) == set(names) & known
    editors = Group.objects.get(name=CATALOGUE_EDITOR)
    editors.permissions.clear()
    Group.objects.filter(name=FINANCE).update(name="Money people")
    Group.objects.get(name=STOCK_CLERK).delete()
    call_command("migrate", verbosity=0)
    assert rights(CATALOGUE_EDITOR) == set(permissions.GROUPS[CATALOGUE_EDITOR]) & known
    assert not Group.objects.filter(name__in=[FINANCE, STOCK_CLERK]).exists()
    assert rights("Money people")


def test_a_right_that_no_model_declares_is_an_error(monkeypatch):
    assert not list(permissions.check_groups(None))
    monkeypatch.setitem(permissions.GROUPS, FINANCE, ("orders.print_money",))
    (error,) = permissions.check_groups(None)
    assert "orders.print_money" in error.msg
