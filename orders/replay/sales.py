"""Invoices become delivered orders, a chunk in one transaction, by the engine that places every order.

What was done is asked of the database, not remembered: an order is recognised by its buyer and its
idempotency key. So a replay that was interrupted goes on with the next chunk, and one that is complete does
nothing. A chunk that fails is halved until the order that it fails with stands alone, and is left out.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from typing import NamedTuple

from inventory.selectors import offers
from orders.errors import IdempotencyKeyReused
from orders.models import Order, Status
from orders.placement.decisions import Key
from orders.placement.numbers import number_at
from orders.placement.requests import Placed, PlaceRequest
from orders.placement.writing import Offers
from orders.replay.calendar import Calendar, Dated, OrderIds
from orders.replay.catalogue import Catalogue, leave_prices
from orders.replay.invoices import Part, buyer, invoice_won, order_key, parts, sort_out, won
from orders.replay.reader import Invoice
from orders.replay.report import Report, cannot_be_written
from orders.replay.writing import Plan, Written, write_delivered
from shop.bulk import ensure_users
from shop.models import User
from yousinsa.db.transactions import halving, transact

logger = logging.getLogger(__name__)

USED_BEFORE = "an order with this invoice number has other lines"
_DONE = (Status.DELIVERED, Status.RETURNED)


class Sale(NamedTuple):
    """An invoice that sells something, its orders, and who buys."""

    dated: Dated
    parts: list[Part]
    email: str


class Known(NamedTuple):
    """An order under a part's key: one that is there, or one that this chunk is about to write."""

    fingerprint: str
    status: str
    total: int


@dataclass(slots=True)
class Batch:
    """What one chunk writes: requests in the order of time, their plans and parts, by number."""

    requests: list[PlaceRequest] = field(default_factory=list)
    plans: dict[str, Plan] = field(default_factory=dict)
    parts: dict[str, Part] = field(default_factory=dict)


