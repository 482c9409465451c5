"""The operators' desk: its lists, its records, and who may see and do what."""

import re

import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group
from django.db import connection
from django.db.models import Model
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from inventory import ledger
from inventory.models import Stock
from orders.lifecycle import cancel_order
from orders.models import Hold, Order, OrderCorrection, OrderTerm
from orders.payments.services import confirm_transfer
from shop import services
from shop.desk import bounds
from shop.models import (
    Authenticator,
    Category,
    Option,
    Product,
    Role,
    SearchTerm,
    Store,
    TokenRevocation,
    User,
)
from tests.support.books import make_rows
from tests.support.desk import account_form, act, product_form, said, save, signed_in, staff, url
from tests.support.factories import (
    PASSWORD,
    make_category,
    make_options,
    make_order,
    make_store,
    make_user,
    stock_of,
)
from tests.support.invariants import assert_books_balance
from tests.support.wire import token_of
from yousinsa.auth import read_token, revocations

pytestmark = pytest.mark.django_db

MODELS = sorted(admin.site._registry, key=lambda model: model._meta.label)


def make_root(name: str, slug: str) -> Category:
    return Category.objects.add_root(instance=Category(name=name, slug=slug))


# --- Lists ----------------------------------------------------------------------------------------


def test_every_model_of_the_shop_is_on_the_desk():
    from django.apps import apps

    ours = {m for app in ("shop", "inventory", "orders") for m in apps.get_app_config(app).get_models()}
    # What finds a product or an order is made of it: there is nothing to see in it, and nothing to change.
    # Corrections are seen below their order: old addresses are nothing to look through.
    # A second factor is its user's, and removed on the user's page.
    assert ours - {SearchTerm, OrderTerm, OrderCorrection, Authenticator} <= set(MODELS)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model._meta.label)
def test_an_empty_list_and_a_search_without_result_are_pages(desk, model):
    assert desk.get(url(model)).status_code == 200
    for term in ("nothing-like-this", "nobody@example.com", "한국", "%", "\x00", "-+*"):
        assert desk.get(url(model), {"q": term}).status_code == 200


def test_a_list_asks_the_database_as_often_for_many_rows_as_for_few(desk):
    desk.get("/admin/")  # the first page notes in the session that somebody is there
    make_rows(3)
    few = {model._meta.label: queries(desk, url(model)) for model in MODELS}
    make_rows(27)
    assert {model._meta.label: queries(desk, url(model)) for model in MODELS} == few


def test_the_page_of_a_record_is_shown(desk):
    make_rows(1)
    for model in MODELS:
        newest = model._default_manager.order_by("-pk").first()
        assert desk.get(url(model, "change", newest.pk)).status_code == 200
        assert desk.get(url(model, "change", 10**30)).status_code == 302


def queries(client: Client, address: str) -> int:
    with CaptureQueriesContext(connection) as captured:
        response = client.get(address)
        assert response.status_code == 200
    assert len(response.context["cl"].result_list) >= 3
    return len(captured)


def test_lists_are_bounded(desk, monkeypatch):
    """Counting ends at a limit, and no address makes the database sort by a column without an index."""
    make_rows(4)
    monkeypatch.setattr(bounds, "COUNT_LIMIT", 2)
    for model in MODELS:
        if model is not Group:
            assert_bounded(desk, model)


def assert_bounded(desk: Client, model: type[Model]) -> None:
    with CaptureQueriesContext(connection) as captured:
        page = desk.get(url(model), {"o": "2.-3"})
    assert "2+ " in page.content.decode()
    counts = [q["sql"] for q in captured if q["sql"].startswith("SELECT COUNT(")]
    assert counts
    assert all("LIMIT 3" in sql for sql in counts), counts
    if model not in (Category, Product, Hold):
        quote = connection.ops.quote_name
        column = f"{quote(model._meta.db_table)}.{quote(model._meta.pk.column)}"
        assert any(f"ORDER BY {column} DESC" in q["sql"] for q in captured)


