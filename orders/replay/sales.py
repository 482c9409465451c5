"""Invoices become orders, from placing to delivery, by the services that the API and the admin call.

What was done is asked of the database, not remembered: an order is recognised by its buyer and its
idempotency key, and its status says which steps are left. So a replay that was interrupted anywhere goes on
with the next step, and one that is complete does nothing.
"""

from collections.abc import Iterable
from decimal import Decimal
from typing import NamedTuple

from inventory.errors import InsufficientStock
from orders.errors import IdempotencyKeyReused, InvalidTransition, UnknownOption
from orders.lifecycle import deliver_order, ship_order
from orders.models import Order, Payment, Status
from orders.payments.providers import PROVIDERS
from orders.payments.services import decide, pay
from orders.placement.lanes import row_lock
from orders.placement.requests import PlaceRequest
from orders.replay.catalogue import Article, Catalogue
from orders.replay.invoices import Part, buyer, invoice_won, order_key, parts, sort_out, won
from orders.replay.reader import Invoice
from orders.replay.report import Report
from shop.bulk import ensure_users
from shop.models import User

# The card of the sandbox: approved at once, and a refund is paid out without a person.
PROVIDER, TOKEN = "sandbox", "replay"
CARRIER = "replay"
# Shoppers may buy what was received for an order before it is placed.
STOCK_ATTEMPTS = 5

USED_BEFORE = "an order with this invoice number has other lines"
_DONE = (Status.DELIVERED, Status.RETURNED)

Orders = dict[tuple[int, str], Order]
"""Orders by buyer id and idempotency key."""


class Sale(NamedTuple):
    """An invoice that sells something, its orders, and who buys."""

    invoice: Invoice
    parts: list[Part]
    email: str


class Sales:
    """Replays invoices, a chunk at a time; `report` counts what is committed."""

    def __init__(self, catalogue: Catalogue, report: Report, rate: Decimal) -> None:
        self._catalogue = catalogue
        self._report = report
        self._rate = rate

    def replay(self, invoices: Iterable[Invoice]) -> None:
        """Bring these invoices' orders to their delivery.

        Raises `Busy`, `OutcomeUnknown`, `PaymentUnknown`, IntegrityError (somebody else creates the same
        articles); what was done until then stays.
        """
        sales = [sale for invoice in invoices if (sale := self._sale(invoice))]
        if not sales:
            return
        buyers = _buyers(sale.invoice for sale in sales)
        articles = self._articles(sales)
        orders = _orders(buyers.values(), [key for sale in sales for p in sale.parts for key in p.keys])
        for sale in sales:
            self._sell(sale, buyers[sale.email], articles, orders)

    def _sale(self, invoice: Invoice) -> Sale | None:
        kept, skipped = sort_out(invoice, self._rate)
        for line in skipped:
            self._report.skip(line)
        return Sale(invoice, parts(invoice.number, kept), buyer(invoice)[0]) if kept else None

    def _articles(self, sales: Iterable[Sale]) -> dict[str, Article]:
        names: dict[str, str] = {}
        prices: dict[str, int] = {}
        for line in (line for sale in sales for part in sale.parts for line in part.lines):
            names[line.code] = names.get(line.code) or line.description
            prices.setdefault(line.code, won(line.price, self._rate))
        return self._catalogue.articles(names, prices)

    def _sell(self, sale: Sale, buyer_id: int, articles: dict[str, Article], orders: Orders) -> None:
        total = 0
        for i, part in enumerate(sale.parts):
            order, refusal = self._bring(sale.invoice, part, buyer_id, articles, orders)
            if order is None:
                # The parts of an invoice that cannot be recognised would be guesses as well.
                rest = sale.parts[i:] if refusal == USED_BEFORE else [part]
                for left_out in rest:
                    self._report.skip_lines(left_out.lines, refusal)
                if refusal == USED_BEFORE:
                    return
                continue
            self._report.sold_lines += len(part.lines)
            total += order.total
        self._check_total(sale, total)

    def _bring(
        self, invoice: Invoice, part: Part, buyer_id: int, articles: dict[str, Article], orders: Orders
    ) -> tuple[Order | None, str]:
        """The part's order, delivered (or returned since); None and the reason where that cannot be."""
        lines = [(articles[code].option_id, units) for code, units in part.units.items()]
        for key in part.keys:
            request = PlaceRequest.build(buyer_id=buyer_id, lines=lines, idempotency_key=key, capped=False)
            order = orders.get((buyer_id, key))
            is_new = order is None
            if order is None:
                try:
                    order = self._place(request, part, articles)
                except UnknownOption:
                    return None, "an article of the order is not on sale any more"
                except InsufficientStock:
                    return None, "other buyers took the units as fast as they were received"
                except IdempotencyKeyReused:
                    return None, USED_BEFORE
                orders[buyer_id, key] = order
            if order.fingerprint != request.fingerprint:
                return None, USED_BEFORE
            was = order.status
            self._advance(order, invoice, is_new=is_new)
            if order.status in _DONE:
                self._count(order, part, is_new=is_new, is_changed=order.status != was)
                return order, ""
            if order.status != Status.EXPIRED:
                return None, f"its order is {order.status}: somebody else has taken it in hand"
        return None, "its orders expired before they were paid"

    def _place(self, request: PlaceRequest, part: Part, articles: dict[str, Article]) -> Order:
        """Raises `UnknownOption`, `InsufficientStock`, `IdempotencyKeyReused`, `Busy`, `OutcomeUnknown`."""
        reference = order_key(part.lines[0].invoice)
        for attempt in range(1, STOCK_ATTEMPTS + 1):
            self._catalogue.set_prices(
                (articles[code], won(pounds, self._rate)) for code, pounds in part.pounds.items()
            )
            self._catalogue.stock_up(dict(request.lines), reference=reference)
            try:
                placed = row_lock(request)
            except InsufficientStock:
                if attempt == STOCK_ATTEMPTS:
                    raise
            else:
                return Order.objects.get(number=placed.order.number)
        raise AssertionError("unreachable")

    def _advance(self, order: Order, invoice: Invoice, *, is_new: bool) -> None:
        """Do what is left until the order is delivered; `order.status` says how far it came."""
        if not is_new and order.status in (Status.PENDING, Status.EXPIRED):
            _resolve_open_payment(order)
        try:
            if order.status == Status.PENDING:
                _keep_date(order, invoice)
                pay(
                    order_id=order.pk, provider=PROVIDER, token=TOKEN, actor_id=order.buyer_id,
                    shipping=_shipping(invoice),
                )  # fmt: skip
                order.status = Status.PAID
            if order.status == Status.PAID:
                _keep_date(order, invoice)
                ship_order(order_id=order.pk, carrier=CARRIER, tracking_number=invoice.number, actor_id=None)
                order.status = Status.SHIPPED
            if order.status == Status.SHIPPED:
                deliver_order(order_id=order.pk, actor_id=None)
                order.status = Status.DELIVERED
        except InvalidTransition:
            # Somebody else moved it: an operator, or the hold was over.
            order.refresh_from_db(fields=["status"])

    def _count(self, order: Order, part: Part, *, is_new: bool, is_changed: bool) -> None:
        if not (is_new or is_changed):
            self._report.unchanged += 1
            return
        if is_new:
            self._report.placed += 1
        else:
            self._report.finished += 1
        self._report.units += sum(part.units.values())
        self._report.won += order.total

    def _check_total(self, sale: Sale, total: int) -> None:
        lines = [line for part in sale.parts for line in part.lines]
        if total == invoice_won(lines, self._rate):
            return
        if total == sum(line.quantity * won(line.price, self._rate) for line in lines):
            self._report.odd_totals["unit prices are rounded to whole won"] += 1
        else:
            self._report.odd_totals["placed at another rate or price, or only in part"] += 1


