"""A look at the stock rows of a scope, chunk by chunk."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db.models import Exists, OuterRef, QuerySet

from inventory.models import Movement, Stock
from inventory.reconciliation.causes import NO_STOCK_ROW
from inventory.reconciliation.scope import WHOLE_SHOP, Finding, OrderBook, Scope
from inventory.reconciliation.sources import Row, Start, last_seal, snapshot
from inventory.reconciliation.verdicts import judge_all
from shop.models import Option, Store
from yousinsa.db.id_ranges import SLACK, first_id_at

# Large, as the database reads its tables about once a chunk, wherever the chunk's rows lie in them; SQLite
# takes no more than 32,766 values in a statement.
CHUNK = 30_000


class NotThere(LookupError):
    """A scope names an option or a store that does not exist."""


def check_scope(scope: Scope) -> None:
    """Raises `NotThere`: a run over nothing would find nothing wrong."""
    if scope.option_id is not None and not Option.objects.filter(pk=scope.option_id).exists():
        raise NotThere(f"There is no option {scope.option_id}.")
    if scope.store_id is not None and not Store.objects.filter(pk=scope.store_id).exists():
        raise NotThere(f"There is no store {scope.store_id}.")


def _nothing(done: int) -> None: ...


@dataclass(slots=True)
class Reconciliation:
    """A run over the stock rows of `scope`. Iterate it for what it finds.

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

    def __iter__(self) -> Iterator[Finding]:
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

    def _compare(self, rows: list[Row], start: Start | None) -> list[Finding]:
        found = [
            (verdict, fault) for verdict in judge_all(rows, self.orders, start) for fault in verdict.faults()
        ]
        off = Option.objects.filter(pk__in={verdict.row.option_id for verdict, _fault in found})
        skus = dict(off.values_list("id", "sku"))
        return [
            Finding(v.row.id, v.row.option_id, skus[v.row.option_id], *fault, v.number) for v, fault in found
        ]

    def _without_stock(self) -> Iterator[Finding]:
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
                    yield Finding(None, option_id, sku, "reserved", said.promised, 0, NO_STOCK_ROW)
            more = len(skus) == self.chunk
            after = max(skus, default=0)
