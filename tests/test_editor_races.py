"""Two editors who save at the same moment: both are served, or the second one is told at the field.

Nobody meets an error page, and what was typed stays in the form. The controls take away the lock, the second
attempt (shop/desk/versions.py), or the constraint that the database refuses by.
"""

import re
from collections import Counter

import pytest

from shop.desk import versions
from shop.models import Category, Option, Product, Store
from tests.support.concurrency import in_threads
from tests.support.desk import product_form, seen, signed_in, url
from tests.support.factories import PASSWORD, make_category, make_options, make_store, make_user
from tests.support.races import goes_wrong, take_row_locks_away, without_unique
from tests.support.wire import Wire

pytestmark = pytest.mark.django_db(transaction=True)

ROUNDS = 5


def editors(count):
    """Operators at the desk who are shown an error page instead of raising its error here."""
    clients = [signed_in(make_user(staff=True)) for _ in range(count)]
    for client in clients:
        client.raise_request_exception = False
    return clients


def saved_at_once(forms):
    """What each of as many editors gets who send (address, form) at the same moment."""
    clients = editors(len(forms))
    return in_threads(lambda i: clients[i].post(*forms[i]), len(forms))


def statuses(pages):
    return Counter(page.status_code for page in pages)


def message_at(page, field):
    """What the page says at a field, of the form or (`options-1-sku`) of a row below it."""
    *row, name = field.split("-")
    html = page.content.decode()
    if row:
        html = html[html.index(f'name="{field}"') :]
        html = html[: html.index("</td>")]
        found = re.search(r"text-red-600 [^>]*>\s*([^<]+?)\s*</div>", html)
    else:
        found = re.search(rf'<ul class="errorlist" id="id_{name}_error"><li>([^<]+)</li>', html)
    return found.group(1) if found else ""


def typed(page, field):
    """What a field of the page's form holds."""
    found = re.search(rf'<input[^>]*name="{field}"[^>]*>', page.content.decode())
    value = re.search(r'value="([^"]*)"', found.group()) if found else None
    return value.group(1) if value else ""


def one_is_told(pages, field, **kept):
    """Whether one editor has saved, and the other has the message at the field and what they typed."""
    if statuses(pages) != {302: 1, 200: 1}:
        return False
    (page,) = [page for page in pages if page.status_code == 200]
    return bool(message_at(page, field)) and {name: typed(page, name) for name in kept} == kept


def without_second_attempts(monkeypatch):
    """What the database refuses is not tried again, nor turned into a message."""
    monkeypatch.setattr(versions, "ATTEMPTS", 0)


# --- The tree ---------------------------------------------------------------------------------------------


@pytest.fixture
def top():
    """Transactional tests empty the table that the migration filled."""
    return make_category("top")


def category_form(name, slug):
    form = {"name": name, "slug": slug, "treebeard_position": "sorted-child", "treebeard_ref_node": ""}
    return url(Category, "add"), form


def roots_added():
    """How four editors fare who add roots at once, some before and some behind those that are there."""
    first = Category.objects.count()
    slugs = [f"{letter}-{first}" for letter in "azmb"]
    return statuses(saved_at_once([category_form(f"Root {slug}", slug) for slug in slugs]))


def test_editors_who_add_roots_at_once_are_all_served(top):
    before = Category.objects.count()
    for _ in range(ROUNDS):
        assert roots_added() == {302: 4}
    assert Category.objects.count() == before + 4 * ROUNDS
    assert not any(Category.objects.find_problems())
    slugs = list(Category.objects.order_by("path").values_list("slug", flat=True))
    assert slugs == sorted(slugs)


@pytest.mark.mariadb
def test_control_without_the_trees_lock_one_of_them_is_not(top, monkeypatch):
    take_row_locks_away(monkeypatch, Category)
    without_second_attempts(monkeypatch)
    assert goes_wrong(roots_added, lambda found: found == {302: 4})[500]


def moved_and_added(round_):
    """Two editors drag nodes elsewhere while two others add some: the answers."""
    roots = [Category.objects.add_root({"slug": f"{c}{round_}", "name": c}) for c in "cdef"]
    address = "/admin/shop/category/move/"
    drags = [
        (address, {"node": roots[0].pk, "target": roots[1].pk, "relation": "child"}),
        (address, {"node": roots[2].pk, "target": roots[3].pk, "relation": "child"}),
    ]
    adds = [category_form(f"New {c}", f"{c}-new-{round_}") for c in "az"]
    return statuses(saved_at_once([*drags, *adds]))