@pytest.mark.parametrize(
    ("model", "term"),
    [
        ("shop.User", "buyer-1@"),
        ("shop.User", "Park"),
        ("shop.TokenRevocation", "buyer-1"),
        ("shop.Store", "Cheongdam"),
        ("shop.Store", "owner-1@"),
        ("shop.Category", "knit"),
        ("shop.Product", "{sku}"),
        ("shop.Option", "{sku}"),
        ("inventory.Stock", "{sku}"),
        ("inventory.Movement", "{sku}"),
        ("orders.Order", "{number}"),
        ("orders.Order", "buyer-1@"),
        ("orders.OrderLine", "{number}"),
        ("orders.OrderLine", "{sku}"),
        ("orders.OrderEvent", "{number}"),
        ("orders.Payment", "{number}"),
        ("orders.Refund", "{number}"),
    ],
)
def test_search_finds_one_among_others(desk, operator, model, term):
    from django.apps import apps

    make_rows(2)
    wanted = make_store(owner=make_user("owner-1@example.com"), name="Cheongdam")
    make_root("Knitwear", "knit")
    (option,) = make_options([5], store=wanted, name="Wool cardigan")
    buyer = make_user("buyer-1@example.com", address=True)
    User.objects.filter(pk=buyer.pk).update(name="Park Seojun")
    services.revoke_all_tokens(user_id=buyer.pk)
    order = make_order(buyer, (option, 1))
    confirm_transfer(order_id=order.pk, actor_id=operator.pk)
    cancel_order(order_id=order.pk, actor_id=operator.pk)

    page = desk.get(url(apps.get_model(model)), {"q": term.format(sku=option.sku, number=order.number[:16])})
    expected = {"inventory.Movement": 3, "orders.OrderEvent": 2}.get(model, 1)
    assert page.context["cl"].result_count == expected


def test_movements_are_found_by_the_number_of_an_order_in_either_case(desk, buyer):
    from inventory.models import Movement

    (option,) = make_options([5])
    order, _other = make_order(buyer, (option, 1)), make_order(buyer, (option, 2))
    for term in (order.number, order.number.lower()):
        assert desk.get(url(Movement), {"q": term}).context["cl"].result_count == 1
    assert desk.get(url(Movement), {"kind__exact": "receive"}).context["cl"].result_count == 1


@pytest.mark.parametrize("model", [Product, Option, Stock])
def test_words_of_a_products_name_find_it(model):
    make_options([5], name="Linen shirt")
    make_options([5], name="Wool cardigan")
    desk = signed_in(make_user(staff=True))
    for term, found in (("cardigan wool", 1), ("LINEN", 1), ("wool shirt", 0)):
        assert desk.get(url(model), {"q": term}).context["cl"].result_count == found


def test_the_desk_has_a_name_and_leads_to_the_shop(desk):
    page = desk.get(reverse("admin:index")).content.decode()
    assert "YOUSINSA" in page
    assert re.search(r'<a href="/"[^>]*>\s*View site\s*</a>', page)


# --- People ---------------------------------------------------------------------------------------


def is_revoked(token: str) -> bool:
    revocations.refresh()
    return revocations.is_revoked(read_token(token))


def test_an_account_is_made_with_a_password_and_signs_in(desk):
    form = {
        "email": "New.Clerk@Example.com",
        "name": "New Clerk",
        "role": Role.BUYER,
        "usable_password": "true",
        "password1": PASSWORD,
        "password2": PASSWORD,
    }
    assert desk.post(url(User, "add"), form).status_code == 302
    user = services.sign_in(email="new.clerk@example.com", password=PASSWORD).result()
    assert (user.name, user.is_staff) == ("New Clerk", False)
    again = desk.post(url(User, "add"), form)
    assert "already exists" in again.content.decode()


def test_the_page_of_an_account_links_to_its_password_form_and_shows_no_hash(desk, buyer):
    buyer.set_password(PASSWORD)
    buyer.save()
    page = desk.get(url(User, "change", buyer.pk)).content.decode()
    assert 'href="../password/"' in page
    assert buyer.password.rpartition("$")[2] not in page


