"""What everybody was told against what the books say: every order, every won, every unit.

Asked of the database in SQL once the day has been settled: every hold that was not paid for has expired, and
no payment is unanswered.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tests.load.checks import Query
from tests.load.day.journal import Journal, Listing, Purchase

KEPT = frozenset({"paid", "shipped", "delivered"})
# How an order may have ended, by what was told of it last.
ENDS: Mapping[str, frozenset[str]] = {
    "accepted": frozenset({"expired"}),
    "pending": frozenset({"expired"}),
    "paid": KEPT,
    "shipped": frozenset({"shipped", "delivered"}),
    "delivered": frozenset({"delivered"}),
    "returned": frozenset({"returned"}),
    "cancelled": frozenset({"cancelled"}),
    "expired": frozenset({"expired"}),
}
# What else it may have become where an answer was lost.
DOUBTS: Mapping[str, frozenset[str]] = {
    "pay": KEPT | {"expired"},
    "cancel": frozenset({"cancelled"}),
    "return": frozenset({"returned", "delivered"}),
}
RANK = {"shipped": 1, "delivered": 2, "returned": 3}


@dataclass(slots=True)
class Book:
    """An order as the database has it. lines: option -> (units, returned, price); taken: won that providers
    took, in `charges` attempts; refunded: won that went back."""

    number: str
    buyer: int
    key: str | None
    status: str
    total: int
    drop: int | None
    lines: dict[int, tuple[int, int, int]] = field(default_factory=dict)
    taken: int = 0
    charges: int = 0
    refunded: int = 0


def read_orders(query: Query, since: int) -> dict[str, Book]:
    """Every order after the id `since`, by number."""
    books: dict[int, Book] = {}
    for id, number, buyer, key, status, total, drop in query(
        "SELECT id, number, buyer_id, idempotency_key, status, total, drop_id FROM orders_order "
        f"WHERE id > {since}"
    ):
        books[id] = Book(number, buyer, key, status, total, drop)
    for id, option, units, returned, price in query(
        "SELECT order_id, option_id, quantity, returned, unit_price FROM orders_orderline "
        f"WHERE order_id > {since}"
    ):
        books[id].lines[option] = (units, returned, price)
    for id, amount in query(
        f"SELECT order_id, amount FROM orders_payment WHERE order_id > {since} AND status = 'approved'"
    ):
        books[id].taken += amount
        books[id].charges += 1
    for id, amount in query(
        "SELECT p.order_id, SUM(r.amount) FROM orders_refund r JOIN orders_payment p ON p.id = r.payment_id "
        f"WHERE p.order_id > {since} GROUP BY p.order_id"
    ):
        books[id].refunded = int(amount)
    return {book.number: book for book in books.values()}


def read_units(query: Query) -> dict[str, int]:
    """Units that were ever received of what owners listed during a day, by SKU."""
    rows = query(
        "SELECT o.sku, COALESCE(SUM(m.delta_on_hand), 0) FROM shop_option o "
        "JOIN inventory_stock s ON s.option_id = o.id "
        "LEFT JOIN inventory_movement m ON m.stock_id = s.id AND m.kind = 'receive' "
        "WHERE o.sku LIKE 'DAY-%' GROUP BY o.sku"
    )
    return {sku: int(units) for sku, units in rows}


def compare(
    journal: Journal,
    books: Mapping[str, Book],
    *,
    buyers: Sequence[int],
    told: Iterable[tuple[str, str]] = (),
) -> list[str]:
    """What does not agree, in words; nothing is right.

    `buyers`: user ids by shopper. `told`: what operators were told (an order's number, its state).
    """
    by_key = {(book.buyer, book.key): book for book in books.values()}
    found: list[str] = []
    known: set[str] = set()
    for purchase in journal.purchases:
        book = books.get(purchase.number) if purchase.number else by_key.get(
            (buyers[purchase.buyer], purchase.key)
        )  # fmt: skip
        if book:
            known.add(book.number)
        name = purchase.number or f"purchase {purchase.key}"
        found += [f"{name}: {text}" for text in _differences(purchase, book, buyers[purchase.buyer])]
    found += [f"{number}: nobody was told of this order" for number in books.keys() - known]
    found += [f"{book.number}: {text}" for book in books.values() for text in _money(book)]
    for number, status in told:
        now = books[number].status if number in books else "gone"
        if RANK.get(now, 0) < RANK[status]:
            found.append(f"{number}: an operator was told {status}, it is {now}")
    return found


def _differences(purchase: Purchase, book: Book | None, buyer: int) -> Iterator[str]:
    """Between one purchase and its order; `book` None: there is none."""
    yield from purchase.wrong
    if book is None:
        if purchase.number:
            yield f"told {purchase.status}, and lost"
        return
    if purchase.refused:
        yield f"refused, and there is an order {book.number} ({book.status})"
        return
    same = (book.buyer, book.key, book.drop) == (buyer, purchase.key, purchase.drop)
    if not same or {option: line[0] for option, line in book.lines.items()} != purchase.lines:
        yield f"not what was bought: {book}"
    if not purchase.number:  # never answered: only that it is nobody else's can be said
        return
    if book.total != purchase.total:
        yield f"told a total of {purchase.total}, it is {book.total}"
    if book.status not in _ends(purchase):
        doubts = f" ({', '.join(sorted(purchase.doubts))} in doubt)" if purchase.doubts else ""
        yield f"told {purchase.status}{doubts}, it is {book.status}"
    returned = {option: line[1] for option, line in book.lines.items() if line[1]}
    if purchase.doubts.isdisjoint({"return"}) and returned != purchase.returned:
        yield f"told that {purchase.returned} came back, it is {returned}"
    if not purchase.doubts and book.refunded != purchase.refunded:
        yield f"told a refund of {purchase.refunded}, it is {book.refunded}"


def _ends(purchase: Purchase) -> Collection[str]:
    return ENDS.get(purchase.status, frozenset()).union(*(DOUBTS[doubt] for doubt in purchase.doubts))


def _money(book: Book) -> Iterator[str]:
    """The shop keeps the price of what a buyer keeps, and not a won more."""
    kept = sum((units - returned) * price for units, returned, price in book.lines.values())
    if book.status not in (*KEPT, "returned"):
        kept = 0
    if book.taken - book.refunded != kept:
        yield f"{book.status}: {book.taken} was taken and {book.refunded} went back, for goods of {kept}"
    if book.status in KEPT and book.charges != 1:
        yield f"{book.status}, and charged {book.charges} times"


def compare_units(listings: Iterable[Listing], received: Mapping[str, int]) -> list[str]:
    """The same of what owners listed and received."""
    found, said = [], defaultdict[str, int](int)
    for listing in listings:
        for sku, units in listing.skus.items():
            said[sku] = units
            there, doubtful = received.get(sku), listing.doubtful[sku]
            if there is None:
                if listing.told:
                    found.append(f"{sku}: told that it is listed, and it is not there")
            elif not units <= there <= units + doubtful:
                found.append(f"{sku}: told of {units} units ({doubtful} in doubt), {there} were received")
    found += [f"{sku}: nobody listed it" for sku in received if sku not in said]
    return found


def in_words(journal: Journal, books: Mapping[str, Book], told: int) -> str:
    """How much was compared."""
    states = Counter(book.status for book in books.values())
    doubts = sum(bool(p.doubts) or not (p.number or p.refused) for p in journal.purchases)
    taken = sum(book.taken for book in books.values())
    back = sum(book.refunded for book in books.values())
    return (
        f"{len(journal.purchases):,} purchases by people and {told:,} changes by operators against "
        f"{len(books):,} orders ({', '.join(f'{n:,} {s}' for s, n in states.most_common())}), {doubts:,} of "
        f"them in doubt; {taken:,} won taken, {back:,} given back; {len(journal.listings):,} listings"
    )