class Sales:
    """Replays invoices, a chunk at a time; `report` counts what is committed."""

    def __init__(self, catalogue: Catalogue, calendar: Calendar, report: Report, rate: Decimal) -> None:
        self._catalogue = catalogue
        self._calendar = calendar
        self._report = report
        self._rate = rate
        self._ids = OrderIds()
        self._own_time = True
        self._buyers: dict[str, int] = {}

    def replay(self, chunk: list[Dated]) -> None:
        """Write the orders of these invoices that are missing.

        Raises `Busy`, IntegrityError (somebody else creates the same now); what was done until then stays.
        """
        sales = [sale for dated in chunk if (sale := self._sale(dated))]
        if not sales:
            return
        self._find_buyers(sales)
        codes = self._catalogue.ensure(*self._articles(sales), at=sales[0].dated.at)
        known = _known(
            {self._buyers[sale.email] for sale in sales}, [part.key for sale in sales for part in sale.parts]
        )
        missing = [part for sale, part in _all(sales) if (self._buyers[sale.email], part.key) not in known]
        on_sale = offers(codes[code] for part in missing for code in part.units)
        self._own_time = self._calendar.own_time(chunk)
        if self._own_time:
            self._ids.look_at(chunk)
        batch = Batch()
        totals = [self._plan(sale, codes, on_sale, known, batch) for sale in sales]
        if batch.requests:
            halving(batch.requests, partial(self._write, batch, on_sale), partial(self._leave_out, batch))
        for sale, total in zip(sales, totals, strict=True):
            if total is not None:
                self._check_total(sale, total)

    def _sale(self, dated: Dated) -> Sale | None:
        kept, skipped = sort_out(dated.invoice, self._rate)
        for line in skipped:
            self._report.skip(line)
        invoice = dated.invoice
        return Sale(dated, parts(invoice.number, kept), buyer(invoice)[0]) if kept else None

    def _find_buyers(self, sales: list[Sale]) -> None:
        """The buyers' ids by e-mail address; those that are missing are created, without a password."""
        names = dict(buyer(sale.dated.invoice) for sale in sales)
        missing = {email: name for email, name in names.items() if email not in self._buyers}
        if missing:
            ensure_users(missing, joined=sales[0].dated.at)
            found = User.objects.filter(email__in=missing).order_by().values_list("email", "id")
            self._buyers.update(found)

    def _articles(self, sales: Iterable[Sale]) -> tuple[dict[str, str], dict[str, int]]:
        """The names and first prices (won) of the articles in these sales, by code."""
        names: dict[str, str] = {}
        prices: dict[str, int] = {}
        for line in (line for sale in sales for part in sale.parts for line in part.lines):
            names[line.code] = names.get(line.code) or line.description
            prices.setdefault(line.code, won(line.price, self._rate))
        return names, prices

    def _plan(
        self, sale: Sale, codes: Mapping[str, int], on_sale: Offers, known: dict[Key, Known], batch: Batch
    ) -> int | None:
        """Add the orders of an invoice that are missing to `batch`; what all of them cost, if known."""
        total = 0
        for i, part in enumerate(sale.parts):
            request = self._request(sale, part, codes)
            key = (request.buyer_id, part.key)
            there = known.get(key)
            if there and there.fingerprint != request.fingerprint:
                # The parts of an invoice that cannot be recognised would be guesses as well.
                for left_out in sale.parts[i:]:
                    self._report.skip_lines(left_out.lines, USED_BEFORE)
                return None
            if there is None:
                if any(codes[code] not in on_sale for code in part.units):
                    self._report.skip_lines(part.lines, "an article of the order is not on sale any more")
                    continue
                there = self._add(sale, part, request, codes, batch)
                known[key] = there
            elif there.status not in _DONE:
                said = f"its order is {there.status}: somebody else has taken it in hand"
                self._report.skip_lines(part.lines, said)
                continue
            else:
                self._report.unchanged += 1
            self._report.sold_lines += len(part.lines)
            total += there.total
        return total

    def _request(self, sale: Sale, part: Part, codes: Mapping[str, int]) -> PlaceRequest:
        lines = [(codes[code], units) for code, units in part.units.items()]
        return PlaceRequest.build(
            buyer_id=self._buyers[sale.email], lines=lines, idempotency_key=part.key, capped=False
        )

    def _add(
        self, sale: Sale, part: Part, request: PlaceRequest, codes: Mapping[str, int], batch: Batch
    ) -> Known:
        invoice, at = sale.dated.invoice, sale.dated.at if self._own_time else None
        prices = {codes[code]: won(pounds, self._rate) for code, pounds in part.pounds.items()}
        if at:
            request.order_id, request.number = self._ids.new(at), number_at(at)
        batch.requests.append(request)
        batch.plans[request.number] = Plan(
            at, prices, order_key(invoice.number), _note(invoice), buyer(invoice)[1],
            (invoice.country or "unknown")[:200], invoice.number,
        )  # fmt: skip
        batch.parts[request.number] = part
        total = sum(units * prices[option_id] for option_id, units in request.lines)
        return Known(request.fingerprint, Status.DELIVERED, total)

    def _write(self, batch: Batch, on_sale: Offers, requests: Sequence[PlaceRequest]) -> int:
        """Write these orders of `batch` in one transaction; returns how many were placed."""
        last: dict[int, int] = {}
        for request in requests:
            last.update(batch.plans[request.number].prices)

        def work() -> tuple[Written, int]:
            return write_delivered(requests, batch.plans, on_sale), leave_prices(last, on_sale)

        report = self._report
        written, prices_changed = transact(work)
        on_sale |= {id: on_sale[id]._replace(price=price) for id, price in last.items()}
        report.prices_changed += prices_changed
        report.receipts += written.receipts
        report.units_received += written.units_received
        for _request, order in written.decisions.accepted:
            report.placed += 1
            report.units += sum(line.quantity for line in order.lines)
            report.won += order.total
        self._check_outcomes(batch, written)
        if not self._own_time:
            report.dated_now += len(written.decisions.accepted)
        return len(written.decisions.accepted)

    def _leave_out(self, batch: Batch, request: PlaceRequest, why: Exception) -> None:
        """Skip the lines of the one order that cannot be written."""
        lines = batch.parts[request.number].lines
        logger.error("order %s cannot be written", request.idempotency_key, exc_info=why)
        self._report.sold_lines -= len(lines)
        self._report.skip_lines(lines, cannot_be_written(why))

    def _check_outcomes(self, batch: Batch, written: Written) -> None:
        """What was refused under the lock: a total beyond all bounds, somebody else who replays the file."""
        for number, outcome in written.decisions.outcomes().items():
            if isinstance(outcome, Placed):
                continue
            lines = batch.parts[number].lines
            self._report.sold_lines -= len(lines)
            used = isinstance(outcome, IdempotencyKeyReused)
            said = USED_BEFORE if used else f"refused: {getattr(outcome, 'title', outcome)}"
            self._report.skip_lines(lines, said)

    def _check_total(self, sale: Sale, total: int) -> None:
        lines = [line for part in sale.parts for line in part.lines]
        if total == invoice_won(lines, self._rate):
            return
        if total == sum(line.quantity * won(line.price, self._rate) for line in lines):
            self._report.odd_totals["unit prices are rounded to whole won"] += 1
        else:
            self._report.odd_totals["placed at another rate or price, or only in part"] += 1


def _all(sales: Iterable[Sale]) -> Iterator[tuple[Sale, Part]]:
    return ((sale, part) for sale in sales for part in sale.parts)


def _known(buyer_ids: set[int], keys: list[str]) -> dict[Key, Known]:
    """The orders that are there under these keys."""
    found = (
        Order.objects.filter(buyer__in=buyer_ids, idempotency_key__in=keys)
        .order_by()
        .values_list("buyer_id", "idempotency_key", "fingerprint", "status", "total")
    )
    return {
        (buyer_id, str(key)): Known(fingerprint, status, total)
        for buyer_id, key, fingerprint, status, total in found
    }


def _note(invoice: Invoice) -> str:
    return f"Invoice {invoice.number} of {invoice.date:%Y-%m-%d %H:%M}"
