"""Pages work under their Content-Security-Policy, and it keeps out what it is there for."""

import pytest
from django.urls import reverse
from playwright.sync_api import Browser, expect

from orders.models import Settlement
from orders.settlements.services import settle
from shop.models import Category, Product
from tests.browser.chromium import watch
from tests.browser.conftest import Desk
from tests.support.factories import make_options, make_order, make_user
from tests.support.orders import MARCH, delivered

pytestmark = pytest.mark.sqlite


def test_pages_without_a_sign_in_ask_for_nothing_that_is_refused(signed_in: Desk, browser: Browser) -> None:
    context = browser.new_context()
    page = context.new_page()
    wrong = watch(page)
    page.goto(f"{signed_in.url}/admin/login/")
    expect(page.locator("#login-form")).to_be_visible()
    page.goto(f"{signed_in.url}/api/docs/")
    expect(page.locator(".opblock").first).to_be_visible(timeout=60_000)  # Swagger builds it all
    assert wrong == []
    page.goto(f"{signed_in.url}/nowhere/")
    expect(page.locator("h1")).to_be_visible()
    assert [line for line in wrong if "404" not in line] == []
    context.close()


def test_forms_and_printed_pages_ask_for_nothing_that_is_refused(desk: Desk) -> None:
    option, *_ = make_options([10])
    order = make_order(make_user(address=True), (option, 1))
    delivered(make_user(address=True), (option, 2))
    settle(*MARCH, store_id=option.product.store_id)
    settlement = Settlement.objects.latest("pk")
    records = {
        "admin:shop_product_change": option.product_id, "admin:orders_order_change": order.pk,
        "admin:shop_category_change": Category.objects.all()[0].pk,
        "admin:shop_user_change": desk.operator.pk,
        "admin:shop_product_delete": Product.objects.create(
            store=option.product.store, category=option.product.category, name="Unsold", price=1
        ).pk,
        "admin:auth_user_password_change": desk.operator.pk,
    }  # fmt: skip
    addresses = [reverse(name, args=[pk]) for name, pk in records.items()]
    addresses += [
        reverse(f"admin:{name}")
        for name in (
            "shop_product_add",
            "shop_user_add",
            "orders_drop_add",
            "password_change",
            "second_factor",
        )
    ]
    addresses += [
        f"/admin/inventory/stock/{option.stock.pk}/receive/",
        f"/admin/orders/order/{order.pk}/packing-list/",
        f"/admin/orders/settlement/{settlement.pk}/print/",
    ]
    for address in addresses:
        assert desk.page.goto(desk.url + address).status == 200, address
        desk.page.wait_for_load_state("networkidle")
        assert desk.wrong == []


def test_choosing_from_many_searching_and_the_dark_theme_work(desk: Desk) -> None:
    """What scripts build: a list that is asked for while one types, results of a search, colours."""
    option, *_ = make_options([10], name="Corduroy trousers")
    page = desk.open(reverse("admin:shop_product_change", args=[option.product_id]))
    page.locator(".field-category .select2-selection, .field-store .select2-selection").first.click()
    expect(page.locator(".select2-results__option").first).to_be_visible()
    page.keyboard.press("Escape")
    assert page.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--color-primary-600')")


def test_an_injected_script_does_not_run_and_a_foreign_one_is_not_loaded(desk: Desk) -> None:
    page = desk.open("/admin/")
    page.evaluate(
        """() => {
            window.refused = [];
            addEventListener("securitypolicyviolation", e => window.refused.push(e.effectiveDirective));
            const add = (tag, set) => document.body.append(Object.assign(document.createElement(tag), set));
            add("script", {textContent: "window.injected = 1"});
            add("script", {src: "https://elsewhere.example/x.js"});
            add("style", {textContent: "body { display: none }"});
            add("img", {src: "https://elsewhere.example/?secret"});
            document.body.insertAdjacentHTML("beforeend", '<b id="trap" onclick="window.injected = 1">x</b>');
            document.getElementById("trap").click();
        }"""
    )
    page.wait_for_function("window.refused.length >= 5")
    assert page.evaluate("window.injected") is None
    refused = set(page.evaluate("window.refused"))
    assert refused == {"script-src-elem", "script-src-attr", "style-src-elem", "img-src"}
    expect(page.locator("body")).to_be_visible()
    desk.wrong.clear()  # these were asked for