def test_a_new_password_ends_tokens(desk, buyer):
    token = token_of(buyer)
    assert not is_revoked(token)
    form = {"usable_password": "true", "password1": PASSWORD, "password2": PASSWORD, "set-password": "1"}
    assert desk.post(f"/admin/shop/user/{buyer.pk}/password/", form).status_code == 302
    assert services.sign_in(email=buyer.email, password=PASSWORD).result() == buyer
    assert is_revoked(token)


@pytest.mark.parametrize("change", [{"is_active": None}, {"role": Role.STORE_OWNER}, {"is_staff": "on"}])
def test_changing_what_a_token_says_of_a_user_ends_it(desk, buyer, change):
    token = token_of(buyer)
    assert save(desk, buyer, account_form(buyer, name="New name")).status_code == 302
    assert not is_revoked(token)
    assert save(desk, buyer, account_form(buyer, **change)).status_code == 302
    assert is_revoked(token)


def test_deactivating_ends_tokens_and_sessions_and_spares_oneself(desk, operator, buyer):
    User.objects.filter(pk=buyer.pk).update(is_staff=True)
    token, session = token_of(buyer), signed_in(buyer)
    assert session.get("/admin/").status_code == 200
    assert said(act(desk, "deactivate", buyer, operator)) == [
        "1 user deactivated.",
        "operator@example.com: You cannot deactivate your own account.",
    ]
    assert is_revoked(token)
    assert session.get("/admin/").status_code == 302
    assert User.objects.get(pk=operator.pk).is_active


def test_who_has_withdrawn_stays_withdrawn(desk, buyer):
    form = account_form(buyer)
    services.withdraw(user=buyer)
    assert save(desk, buyer, form).status_code == 403
    assert desk.get(url(User, "change", buyer.pk)).status_code == 200
    assert not User.objects.get(pk=buyer.pk).name


def test_nobody_deletes_a_user(desk, buyer):
    assert "delete_selected" not in desk.get(url(User)).content.decode()
    assert desk.post(url(User, "delete", buyer.pk), {"post": "yes"}).status_code == 403


def test_only_superusers_touch_operators_and_give_rights(operator, buyer):
    clerk = staff("shop.change_user", "shop.view_user", "shop.deactivate_user")
    assert save(clerk, buyer, account_form(buyer, is_superuser="on", is_staff="on"))
    buyer.refresh_from_db()
    assert (buyer.is_staff, buyer.is_superuser) == (False, False)
    assert save(clerk, operator, account_form(operator)).status_code == 403
    assert clerk.get(f"/admin/shop/user/{operator.pk}/password/").status_code == 403
    assert clerk.post(url(User, "deactivate", operator.pk)).status_code == 403
    assert said(act(clerk, "deactivate", operator))[-1] == "operator@example.com: You may not do this."
    assert User.objects.get(pk=operator.pk).is_active


def test_revocations_are_only_read(desk, buyer):
    services.revoke_all_tokens(user_id=buyer.pk)
    row = TokenRevocation.objects.get()
    assert desk.get(url(TokenRevocation, "add")).status_code == 403
    assert desk.post(url(TokenRevocation, "change", row.pk), {}).status_code == 403
    assert desk.post(url(TokenRevocation, "delete", row.pk), {"post": "yes"}).status_code == 403


# --- Stores and products --------------------------------------------------------------------------


def test_stores_are_accepted_from_the_list_and_closed_on_their_page(desk, operator):
    first, second = (make_store(status=Store.Status.REQUESTED) for _ in range(2))
    assert said(act(desk, "accept", first, second)) == ["2 stores accepted."]
    first.refresh_from_db()
    assert first.status == Store.Status.ACCEPTED
    assert first.decided_at is not None
    assert LogEntry.objects.filter(user=operator, object_id=first.pk).exists()

    assert "Nothing of the store is listed" in desk.get(url(Store, "close", first.pk)).content.decode()
    assert desk.post(url(Store, "close", first.pk)).status_code == 302
    first.refresh_from_db()
    assert first.status == Store.Status.CLOSED


