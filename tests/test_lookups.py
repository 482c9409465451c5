"""What the address of a desk's list may ask for: declared filters, and nothing else."""

from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.auth.models import Group
from django.test import RequestFactory

from orders.models import Order
from shop.desk.access.owners import sees_own_only
from shop.models import Category, Product, Role, Store, User
from shop.rights import groups as permissions
from tests.support.books import make_rows
from tests.support.desk import account_form, save, seen, signed_in, text, url
from tests.support.factories import make_options, make_order, make_store, make_user

pytestmark = pytest.mark.django_db

MODELS = sorted(admin.site._registry, key=lambda model: model._meta.label)
LOOKUPS = ["", "startswith", "regex", "iregex", "range", "year", "date", "week_day", "in", "gt", "lte",
           "isnull", "contains", "exact", "iexact", "isempty", "id__exact", "nothing"]  # fmt: skip
VALUES = ["", "1", "(", "0", "abc", "0001-01-01", "9999-12-31", "99999999999999999999999", "\x00"]


def paths(model: Any, depth: int = 2) -> list[str]:
    """The names of fields, and of fields of related records."""
    found = []
    for field in model._meta.get_fields():
        found.append(field.name)
        if depth > 1 and field.is_relation and field.related_model:
            found += [f"{field.name}__{below.name}" for below in field.related_model._meta.get_fields()]
    return found


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model._meta.label)
def test_thousands_of_lookups_are_ignored(operator, model):
    """The list is the same, whatever is asked for that no filter declares."""
    desk, factory = admin.site._registry[model], RequestFactory()

    def statement(query: dict[str, str]) -> str | None:
        request = factory.get("/", query)
        request.user = operator
        try:
            return str(desk.get_changelist_instance(request).queryset.query)
        except IncorrectLookupParameters:
            return None

    plain, tried = statement({}), 0
    request = factory.get("/")
    request.user = operator
    declared = desk.declared_lookups(request)
    for number, path in enumerate(paths(model)):
        # Every look-up of what is the model's own over all the models, one of what is another's.
        lookup = LOOKUPS[number % len(LOOKUPS)]
        name = f"{path}__{lookup}" if lookup else path
        value = VALUES[tried % len(VALUES)]
        tried += 1
        if name in declared:
            for every in VALUES:
                statement({name: every})  # an answer or a refusal, never an error
        else:
            assert statement({name: value}) == plain, name
    assert tried > len(model._meta.fields)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model._meta.label)
def test_values_that_no_filter_takes_are_no_errors(desk, model):
    for entry in admin.site._registry[model].list_filter:
        field = entry[0] if isinstance(entry, tuple) else entry
        name = entry.parameter_name if isinstance(entry, type) else field
        for suffix in ("", "__exact", "__gte", "__lt", "__isnull", "__isempty", "__id__exact"):
            for value in ("abc", "0001-01-01", "9999-12-31T23:59", "9" * 30, "("):
                assert desk.get(url(model), {f"{name}{suffix}": value}).status_code in (200, 302, 400)


@pytest.mark.parametrize(
    "query",
    [{"phone__startswith": "010-1234"}, {"buyer__id__exact": "1"}, {"buyer__email__regex": "("},
     {"id__range": "1"}, {"created_at__year": "0"}, {"p": "99999999999"}, {"o": "1.2.x"},
     {"_to_field": "phone"}, {"all": "1"}],
)  # fmt: skip
def test_the_addresses_that_were_reported(desk, query):
    make_rows(1)
    assert desk.get(url(Order), query).status_code in (200, 302, 400)


def test_the_children_of_what_is_no_category_are_not_found(desk):
    for parent in ("abc", "9" * 30, "0"):
        assert desk.get(f"{url(Category)}children/{parent}/").status_code == 404


# --- Whose records somebody sees ---------------------------------------------------------------------------


