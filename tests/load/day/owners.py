"""Store owners of a day: they list products in small numbers, and receive more of what sells."""

import asyncio
from typing import Any

import msgspec

from tests.load.day.journal import Listing
from tests.load.day.shoppers import Client, Day

PAUSE_SECONDS = 4.0
FIRST_UNITS, MORE_UNITS = 20, 50
SIZES = ("S", "M", "L")


class Owner(Client):
    """Somebody with a store."""

    def __init__(self, day: Day, token: str, store: int) -> None:
        super().__init__(day, token, f"owner {store}")
        self._store = store

    async def live(self) -> None:
        count = 0
        await asyncio.sleep(self.dice.random() * PAUSE_SECONDS)
        while not self.day.is_over:
            count += 1
            listing = Listing({f"DAY-{self._store}-{count}-{size}": FIRST_UNITS for size in SIZES})
            self.day.journal.listings.append(listing)
            if product := await self._list(count, listing):
                listing.told = True
                self.day.market.fresh.extend(option["id"] for option in product["options"])
                for option in product["options"]:
                    await self._receive(listing, option)
            await asyncio.sleep(self.dice.expovariate(1 / PAUSE_SECONDS))

    async def _list(self, count: int, listing: Listing) -> dict[str, Any] | None:
        """The product as it is shown; None where that was not answered: it is there, or it is not."""
        options = [
            {"sku": sku, "size": size, "color": "black", "stock": units}
            for size, (sku, units) in zip(SIZES, listing.skus.items(), strict=True)
        ]
        body = {
            "store": self._store, "name": f"Novelty {self._store}-{count}", "category": "top",
            "price": self.dice.randrange(9_000, 90_000, 1_000), "options": options,
        }  # fmt: skip
        answer, _doubtful = await self.insist("list a product", "/api/v1/products/", body, (201,))
        return dict(msgspec.json.decode(answer.body)) if answer.status == 201 else None

    async def _receive(self, listing: Listing, option: dict[str, Any]) -> None:
        sku, body = option["sku"], {"quantity": MORE_UNITS}
        path = f"/api/v1/options/{option['id']}/receive/"
        answer, doubtful = await self.insist("receive", path, body, key=f"more-{sku}")
        if answer.status == 200:
            listing.skus[sku] += MORE_UNITS
        elif doubtful:
            listing.doubtful[sku] += MORE_UNITS
