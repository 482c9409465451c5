"""A crowd that only looks, while others buy: nginx as it is deployed in front of the shop.

Two load generators at once: strangers who read the list of products and the page of a drop as fast as they
are answered, and shoppers who place so many orders a second. Meanwhile a seller changes a price again and
again, and somebody looks how long the list still shows the one before.
"""

import json
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tests.load import checks, wrk
from tests.load.shop import Shop
from tests.support.services import Nginx

ORDERS_A_SECOND, BUYERS = 200, 64
BETWEEN_CHANGES, BETWEEN_LOOKS = 0.2, 0.05
# One address stands for everybody's; what nginx writes of each request is part of the measure.
LIMITS = {
    "rate=50r/s": "rate=1000000r/s",
    "burst=200": "burst=100000",
    "connections 100": "connections 10000",
}
LIST = "/api/v1/products/"


@dataclass(frozen=True, slots=True)
class Crowd:
    """What came of it. rate: pages a second; p50 to longest: ms; errors: answers that are no page, and broken
    connections; orders: of those who bought, a second; oldest: the longest that the list showed a price after
    it had been changed, in ms, of so many `looks`."""

    connections: int
    rate: float
    p50: float
    p99: float
    longest: float
    errors: int
    orders: float
    order_p99: float
    order_errors: int
    oldest: float
    looks: int


class Seller:
    """Changes the price of a product, and knows when."""

    def __init__(self, shop_url: str, product: int, token: str) -> None:
        self._address = f"{shop_url}{LIST}{product}/"
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        # When each price had been changed to, by price: 1, 2, 3 and so on.
        self.changed_at: dict[int, float] = {}

    def change_until(self, over: threading.Event) -> None:
        price = 0
        while not over.wait(BETWEEN_CHANGES):
            price += 1
            body = json.dumps({"price": price}).encode()
            request = urllib.request.Request(self._address, body, self._headers, method="PATCH")
            with urllib.request.urlopen(request, timeout=30):
                self.changed_at[price] = time.monotonic()

    def age(self, price: int, asked_at: float) -> float:
        """For how long this price had been out of date when somebody asked, in seconds; 0: it had not."""
        return max(0.0, asked_at - self.changed_at.get(price + 1, asked_at))


def look_until(over: threading.Event, front: Nginx, product: int, seller: Seller) -> list[float]:
    """How old the product's price on the list was, look by look, from the first change on."""
    ages = []
    while not over.wait(BETWEEN_LOOKS):
        asked_at = time.monotonic()
        shown = {row["id"]: row["price"] for row in json.loads(front.ask(LIST).body)["results"]}
        if 1 in seller.changed_at and shown[product] in seller.changed_at:
            ages.append(seller.age(shown[product], asked_at))
    return ages


def measure(shop: Shop, *, connections: int, seconds: float, lead: float) -> Crowd:
    """Raises `checks.Broken` where an order was lost or the books do not balance."""
    drop = shop.inside("seed", "drop", units=100_000, limit=1)["drop"]
    # The newest one, which the list begins with.
    goods = shop.inside("seed", "for_a_seller")
    before = checks.mark(shop.query)
    server = shop.server()
    pages = [("GET", path, "", None) for path in (LIST, f"/api/v1/drops/{drop}/")]
    requests = shop.requests("crowd", pages)
    # As every browser says.
    requests.write_text(requests.read_text().replace("\n", "\tAccept-Encoding: gzip\n"))
    reading = {"requests": requests}
    buying = {
        "shoppers": shop.shoppers, "options": shop.goods["hot"], "lines": 1, "pace": ORDERS_A_SECOND,
    }  # fmt: skip
    over, seller = threading.Event(), Seller(server.url, goods["product"], goods["token"])
    with Nginx(server.port, None, replaced=LIMITS) as front, ThreadPoolExecutor(3) as pool:
        changing = pool.submit(seller.change_until, over)
        looking = pool.submit(look_until, over, front, goods["product"], seller)
        bought = pool.submit(
            wrk.run, "orders.lua", front.url, connections=BUYERS, seconds=seconds, lead=lead, arguments=buying
        )
        try:
            read = wrk.run(
                "prepared.lua", front.url, connections=connections, seconds=seconds, lead=lead,
                arguments=reading,
            )  # fmt: skip
            orders = bought.result()
        finally:
            over.set()
        changing.result()
        ages = looking.result()
    shop.inside("seed", "close", drop=drop)
    checks.assert_every_order_counts(checks.mark(shop.query).orders - before.orders, orders, BUYERS)
    checks.assert_books_balance(shop.query, before)
    return Crowd(
        connections=connections, rate=round(read.rate([200]), 1), p50=read.p50, p99=read.p99,
        longest=read.longest, errors=read.besides([200]), orders=round(orders.rate([201]), 1),
        order_p99=orders.p99, order_errors=orders.besides([201]),
        oldest=round(max(ages, default=0.0) * 1e3, 1), looks=len(ages),
    )  # fmt: skip


def in_words(found: Crowd) -> str:
    """One sentence or two, for people."""
    return (
        f"{found.connections} connections of strangers behind nginx: {found.rate:,.0f} pages/s, p50 "
        f"{found.p50:,.1f} ms, p99 {found.p99:,.1f} ms, {found.errors:,} errors. Beside them "
        f"{found.orders:,.0f} orders/s of {ORDERS_A_SECOND} that were wanted, p99 {found.order_p99:,.1f} ms, "
        f"{found.order_errors:,} errors. In {found.looks:,} looks the list was at most "
        f"{found.oldest:,.0f} ms behind a price that changes."
    )
