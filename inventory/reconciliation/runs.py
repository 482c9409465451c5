"""A run over the stock rows, and the correction of one of them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from django.db.models import Exists, OuterRef, QuerySet
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from inventory import ledger
from inventory.locks import LockedStock, lock_stock
from inventory.models import MAX_UNITS, Movement, Stock
from inventory.reconciliation.causes import NO_STOCK_ROW
from inventory.reconciliation.sources import OrderBook, Row, Start, last_seal, snapshot
from inventory.reconciliation.verdicts import Fault, Verdict, judge_all
from shop.models import Option
from yousinsa.db.id_ranges import SLACK, first_id_at
from yousinsa.db.transactions import transact
from yousinsa.errors import Conflict

# Large, as the database reads its tables about once a chunk, wherever the chunk's rows lie in them; SQLite
# takes no more than 32,766 values in a statement.
CHUNK = 30_000
REASON_LENGTH = 200


class Difference(NamedTuple):
    """A figure that is `found` and should be `expected`; `stock` is None where the row itself is missing.

    `order` is the number of the order that the ledger does not agree with, where it is one alone.
    """

    stock: int | None
    option: int
    sku: str
    kind: str
    expected: int
    found: int
    cause: str
    order: str = ""


class Correction(NamedTuple):
    """A `correct` movement that was written: its number, its deltas, and the counters as they are now."""

    stock: int
    option: int
    sequence: int
    delta_on_hand: int
    delta_reserved: int
    on_hand: int
    reserved: int
    reason: str


class Uncorrectable(Conflict):
    """409: the true figures break a rule of the stock row, so a person must decide what gives."""

    code = "stock_uncorrectable"
    title = _("This stock cannot be corrected automatically.")


@dataclass(frozen=True, slots=True)
class Scope:
    """What a run looks at: everything, or one option, or one store's, or only what moved since a moment.

    `full` reads the whole ledger even where months of it are sealed.
    """

    option_id: int | None = None
    store_id: int | None = None
    since: datetime | None = None
    full: bool = False

    def __str__(self) -> str:
        said = "whole shop"
        if self.option_id is not None:
            said = f"option {self.option_id}"
        elif self.store_id is not None:
            said = f"store {self.store_id}"
        if self.since is not None:
            said += f", moved since {timezone.localtime(self.since):%Y-%m-%d}"
        return f"{said}, in full" if self.full else said


WHOLE_SHOP = Scope()


def _nothing(done: int) -> None: ...


@dataclass(slots=True)
class Reconciliation:
    """A run over the stock rows of `scope`. Iterate it for the differences.

    Rows are read in chunks of `chunk`, each in one consistent snapshot: orders that come in meanwhile are
    seen by all three sources or by none, so they raise no false alarm, and they never wait for this. Where
    months are sealed, the first look begins at the last seal, unless `scope.full`.
    `advance` is called with the number of rows after each chunk; `checked` counts them.
    """

    orders: OrderBook
    scope: Scope = WHOLE_SHOP
    chunk: int = CHUNK
    advance: Callable[[int], None] = _nothing
    checked: int = field(default=0, init=False)
    _first: int | None = field(default=None, init=False)

    def total(self) -> int:
        """How many stock rows there are to check."""
        return self._stock().count()

    def __iter__(self) -> Iterator[Difference]:
        start = None if self.scope.full else last_seal()
        rows = self._stock().values_list("id", "option_id", "on_hand", "reserved", "sequence")
        after, more = 0, True
        while more:
            # The snapshot is closed before anything is handed out: the receiver may take its time, or write.
            with snapshot():
                chunk = [Row(*row) for row in rows.filter(pk__gt=after)[: self.chunk]]
                found = self._compare(chunk, start)
            self.checked += len(chunk)
            self.advance(len(chunk))
            yield from found
            more = len(chunk) == self.chunk
            after = chunk[-1].id if chunk else 0
        yield from self._without_stock()

    def _stock(self) -> QuerySet[Stock]:
        stock = Stock.objects.order_by("pk")
        if self.scope.option_id is not None:
            stock = stock.filter(option_id=self.scope.option_id)
        if self.scope.store_id is not None:
            stock = stock.filter(option__product__store_id=self.scope.store_id)
        if self.scope.since is not None:
            moved = Movement.objects.filter(
                stock=OuterRef("pk"),
                pk__gte=self._first_since(self.scope.since),
                created_at__gte=self.scope.since,
            )
            stock = stock.filter(Exists(moved))
        return stock

    def _first_since(self, since: datetime) -> int:
        if self._first is None:
            self._first = first_id_at(Movement, since - SLACK)
        return self._first

    def _compare(self, rows: list[Row], start: Start | None) -> list[Difference]:
        found = [
            (verdict, fault) for verdict in judge_all(rows, self.orders, start) for fault in verdict.faults()
        ]
        off = Option.objects.filter(pk__in={verdict.row.option_id for verdict, _fault in found})
        skus = dict(off.values_list("id", "sku"))
        return [
            Difference(v.row.id, v.row.option_id, skus[v.row.option_id], *fault, v.number)
            for v, fault in found
        ]

    def _without_stock(self) -> Iterator[Difference]:
        """Options that orders were promised and that have no stock row at all, so that nothing ever moved."""
        if self.scope.since is not None:
            return
        scope: dict[str, Any] = {"stock__isnull": True}
        if self.scope.option_id is not None:
            scope["pk"] = self.scope.option_id
        if self.scope.store_id is not None:
            scope["product__store_id"] = self.scope.store_id
        options = Option.objects.filter(**scope).order_by("pk").values_list("id", "sku")
        after, more = 0, True
        while more:
            with snapshot():
                skus = dict(options.filter(pk__gt=after)[: self.chunk])
                units = self.orders.units(list(skus)) if skus else {}
            for option_id, said in units.items():
                if said.promised:
                    sku = skus[option_id]
                    yield Difference(None, option_id, sku, "reserved", said.promised, 0, NO_STOCK_ROW)
            more = len(skus) == self.chunk
            after = max(skus, default=0)


def correct(stock_id: int, orders: OrderBook, *, actor_id: int | None = None) -> Correction | None:
    """Set a stock row right, in a transaction of its own, by one `correct` movement that says what was off.

    All is computed anew under the row's lock, which whatever moves this stock has to hold. Returns None
    where nothing differs (any more). Raises `Uncorrectable`, `Busy`.
    """

    def work() -> Correction | None:
        locked = lock_stock([stock_id])
        rows = [Row(r.id, r.option_id, r.on_hand, r.reserved, r.sequence) for r in locked.values()]
        for verdict in judge_all(rows, orders):
            if faults := verdict.faults():
                return _write(locked[stock_id], verdict, faults, actor_id)
        return None

    return transact(work)


def _write(row: LockedStock, verdict: Verdict, faults: list[Fault], actor_id: int | None) -> Correction:
    on_hand, reserved = verdict.on_hand, verdict.reserved
    if on_hand > MAX_UNITS:
        raise Uncorrectable(_("There would be %s units on hand, more than a stock row can count.") % on_hand)
    if reserved > on_hand:
        raise Uncorrectable(
            _(
                "Orders were promised %(reserved)s units, but the ledger adds up to %(on_hand)s. Receive "
                "%(missing)s units or cancel orders for as many, then correct again."
            )
            % {"reserved": reserved, "on_hand": on_hand, "missing": reserved - on_hand}
        )
    said = [f"{kind} was {found}, is {expected} ({cause})" for kind, expected, found, cause in faults]
    reason = "; ".join(said)[:REASON_LENGTH]
    deltas = (on_hand - verdict.ledger.on_hand, reserved - verdict.ledger.reserved)
    ledger.correct(
        row, on_hand=on_hand, reserved=reserved, deltas=deltas, sequence=verdict.ledger.last + 1,
        reason=reason, reference=verdict.number, actor_id=actor_id,
    )  # fmt: skip
    return Correction(row.id, row.option_id, row.sequence, *deltas, on_hand, reserved, reason)
