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
from inventory.errors import InsufficientStock
from inventory.locks import lock_stock
from inventory.models import Kind
from inventory.selectors import off_sale
from orders.drops.errors import DropNotOpen, PurchaseLimit, StaleEpoch
from orders.drops.limits import units_bought
from orders.drops.locks import lock_items
from orders.drops.redis.entries import AdmittedRequest
from orders.models.drops import LIVE, DeadLetter, Drop, DropItem, DropRelease, DropStatus, epoch_of
from orders.placement.decisions import Decisions
from orders.placement.requests import PlaceRequest
from orders.placement.writing import Offers, order_maker, price_refusal, promises, shortages, write
from orders.schemas import OrderView
from yousinsa.db.rows import insert_rows
from yousinsa.errors import Conflict
from yousinsa.language import recordable

# Recorded, for whoever reads it.
CAME_BACK = recordable(gettext_noop("came back"))

Items = Mapping[int, DropItem]

_RELEASE_FIELDS = ("drop", "release_id", "number", "buyer_id", "units", "epoch", "key", "created_at")


def reference(drop_id: int) -> str:
    """What a drop is called in the ledger."""
    return f"drop-{drop_id}"


class SetAside(Conflict):
    """This number is a dead letter: its units went back to the drop."""

    code = "set_aside"


def write_from_escrow(
    requests: Sequence[PlaceRequest], on_sale: Offers, *, look_up_numbers: bool
) -> Decisions:
    """Write orders of one drop (see `orders.placement.batch.Write`): units come from the drop's items.

    The numbers of admitted orders are always looked up: a stream delivers an entry again whenever it is in
    doubt.
    """
    admitted = any(isinstance(request, AdmittedRequest) for request in requests)
    source = EscrowUnits(requests[0].drop_id or 0, on_sale)
    return write(requests, source, on_sale, look_up_numbers=look_up_numbers or admitted)


class EscrowUnits:
    """What one drop has left to sell (`orders.placement.writing.UnitSource`)."""

    def __init__(self, drop_id: int, on_sale: Offers) -> None:
        self._drop_id = drop_id
        self._on_sale = on_sale

    def lock(self, requests: Sequence[PlaceRequest]) -> None:
        self._items = lock_items([self._drop_id])[self._drop_id]
        self._left = {option_id: item.left for option_id, item in self._items.items()}
        self._off_sale = off_sale(self._items)
        self._drop = Drop.objects.get(pk=self._drop_id)
        self._locked = lock_stock(
            self._on_sale[option_id].stock_id for r in requests for option_id, _ in r.lines
        )
        admitted = [r.number for r in requests if isinstance(r, AdmittedRequest)]
        self._set_aside = set(DeadLetter.objects.filter(number__in=admitted).values_list("number", flat=True))
        self._bought = Counter(units_bought(self._drop_id, {r.buyer_id for r in requests}))
        self._new_order = order_maker(self._on_sale)

    def refusal(self, request: PlaceRequest) -> Exception | None:
        if request.number in self._set_aside:
            return SetAside()
        drop = self._drop
        if isinstance(request, AdmittedRequest):
            if drop.status not in LIVE or epoch_of(self._items.values()) != request.epoch:
                return StaleEpoch()
        elif not is_open(drop):
            return DropNotOpen(drop.opens_at, drop.closes_at)
        requested, bought = request.units, self._bought[request.buyer_id]
        if bought + requested > drop.limit_per_customer:
            return PurchaseLimit(limit=drop.limit_per_customer, bought=bought, requested=requested)
        left = self._left
        if self._off_sale and not request.admitted:
            left = left | dict.fromkeys(self._off_sale, 0)
        short = shortages(request, left)
        return InsufficientStock(short) if short else None

    def price_refusal(self, request: PlaceRequest) -> Exception | None:
        # What was admitted keeps the price of its admission, where this was asked.
        return None if request.admitted else price_refusal(request, self._on_sale)

    def take(self, request: PlaceRequest) -> OrderView:
        for option_id, units in request.lines:
            self._left[option_id] -= units
            self._items[option_id].applied += units
            self._bought[request.buyer_id] += units
        return _as_admitted(request, self._new_order(request))

    def post(self, accepted: Sequence[PlaceRequest]) -> None:
        """Units leave the drop's escrow and are promised to the orders."""
        sold: Counter[int] = Counter()
        for request in accepted:
            for option_id, units in request.lines:
                sold[option_id] += units
        unallotted = [
            ledger.Entry(
                self._on_sale[option_id].stock_id, Kind.UNALLOT, 0, -n, reference(self._drop_id), None, "sold"
            )
            for option_id, n in sold.items()
        ]
        ledger.post(self._locked, unallotted + promises(accepted, self._on_sale))
        save_items(self._items[option_id] for option_id in sold)


