"""How people buy: baskets, units, favourites, faithfulness and returns, measured from invoices.

`read` measures a file of invoices (the columns of `replay_orders`); `BUILT_IN` is what the real one came to,
for whoever does not have it.
"""

import csv
import gzip
import random
from bisect import bisect
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path

# As the API takes them.
MAX_LINES, MAX_UNITS = 100, 1_000_000
COLUMNS = ("InvoiceNo", "StockCode", "Quantity", "CustomerID")


class Weighted:
    """Whole numbers, each as likely as it is heavy."""

    def __init__(self, weights: Mapping[int, float]) -> None:
        self.values = sorted(weights)
        self.sums = list(accumulate(weights[value] for value in self.values))

    def pick(self, dice: random.Random) -> int:
        return self.values[bisect(self.sums, dice.random() * self.sums[-1], 0, len(self.values) - 1)]

    @property
    def mean(self) -> float:
        weights = [b - a for a, b in zip([0.0, *self.sums], self.sums, strict=False)]
        return sum(v * w for v, w in zip(self.values, weights, strict=True)) / self.sums[-1]


@dataclass(frozen=True, slots=True)
class Habits:
    """lines: articles of a basket. units: of an article. orders: of a customer, in what was measured.
    popularity: the weight of each article, the most popular first. returns: the share of orders of which
    something comes back. returned_lines: how many articles of those do.
    """

    lines: Weighted
    units: Weighted
    orders: Weighted
    popularity: Sequence[float]
    returns: float
    returned_lines: Weighted


def read(path: Path) -> Habits:
    """Measure a CSV file of invoice lines (.csv or .csv.gz). Raises ValueError where it cannot be one."""
    with gzip.open(path, "rt", newline="") if path.suffix == ".gz" else path.open(newline="") as file:
        rows = csv.DictReader(file)
        if missing := [name for name in COLUMNS if name not in (rows.fieldnames or ())]:
            raise ValueError(f"{path} has no column {', '.join(missing)}: a file for replay_orders is wanted")
        return measure(tuple(row[name] or "" for name in COLUMNS) for row in rows)


def measure(rows: Iterable[tuple[str, ...]]) -> Habits:
    """The same of rows (invoice, article, units, customer); an invoice that begins with C is a return.

    Raises ValueError where there is not one sale among them.
    """
    sales: dict[str, set[str]] = defaultdict(set)
    back: dict[str, set[str]] = defaultdict(set)
    units: Counter[int] = Counter()
    articles: Counter[str] = Counter()
    customers: dict[str, set[str]] = defaultdict(set)
    for invoice, article, quantity, customer in rows:
        if invoice.startswith("C"):
            back[invoice].add(article)
        elif quantity.isdigit() and int(quantity):
            sales[invoice].add(article)
            units[min(MAX_UNITS, int(quantity))] += 1
            articles[article] += 1
            if customer:
                customers[customer].add(invoice)
    if not sales:
        raise ValueError("There is no sale in the file of orders.")
    return Habits(
        lines=_sizes(sales), units=Weighted(units),
        orders=Weighted(Counter(len(invoices) for invoices in customers.values()) or {1: 1}),
        popularity=[float(count) for _, count in articles.most_common()],
        returns=min(1.0, len(back) / len(sales)), returned_lines=_sizes(back or {"": {""}}),
    )  # fmt: skip


def _sizes(invoices: Mapping[str, set[str]]) -> Weighted:
    return Weighted(Counter(min(MAX_LINES, len(articles)) for articles in invoices.values()))


def spread(quantiles: Sequence[int]) -> Weighted:
    """Whole numbers with these quantiles, evenly spread between two of them that follow each other."""
    weights: dict[int, float] = defaultdict(float)
    for low, high in pairwise(quantiles):
        values = range(low, max(low + 1, high))
        for value in values:
            weights[value] += 1 / len(values)
    return Weighted(weights)


def ranked(shares: Sequence[tuple[int, float]]) -> list[float]:
    """Weights by rank, of which the first `rank` have `share` of the sum, for each (rank, share)."""
    weights: list[float] = []
    before = 0.0
    for rank, share in shares:
        count = rank - len(weights)
        weights += [(share - before) / count] * count
        before = share
    return weights


# Two months of a wholesaler who also sells to people (2,749 invoices, 2,996 articles, 941 known customers).
BUILT_IN = Habits(
    lines=spread([1, 1, 1, 2, 3, 5, 6, 8, 10, 12, 14, 16, 17, 20, 23, 28, 32, 40, 50, 73, 101]),
    units=Weighted(
        {
            1: 25156, 2: 12120, 3: 5650, 4: 5003, 5: 1855, 6: 5620, 7: 592, 8: 1774, 9: 411, 10: 1998,
            12: 6919, 16: 475, 18: 238, 20: 537, 24: 2971, 25: 503, 30: 1200, 36: 500, 48: 725, 72: 261,
            96: 211, 110: 500, 160: 260, 288: 250, 1000: 20, 5568: 2,
        }
    ),
    orders=Weighted({1: 815, 2: 261, 3: 115, 4: 42, 5: 37, 6: 12, 8: 10, 11: 5, 17: 6, 36: 2}),
    popularity=ranked(
        [
            (1, 0.0053), (3, 0.0132), (10, 0.0338), (30, 0.0802), (100, 0.1954), (300, 0.4033), (600, 0.598),
            (1000, 0.769), (1500, 0.897), (2000, 0.9632), (2500, 0.9908), (2996, 1.0),
        ]
    ),
    returns=0.21,
    returned_lines=Weighted({1: 60, 2: 20, 3: 10, 4: 5, 8: 4, 20: 1}),
)  # fmt: skip
