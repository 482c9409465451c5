"""Pictures of the main pages of a demo shop, in both languages, as wide as a desk and as a telephone.

make screenshots        writes var/screenshots/<language>-<width>-<page>.png, to be looked at
"""

import itertools
import json
import os
import sys
import tempfile
import urllib.request
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import django
from playwright.sync_api import Page

from tests.browser.chromium import MISSING, PROGRAM, chromium, sign_in, watch
from tests.support.server import ROOT, WebServer
from tests.support.services import Redis

PICTURES = ROOT / "var" / "screenshots"
LANGUAGES = {"en": "en-GB", "ko": "ko-KR"}
WIDTHS = {1280: 900, 390: 844}
PASSWORD = "demo-yousinsa"
OPERATOR = "operator@demo.yousinsa.test"


def furnish(url: str) -> dict[str, str]:
    """Something to see on every page: name of the picture -> address."""
    from django.core.management import call_command
    from django.db.models import Count, F
    from django.utils import timezone

    from inventory.documents import begin_stocktake, record_counts
    from inventory.models import Stock
    from inventory.reconciliation import Scope, records
    from orders.drops.planning import ItemDraft, create_drop
    from orders.drops.services import open_drop
    from orders.lifecycle import add_note
    from orders.models import Order, Settlement, Status
    from orders.models.drops import Lane
    from orders.order_book import ORDERS
    from orders.settlements.services import settle
    from shop.models import Option, Store, User
    from tests.support.factories import make_order, make_store
    from yousinsa.auth import issue_token

    operator = User.objects.get(email=OPERATOR)
    buyers = list(User.objects.filter(role="buyer").order_by("pk")[:8])
    options = list(Option.objects.select_related("product").order_by("pk")[:12])
    make_store(name="Atelier Seongsu", status=Store.Status.REQUESTED)
    for buyer, option in zip(buyers, options, strict=False):
        make_order(buyer, (option, 1), (options[9], 2))
    paid = Order.objects.filter(status=Status.PAID).annotate(n=Count("lines")).order_by("-n", "-pk")[0]
    add_note(order_id=paid.pk, author_id=operator.pk, text="Wants it wrapped as a gift.")

    stocks = Stock.objects.in_bulk([option.pk for option in options], field_name="option_id")
    counted = begin_stocktake(
        stock_ids=[stocks[option.pk].pk for option in options[3:8]], actor_id=operator.pk
    )
    entered = {}
    for difference, option in zip((-1, 0, 1), options[3:6], strict=True):
        entered[stocks[option.pk].pk] = stocks[option.pk].on_hand + difference
    record_counts(stocktake_id=counted.pk, counted=entered)

    items = [ItemDraft(option.pk, 10) for option in options[10:12]]
    drop = create_drop(name="Seongsu sneaker drop", items=items, limit=1, lane=Lane.REDIS_LUA)
    open_drop(drop.pk)
    for buyer in buyers:
        body = {"lines": [{"option": options[10].pk, "quantity": 1}], "drop": drop.pk}
        token = issue_token(user_id=buyer.pk, role=buyer.role, is_staff=buyer.is_staff)
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        request = urllib.request.Request(f"{url}/api/v1/orders/", json.dumps(body).encode(), headers)
        urllib.request.urlopen(request, timeout=30).close()
        if buyer is buyers[4]:
            call_command("drain_orders", until_empty=True)

    last = timezone.localdate() - timedelta(days=1)
    settle(last - timedelta(days=60), last)
    Stock.objects.filter(option__in=options[:2]).update(on_hand=F("on_hand") + 2)
    run = records.begin(Scope(), actor_id=operator.pk)
    records.compare(run, ORDERS, Scope())
    return {
        "front-page": "/admin/",
        "products": "/admin/shop/product/",
        "product": f"/admin/shop/product/{options[0].product_id}/change/",
        "stores": "/admin/shop/store/",
        "stock-list": "/admin/inventory/stock/",
        "stock": f"/admin/inventory/stock/{stocks[options[9].pk].pk}/change/",
        "receive": f"/admin/inventory/stock/{stocks[options[9].pk].pk}/receive/",
        "timeline": f"/admin/inventory/stock/{stocks[options[9].pk].pk}/timeline/",
        "stocktake": f"/admin/inventory/stocktake/{counted.pk}/change/",
        "stocktake-preview": f"/admin/inventory/stocktake/{counted.pk}/preview/",
        "import": "/admin/inventory/delivery/import/",
        "holds": "/admin/orders/hold/",
        "orders": "/admin/orders/order/",
        "order": f"/admin/orders/order/{paid.pk}/change/",
        "ship": f"/admin/orders/order/{paid.pk}/ship/",
        "packing-list": f"/admin/orders/order/{paid.pk}/packing-list/",
        "drop": f"/admin/orders/drop/{drop.pk}/change/",
        "run-now": "/admin/inventory/reconciliationrun/run/",
        "run": f"/admin/inventory/reconciliationrun/{run.pk}/change/",
        "differences": "/admin/inventory/difference/",
        "settlement": f"/admin/orders/settlement/{Settlement.objects.latest('pk').pk}/change/",
        "settlement-print": f"/admin/orders/settlement/{Settlement.objects.latest('pk').pk}/print/",
        "categories": "/admin/shop/category/",
        "second-factor": "/admin/second-factor/",
        "api-docs": "/api/docs/",
    }


