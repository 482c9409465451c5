"""What 500 people do all day: look around, buy, pay, change their minds. They remember what they are told."""

import asyncio
import math
import random
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from tests.load.day.habits import Habits, Weighted
from tests.load.day.journal import Journal, Purchase
from tests.load.day.wire import LOST, Answer, Line, Wire
from tests.load.scenarios import LISTS, SHIPPING

# Out of a hundred requests so many are to look around and to search; the rest is buying and what follows it.
BROWSE, SEARCH = 70, 10
# How many requests an order brings with it, itself included.
REQUESTS_A_PURCHASE = 2.2
ABANDONED, DECLINED, UNANSWERED, CHARGED_UNANSWERED = 0.10, 0.08, 0.015, 0.015
CANCELLED, CHECKED = 0.04, 0.10
# Of baskets, so many have something that was listed today.
NOVELTIES = 0.05
DROP_UNITS_EACH = 2
# After a lost connection, and where the shop says it is busy.
RECONNECT_SECONDS, BUSY_SECONDS = 0.2, 1.0
# How long somebody insists on an answer.
INSIST_SECONDS = 60.0
FINAL = (200, 201, 202, 400, 402, 404, 409, 422)
# Codes of refusals that say to ask again.
NOT_YET = ("idempotency_in_flight", "order_not_settled", "throttled")


@dataclass(slots=True)
class Market:
    """What there is to be seen and bought. `options` from the most popular on, `products` likewise.

    `fresh`: options that were listed today, which owners add to. `drop` opens at `drop_opens` (monotonic).
    """

    options: Sequence[int]
    products: Sequence[int]
    words: Sequence[str]
    drop: int
    drop_option: int
    drop_opens: float
    fresh: deque[int] = field(default_factory=lambda: deque(maxlen=50))


class Day:
    """What the day's people share."""

    def __init__(
        self, *, wire: Wire, journal: Journal, habits: Habits, market: Market, ends: float, think: float
    ) -> None:
        self.wire, self.journal, self.habits, self.market = wire, journal, habits, market
        self.ends = ends
        self.think = think
        weights = habits.popularity[: len(market.options)]
        self.favourites = Weighted(dict(enumerate(weights)))
        looked_at = habits.popularity[: len(market.products)]
        self.looked_at = Weighted(dict(enumerate(looked_at)))

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self.ends


class Client:
    """Somebody who talks to the shop and does not go without an answer."""

    def __init__(self, day: Day, token: str, seed: str) -> None:
        self.day = day
        self.dice = random.Random(seed)
        self.line = Line(day.wire, f"Authorization: Bearer {token}\r\n")

    async def insist(
        self, name: str, path: str, body: object, good: Sequence[int] = (200,), *, key: str = ""
    ) -> tuple[Answer, bool]:
        """Send it again until the shop has an answer; with it, whether an earlier one may have been done.

        Without a `key` only what the shop says it has not done is sent again.
        """
        encoded, give_up = msgspec.json.encode(body), time.monotonic() + INSIST_SECONDS
        doubtful = False
        while True:
            answer = await self.line.post(name, path, encoded, good, key)
            code = code_of(answer)
            waits = code in NOT_YET
            if (answer.status in FINAL and not waits) or time.monotonic() > give_up:
                return answer, doubtful or waits
            if not waits and code != "busy":
                if not key:
                    return answer, True
                doubtful = True
            await asyncio.sleep(RECONNECT_SECONDS if answer.status == LOST else BUSY_SECONDS)

    async def look(self, name: str, path: str) -> dict[str, Any] | None:
        """What the shop shows there, however often it has to be asked; None where it never said."""
        give_up = time.monotonic() + INSIST_SECONDS
        while time.monotonic() < give_up:
            answer = await self.line.get(name, path)
            if answer.status in (200, 404):
                return dict(msgspec.json.decode(answer.body)) if answer.status == 200 else None
            await asyncio.sleep(RECONNECT_SECONDS)
        return None