def test_what_is_dragged_meanwhile_leaves_the_tree_whole(top):
    for round_ in range(ROUNDS):
        assert moved_and_added(round_) == {200: 2, 302: 2}
        assert not any(Category.objects.find_problems())


# --- What is one's alone ----------------------------------------------------------------------------------


def slug_taken():
    slug = f"shoes-{Category.objects.count()}"
    return saved_at_once([category_form("Typed name", slug) for _ in range(2)])


def test_a_slug_is_had_by_one(top):
    before = Category.objects.count()
    for _ in range(ROUNDS):
        pages = slug_taken()
        assert one_is_told(pages, "slug", name="Typed name")
    assert Category.objects.count() == before + ROUNDS


@pytest.mark.mariadb
def test_control_the_slugs_second_editor_meets_an_error_page(top, monkeypatch):
    take_row_locks_away(monkeypatch, Category)
    without_second_attempts(monkeypatch)
    pages = goes_wrong(slug_taken, lambda pages: one_is_told(pages, "slug", name="Typed name"))
    assert statuses(pages)[500]


def name_taken():
    name = f"Store {Store.objects.count()}"
    owner = make_user(role="store_owner")
    forms = [{"name": text, "owner": owner.pk, "commission_rate": "777"} for text in (name, name.upper())]
    return saved_at_once([(url(Store, "add"), form) for form in forms])


def test_a_stores_name_is_had_by_one():
    for times in range(ROUNDS):
        assert one_is_told(name_taken(), "name", commission_rate="777")
        assert Store.objects.count() == times + 1


@pytest.mark.mariadb
def test_control_the_names_second_editor_meets_an_error_page(monkeypatch):
    without_second_attempts(monkeypatch)
    pages = goes_wrong(name_taken, lambda pages: one_is_told(pages, "name", commission_rate="777"))
    assert statuses(pages)[500]


@pytest.mark.mariadb
def test_control_without_the_constraint_both_have_the_name(monkeypatch):
    with without_unique(Store, "name_key"):
        pages = goes_wrong(name_taken, lambda pages: one_is_told(pages, "name", commission_rate="777"))
        Store.objects.all().delete()
    assert statuses(pages) == {302: 2}


def sku_taken(sku):
    """Two editors, each at a product of another store, add an option with this SKU."""
    products = [make_options([1])[0].product for _ in range(2)]
    clients = editors(2)
    forms = [
        product_form(product, (sku, "XL", "typed"), name="Typed name") | seen(client, product)
        for product, client in zip(products, clients, strict=True)
    ]
    return in_threads(lambda i: clients[i].post(url(Product, "change", products[i].pk), forms[i]), 2)


def sku_is_told(pages, sku):
    kept = {"name": "Typed name", "options-1-sku": sku, "options-1-color": "typed"}
    return one_is_told(pages, "options-1-sku", **kept)


def test_an_sku_is_had_by_one():
    for round_ in range(ROUNDS):
        assert sku_is_told(sku_taken(f"SAME-{round_}"), f"SAME-{round_}")
        assert Option.objects.filter(sku=f"SAME-{round_}").count() == 1


@pytest.mark.mariadb
def test_control_the_skus_second_editor_meets_an_error_page(monkeypatch):
    without_second_attempts(monkeypatch)
    skus = iter(f"SAME-{n}" for n in range(100))
    pages = goes_wrong(lambda: sku_taken(next(skus)), lambda pages: statuses(pages) == {302: 1, 200: 1})
    assert statuses(pages)[500]


# --- The same over HTTP -----------------------------------------------------------------------------------


def applied(user, round_):
    return Wire(user).post("stores/", {"name": f"Same {round_}"})


def listed(user, round_):
    option = {"sku": f"SAME-{round_}"}
    body = {"name": "Shirt", "category": "top", "price": 1, "options": [option]}
    return Wire(user).post("products/", {**body, "store": user.stores.get().pk})


def signed_up(_user, round_):
    account = {"email": f"same{round_}@example.com", "name": "Kim Minji", "password": PASSWORD}
    return Wire().post("users/sign-up/", account)


@pytest.mark.parametrize(
    ("call", "field"), [(applied, "name"), (listed, "options.0.sku"), (signed_up, "email")]
)
def test_programs_are_told_the_field_as_well(top, call, field):
    owners = [make_store().owner for _ in range(2)]
    for round_ in range(ROUNDS):
        answers = in_threads(lambda i, round_=round_: call(owners[i], round_), 2)
        assert statuses(answers) == {201: 1, 409: 1}
        (refused,) = [answer for answer in answers if answer.status_code == 409]
        assert [error["field"] for error in refused.json()["errors"]] == [field]
