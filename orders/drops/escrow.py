"""Units between a drop's escrow and its orders, inside the caller's transaction.

In the ledger a sold unit leaves the drop (`unallot`) and is promised to its order (`reserve`): `reserved`
stays as it is, its holder changes. What an order gives back goes the other way while the drop is not
settled; afterwards it is available like any other unit.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec
from django.utils import timezone
from django.utils.translation import gettext_noop

from inventory import ledger
from inventory.errors import InsufficientStock, Shortage
from inventory.locks import lock_stock
from inventory.models import Kind
from orders.drops.errors import DropNotOpen, PurchaseLimit, StaleEntry
from orders.drops.limits import units_bought
from orders.drops.locks import lock_items
from orders.drops.redis.entries import AdmittedRequest
from orders.models.drops import DeadLetter, Drop, DropItem, DropRelease, DropStatus
from orders.placement.batch import (
    Offers,
    Outcomes,
    insert_orders,
    order_maker,
    placed_under_keys,
    repeat,
    repeated,
)
from orders.placement.requests import Placed, PlaceRequest
from orders.schemas import OrderView
from yousinsa.db.rows import insert_rows
from yousinsa.errors import Conflict

Items = Mapping[int, DropItem]

_RELEASE_FIELDS = ("drop", "release_id", "number", "buyer_id", "units", "epoch", "key", "created_at")


def reference(drop_id: int) -> str:
    """What a drop is called in the ledger."""
    return f"drop-{drop_id}"


class SetAside(Conflict):
    """This number is a dead letter: its units went back to the drop."""

    code = "set_aside"


def write_from_escrow(
    requests: list[PlaceRequest], on_sale: Offers, *, look_up_numbers: bool
) -> tuple[Outcomes, dict[str, str]]:
    """Write orders of one drop (see `orders.placement.batch.Write`): units come from the drop's items.

    Numbers are always looked up: a stream delivers an entry again whenever it is in doubt.
    """
    drop_id = requests[0].drop_id or 0
    items = lock_items([drop_id])[drop_id]
    drop = Drop.objects.get(pk=drop_id)
    locked = lock_stock(on_sale[option_id].stock_id for r in requests for option_id, _ in r.lines)
    known = placed_under_keys(requests)
    admitted = [r.number for r in requests if isinstance(r, AdmittedRequest)]
    outcomes, replays = repeated(requests, known, look_up_numbers=look_up_numbers or bool(admitted))
    set_aside = set(DeadLetter.objects.filter(number__in=admitted).values_list("number", flat=True))
    bought = Counter(units_bought(drop_id, {r.buyer_id for r in requests}))
    new_order = order_maker()

    accepted: list[PlaceRequest] = []
    for request in requests:
        key = (request.buyer_id, request.idempotency_key or "")
        if request.number in outcomes or request.number in replays:
            continue
        if request.number in set_aside:
            outcomes[request.number] = SetAside()
        elif request.idempotency_key and key in known:
            repeat(request, known[key], outcomes, replays)
        elif refusal := _refusal(request, drop, items, bought):
            outcomes[request.number] = refusal
        else:
            bought[request.buyer_id] += sum(units for _option, units in request.lines)
            for option_id, units in request.lines:
                items[option_id].applied += units
            if request.idempotency_key:
                known[key] = (request.number, request.fingerprint)
            accepted.append(request)
            outcomes[request.number] = Placed(_as_admitted(request, new_order(request, on_sale)))
    if accepted:
        insert_orders(accepted, outcomes, on_sale)
        _sell(drop_id, accepted, items, locked, on_sale)
    return outcomes, replays


def _refusal(request: PlaceRequest, drop: Drop, items: Items, bought: Counter[int]) -> Exception | None:
    if isinstance(request, AdmittedRequest):
        current = {item.epoch for item in items.values()}
        if drop.status not in (DropStatus.OPEN, DropStatus.CLOSED) or current != {request.epoch}:
            return StaleEntry()
    elif not is_open(drop):
        return DropNotOpen(drop.opens_at, drop.closes_at)
    wanted = sum(units for _option, units in request.lines)
    if bought[request.buyer_id] + wanted > drop.limit_per_customer:
        return PurchaseLimit(limit=drop.limit_per_customer, bought=bought[request.buyer_id], requested=wanted)
    short = [
        Shortage(option=option_id, requested=units, available=items[option_id].left)
        for option_id, units in request.lines
        if units > items[option_id].left
    ]
    return InsufficientStock(short) if short else None


def is_open(drop: Drop) -> bool:
    """Whether it sells at this moment, by the clock of this machine."""
    now = timezone.now()
    begun = drop.status == DropStatus.OPEN and drop.opens_at <= now
    return begun and not drop.paused and (drop.closes_at is None or now < drop.closes_at)


def _as_admitted(request: PlaceRequest, order: OrderView) -> OrderView:
    """An admitted order keeps the price and the moment of its admission; its hold begins now."""
    order.drop = request.drop_id
    if isinstance(request, AdmittedRequest):
        for line in order.lines:
            line.unit_price = request.prices[line.option]
        order.total = sum(line.quantity * line.unit_price for line in order.lines)
        order.created_at = request.admitted_at
    return order


def _sell(
    drop_id: int, accepted: Sequence[PlaceRequest], items: Items, locked: ledger.Locked, on_sale: Offers
) -> None:
    """Units of accepted orders leave the drop's escrow and are promised to the orders."""
    sold: Counter[int] = Counter()
    promises = []
    for r in accepted:
        for option_id, units in r.lines:
            stock_id = on_sale[option_id].stock_id
            sold[option_id] += units
            promises.append(ledger.Entry(stock_id, Kind.RESERVE, 0, units, r.number, r.buyer_id))
    ledger.post(
        locked,
        [
            ledger.Entry(on_sale[option_id].stock_id, Kind.UNALLOT, 0, -n, reference(drop_id), None, "sold")
            for option_id, n in sold.items()
        ]
        + promises,
    )
    save_items(items[option_id] for option_id in sold)