def code_of(answer: Answer) -> str:
    """The `code` of a refusal; empty where it has none."""
    if answer.status < 400:
        return ""
    try:
        return str(msgspec.json.decode(answer.body).get("code", ""))
    except (msgspec.DecodeError, AttributeError):
        return ""


class Shopper(Client):
    """One of them. `zeal`: how much more often than others they buy."""

    def __init__(self, day: Day, token: str, buyer: int, zeal: float) -> None:
        super().__init__(day, token, f"shopper {buyer}")
        self.buyer = buyer
        buying = (100 - BROWSE - SEARCH) / REQUESTS_A_PURCHASE * zeal
        self._moods = ([self.browse, self.search, self.buy], [BROWSE, SEARCH, buying])
        self._next_page = ""
        self._to_return: deque[Purchase] = deque(maxlen=5)
        self._tries_drop_at = day.market.drop_opens

    async def live(self) -> None:
        """Until the day is over; what was begun is finished."""
        day = self.day
        # Nobody arrives at the same moment as everybody else.
        await asyncio.sleep(self.dice.random())
        while not day.is_over:
            if time.monotonic() >= self._tries_drop_at:
                await self.rush()
            (action,) = self.dice.choices(*self._moods)
            await action()
            if day.think:
                await asyncio.sleep(self.dice.expovariate(1 / day.think))

    # --- Looking around -----------------------------------------------------------------------------

    async def browse(self) -> None:
        """A list, its next page, or a product, the popular ones more often."""
        if self.dice.random() < 0.6:
            product = self.day.market.products[self.day.looked_at.pick(self.dice)]
            await self._pause_if_lost(await self.line.get("product page", f"/api/v1/products/{product}/"))
            return
        answer = await self.line.get("product list", self._next_page or self.dice.choice(LISTS))
        self._next_page = ""
        if answer.status == 200 and self.dice.random() < 0.2:
            address = msgspec.json.decode(answer.body)["next"] or ""
            self._next_page = address[address.find("/api/") :] if address else ""
        await self._pause_if_lost(answer)

    async def search(self) -> None:
        word = self.dice.choice(self.day.market.words)
        await self._pause_if_lost(await self.line.get("search", f"/api/v1/products/?search={word}"))

    async def _pause_if_lost(self, answer: Answer) -> None:
        if answer.status in (LOST, 503):
            await asyncio.sleep(RECONNECT_SECONDS)

    # --- Buying -------------------------------------------------------------------------------------

    async def buy(self) -> None:
        """A basket, and once more without what was sold out; or first something of an earlier one back."""
        if self._to_return and self.dice.random() < 0.5:
            await self.give_back(self._to_return.popleft())
        purchase = self.day.journal.purchase(self.buyer, self._basket())
        short = await self._order(purchase)
        if short:
            left = {option: min(units, short.get(option, units)) for option, units in purchase.lines.items()}
            if left := {option: units for option, units in left.items() if units > 0}:
                purchase = self.day.journal.purchase(self.buyer, left)
                await self._order(purchase)
        if purchase.number:
            await self._decide(purchase)

    def _basket(self) -> dict[int, int]:
        day, dice, basket = self.day, self.dice, dict[int, int]()
        for _ in range(day.habits.lines.pick(dice)):
            basket[day.market.options[day.favourites.pick(dice)]] = day.habits.units.pick(dice)
        if day.market.fresh and dice.random() < NOVELTIES:
            basket[dice.choice(day.market.fresh)] = dice.randint(1, 3)
        return dict(list(basket.items())[-100:])

    async def _order(self, purchase: Purchase) -> dict[int, int]:
        """Place it; what there is of the options of which there is not enough, where that is why not."""
        body: dict[str, object] = {
            "lines": [{"option": option, "quantity": units} for option, units in purchase.lines.items()]
        }
        name = "buy"
        if purchase.drop:
            body["drop"], name = purchase.drop, "buy from the drop"
        answer, doubtful = await self.insist(name, "/api/v1/orders/", body, (201, 202, 409), key=purchase.key)
        if answer.status in (201, 202):
            purchase.told(msgspec.json.decode(answer.body))
            return {}
        # What may have been done before the connection broke is not undone by a later refusal.
        purchase.refused = answer.status in FINAL and not doubtful
        if code_of(answer) != "insufficient_stock":
            return {}
        return {line["option"]: line["available"] for line in msgspec.json.decode(answer.body)["lines"]}

    async def rush(self) -> None:
        """Look at the drop that just opened, and take some if one is quick enough."""
        market = self.day.market
        await self.line.get("drops", "/api/v1/drops/")
        lines = {market.drop_option: self.dice.randint(1, DROP_UNITS_EACH)}
        purchase = self.day.journal.purchase(self.buyer, lines, market.drop)
        short = await self._order(purchase)
        # Refused without a shortage: it is not open yet.
        not_yet = purchase.refused and not short
        self._tries_drop_at = time.monotonic() + BUSY_SECONDS if not_yet else math.inf
        if purchase.number:
            await self._decide(purchase)

    async def _decide(self, purchase: Purchase) -> None:
        fate = self.dice.random()
        if fate < ABANDONED:
            return
        await self._pay(purchase)
        if purchase.status == "paid" and self.dice.random() < CANCELLED:
            await self._change(purchase, "cancel", {})
        elif purchase.status == "paid" and self.dice.random() < self.day.habits.returns:
            self._to_return.append(purchase)
        if self.dice.random() < CHECKED:
            await self.check(purchase)

    async def _pay(self, purchase: Purchase) -> None:
        """By a card that works, is declined (then by another), or by one whose bank never answers."""
        token, good = "ok", (200,)
        fate = self.dice.random()
        if fate < DECLINED:
            token, good = "decline", (402,)
        elif fate < DECLINED + UNANSWERED:
            token, good = "timeout", (503,)
        elif fate < DECLINED + UNANSWERED + CHARGED_UNANSWERED:
            token, good = "timeout-charged", (503,)
        await self._pay_with(purchase, token, good)
        if token == "decline" and purchase.status == "pending" and self.dice.random() < 0.5:
            await self._pay_with(purchase, "ok", (200,))

    async def _pay_with(self, purchase: Purchase, token: str, good: tuple[int, ...]) -> None:
        # An order of the drop is still being written for a moment.
        good = (*good, 409) if purchase.drop else good
        body = {"provider": "sandbox", "token": token, "shipping": SHIPPING}
        path = f"/api/v1/orders/{purchase.number}/pay/"
        answer, doubtful = await self.insist("pay", path, body, good)
        if answer.status == 200:
            purchase.told(msgspec.json.decode(answer.body))
        elif answer.status == 402:
            if token != "decline":
                purchase.wrong.append(f"the card {token!r} was declined")
        elif doubtful and token in ("ok", "timeout-charged"):
            purchase.doubts.add("pay")
        if answer.status in (200, 402) or code_of(answer) == "payment_unknown":
            return
        await self.check(purchase)

    async def _change(self, purchase: Purchase, action: str, body: object) -> None:
        path = f"/api/v1/orders/{purchase.number}/{action}/"
        answer, doubtful = await self.insist(action, path, body, (200, 409))
        if answer.status == 200:
            purchase.told(msgspec.json.decode(answer.body))
            return
        if doubtful:
            purchase.doubts.add(action)
        await self.check(purchase)

    async def check(self, purchase: Purchase) -> None:
        """Look at the order."""
        shown = await self.look("order page", f"/api/v1/orders/{purchase.number}/")
        if shown:
            purchase.told(shown)

    async def give_back(self, purchase: Purchase) -> None:
        """Return some articles of an order, once it has arrived."""
        await self.check(purchase)
        if purchase.status in ("paid", "shipped"):
            self._to_return.append(purchase)
        elif purchase.status == "delivered":
            count = min(len(purchase.lines), self.day.habits.returned_lines.pick(self.dice))
            some = self.dice.sample(sorted(purchase.lines), count)
            lines = [{"option": option, "quantity": purchase.lines[option]} for option in some]
            await self._change(purchase, "return", {"lines": lines})