def _as_admitted(request: PlaceRequest, order: OrderView) -> OrderView:
    """An admitted order keeps the price and the moment of its admission; its hold begins now."""
    order.drop = request.drop_id
    if isinstance(request, AdmittedRequest):
        for line in order.lines:
            line.unit_price = request.prices[line.option]
        order.total = sum(line.quantity * line.unit_price for line in order.lines)
        order.created_at = request.admitted_at
    return order


def is_open(drop: Drop) -> bool:
    """Whether it sells at this moment, by the clock of this machine."""
    now = timezone.now()
    begun = drop.status == DropStatus.OPEN and drop.opens_at <= now
    return begun and not drop.paused and (drop.closes_at is None or now < drop.closes_at)


def save_items(items: Iterable[DropItem]) -> None:
    """Write the counters of locked items."""
    for item in items:
        DropItem.objects.filter(pk=item.pk).update(
            applied=item.applied, returned=item.returned, epoch=item.epoch
        )


class HeldLine(NamedTuple):
    """Units of a line that an order gives back to its drop; who ended it (None: the system)."""

    number: str
    buyer_id: int
    drop_id: int
    option_id: int
    stock_id: int
    units: int
    actor_id: int | None = None


def take_back(lines: Sequence[HeldLine], items: Mapping[int, Items]) -> list[ledger.Entry]:
    """Take back what orders of drops give up, whose promises are released; what is released of a settled
    drop is available.

    The drops' items (`items`, by drop id) are locked. An order releases once, as its status says; its number
    therefore names the release. Returns what is to be posted to the ledger after the releases.
    """
    if not lines:
        return []
    drops = {drop.pk: drop for drop in Drop.objects.filter(pk__in=items)}
    back: Counter[tuple[int, int, int | None]] = Counter()
    # What Redis has to hear of, by order: the outbox delivers it after the commit.
    to_deliver: dict[str, tuple[HeldLine, list[tuple[int, int]]]] = {}
    touched = {}
    for line in lines:
        drop, item = drops[line.drop_id], items[line.drop_id][line.option_id]
        touched[item.pk] = item
        item.applied -= line.units
        if drop.status == DropStatus.SETTLED:
            item.returned += line.units
            continue
        back[line.stock_id, line.drop_id, line.actor_id] += line.units
        if drop.on_redis:
            to_deliver.setdefault(line.number, (line, []))[1].append((line.option_id, line.units))
    save_items(touched.values())
    _write_releases(to_deliver, items)
    return [
        ledger.Entry(stock_id, Kind.ALLOT, 0, n, reference(drop_id), actor_id, CAME_BACK)
        for (stock_id, drop_id, actor_id), n in back.items()
    ]


def _write_releases(
    to_deliver: Mapping[str, tuple[HeldLine, list[tuple[int, int]]]], items: Mapping[int, Items]
) -> None:
    now = timezone.now()
    rows = [
        (
            line.drop_id, f"order-{number}", number, line.buyer_id, msgspec.json.encode(units).decode(),
            epoch_of(items[line.drop_id].values()), "", now,
        )
        for number, (line, units) in to_deliver.items()
    ]  # fmt: skip
    insert_rows(DropRelease, _RELEASE_FIELDS, rows)
