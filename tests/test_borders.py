"""What people type is what is stored, at every door and on every database."""

import unicodedata
from urllib.parse import urlencode

import pytest
from django.db import IntegrityError, transaction
from django.test import Client
from django.urls import reverse

from inventory.models import Stock
from orders.models import Order, OrderLine
from shop.models import Category, Option, Product, Store, User
from shop.selectors import search_names
from tests.support.desk import change_stock, signed_in, url
from tests.support.factories import PASSWORD, make_category, make_options, make_order, make_store, make_user
from tests.support.problems import problem
from tests.support.wire import Wire
from yousinsa.text.cleaning import tidied
from yousinsa.text.keys import key, search_terms, search_words

pytestmark = pytest.mark.django_db

NFD = unicodedata.normalize("NFD", "데님셔츠")
UNSEEN = ["x\u200b", "\u3164", "a\u202eb", "x\x01", "x\u00ad", "\u200b\u200b", "\ufeff", "x\ufe0f"]


@pytest.fixture
def operator(db):
    return make_user("operator@example.com", staff=True, password=PASSWORD)


@pytest.fixture
def desk(operator):
    return signed_in(operator)


@pytest.fixture
def store(db):
    return make_store()


def product(store, **fields):
    body = {"store": store.pk, "name": "Shirt", "category": make_category().slug, "price": 1, "options": []}
    return Wire(store.owner).post("products/", body | fields)


def found(desk, model, term):
    return list(desk.get(url(model), {"q": term}).context["cl"].result_list)


# --- Signing in and searching -------------------------------------------------------------------------


@pytest.mark.parametrize("typed", ["Operator@Example.COM", " operator@example.com ", "ｏperator@example.com"])
def test_an_operator_signs_in_however_the_address_is_typed(operator, typed):
    client = Client()
    answer = client.post(reverse("admin:login"), {"username": typed, "password": PASSWORD})
    assert answer.status_code == 302, answer.content
    assert client.get(reverse("admin:index")).status_code == 200


def test_a_search_at_the_desk_finds_in_whatever_case_and_form(desk):
    (option,) = make_options([1], name=NFD)
    option.sku = "Shirt-가-1"
    option.save()
    buyer = make_user("kim@example.com", address=True)
    order = make_order(buyer, (option, 1))
    (line,) = OrderLine.objects.filter(order=order)
    for term in ("shirt-가-1", "SHIRT-가-1", unicodedata.normalize("NFD", "shirt-가-1"), "shirt-가-1\u200b "):
        assert found(desk, Stock, term) == [option.stock], term
        assert found(desk, Option, term) == [option], term
        assert found(desk, Product, term) == [option.product], term
        assert found(desk, OrderLine, term) == [line], term
    for term in ("셔츠", "데님", NFD):
        assert found(desk, Product, term) == [option.product], term
    for term in ("KIM@", "Kim@Example.com"):
        assert found(desk, User, term) == [buyer], term
    store = option.product.store
    for term in (store.name.upper(), store.owner.email.upper()):
        assert found(desk, Store, term) == [store], term
    category = Category.objects.add_root({"slug": "coats", "name": "É Coats"})
    for term in ("é coats", "COATS"):
        assert found(desk, Category, term) == [category], term


def test_units_are_moved_to_the_sku_that_is_meant(desk):
    one, upper, lower = make_options([5, 0, 0])
    for option, sku in ((upper, "TARGET"), (lower, "target")):
        option.sku = sku
        option.save()
    change_stock(desk, "transfer", one.stock, to="Target", quantity=1, reason="x")
    assert Stock.objects.get(option=one).on_hand == 5
    change_stock(desk, "transfer", one.stock, to="target ", quantity=1, reason="x")
    assert Stock.objects.get(option=lower).on_hand == 1


# --- The API ------------------------------------------------------------------------------------------


def test_what_a_mac_sends_in_pieces_is_stored_and_found_composed(store):
    answer = product(store, name=NFD, options=[{"sku": NFD, "size": unicodedata.normalize("NFD", "소")}])
    assert answer.status_code == 201
    assert answer.json()["name"] == "데님셔츠"
    assert answer.json()["options"][0]["sku"] == "데님셔츠"
    assert answer.json()["options"][0]["size"] == "소"
    for text in ("셔츠", NFD):
        assert len(Wire().get(f"products/?{urlencode({'search': text})}").json()["results"]) == 1
    problem(product(store, options=[{"sku": "데님셔츠"}]), 409, "sku_taken", "options.0.sku")