@pytest.fixture
def owner() -> User:
    user = make_user("owner@example.com", role=Role.STORE_OWNER)
    User.objects.filter(pk=user.pk).update(is_staff=True)
    user.refresh_from_db()
    group, _made = Group.objects.get_or_create(name=permissions.STORE_OWNER)
    permissions.grant_groups()
    user.groups.add(group)
    return user


def test_a_store_owner_asks_for_no_column_that_is_hidden(owner, buyer):
    (own,) = make_options([5], store=make_store(owner=owner))
    order = make_order(buyer, (own, 1))
    client = signed_in(owner)
    for query in ({"buyer__id__exact": "0"}, {"phone__startswith": "nothing"}):
        assert list(client.get(url(Order), query).context["cl"].result_list) == [order]
        exported = b"".join(client.get(url(Order, "export", "csv"), query)).decode()
        assert order.number in exported


def test_who_loses_the_role_of_a_store_owner_does_not_see_more(owner, buyer):
    make_options([5], store=make_store(owner=owner))
    (other,) = make_options([5])
    order = make_order(buyer, (other, 1))
    client = signed_in(owner)
    User.objects.filter(pk=owner.pk).update(role=Role.BUYER)
    client = signed_in(User.objects.get(pk=owner.pk))
    assert order not in client.get(url(Order)).context["cl"].result_list
    assert [product.store.owner for product in client.get(url(Product)).context["cl"].result_list] == [owner]


def test_roles_and_groups_that_contradict_each_other_are_refused(desk, owner):
    group = Group.objects.get(name=permissions.STORE_OWNER)
    page = save(desk, owner, account_form(owner, role=Role.BUYER, groups=[group.pk]))
    assert "take them out of it first" in text(page)
    orders = Group.objects.get_or_create(name=permissions.ORDER_DESK)[0]
    page = save(desk, owner, account_form(owner, groups=[group.pk, orders.pk]))
    assert "A store owner is no operator" in text(page)
    owner.refresh_from_db()
    assert (owner.role, list(owner.groups.all())) == (Role.STORE_OWNER, [group])


def test_what_somebody_sees_follows_from_what_they_are_allowed(db):
    nobody = make_user("nobody@example.com")
    User.objects.filter(pk=nobody.pk).update(is_staff=True)
    assert sees_own_only(User.objects.get(pk=nobody.pk))
    group, _made = Group.objects.get_or_create(name=permissions.ORDER_DESK)
    permissions.grant_groups()
    nobody.groups.add(group)
    assert not sees_own_only(User.objects.get(pk=nobody.pk))
    User.objects.filter(pk=nobody.pk).update(role=Role.STORE_OWNER)
    assert sees_own_only(User.objects.get(pk=nobody.pk))


def test_a_history_does_not_say_which_operator_it_was(desk, operator, owner):
    (own,) = make_options([5], store=make_store(owner=owner))
    store = own.product.store
    form = {"name": "Another name", "owner": owner.pk, "commission_rate": ""}
    assert desk.post(url(Store, "change", store.pk), form | seen(desk, store)).status_code == 302
    told = signed_in(owner).get(url(Store, "history", store.pk)).content.decode()
    assert operator.email not in told
    assert "the shop" in told
    assert operator.email in desk.get(url(Store, "history", store.pk)).content.decode()


# --- Names of stores ---------------------------------------------------------------------------------------


def test_no_two_stores_bear_the_same_name(desk, owner):
    from shop.errors import StoreExists
    from shop.services import apply_for_store

    make_store(name="Café Seoul")
    other = make_store(name="Other")
    for name in ("café  SEOUL", "Cafe\u0301 Seoul"):
        with pytest.raises(StoreExists):
            apply_for_store(owner_id=owner.pk, role=owner.role, name=name)
        form = {"name": name, "owner": other.owner_id, "commission_rate": ""}
        page = save(desk, other, form)
        assert list(page.context["adminform"].form.errors) == ["name"]
