"""Operators of a day, and what is made ready for it: by services, in a process of its own."""

import json
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from io import StringIO
from typing import Any

from django.core.management import call_command
from django.db import Error
from django.db.models import F
from django.utils import timezone

from inventory import ledger
from inventory.locks import lock_stock
from inventory.models import Kind, Stock
from orders.changes.batch import change_batch
from orders.changes.commands import Command
from orders.drops.audit.escrow_check import check_escrow
from orders.drops.planning import ItemDraft, create_drop
from orders.drops.services import close_drop
from orders.drops.writing.drain import Drain
from orders.lifecycle import expire_due
from orders.lifecycle.shipping import Deliver, shipment
from orders.models import Order, Payment, Status
from orders.models.drops import Lane
from orders.payments.providers import PROVIDERS
from orders.payments.refunds import pay_out_due
from orders.payments.services import decide
from shop.bulk import in_batches
from shop.models import Option, Product, Role
from tests.load.seed import STORE
from tests.support.factories import make_store, make_user
from yousinsa.auth import issue_token
from yousinsa.db.transactions import transact
from yousinsa.errors import Problem

OWNERS = 5
# Of the assortment, so much is scarce: it sells out, and operators receive more. The rest lasts the day.
SCARCE_SHARE, SCARCE_UNITS, PLENTY = 0.005, 100, 10_000_000
LOW_UNITS, MORE_UNITS = 50, 500
TURN_SECONDS = 1.0
# Until then its buyer may still cancel an order.
PACKING_SECONDS = 5
ORDERS_A_TURN, ORDERS_AT_A_TIME = 400, 50
STOCKTAKE = "made ready for the day"
CLERK = "clerk@day.yousinsa.test"


def prepare(*, articles: int, catalog: str) -> dict[str, Any]:
    """An assortment of up to so many options, owners with stores, a clerk. Returns what the people of the day
    need to know."""
    if catalog:
        call_command("import_catalog", catalog, stdout=StringIO(), stderr=StringIO())
    # Of what is here already, nothing is the bench's own.
    ids = list(Stock.objects.exclude(option__product__store__name=STORE).values_list("option_id", flat=True))
    dice = random.Random("assortment")
    options = dice.sample(sorted(ids), min(articles, len(ids)))
    _stock_up(options)
    products = dict(Option.objects.filter(pk__in=options).values_list("id", "product_id"))
    names = Product.objects.filter(pk__in=products.values()).values_list("name", flat=True)
    words = {word for name in names for word in name.split() if word.isalpha() and word.isascii()}
    clerk = make_user(CLERK, staff=True)
    return {
        "options": options, "products": list(dict.fromkeys(products[id] for id in options)),
        "words": sorted(words)[:300], "clerk": clerk.pk,
        "owners": [_owner(number) for number in range(OWNERS)],
    }  # fmt: skip


def plan_drop(*, option: int, units: int, limit: int, opens: str) -> dict[str, Any]:
    """A drop that `run_worker` will open."""
    opens_at = datetime.fromisoformat(opens)
    items = [ItemDraft(option, units)]
    drop = create_drop(name="Day", items=items, limit=limit, lane=Lane.REDIS_LUA, opens_at=opens_at)
    return {"drop": drop.pk}


def _owner(number: int) -> tuple[str, int]:
    """A token, and the store that is sold from with it."""
    owner = make_user(f"owner-{number}@day.yousinsa.test", role=Role.STORE_OWNER)
    store = make_store(owner=owner, name=f"Store of the day {number}")
    token = issue_token(user_id=owner.pk, role=owner.role, is_staff=False, lifetime=timedelta(hours=24))
    return token, store.pk


def _stock_up(options: Sequence[int]) -> None:
    """Plenty of most; few of every so-manieth, whatever there was."""
    every = round(1 / SCARCE_SHARE)
    wanted = {id: SCARCE_UNITS if n % every == every // 2 else PLENTY for n, id in enumerate(options)}
    for some in in_batches(options, 500):
        transact(lambda some=some: _set_units({id: wanted[id] for id in some}))


def _set_units(wanted: dict[int, int]) -> None:
    stock = dict(Stock.objects.filter(option__in=wanted).values_list("id", "option_id"))
    locked = lock_stock(stock)
    entries = []
    for id, row in locked.items():
        delta = wanted[stock[id]] - row.on_hand
        kind = Kind.RECEIVE if delta > 0 else Kind.ADJUST
        if delta:
            entries.append(ledger.Entry(id, kind, delta, 0, reason=STOCKTAKE))
    ledger.post(locked, entries)


# --- Work -------------------------------------------------------------------------------------------------


def work(*, clerk: int, journal: str, reconcile_after: float) -> dict[str, Any]:
    """Ship, deliver and receive, turn by turn, until standard input is closed; reconcile once meanwhile.

    Writes what was told (a line each: an order's number, its state) to `journal`. What fails because the
    database is away is tried again in the next turn.
    """
    closed = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), closed.set()), daemon=True).start()
    done: Counter[str] = Counter()
    differences: int | None = None
    reconcile_at = time.monotonic() + reconcile_after
    with open(journal, "w", buffering=1) as told:
        while not closed.wait(TURN_SECONDS):
            try:
                done.update(_ship(clerk, told.write) + _deliver(clerk, told.write) + _receive(clerk))
                if differences is None and time.monotonic() >= reconcile_at:
                    differences = _reconcile()
            except (Error, Problem):
                done["turns that failed"] += 1
    return {**done, "differences while it went on": differences or 0}


