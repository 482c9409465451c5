"""What an invoice means to the shop: which of its lines are sales, and which orders they make.

An order has every option once, at one price, and as few lines as the API lets a buyer order. So an invoice
becomes one order, and further ones where it has more articles, or one article at a second price: its total
is then the sum of its orders, to the won.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from decimal import ROUND_HALF_UP, Decimal
from typing import NamedTuple

from orders.models import MAX_LINES, MAX_QUANTITY
from orders.replay.reader import Invoice, Line, Skipped
from shop.bulk import in_batches
from shop.models import MAX_PRICE

# About the rate of the winter 2010/11, rounded so that a penny is a whole number of won (18): then no price
# has to be rounded, and every order costs to the won what its invoice says.
WON_A_POUND = Decimal(1800)

# Codes of the file that stand for money or paper, not for an article (some occur in later months only).
NOT_ARTICLES = frozenset(
    [
        "POST", "DOT", "C2",  # postage, Dotcom postage, carriage
        "M", "D", "ADJUST", "ADJUST2", "B",  # manual, discount, adjustments, bad debt
        "BANK CHARGES", "AMAZONFEE", "CRUK",  # fees, a charity's commission
        "S", "TEST001", "TEST002",  # samples, tests
    ]
)  # fmt: skip
VOUCHER = "GIFT_"

DOMAIN = "replay.yousinsa.test"
KEY = "replay:"


class Part(NamedTuple):
    """One order's share of an invoice: units and pounds by article, and the lines that say so."""

    key: str
    units: dict[str, int]
    pounds: dict[str, Decimal]
    lines: list[Line]


def won(pounds: Decimal, rate: Decimal) -> int:
    """An amount in whole won, half a won rounded up."""
    return int((pounds * rate).to_integral_value(ROUND_HALF_UP))


def invoice_won(lines: Iterable[Line], rate: Decimal) -> int:
    """What an invoice's lines cost together, rounded once."""
    return won(sum((line.quantity * line.price for line in lines), Decimal(0)), rate)


def order_key(number: str, part: int = 1) -> str:
    """The idempotency key of an invoice's order: `replay:536365`, then `replay:536365/2` and so on."""
    return f"{KEY}{number}" if part == 1 else f"{KEY}{number}/{part}"


def invoice_of(key: str) -> int:
    """The invoice number in an `order_key`, whichever part and attempt."""
    return int(key.removeprefix(KEY).partition("~")[0].partition("/")[0])


def buyer(invoice: Invoice) -> tuple[str, str]:
    """The buyer's e-mail address and name; an invoice without a customer has a guest of its own."""
    if invoice.customer:
        return f"customer-{invoice.customer}@{DOMAIN}", f"Customer {invoice.customer}"
    return f"guest-{invoice.number}@{DOMAIN}", f"Guest {invoice.number}"


def sort_out(invoice: Invoice, rate: Decimal) -> tuple[list[Line], list[Skipped]]:
    """The lines that are sales of articles (in a cancellation: their return), and the others, with why."""
    kept: list[Line] = []
    skipped: list[Skipped] = []
    units: dict[str, int] = defaultdict(int)
    for line in invoice.lines:
        reason = _not_a_sale(line, invoice.is_cancellation, rate)
        if not reason and units[line.code] + abs(line.quantity) > MAX_QUANTITY:
            reason = f"more than {MAX_QUANTITY:,} units of an article in one invoice"
        if reason:
            skipped.append(Skipped(line.row, reason, str(line)))
        else:
            units[line.code] += abs(line.quantity)
            kept.append(line)
    return kept, skipped


def _not_a_sale(line: Line, is_cancellation: bool, rate: Decimal) -> str:
    """Why a line is neither a sale nor its return; empty where it is."""
    if line.code in NOT_ARTICLES:
        return "not an article but postage, fees, discounts, samples or corrections by hand"
    if line.code.startswith(VOUCHER):
        return "a gift voucher"
    if line.quantity == 0:
        return "no units"
    if is_cancellation and line.quantity > 0:
        return "units above zero in a cancellation"
    if not is_cancellation and line.quantity < 0:
        return "units below zero in an invoice: a correction of the stock"
    if line.price < 0:
        return "a price below zero"
    if line.price == 0:
        return "no price: found, lost, damaged or given away"
    if won(line.price, rate) > MAX_PRICE:
        return f"a unit price above {MAX_PRICE:,} won"
    return ""


def parts(number: str, lines: Iterable[Line]) -> list[Part]:
    """The orders that an invoice's lines make, in an order that depends on the lines alone."""
    prices: dict[str, list[Decimal]] = defaultdict(list)
    layers: dict[int, dict[str, list[Line]]] = defaultdict(lambda: defaultdict(list))
    for line in lines:
        known = prices[line.code]
        if line.price not in known:
            known.append(line.price)
        layers[known.index(line.price)][line.code].append(line)
    shares = (share for layer in sorted(layers) for share in in_batches(layers[layer].items(), MAX_LINES))
    return list(_parts(number, shares))


def _parts(number: str, shares: Iterable[list[tuple[str, list[Line]]]]) -> Iterator[Part]:
    for n, share in enumerate(shares, start=1):
        yield Part(
            key=order_key(number, n),
            units={code: sum(line.quantity for line in lines) for code, lines in share},
            pounds={code: lines[0].price for code, lines in share},
            lines=[line for _, lines in share for line in lines],
        )