def test_a_hundred_letters_are_a_hundred_letters_in_whatever_form(store):
    answer = product(store, name=unicodedata.normalize("NFD", "각" * 200), options=[{"sku": "a"}])
    assert answer.status_code == 201
    assert answer.json()["name"] == "각" * 200


@pytest.mark.parametrize("text", [*UNSEEN[:-1], "x\n\x07"])
def test_text_that_cannot_be_seen_is_refused_at_its_field(store, text):
    wire = Wire(store.owner)
    options = [{"sku": "a"}]
    problem(product(store, name=text, options=options), 400, "invalid", "name")
    problem(product(store, options=[{"sku": text}]), 400, "invalid", "options.0.sku")
    problem(product(store, options=[{"sku": "a", "size": text}]), 400, "invalid", "options.0.size")
    problem(wire.post("stores/", {"name": text}), 400, "invalid", "name")
    problem(wire.patch("users/me/", {"name": text}), 400, "invalid", "name")
    address = {"recipient": text, "phone": "1", "postal_code": "1", "address1": "x"}
    problem(wire.patch("users/me/", {"address": address}), 400, "invalid", "address.recipient")
    body = {"email": "new@example.com", "name": text, "password": PASSWORD}
    problem(Wire().post("users/sign-up/", body), 400, "invalid", "name")
    assert not Product.objects.exists()
    assert not User.objects.filter(email="new@example.com").exists()


@pytest.mark.parametrize("sku", ["a\nb", "a\tb", "a\u2028b", *UNSEEN[:-1]])
def test_a_sku_has_no_line_end_and_nothing_unseen(store, sku):
    problem(product(store, options=[{"sku": sku}]), 400, "invalid", "options.0.sku")


@pytest.mark.parametrize("typed", ["jameſ@example.com", "JAMES@example.com", "ｊames@example.com"])
def test_one_mailbox_is_one_account(typed):
    make_user("james@example.com", password=PASSWORD)
    body = {"email": typed, "name": "James", "password": PASSWORD}
    problem(Wire().post("users/sign-up/", body), 409, "email_taken", "email")
    assert Wire().post("users/sign-in/", {"email": typed, "password": PASSWORD}).status_code == 200


def test_a_buyer_cannot_hide_a_formula_in_the_recipient(buyer):
    (option,) = make_options([1])
    order = make_order(buyer, (option, 1))
    shipping = {"recipient": "\x01=1+1", "phone": "1", "postal_code": "1", "address1": "x"}
    answer = Wire(buyer).post(f"orders/{order.number}/pay/", {"provider": "sandbox", "shipping": shipping})
    problem(answer, 400, "invalid", "shipping.recipient")
    assert Order.objects.get(pk=order.pk).status == "pending"


@pytest.mark.parametrize(
    ("one", "other", "status"),
    [("😀", "😁", 201), ("é", "e", 201), ("S", "s", 400), ("STRASSE", "straße", 400), ("가", "나", 201)],
)
def test_sizes_are_told_apart_by_code_points_in_no_case(store, one, other, status):
    answer = product(store, options=[{"sku": "a", "size": one}, {"sku": "b", "size": other}])
    assert answer.status_code == status, answer.content


def test_looks_are_traded_and_a_category_is_found_in_whatever_case(store):
    created = product(store, options=[{"sku": "a", "size": "😀"}, {"sku": "b", "size": "😁"}])
    change = {"options": [{"sku": "a", "size": "😁"}, {"sku": "b", "size": "😀"}]}
    answer = Wire(store.owner).patch(f"products/{created.json()['id']}/", change)
    assert [option["size"] for option in answer.json()["options"]] == ["😁", "😀"]
    assert len(Wire().get("products/?category=TOP").json()["results"]) == 1


NAMES = ["b", "A", "가방", "C", "a", "É", "e", "1", "Z", "😀", "ㄱ"]


def test_names_are_in_one_order_on_every_database(store):
    for name in NAMES:
        make_options([1], store=store, name=name)
    rows = Wire().get("products/?ordering=name&page_size=100").json()["results"]
    assert [row["name"] for row in rows] == ["1", "A", "a", "b", "C", "e", "Z", "É", "ㄱ", "가방", "😀"]


