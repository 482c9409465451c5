"""What is measured: each scenario says what shoppers send, and what it must leave behind."""

import json
import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tests.load.shop import DEFAULT_LANE, DEMO_BUYER, DEMO_PASSWORD, SHOPPERS, Shop

LANES = ("group_commit", "row_lock", "conditional_update", "distributed_lock")
# Rows of a file that requests are drawn from.
PREPARED = 2000
# Orders that are made ready to be paid or cancelled, for each second: more than can be.
CHANGES_A_SECOND = 3000
# About as many as two cores can check.
SIGN_INS_A_SECOND = 40
BASKET_LINES = 3
SOLD_OUT_UNITS = 200
SHIPPING = {
    "recipient": "Kim Minji",
    "phone": "010-1234-5678",
    "postal_code": "04799",
    "address1": "5 Seongsui-ro, Seongdong-gu, Seoul",
}


class Load(NamedTuple):
    """A Lua script of this directory and its arguments (see wrk.run)."""

    script: str
    arguments: dict[str, object]
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class Scenario:
    """Something that shoppers do at once.

    load: makes what is sent, for a run of so many seconds. good: the statuses of answers that are no errors.
    places: every 201 is an order. admits: every 202 is an order once the stream is drained. writes: the books
    are checked afterwards. most_connections: more would measure something else.
    """

    name: str
    title: str
    load: Callable[[Shop, float], Load]
    good: tuple[int, ...] = (200, 201, 204)
    places: bool = False
    writes: bool = False
    admits: bool = False
    most_connections: int | None = None


def _at_random(shop: Shop, name: str, paths: list[str], *, signed_in: bool = True) -> Load:
    """GET one of the paths at random, as a shopper at random, or as a stranger."""
    picked = random.choices(paths, k=PREPARED)
    shoppers = shop.anybody(PREPARED) if signed_in else [None] * PREPARED
    rows = [("GET", path, "", shopper) for path, shopper in zip(picked, shoppers, strict=True)]
    return Load("prepared.lua", {"requests": shop.requests(name, rows)})


def _once(
    shop: Shop, name: str, action: str, body: object, seconds: float, *, delivered: bool = False
) -> Load:
    """POST to each of many new orders once, as the shopper who placed it."""
    orders = _orders(shop, math.ceil(seconds * CHANGES_A_SECOND), delivered=delivered)
    rows = [("POST", f"/api/v1/orders/{number}/{action}/", json.dumps(body), i) for i, number in orders]
    return Load("prepared.lua", {"requests": shop.requests(name, rows), "once": 1})


def _orders(shop: Shop, count: int, *, delivered: bool = False) -> list[tuple[int, str]]:
    found: list[tuple[int, str]] = shop.inside(
        "seed", "orders", shoppers=SHOPPERS, count=count, delivered=delivered
    )["orders"]
    return found


def _order(
    shop: Shop, options: list[int], *, lines: int = 1, shoppers: Path | None = None
) -> dict[str, object]:
    ids = ",".join(map(str, options))
    return {"shoppers": shoppers or shop.shoppers, "options": ids, "lines": lines}


def ping(shop: Shop, seconds: float) -> Load:
    rows = [("GET", "/api/v1/ping/", "", shopper) for shopper in range(SHOPPERS)]
    return Load("prepared.lua", {"requests": shop.requests("ping", rows)})


def hot_order(shop: Shop, seconds: float) -> Load:
    return Load("orders.lua", _order(shop, [shop.goods["hot"]]))


def hot_order_cookie(shop: Shop, seconds: float) -> Load:
    return Load("orders.lua", _order(shop, [shop.goods["hot"]], shoppers=shop.browsers()))


def baskets(shop: Shop, seconds: float) -> Load:
    return Load("orders.lua", _order(shop, shop.goods["basket"], lines=BASKET_LINES))


def sold_out(attempts: int) -> Scenario:
    """So many attempts at an option of 200 units that nobody has ordered before; no time limits them."""

    def load(shop: Shop, seconds: float) -> Load:
        option = shop.goods["scarce"] = shop.inside("seed", "scarce", units=SOLD_OUT_UNITS)["option"]
        return Load("orders.lua", _order(shop, [option]), limit=attempts)

    title = f"{attempts:,} attempts at {SOLD_OUT_UNITS} units"
    return Scenario("sold_out", title, load, good=(201, 409), places=True, writes=True)


def drop(units: int, limit: int, attempts: int | None = None) -> Callable[[Shop, float], Load]:
    """Orders of one unit from a new drop."""

    def load(shop: Shop, seconds: float) -> Load:
        found = shop.inside("seed", "drop", units=units, limit=limit)
        shop.goods["drop"] = found["drop"]
        arguments = _order(shop, [found["option"]]) | {"drop": found["drop"]}
        return Load("orders.lua", arguments, limit=attempts)

    return load


