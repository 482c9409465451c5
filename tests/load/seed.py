"""What the shoppers find: made inside the project, with the services that it uses itself.

tests/load/shop.py calls `main` in a process of its own, since each database needs one.
"""

import json
import resource
import secrets
import sys
import time
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

from django.contrib.auth.hashers import check_password, make_password
from django.core.management import call_command

from inventory.listing import list_product
from orders.changes.batch import change_batch
from orders.changes.commands import Command
from orders.drops.audit.escrow_check import check_escrow
from orders.drops.planning import ItemDraft, create_drop
from orders.drops.services import close_drop, open_drop
from orders.drops.writing.drain import Drain
from orders.lifecycle.shipping import Deliver, Ship
from orders.models.drops import Lane
from orders.payments.attempts import Settle, Start
from orders.payments.providers import APPROVED, Answer
from orders.placement.batch import place_batch
from orders.placement.requests import Placed, PlaceRequest
from shop.models import Option, Product, Role, Store, User
from shop.options import OptionDraft
from tests.support.factories import ADDRESS, make_category, make_store, make_user
from yousinsa.auth import issue_token

ENOUGH = 100_000_000
BASKET_OPTIONS = 100
STORES = 30
ORDERS_PER_BATCH = 128
PASSWORD = "correct horse battery"
STORE = "The bench's store"
# The scheme of issue_tokens.
SHOPPERS = "load-%d@load.yousinsa.test"


def fill(*, products: int, shoppers: int, history: int, tokens: str) -> dict[str, Any]:
    """Tables, demo products, as many demo buyers as shoppers, `history` orders; the shoppers' tokens go to a
    file. Returns what the scenarios need to know: ids of options to sell, of products, of shoppers."""
    call_command("migrate", interactive=False, verbosity=0)
    numbers = {"products": products, "buyers": shoppers, "stock": 1_000_000, "orders": history}
    call_command("seed_demo", **numbers, stdout=StringIO(), stderr=StringIO())
    call_command("issue_tokens", buyers=shoppers, out=Path(tokens), stdout=StringIO())
    demo = list(Product.objects.order_by("id").values_list("id", flat=True)[:100])
    owner = make_user("owner@bench.yousinsa.test", role=Role.STORE_OWNER)
    make_store(owner=owner, name=STORE)
    for number in range(STORES):
        make_store(owner=owner, name=f"Store number {number}")
    return {
        "hot": _options([ENOUGH])[0],
        "basket": _options([ENOUGH] * BASKET_OPTIONS),
        "products": demo,
        "shopper_ids": _shopper_ids(shoppers),
    }


def scarce(*, units: int) -> dict[str, Any]:
    """An option of which there are so many."""
    return {"option": _options([units])[0]}


def drop(*, units: int, limit: int) -> dict[str, Any]:
    """A drop of so many units of a new option, admitted by Redis, open."""
    (option,) = _options([units])
    created = create_drop(name="Bench", items=[ItemDraft(option, units)], limit=limit, lane=Lane.REDIS_LUA)
    open_drop(created.pk)
    return {"option": option, "drop": created.pk}


def for_a_seller() -> dict[str, Any]:
    """A new product, and a token of the seller who may change it."""
    (option,) = _options([ENOUGH])
    owner = Store.objects.get(name=STORE).owner
    token = issue_token(user_id=owner.pk, role=owner.role, is_staff=owner.is_staff)
    return {"product": Option.objects.get(pk=option).product_id, "token": token}


def drain() -> dict[str, Any]:
    """Write what Redis admitted: how many orders, how fast, and whether everything adds up."""
    start, worker = time.monotonic(), Drain()
    written = worker.once()
    while not worker.is_done:
        written += worker.once()
    worker.leave()
    return {
        "orders": written,
        "seconds": time.monotonic() - start,
        "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "differences": [str(difference) for difference in check_escrow()],
    }


def close(*, drop: int) -> dict[str, Any]:
    """Nothing of the drop stays in escrow, so that the books are those of a shop without drops."""
    return {"settled": close_drop(drop)}


def _options(stock: list[int]) -> list[int]:
    """The ids of the options of a new product, with these units of each."""
    name = secrets.token_hex(4)
    _product, options = list_product(
        store=Store.objects.get(name=STORE),
        category=make_category(),
        name=f"Bench {name}",
        price=29_000,
        options=[OptionDraft(f"BENCH-{name}-{i}", size=str(i)) for i in range(len(stock))],
        units=stock,
    )
    return [option.pk for option in options]


def orders(*, shoppers: int, count: int, delivered: bool = False) -> dict[str, Any]:
    """So many orders of one unit, pending or delivered; returns (index of the shopper, number) of each."""
    buyers = _shopper_ids(shoppers)
    options = Option.objects.filter(product__store__name=STORE, stock__on_hand__gt=ENOUGH // 2)
    wanted = list(options.order_by("id").values_list("id", flat=True))
    made: list[tuple[int, str]] = []
    for first in range(0, count, ORDERS_PER_BATCH):
        indexes = [i % len(buyers) for i in range(first, min(first + ORDERS_PER_BATCH, count))]
        batch = [
            PlaceRequest.build(buyer_id=buyers[i], lines=[(wanted[(first + n) % len(wanted)], 1)])
            for n, i in enumerate(indexes)
        ]
        for index, outcome in zip(indexes, place_batch(batch), strict=True):
            assert isinstance(outcome, Placed), outcome
            made.append((index, outcome.order.number))
        if delivered:
            _deliver(batch)
    return {"orders": made}


def _deliver(batch: list[PlaceRequest]) -> None:
    """These orders, which were just placed, are paid, shipped and delivered."""
    starts = [
        Start(order_id=r.order_id, actor_id=r.buyer_id, provider="sandbox", token="ok", shipping=ADDRESS)
        for r in batch
    ]  # fmt: skip
    approved = Answer(APPROVED)
    steps: list[list[Command]] = [
        [*starts],
        [Settle(order_id=start.order_id, reference=start.reference, answer=approved) for start in starts],
        [Ship(order_id=r.order_id, carrier="CJ", tracking_number=r.number) for r in batch],
        [Deliver(order_id=r.order_id) for r in batch],
    ]
    for commands in steps:
        for outcome in change_batch(commands):
            assert not isinstance(outcome, Exception), outcome


def hashing(*, rounds: int = 5) -> dict[str, Any]:
    """What one sign-in's password check costs: processor and wall time in ms, and the hash's parameters."""
    encoded = make_password(PASSWORD)
    check_password(PASSWORD, encoded)
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(rounds):
        assert check_password(PASSWORD, encoded)
    return {
        "algorithm": "$".join(encoded.split("$")[:4]),
        "cpu_ms": (time.process_time() - cpu) / rounds * 1e3,
        "wall_ms": (time.perf_counter() - wall) / rounds * 1e3,
    }


def _shopper_ids(count: int) -> list[int]:
    """In the order of their tokens."""
    names = [SHOPPERS % number for number in range(1, count + 1)]
    ids = dict(User.objects.filter(email__in=names).values_list("email", "id"))
    return [ids[name] for name in names]


def main() -> None:
    """`seed FUNCTION KEYWORDS`: calls it with the keywords (JSON), prints what it returns as JSON."""
    functions: dict[str, Callable[..., dict[str, Any]]] = {
        "fill": fill, "scarce": scarce, "orders": orders, "hashing": hashing,
        "drop": drop, "drain": drain, "close": close, "for_a_seller": for_a_seller,
    }  # fmt: skip
    print(json.dumps(functions[sys.argv[1]](**json.loads(sys.argv[2]))))
