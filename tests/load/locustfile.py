"""People instead of a machine gun: they sign in, look around, buy, pay, and look at their order.

tests/load/people.py runs it; by hand: locust -f tests/load/locustfile.py --host http://127.0.0.1:8000
(with the demo data of `make run`: BUYERS=20 locust …).
"""

import itertools
import os
import random
from typing import Any

from locust import FastHttpUser, between, task

BUYERS = int(os.environ.get("BUYERS", "500"))
PASSWORD = os.environ.get("DEMO_PASSWORD", "demo-yousinsa")
SHIPPING = {"recipient": "Kim Minji", "phone": "010-1234-5678", "postal_code": "04799", "address1": "Seoul"}
_numbers = itertools.cycle(range(1, BUYERS + 1))


class Shopper(FastHttpUser):
    """Thinks for a second or so between clicks, and buys a unit of what there is."""

    wait_time = between(0.5, 1.5)

    def on_start(self) -> None:
        credentials = {"email": f"buyer{next(_numbers)}@demo.yousinsa.test", "password": PASSWORD}
        answer = self.client.post("/api/v1/users/sign-in/", json=credentials, name="sign in")
        token = answer.json()["token"] if answer.status_code == 200 else ""
        # A program from here on: the cookie of the answer is not sent back.
        self.client.cookiejar.clear()
        self.headers = {"Authorization": f"Bearer {token}"}

    @task(3)
    def browse(self) -> None:
        """Look at a list and at one of its products."""
        self._look_around()

    @task(2)
    def buy(self) -> None:
        """Order something that was found, pay, and look at the order."""
        product = self._look_around()
        options = [option["id"] for option in product.get("options", []) if option["available"]]
        if not options:
            return
        self.wait()
        lines = [{"option": random.choice(options), "quantity": 1}]
        order = self._post("/api/v1/orders/", {"lines": lines}, "order")
        if "number" not in order:
            return
        self.wait()
        path = f"/api/v1/orders/{order['number']}/"
        self._post(f"{path}pay/", {"provider": "sandbox", "token": "ok", "shipping": SHIPPING}, "pay")
        self._get(path, "order page")

    def _look_around(self) -> dict[str, Any]:
        query = random.choice(("", "?category=top", "?category=outer", "?ordering=price"))
        products = self._get(f"/api/v1/products/{query}", "product list").get("results")
        if not products:
            return {}
        self.wait()
        return self._get(f"/api/v1/products/{random.choice(products)['id']}/", "product page")

    def _get(self, path: str, name: str) -> dict[str, Any]:
        return _body(self.client.get(path, headers=self.headers, name=name))

    def _post(self, path: str, body: object, name: str) -> dict[str, Any]:
        return _body(self.client.post(path, json=body, headers=self.headers, name=name))


def _body(answer: Any) -> dict[str, Any]:
    """The answer's JSON; nothing where it failed, which locust has counted."""
    return dict(answer.json()) if answer.status_code < 400 else {}