ALIKE = [
    "S", "s", "ſ", "é", "É", "e", "e\u0301", "ß", "SS", "ﬁ", "fi", "ı", "i", "İ", "😀", "😁", "가", "ㄱ",
    "カ", "か", "Ａ", "a", "ς", "Σ", "1", "①", "a b", "a\u3000b",
]  # fmt: skip


def test_every_database_tells_the_same_texts_apart():
    (option,) = make_options([1])
    for i, one in enumerate(ALIKE):
        for j, other in enumerate(ALIKE[:i]):
            Option.objects.create(product=option.product, sku=f"{i}-{j}", size=one)
            try:
                with transaction.atomic():
                    Option.objects.create(product=option.product, sku=f"{i}-{j}-other", size=other)
                apart = True
            except IntegrityError:
                apart = False
            assert apart == (key(one) != key(other)), (one, other)
            Option.objects.filter(sku__startswith=f"{i}-{j}").delete()


def test_every_database_finds_what_the_terms_say(store):
    names = [
        *ALIKE,
        "데님셔츠",
        "와이드 청바지",
        "나이키air",
        "Café Crème",
        "STRASSE",
        "T_Shirt",
        "100% wool",
    ]
    for name in dict.fromkeys(tidied(name) for name in names):
        Product.objects.create(store=store, category=make_category(), name=name, price=1)
    everything = dict(Product.objects.values_list("pk", "name"))
    for text in {
        text for name in names for text in (name, name[:1], name[:2], name.upper(), name.swapcase())
    }:
        words = search_words(text)
        expected = {
            pk for pk, name in everything.items()
            if words and all(any(t.startswith(word) for t in search_terms(name)) for word in words)
        }  # fmt: skip
        found = set(search_names(Product.objects.all(), text).values_list("pk", flat=True))
        assert found == expected, text


# --- The desk -----------------------------------------------------------------------------------------


def form_of(page):
    """What a change form would send as it is shown."""
    form = page.context["adminform"].form
    return {name: form[name].value() or "" for name in form.fields if form[name].value() is not None}


def test_forms_clean_what_is_typed(desk, operator):
    owner = make_user(role="store_owner")
    desk.post(url(Store, "add"), {"name": f" {NFD} ", "owner": owner.pk})
    store = Store.objects.get(owner=owner)
    assert store.name == "데님셔츠"
    page = desk.post(url(Store, "add"), {"name": "데님셔츠", "owner": owner.pk})
    assert "name" in page.context["adminform"].form.errors
    page = desk.post(url(Store, "add"), {"name": "x\u200b", "owner": owner.pk})
    assert "U+200B" in str(page.context["adminform"].form.errors["name"])

    user = {"email": "New.User@Example.com", "name": "x\u202e", "role": "buyer", "usable_password": "false"}
    page = desk.post(url(User, "add"), user)
    assert "U+202E" in str(page.context["adminform"].form.errors["name"])
    assert "email" not in page.context["adminform"].form.errors
    desk.post(url(User, "add"), user | {"name": "New"})
    assert User.objects.get(name="New").email == "new.user@example.com"
    page = desk.post(url(User, "add"), user | {"email": "NEW.user@example.com", "name": "Other"})
    assert "email" in page.context["adminform"].form.errors


def test_a_korean_category_gets_a_slug_that_can_be_read(desk):
    form = {"name": unicodedata.normalize("NFD", "청바지"), "slug": "", "treebeard_position": "sorted-child"}
    page = desk.post(url(Category, "add"), form)
    assert page.status_code == 302, page.context["adminform"].form.errors
    assert Category.objects.get(slug="cheongbaji").name == "청바지"
    page = desk.post(url(Category, "add"), form | {"name": "靴"})
    assert "slug" in page.context["adminform"].form.errors


def test_operations_clean_what_is_typed(desk, buyer):
    (option,) = make_options([1])
    order = make_order(buyer, (option, 1))
    page = desk.post(url(Order, "cancel", order.pk), {"note": "because\u200b"}, follow=True)
    assert "U+200B" in page.content.decode()
    assert Order.objects.get(pk=order.pk).status == "pending"
    desk.post(url(Order, "cancel", order.pk), {"note": unicodedata.normalize("NFD", " 품절 ")}, follow=True)
    order = Order.objects.get(pk=order.pk)
    assert (order.status, order.events.latest("id").note) == ("cancelled", "품절")