LISTS = [
    "/api/v1/products/",
    *(f"/api/v1/products/?category={slug}" for slug in ("top", "outer", "pants")),
    *(f"/api/v1/products/?ordering={name}" for name in ("price", "-price", "name")),
    "/api/v1/products/?in_stock=true",
]


def product_list(shop: Shop, seconds: float) -> Load:
    return _at_random(shop, "product-list", LISTS)


def product_list_strangers(shop: Shop, seconds: float) -> Load:
    return _at_random(shop, "product-list-strangers", LISTS, signed_in=False)


def product_page(shop: Shop, seconds: float) -> Load:
    return _at_random(shop, "product-page", [f"/api/v1/products/{id}/" for id in shop.goods["products"]])


def store_list(shop: Shop, seconds: float) -> Load:
    return _at_random(shop, "store-list", ["/api/v1/stores/"])


def order_page(shop: Shop, seconds: float) -> Load:
    rows = [("GET", f"/api/v1/orders/{number}/", "", i) for i, number in _orders(shop, PREPARED)]
    return Load("prepared.lua", {"requests": shop.requests("order-page", rows)})


def pay(shop: Shop, seconds: float) -> Load:
    return _once(shop, "pay", "pay", {"provider": "sandbox", "token": "ok", "shipping": SHIPPING}, seconds)


def cancel(shop: Shop, seconds: float) -> Load:
    return _once(shop, "cancel", "cancel", {}, seconds)


def give_back(shop: Shop, seconds: float) -> Load:
    return _once(shop, "return", "return", {}, seconds, delivered=True)


def my_orders(shop: Shop, seconds: float) -> Load:
    """Of shoppers who have a page full of them."""
    _orders(shop, SHOPPERS * 20)
    return _at_random(shop, "my-orders", ["/api/v1/orders/"])


def me(shop: Shop, seconds: float) -> Load:
    return _at_random(shop, "me", ["/api/v1/users/me/"])


def drop_list(shop: Shop, seconds: float) -> Load:
    shop.inside("seed", "drop", units=1_000, limit=10)
    return _at_random(shop, "drop-list", ["/api/v1/drops/"])


def sign_in(shop: Shop, seconds: float) -> Load:
    """Limited by their number: so slow that a short run would end before the first answer."""
    bodies = [
        json.dumps({"email": DEMO_BUYER % number, "password": DEMO_PASSWORD})
        for number in range(1, SHOPPERS + 1)
    ]
    rows = [("POST", "/api/v1/users/sign-in/", body, None) for body in bodies]
    limit = max(64, round(seconds * SIGN_INS_A_SECOND))
    return Load("prepared.lua", {"requests": shop.requests("sign-in", rows)}, limit=limit)


PING = Scenario("ping", "the no-op", ping)
HOT_ORDER = Scenario("hot_order", "order, one hot option", hot_order, places=True, writes=True)
# To be held against the same order by bearer token: at least 0.9 of it.
HOT_ORDER_COOKIE = Scenario(
    "hot_order_cookie", "order, one hot option, by cookie", hot_order_cookie, places=True, writes=True
)
BASKETS = Scenario("baskets", "order, 3 of 100 options", baskets, places=True, writes=True)
# The same order one at a time: what the group commit costs when there is no group.
LONE_ORDER = Scenario("lone_order", "order, nobody else there", hot_order, places=True, writes=True)
DROP_UNITS = 500
# More than can be asked for in a run: each is admitted.
DROP = Scenario(
    "drop", "order from a drop, Redis admits", drop(1_000_000, 1_000_000), good=(202,), admits=True
)


def drop_rush(attempts: int) -> Scenario:
    """So many attempts at a drop of 500 units, one a shopper: nearly all are refused."""
    title = f"{attempts:,} attempts at a drop of {DROP_UNITS} units"
    return Scenario("drop_rush", title, drop(DROP_UNITS, 1, attempts), good=(202, 409), admits=True)


PLAIN = (
    Scenario("product_list", "product list", product_list),
    Scenario("product_list_strangers", "product list, not signed in", product_list_strangers),
    Scenario("product_page", "product page", product_page),
    Scenario("store_list", "store list", store_list),
    Scenario("order_page", "order page", order_page),
    BASKETS,
    Scenario("pay", "pay (sandbox)", pay, writes=True),
    Scenario("cancel", "cancel", cancel, writes=True),
    Scenario("return", "return of all units", give_back, writes=True),
    Scenario("my_orders", "my orders, a page of 20", my_orders),
    Scenario("me", "my profile", me),
    Scenario("drop_list", "drop list", drop_list),
    # Each process lets HASH_QUEUE wait: who comes after that is told to come again.
    Scenario("sign_in", "sign in", sign_in, most_connections=32),
)


@dataclass(frozen=True, slots=True)
class Case:
    """A scenario in a shop, by a lane, on so many connections."""

    scenario: Scenario
    shop: Shop
    connections: int
    lane: str = DEFAULT_LANE
