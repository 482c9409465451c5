"""Every combination of the product list's filters, one after the other, over a whole imported catalogue.

tests/load/shop.py calls `main` in a process of its own.
"""

import itertools
import json
import statistics
import sys
import time
from io import StringIO
from typing import Any
from urllib.parse import urlencode

from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext

from shop.models import Category, Product, Store
from shop.selectors import ORDERINGS
from tests.support.wire import Wire

SEARCHES = ("", "shirt", "men blue shirt", "zzzz")
PRICES: tuple[dict[str, int], ...] = (
    {}, {"min_price": 20_000, "max_price": 40_000}, {"min_price": 290_000},
)  # fmt: skip
IN_STOCK = ("", "true", "false")
# A table of fewer rows is read whole whatever index there is.
SMALL_TABLE = 1000
HOST = "127.0.0.1"


def measure(*, file: str) -> dict[str, Any]:
    """Import `file` (see import_catalog), then ask for the first and the second page of each combination.

    Milliseconds of a whole request without the network, each asked once and therefore never from the cache;
    `scans` are the queries whose EXPLAIN reads a large table without an index.
    """
    call_command("import_catalog", file, stdout=StringIO(), stderr=StringIO())
    wire, took, scans = Wire(), [], []
    asked = [f"/api/v1/products/?{urlencode(each)}" for each in _combinations()]
    for path in asked:
        seconds, page, queries = _ask(wire, path)
        took.append((seconds * 1e3, path))
        scans += _scans(queries)
        if page["next"]:
            seconds, _page, queries = _ask(wire, page["next"].partition(HOST)[2])
            took.append((seconds * 1e3, f"{path}, second page"))
            scans += _scans(queries)
    slowest, where = max(took)
    return {
        "products": Product.objects.count(),
        "combinations": len(asked),
        "requests": len(took),
        "median_ms": statistics.median(ms for ms, _ in took),
        "slowest_ms": slowest,
        "slowest": where,
        "over_100_ms": sum(ms > 100 for ms, _ in took),
        "scans": sorted(set(scans)),
    }


def _combinations() -> list[dict[str, Any]]:
    """With every level of the category tree, with one store and without, and so on."""
    leaf = Category.objects.filter(numchild=0).order_by("id").exclude(products=None).last()
    categories = ["", *(category.slug for category in (leaf.get_ancestors() if leaf else []))]
    categories += [leaf.slug] if leaf else []
    largest = Store.objects.order_by("id").last()
    stores = ["", *([largest.pk] if largest else [])]
    return [
        {
            "category": category, "store": store, "search": search, "in_stock": in_stock,
            "ordering": ordering, **price,
        }
        for category, store, search, price, in_stock, ordering in itertools.product(
            categories, stores, SEARCHES, PRICES, IN_STOCK, ORDERINGS
        )
    ]  # fmt: skip


def _ask(wire: Wire, path: str) -> tuple[float, dict[str, Any], list[str]]:
    start = time.perf_counter()
    with CaptureQueriesContext(connection) as queries:
        answer = wire.get(path, host=HOST)
    seconds = time.perf_counter() - start
    assert answer.status_code == 200, (path, answer.content)
    return seconds, answer.json(), [query["sql"] for query in queries]


def _scans(queries: list[str]) -> list[str]:
    """The queries that read all rows of a large table; a derived table is one that the query itself made."""
    found = []
    with connection.cursor() as cursor:
        for sql in queries:
            if not sql.startswith("SELECT"):
                continue
            cursor.execute(f"EXPLAIN {sql}")
            names = [column[0] for column in cursor.description]
            for row in cursor.fetchall():
                plan = dict(zip(names, row, strict=True))
                if plan["type"] == "ALL" and int(plan["rows"] or 0) > SMALL_TABLE:
                    found.append(f"{plan['table']}: {sql[:200]}")
    return found


def main() -> None:
    """`catalogue measure KEYWORDS`: prints what `measure` returns as JSON."""
    print(json.dumps(measure(**json.loads(sys.argv[2]))))