def _ship(clerk: int, tell: Callable[[str], object]) -> Counter[str]:
    before = timezone.now() - timedelta(seconds=PACKING_SECONDS)
    paid = Order.objects.filter(status=Status.PAID, created_at__lt=before).order_by("id")
    rows = list(paid.values_list("id", "number")[:ORDERS_A_TURN])
    commands = {
        number: shipment(order_id=id, carrier="Bench", tracking_number=f"T{id}", actor_id=clerk)
        for id, number in rows
    }
    return Counter(shipped=_carry_out(commands, "shipped", tell))


def _deliver(clerk: int, tell: Callable[[str], object]) -> Counter[str]:
    shipped = Order.objects.filter(status=Status.SHIPPED).order_by("id")[:ORDERS_A_TURN]
    rows = list(shipped.values_list("id", "number"))
    commands = {number: Deliver(order_id=id, actor_id=clerk) for id, number in rows}
    return Counter(delivered=_carry_out(commands, "delivered", tell))


def _carry_out(commands: dict[str, Any], status: str, tell: Callable[[str], object]) -> int:
    done = 0
    for numbers in in_batches(commands, ORDERS_AT_A_TIME):
        some: list[Command] = [commands[number] for number in numbers]
        for number, outcome in zip(numbers, change_batch(some), strict=True):
            if not isinstance(outcome, Exception):
                tell(f"{number} {status}\n")
                done += 1
    return done


def _receive(clerk: int) -> Counter[str]:
    """More of what runs low in the assortment; what owners listed today is theirs."""
    low = Stock.objects.filter(on_hand__lt=F("reserved") + LOW_UNITS).exclude(option__sku__startswith="DAY-")
    done = Counter[str]()
    for option_id in list(low.values_list("option_id", flat=True)[:20]):
        ledger.receive(option_id=option_id, quantity=MORE_UNITS, actor_id=clerk, reason="runs low")
        done["receipts"] += 1
    return done


def _reconcile() -> int:
    """How many differences `reconcile_stock` sees (0 is right, however busy the shop is)."""
    printed = StringIO()
    try:
        call_command("reconcile_stock", "--json", stdout=printed, stderr=StringIO())
    except SystemExit:
        return max(1, len(json.loads(printed.getvalue()).get("differences", [])))
    return 0


# --- Afterwards -------------------------------------------------------------------------------------------


def settle(*, drop: int) -> dict[str, Any]:
    """Bring everything to its end now that would come to it by itself: write what Redis admitted, close the
    drop, ask about payments that nobody answered, end the holds, pay out. Returns what does not add up."""
    worker = Drain()
    worker.once()
    while not worker.is_done:
        worker.once()
    worker.leave()
    differences = [str(difference) for difference in check_escrow()]
    close_drop(drop)
    unanswered = Payment.objects.filter(status__in=[Payment.Status.STARTED, Payment.Status.UNKNOWN])
    for payment in list(unanswered):
        answer = PROVIDERS[payment.provider].lookup(reference=payment.reference, token=payment.token)
        decide(payment_id=payment.pk, answer=answer)
    later = timezone.now() + timedelta(days=2)
    while expire_due(now=later) is not None:
        pass
    while pay_out_due():
        pass
    if found := _reconcile():
        differences.append(f"reconcile_stock finds {found} differences")
    differences += [str(difference) for difference in check_escrow()]
    return {"differences": differences, "unanswered": len(unanswered)}


def main() -> None:
    """`staff FUNCTION KEYWORDS`: calls it with the keywords (JSON), prints what it returns as JSON."""
    functions: dict[str, Callable[..., dict[str, Any]]] = {
        "prepare": prepare, "plan_drop": plan_drop, "work": work, "settle": settle,
    }  # fmt: skip
    print(json.dumps(functions[sys.argv[1]](**json.loads(sys.argv[2]))))
