"""What was true when a page was made is not when it is sent: old forms, old lists, two at once."""

from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import connection

from orders.models.drops import Drop
from shop import services
from shop.errors import StoreNotDecidable
from shop.models import Category, Product, Store, User
from tests.support.desk import account_form, act, product_form, said, save, seen, text, url
from tests.support.drops import make_drop
from tests.support.factories import make_category, make_options, make_store, make_user

pytestmark = pytest.mark.django_db


def test_an_accepted_store_is_not_rejected_from_a_stale_list(desk):
    stores = [make_store(status=status) for status in ("accepted", "requested", "closed")]
    told = said(act(desk, "reject", *stores, apply="1"))
    assert told[0] == "1 store rejected."
    assert len(told) == 3
    assert "accepted by now" in " ".join(told[1:])
    found = Store.objects.in_bulk([store.pk for store in stores])
    assert [found[store.pk].status for store in stores] == ["accepted", "rejected", "closed"]


@pytest.mark.parametrize(
    ("name", "impossible"),
    [("accept", ["accepted"]), ("reject", ["accepted", "rejected", "closed"]),
     ("close", ["requested", "rejected", "closed"])],
)  # fmt: skip
def test_what_is_not_possible_is_refused_on_the_page_and_in_the_list(desk, name, impossible):
    for status in impossible:
        store = make_store(status=status)
        desk.post(url(Store, name, store.pk))
        act(desk, name, store, apply="1")
        store.refresh_from_db()
        assert (store.status, store.decided_at) == (status, None)


def test_the_store_of_who_withdrew_is_not_accepted_again(desk):
    store = make_store()
    services.withdraw(user=store.owner)
    assert said(act(desk, "accept", store)) == [
        f"{store}: Its owner has withdrawn: nobody would answer for it."
    ]
    store.refresh_from_db()
    assert store.status == "closed"
    with pytest.raises(StoreNotDecidable):
        services.decide_store(store=store, status="accepted")


def test_an_account_is_deactivated_once(desk, buyer):
    assert said(act(desk, "deactivate", buyer)) == ["1 user deactivated."]
    assert said(act(desk, "deactivate", buyer)) == [f"{buyer}: The account was deactivated before."]
    assert said(act(desk, "remove-second-factor", buyer)) != []


def test_a_paused_drop_is_not_paused_again(desk):
    (option,) = make_options([5])
    drop = make_drop((option, 3), lane="group_commit")
    assert said(act(desk, "pause", drop)) == ["1 drop paused."]
    assert said(act(desk, "pause", drop)) == [f"{drop}: The drop is paused already."]


# --- Old forms --------------------------------------------------------------------------------------------


def test_an_old_form_of_a_product_puts_nothing_back(desk):
    (option,) = make_options([5], price=10_000)
    product = option.product
    old = product_form(product, name="Typed here") | seen(desk, product)
    Product.objects.filter(pk=product.pk).update(price=19_000, is_active=False)

    page = desk.post(url(Product, "change", product.pk), old)
    assert page.status_code == 200
    for words in ("somebody else has changed this meanwhile", "Price (won): 19000", "On sale: no"):
        assert words in text(page)
    product.refresh_from_db()
    assert (product.price, product.is_active, product.name == "Typed here") == (19_000, False, False)
    form = page.context["adminform"].form
    assert (form["name"].value(), form["price"].value()) == ("Typed here", "19000")
    assert not form["is_active"].value()

    # What the page shows now is saved: what was typed, on top of what somebody else did.
    again = product_form(product, name="Typed here") | {
        page.context["seen_name"]: page.context["seen_version"]
    }
    del again["is_active"]
    assert desk.post(url(Product, "change", product.pk), again).status_code == 302
    product.refresh_from_db()
    assert (product.price, product.is_active, product.name) == (19_000, False, "Typed here")


def test_an_old_form_does_not_put_options_back(desk):
    (option,) = make_options([5])
    product = option.product
    old = product_form(product) | seen(desk, product)
    option.color = "green"
    option.save()
    page = desk.post(url(Product, "change", product.pk), old)
    assert "somebody else has changed this meanwhile: Options" in text(page)
    option.refresh_from_db()
    assert option.color == "green"
    assert 'value="green"' in page.content.decode()