def _buyers(invoices: Iterable[Invoice]) -> dict[str, int]:
    """The buyers' ids by e-mail address; those that are missing are created, without a password."""
    names = dict(buyer(invoice) for invoice in invoices)
    ensure_users(names)
    return dict(User.objects.filter(email__in=names).order_by().values_list("email", "id"))


def _orders(buyer_ids: Iterable[int], keys: list[str]) -> Orders:
    found = Order.objects.filter(buyer__in=set(buyer_ids), idempotency_key__in=keys)
    return {(order.buyer_id, str(order.idempotency_key)): order for order in found}


def _resolve_open_payment(order: Order) -> None:
    """Ask about a payment whose answer an interruption lost: the order is paid with it, not twice."""
    payment = Payment.objects.filter(order=order, live=True).exclude(status=Payment.Status.APPROVED).first()
    if payment is not None:
        answer = PROVIDERS[payment.provider].lookup(reference=payment.reference, token=payment.token)
        decide(payment_id=payment.pk, answer=answer, actor_id=order.buyer_id)
        order.refresh_from_db(fields=["status", "note"])


def _keep_date(order: Order, invoice: Invoice) -> None:
    """Note the invoice and its date on the order.

    `created_at` stays the time at which this shop took the order: its events, payment and movements say now
    as well, and an order that is older than the receipt of its goods would be a false book.
    """
    said = f"Invoice {invoice.number} of {invoice.date:%Y-%m-%d %H:%M}"
    if not order.note.startswith(said):
        order.note = f"{said}. {order.note}"[:200] if order.note else said
        order.save(update_fields=["note"])


def _shipping(invoice: Invoice) -> dict[str, str]:
    """The file knows the country alone."""
    return {
        "recipient": buyer(invoice)[1],
        "phone": "",
        "postal_code": "",
        "address1": invoice.country[:200] or "unknown",
        "address2": "",
    }