def test_options_that_are_added_to_a_product_are_kept_in_stock(desk):
    product = Product(name="Coat", store=make_store(), category=make_category(), price=90_000)
    form = product_form(product, ("COAT-S", "S", "black"), ("COAT-M", "M", "black"))
    assert desk.post(url(Product, "add"), form).status_code == 302
    product = Product.objects.get(name="Coat")
    assert Stock.objects.filter(option__product=product).count() == 2

    form = product_form(product, ("COAT-L", "L", "black"), price=95_000)
    assert save(desk, product, form).status_code == 302
    added = Option.objects.get(sku="COAT-L")
    assert stock_of(added) == (0, 0)
    ledger.receive(option_id=added.pk, quantity=3)
    page = desk.get(url(Product, "change", product.pk)).content.decode()
    assert url(Stock, "change", added.stock.pk) in page
    assert_books_balance()


def test_an_sku_stays_and_a_look_is_given_once(desk):
    (option,) = make_options([1])
    product = option.product
    form = product_form(product) | {"options-0-sku": "OTHER", "options-0-size": "XL"}
    assert save(desk, product, form).status_code == 302
    option.refresh_from_db()
    assert option.size == "XL"
    assert option.sku != "OTHER"
    for twice in ([("A", "xl", "")], [("A", "m", ""), ("B", "M", "")]):
        page = save(desk, product, product_form(product, *twice))
        assert page.status_code == 200
        assert "This size and colour is given twice." in page.content.decode()
    taken = save(desk, product, product_form(product, (option.sku, "S", "")))
    assert "already exists" in taken.content.decode()
    assert product.options.count() == 1


def test_what_has_a_history_is_not_deleted(desk):
    (option,) = make_options([1])
    product, store = option.product, option.product.store
    empty = make_store()
    for record in (product, store, option, option.stock, product.category):
        assert desk.post(url(type(record), "delete", record.pk), {"post": "yes"}).status_code == 403
    assert desk.post(url(Store, "delete", empty.pk), {"post": "yes"}).status_code == 302
    assert not Store.objects.filter(pk=empty.pk).exists()


def test_categories_move_in_the_tree(desk):
    top, pants = make_category("top"), make_category("pants")
    form = {"name": "Shirts", "slug": "shirts", "treebeard_position": "sorted-child"}
    assert desk.post(url(Category, "add"), form | {"treebeard_ref_node": top.pk}).status_code == 302
    shirts = Category.objects.get(slug="shirts")
    assert Category.objects.get_parent(shirts) == top
    moved = save(desk, shirts, form | {"treebeard_ref_node": pants.pk})
    assert moved.status_code == 302
    shirts.refresh_from_db()
    assert Category.objects.get_parent(shirts) == pants
    assert desk.post(url(Category, "delete", pants.pk), {"post": "yes"}).status_code == 403


def test_products_are_found_by_category_with_all_below_it(desk):
    (option,) = make_options([1])
    parent = make_root("All", "all")
    below = Category.objects.add_child(parent, instance=Category(name="New", slug="new"))
    Product.objects.filter(pk=option.product_id).update(category=below)
    make_options([1])
    assert desk.get(url(Product), {"category": "all"}).context["cl"].result_count == 1
    assert desk.get(url(Product), {"category": "unknown"}).context["cl"].result_count == 0


def test_relations_are_picked_by_search_not_from_a_list_of_everything(desk):
    store = make_store(name="Seongsu")
    asked = {"app_label": "shop", "model_name": "product", "field_name": "store", "term": "seong"}
    assert desk.get("/admin/autocomplete/", asked).json()["results"] == [
        {"id": str(store.pk), "text": "Seongsu"}
    ]
    page = desk.get(url(Product, "add")).content.decode()
    assert f'<option value="{store.pk}"' not in page


def test_a_page_needs_the_permission_to_view(buyer):
    clerk = staff("shop.view_product")
    assert clerk.get(url(Product)).status_code == 200
    for model in (Order, Stock, User, Store):
        assert clerk.get(url(model)).status_code == 403
    assert signed_in(buyer).get(url(Product)).status_code == 302