@pytest.mark.parametrize("kind", ["user", "store", "group", "category", "place", "drop"])
def test_every_change_form_says_what_changed_meanwhile(desk, kind):
    record, form, change = {
        "user": _user, "store": _store, "group": _group, "category": _category, "place": _place,
        "drop": _drop,
    }[kind]()  # fmt: skip
    model: Any = type(record)
    old = form | seen(desk, record)
    change()
    before = model.objects.filter(pk=record.pk).values().get()
    page = desk.post(url(model, "change", record.pk), old)
    assert "somebody else has changed this meanwhile" in text(page)
    assert model.objects.filter(pk=record.pk).values().get() == before
    unmarked = desk.post(url(model, "change", record.pk), form)
    assert "does not say what it was made of" in text(unmarked)


def _user() -> Any:
    user = make_user(address=True)
    return user, account_form(user), lambda: User.objects.filter(pk=user.pk).update(address1="New street 1")


def _store() -> Any:
    store = make_store()
    form = {"name": store.name, "owner": store.owner_id, "commission_rate": ""}
    return store, form, lambda: Store.objects.filter(pk=store.pk).update(commission_rate=500)


def _group() -> Any:
    from django.contrib.auth.models import Permission

    group = Group.objects.create(name="Night shift")
    return group, {"name": group.name}, lambda: group.permissions.add(Permission.objects.first())


def _category() -> Any:
    node = make_category("knit")
    form = {"name": node.name, "slug": node.slug, "_position": "sorted-child", "_ref_node_id": "",
            "treebeard_position": "sorted-child", "treebeard_ref_node": ""}  # fmt: skip
    return node, form, lambda: Category.objects.filter(pk=node.pk).update(name="Knitted")


def _place() -> Any:
    node, form, _change = _category()
    other = make_category("elsewhere")
    return node, form, lambda: Category.objects.move(Category.objects.get(pk=node.pk), other, "sorted-child")


def _drop() -> Any:
    (option,) = make_options([5])
    drop = make_drop((option, 3), lane="group_commit", opened=False)
    item = drop.items.get()
    form = {
        "name": drop.name, "lane": drop.lane, "opens_at_0": f"{drop.opens_at:%Y-%m-%d}",
        "opens_at_1": f"{drop.opens_at:%H:%M:%S}", "closes_at_0": "", "closes_at_1": "",
        "limit_per_customer": 1, "admission_rate": "", "items-TOTAL_FORMS": 1, "items-INITIAL_FORMS": 1,
        "items-0-id": item.pk, "items-0-option": option.pk, "items-0-price": item.price,
        "items-0-allotted": 3,
    }  # fmt: skip
    return drop, form, lambda: Drop.objects.filter(pk=drop.pk).update(limit_per_customer=4)


# --- What the database refuses -----------------------------------------------------------------------------


def test_what_a_constraint_refuses_is_said_at_its_field_and_what_was_typed_stays(desk, monkeypatch):
    """Somebody else takes the slug between the form's own look and the save."""
    make_category("top")
    monkeypatch.setattr(Category, "validate_unique", lambda self, exclude=None: None)
    form = {
        "name": "Typed name",
        "slug": "top",
        "treebeard_position": "sorted-child",
        "treebeard_ref_node": "",
    }
    page = desk.post(url(Category, "add"), form)
    assert page.status_code == 200
    errors = page.context["adminform"].form.errors
    assert list(errors) == ["slug"]
    assert 'value="Typed name"' in page.content.decode()
    assert not connection.needs_rollback


def test_a_check_of_the_database_is_a_message_as_well(desk, monkeypatch):
    (option,) = make_options([5])
    monkeypatch.setattr(Product._meta.get_field("price"), "validators", [])
    monkeypatch.setattr(Product, "validate_constraints", lambda self, exclude=None: None)
    page = save(desk, option.product, product_form(option.product, price=-1))
    assert list(page.context["adminform"].form.errors) == ["price"]
    option.product.refresh_from_db()
    assert option.product.price == 10_000


def test_somebody_who_lost_the_race_for_a_place_in_the_tree_is_served_at_the_second_try(desk, monkeypatch):
    """Two editors who add a root at once compute the same place; the database lets one of them have it."""
    make_category("top")
    form = {"name": "Shoes", "slug": "shoes", "treebeard_position": "sorted-child", "treebeard_ref_node": ""}
    tried: list[str] = []
    original = Category.save

    def after_another(self: Category, *args: Any, **kwargs: Any) -> None:
        if not tried:
            tried.append(self.path)
            taken = Category(name="Other", slug="zzz", path=self.path, depth=1)
            original(taken)
            raise_from = Category(name=self.name, slug=self.slug, path=self.path, depth=1)
            original(raise_from)  # the constraint's own refusal
        original(self, *args, **kwargs)

    monkeypatch.setattr(Category, "save", after_another)
    assert desk.post(url(Category, "add"), form).status_code == 302
    assert tried
    assert Category.objects.filter(slug="shoes").count() == 1