def shoot(page: Page, name: str) -> list[str]:
    """Draw what the page shows; it must not be wider than the window."""
    page.wait_for_load_state("networkidle")
    page.evaluate("document.fonts.ready")
    page.screenshot(path=PICTURES / f"{name}.png", full_page=True)
    beyond = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    return [f"{name}: {beyond} px wider than the window"] if beyond > 0 else []


def preview(page: Page) -> None:
    page.locator("[name=quantity]").fill("5")
    page.locator("[name=reason]").fill("Delivery from Dongdaemun")
    page.locator("#content .submit-row button").click()
    page.locator("[name=confirm]").wait_for()


def draw(url: str, pages: dict[str, str]) -> list[str]:
    """One picture a page, language and width. Returns what went wrong meanwhile."""
    wrong: list[str] = []
    with chromium() as browser:
        for (language, locale), (width, height) in itertools.product(LANGUAGES.items(), WIDTHS.items()):
            context = browser.new_context(locale=locale, viewport={"width": width, "height": height})
            page = context.new_page()
            seen, prefix = watch(page), f"{language}-{width}"
            page.goto(f"{url}/admin/")
            wrong += shoot(page, f"{prefix}-sign-in")
            sign_in(page, url, OPERATOR, PASSWORD)
            for name, address in pages.items():
                page.goto(url + address)
                wrong += shoot(page, f"{prefix}-{name}")
                if name == "receive":
                    preview(page)
                    wrong += shoot(page, f"{prefix}-{name}-preview")
            wrong += seen
            context.close()
    return wrong


def main() -> int:
    if not PROGRAM:
        print(MISSING, file=sys.stderr)
        return 1
    PICTURES.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="yousinsa-pictures-"))
        for name in ("PLACEMENT", "HTTPS"):
            os.environ.pop(name, None)
        os.environ |= {
            "DJANGO_SETTINGS_MODULE": "yousinsa.settings",
            "DATABASE_URL": f"sqlite:///{Path(scratch, 'shop.sqlite3')}",
            "REDIS_URL": stack.enter_context(Redis()).url,
            "SECRET_KEY": "pictures-only-" + "k" * 48,
            "DEBUG": "0",
            "VAR_DIR": scratch,
            "DEMO_PASSWORD": PASSWORD,
            "WEB_CONCURRENCY": "1",
        }
        django.setup()
        from django.core.management import call_command

        call_command("migrate", verbosity=0)
        call_command("seed_demo", products=60, buyers=20, stock=50, orders=400)
        call_command("collectstatic", interactive=False, verbosity=0)
        with WebServer({}, log=Path(scratch, "log")) as server:
            wrong = draw(server.url, furnish(server.url))
    print(*wrong, sep="\n")
    print(f"{len(list(PICTURES.glob('*.png')))} pictures in {PICTURES.relative_to(ROOT)}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