def save_items(items: Iterable[DropItem]) -> None:
    """Write the counters of locked items."""
    for item in items:
        DropItem.objects.filter(pk=item.pk).update(
            applied=item.applied, returned=item.returned, epoch=item.epoch
        )


class Held(NamedTuple):
    """Units that an order gives up: its line, its drop if it has one, the stock row."""

    number: str
    buyer_id: int
    drop_id: int | None
    option_id: int
    stock_id: int
    units: int


def release(
    locked: ledger.Locked,
    held: Sequence[Held],
    items: Mapping[int, Items],
    *,
    actor_id: int | None = None,
    reason: str = "",
) -> None:
    """Take orders' promises back; what came from a drop goes back to it, or is available once it is settled.

    The drops' items (`items`, by drop id) and the stock rows are locked. An order releases once, as its
    status says; its number therefore names the release.
    """
    drops = {drop.pk: drop for drop in Drop.objects.filter(pk__in=items)} if items else {}
    back: Counter[tuple[int, int]] = Counter()
    told: dict[str, tuple[Held, list[tuple[int, int]]]] = {}
    entries = []
    touched = {}
    for unit in held:
        entries.append(
            ledger.Entry(unit.stock_id, Kind.RELEASE, 0, -unit.units, unit.number, actor_id, reason)
        )
        if unit.drop_id is None:
            continue
        drop, item = drops[unit.drop_id], items[unit.drop_id][unit.option_id]
        touched[item.pk] = item
        item.applied -= unit.units
        if drop.status == DropStatus.SETTLED:
            item.returned += unit.units
            continue
        back[unit.stock_id, unit.drop_id] += unit.units
        if drop.on_redis:
            told.setdefault(unit.number, (unit, []))[1].append((unit.option_id, unit.units))
    entries += [
        ledger.Entry(stock_id, Kind.ALLOT, 0, n, reference(drop_id), actor_id, gettext_noop("came back"))
        for (stock_id, drop_id), n in back.items()
    ]
    ledger.post(locked, entries)
    save_items(touched.values())
    now = timezone.now()
    rows = [
        (
            unit.drop_id, f"order-{number}", number, unit.buyer_id, msgspec.json.encode(units).decode(),
            items[unit.drop_id or 0][unit.option_id].epoch, "", now,
        )
        for number, (unit, units) in told.items()
    ]  # fmt: skip
    insert_rows(DropRelease, _RELEASE_FIELDS, rows)
