"""What a bench comes to: the targets, the files for docs/bench, the tables on the screen."""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.load import crowd, plot
from tests.load.books import MEGABYTES, SECONDS, Cost
from tests.load.crowd import Crowd
from tests.load.day.run import Endpoint, Passed
from tests.load.measuring import Figure


@dataclass(slots=True)
class Results:
    """Everything that one bench found out."""

    date: str
    command: str
    quick: bool
    effort: dict[str, Any]
    machine: dict[str, Any]
    figures: list[Figure] = field(default_factory=list)
    batches: dict[str, Any] = field(default_factory=dict)
    hashing: dict[str, Any] = field(default_factory=dict)
    drained: list[dict[str, Any]] = field(default_factory=list)
    catalogue: dict[str, Any] = field(default_factory=dict)
    crowd: list[Crowd] = field(default_factory=list)
    days: list[Passed] = field(default_factory=list)
    books: list[str] = field(default_factory=list)
    book_costs: list[Cost] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    broken: str = ""
    minutes: float = 0.0

    def find(
        self, scenario: str, *, lane: str = "group_commit", connections: int = 500, shop: str = "mariadb"
    ) -> Figure | None:
        wanted = (scenario, lane, connections, shop)
        for figure in self.figures:
            if (figure.scenario, figure.lane, figure.connections, figure.shop) == wanted:
                return figure
        return None

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "targets": [asdict(target) for target in targets(self)]}


@dataclass(frozen=True, slots=True)
class Target:
    """Something that must hold: what, the bound, what was measured (None: it was not), whether it is met."""

    name: str
    bound: str
    measured: float | None
    met: bool | None


Judged = list[tuple[str, str, tuple[float | None, bool | None]]]


def _at_least(bound: float, value: float | None) -> tuple[float | None, bool | None]:
    return value, None if value is None else value >= bound


def _at_most(bound: float, value: float | None) -> tuple[float | None, bool | None]:
    return value, None if value is None else value <= bound


def _quotient(above: float | None, below: float | None) -> float | None:
    return round(above / below, 3) if above is not None and below else None


def _refusals(figure: Figure) -> float:
    return figure.rate * figure.statuses.get("409", 0) / max(1, sum(figure.statuses.values()))


CHANGES = (("pay", "pay"), ("cancel", "cancel"), ("return", "return"))
EVERY_API = (
    *CHANGES,
    ("order_page", "order page"),
    ("my_orders", "my orders"),
    ("store_list", "store list"),
    ("drop_list", "drop list"),
    ("me", "me"),
)
"""Scenarios, by name, and what they are called among the bounds."""


def targets(results: Results) -> list[Target]:
    """The bounds that the shop promises to keep on two cores, at 500 connections, and what became of them."""

    def of(figure: Figure | None, value: Callable[[Figure], float | None]) -> float | None:
        return value(figure) if figure else None

    def looks(value: Callable[[Crowd], float]) -> float | None:
        return value(results.crowd[-1]) if results.crowd else None

    hot, row = results.find("hot_order"), results.find("hot_order", lane="row_lock")
    basket, gone = results.find("baskets"), results.find("sold_out")
    lone = results.find("lone_order", connections=1)
    lone_row = results.find("lone_order", lane="row_lock", connections=1)
    empty, full = results.find("flat_cost", shop="empty"), results.find("flat_cost", shop="million")
    rate, errors = lambda f: f.rate, lambda f: float(f.errors)
    rows: Judged = [
        ("hot option, orders/s", ">= 1,250", _at_least(1250, of(hot, rate))),
        ("hot option, share of the no-op", ">= 0.60", _at_least(0.6, of(hot, lambda f: f.ratio))),
        ("hot option, p99 in ms", "<= 1,000", _at_most(1000, of(hot, lambda f: f.p99))),
        ("hot option, times row_lock", ">= 5", _at_least(5, _quotient(of(hot, rate), of(row, rate)))),
        (
            "CPU ms an order, batches of 64",
            "<= 0.30",
            _at_most(0.30, results.batches.get("together_ms")),
        ),
        (
            "beside one poisoned order a batch",
            ">= 0.70",
            _at_least(0.7, min(results.batches.get("poisoned", {}).values(), default=None)),
        ),
        ("baskets of 3, orders/s", ">= 500", _at_least(500, of(basket, rate))),
        ("baskets of 3, errors", "= 0", _at_most(0, of(basket, errors))),
        ("sold out, refusals/s", ">= 1,500", _at_least(1500, of(gone, _refusals))),
        ("sold out, errors that are no 409", "= 0", _at_most(0, of(gone, errors))),
        (
            "1,000,000 orders against none",
            ">= 0.85",
            _at_least(0.85, _quotient(of(full, rate), of(empty, rate))),
        ),
        ("SQLite, orders/s", ">= 500", _at_least(500, of(results.find("hot_order", shop="sqlite"), rate))),
        (
            "lone order, p50 against row_lock",
            "<= 1.10",
            _at_most(1.10, _quotient(of(lone, lambda f: f.p50), of(lone_row, lambda f: f.p50))),
        ),
        (
            "admission to a drop, share of the no-op",
            ">= 0.70",
            _at_least(0.7, of(results.find("drop"), lambda f: f.ratio)),
        ),
        (
            "drain_orders, orders/s",
            ">= 2,000",
            _at_least(2000, max((d["orders"] / d["seconds"] for d in results.drained), default=None)),
        ),
        ("product list, requests/s", ">= 1,250", _at_least(1250, of(results.find("product_list"), rate))),
        ("filters over 100 ms", "= 0", _at_most(0, results.catalogue.get("over_100_ms"))),
        ("product page, requests/s", ">= 1,250", _at_least(1250, of(results.find("product_page"), rate))),
        ("a crowd that only looks, pages/s", ">= 15,000", _at_least(15_000, looks(lambda c: c.rate))),
        ("behind what changes, in ms", "<= 2,000", _at_most(2000, looks(lambda c: c.oldest))),
        ("beside the crowd, orders/s", ">= 190", _at_least(190, looks(lambda c: c.orders))),
        ("crowd and buyers, errors", "= 0", _at_most(0, looks(lambda c: c.errors + c.order_errors))),
        *_day_targets(results.days),
    ]
    for name, title in EVERY_API:
        rows.append((f"{title}, requests/s", ">= 1,250", _at_least(1250, of(results.find(name), rate))))
    for name, title in CHANGES:
        rows.append(
            (
                f"{title}, share of the no-op",
                ">= 0.40",
                _at_least(0.4, of(results.find(name), lambda f: f.ratio)),
            )
        )
    cookie = _quotient(of(results.find("hot_order_cookie"), rate), of(hot, rate))
    rows.append(("orders by cookie against by token", ">= 0.90", _at_least(0.9, cookie)))
    rows.append(
        ("sign in, requests/s", ">= 45", _at_least(45, of(results.find("sign_in", connections=32), rate)))
    )
    return [Target(name, bound, measured, met) for name, bound, (measured, met) in rows]


def _day_targets(days: Sequence[Passed]) -> Judged:
    """A day with faults in it promises exact books, and nothing of its speed."""
    plain = next((day for day in days if not day.faults), None)

    def of(name: str, value: Callable[[Endpoint], float]) -> float | None:
        found = plain.find(name) if plain else None
        return value(found) if found else None

    differences = float(sum(len(day.differences) for day in days)) if days else None
    return [
        ("a day, all requests/s", ">= 1,250", _at_least(1250, of("all", lambda e: e.rate))),
        ("a day, p99 of buying in ms", "<= 1,000", _at_most(1000, of("buy", lambda e: e.p99))),
        ("a day, p99 of paying in ms", "<= 1,000", _at_most(1000, of("pay", lambda e: e.p99))),
        ("a day, what people were told against the books", "= 0", _at_most(0, differences)),
    ]


# --- Files --------------------------------------------------------------------------------------------


def write(results: Results, directory: Path) -> list[Path]:
    """Write `<date>.json`, `.md` and `.png`, and the latter two again as `latest`; returns the paths."""
    directory.mkdir(parents=True, exist_ok=True)
    stem = directory / results.date
    document, table, picture = (stem.with_suffix(f".{kind}") for kind in ("json", "md", "png"))
    document.write_text(_compact(results.as_json()))
    drawn = plot.draw(results.figures, picture, caption=_caption(results))
    table.write_text(markdown(results, picture.name if drawn else ""))
    latest = directory / "latest.md"
    latest.write_text(markdown(results, "latest.png" if drawn else ""))
    written = [document, table, latest]
    if drawn:
        shutil.copyfile(picture, directory / "latest.png")
        written += [picture, directory / "latest.png"]
    return written


def _compact(document: dict[str, Any]) -> str:
    """JSON with a line for each figure: small, and still readable in a diff."""
    parts = []
    for name, value in document.items():
        if isinstance(value, list) and value:
            rows = ",\n  ".join(json.dumps(row, ensure_ascii=False) for row in value)
            parts.append(f"{json.dumps(name)}: [\n  {rows}\n]")
        else:
            parts.append(f"{json.dumps(name)}: {json.dumps(value, ensure_ascii=False)}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _caption(results: Results) -> str:
    machine, versions = results.machine, results.machine["versions"]
    return (
        f"{results.date}, {machine['cores']} cores, MariaDB {versions['MariaDB']} (flushes every commit), "
        f"gunicorn and load generator on one machine; {_runs(results).lower()}"
    )


def _runs(results: Results) -> str:
    rounds = results.effort["rounds"]
    return f"Medians of {rounds} runs" if rounds > 1 else "Single runs"


def markdown(results: Results, picture: str) -> str:
    """The tables, for people. `picture` is the plot's file name; empty: there is none."""
    machine = results.machine
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    lines = [
        f"# Bench of {results.date}",
        "",
        f"`{results.command}`, {results.minutes:.0f} minutes, on {machine['cores']} cores "
        f"({machine['processor']}), {machine['memory_gib']} GiB, {machine['system']}, "
        f"Linux {machine['kernel']}, {machine['file_system']}; load average {machine['load_before']} before. "
        f"Everything runs on this machine. {versions}.",
        "",
        f"{_runs(results)} of {results.effort['seconds']:g} s, each right after a run of the no-op "
        "`/api/v1/ping/` on the same server and as many connections: read the ratios. "
        "Answers that are errors do not count for requests/s. Percentiles are wrk's, which corrects them for "
        "coordinated omission. CPU is milliseconds a request of all gunicorn workers and of the database's "
        "process. Limits and Idempotency-Keys are on.",
        "",
    ]
    if results.broken:
        lines += [f"**The books did not balance: {results.broken}**", ""]
    if picture:
        lines += [f"![Orders a second by lane]({picture})", ""]
    lines += _markdown_table(_figure_rows(results.figures))
    lines += ["", "## Must hold", "", *_markdown_table(_target_rows(targets(results)))]
    if results.batches:
        lines += ["", "## Batches alone", "", _batches_in_words(results.batches)]
    if results.hashing:
        lines += ["", "## Signing in", "", _hashing_in_words(results.hashing)]
    if results.catalogue:
        lines += ["", "## Every filter of the product list", "", _catalogue_in_words(results.catalogue)]
    if results.crowd:
        lines += ["", "## A crowd that only looks", "", *map(crowd.in_words, results.crowd)]
    if results.book_costs:
        lines += ["", "## The books at scale", "", *_markdown_table(_book_rows(results.book_costs))]
    for day in results.days:
        lines += ["", "## A day", "", _day_in_words(day), "", *_markdown_table(_endpoint_rows(day.endpoints))]
    return "\n".join([*lines, "", *_notes(results)]) + "\n"


def _notes(results: Results) -> list[str]:
    lines = []
    for f in results.figures:
        where = f"- {f.title}, {f.shop}, {f.lane}, {f.connections} connections"
        if f.errors:
            lines.append(f"{where}: answers by status {_counts(f.statuses)}; broken {_counts(f.broken)}")
        if f.deadlocks:
            lines.append(f"{where}: the database found {f.deadlocks} deadlocks")
    lines += [f"- {line}" for line in results.complaints[:20]]
    return ["## Notes", "", *lines, ""] if lines else []


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name}: {count:,}" for name, count in counts.items()) or "none"


def _batches_in_words(batches: dict[str, Any]) -> str:
    return (
        f"`place_batch` with {batches['size']} orders at a time, one process: {batches['rate']:,.0f} "
        f"orders/s; an order takes {batches['python_ms']:.3f} ms of CPU in Python and "
        f"{batches['database_ms']:.3f} ms in MariaDB, together {batches['together_ms']:.3f} ms."
        + "".join(
            f" With one order in each batch that is {kind}, the others come to {share:.2f} of that."
            for kind, share in batches.get("poisoned", {}).items()
        )
    )


def _catalogue_in_words(found: dict[str, Any]) -> str:
    return (
        f"{found['combinations']:,} combinations of filters and orders over {found['products']:,} products, "
        f"{found['requests']:,} requests of one client: median {found['median_ms']:.0f} ms, slowest "
        f"{found['slowest_ms']:.0f} ms (`{found['slowest']}`), {found['over_100_ms']} over 100 ms; EXPLAIN "
        f"shows {len(found['scans'])} queries that read a large table without an index."
    )


def _hashing_in_words(hashing: dict[str, Any]) -> str:
    return (
        f"A password check (`{hashing['algorithm']}`) takes {hashing['cpu_ms']:.0f} ms of CPU, "
        f"{hashing['wall_ms']:.0f} ms of time: that, not the rest, is what signing in costs, and is meant to."
    )


def _day_in_words(day: Passed) -> str:
    mishaps = f" Meanwhile: {', '.join(day.faults)}." if day.faults else ""
    staff = ", ".join(f"{name}: {count:,}" for name, count in day.staff.items())
    return f"{day.in_words()}.{mishaps} Operators: {staff}. Compared: {day.words}."


# --- Tables ---------------------------------------------------------------------------------------------

Rows = list[tuple[str, ...]]


def _figure_rows(figures: Sequence[Figure]) -> Rows:
    rows: Rows = [
        ("scenario", "database", "lane", "connections", "requests/s", "of no-op", "p50 ms", "p95 ms",
         "p99 ms", "errors", "app CPU ms", "database CPU ms")
    ]  # fmt: skip
    for f in figures:
        ratio = "" if f.ratio is None else f"{f.ratio:.2f}"
        rows.append(
            (f.title, f.shop, f.lane, str(f.connections), f"{f.rate:,.0f}", ratio, f"{f.p50:,.1f}",
             f"{f.p95:,.1f}", f"{f.p99:,.1f}", f"{f.errors:,}", f"{f.app_cpu_ms:.2f}",
             f"{f.database_cpu_ms:.2f}")
        )  # fmt: skip
    return rows


def _target_rows(found: Sequence[Target]) -> Rows:
    said = {True: "met", False: "MISSED", None: "not measured"}
    rows: Rows = [("what", "bound", "measured", "")]
    for target in found:
        measured = "" if target.measured is None else f"{target.measured:,.2f}".removesuffix(".00")
        rows.append((target.name, target.bound, measured, said[target.met]))
    return rows


def _endpoint_rows(endpoints: Sequence[Endpoint]) -> Rows:
    rows: Rows = [("request", "count", "errors", "requests/s", "p50 ms", "p95 ms", "p99 ms", "by status")]
    for e in endpoints:
        rows.append(
            (e.name, f"{e.requests:,}", f"{e.errors:,}", f"{e.rate:,.1f}", f"{e.p50:,.0f}", f"{e.p95:,.0f}",
             f"{e.p99:,.0f}", _counts(e.statuses))
        )  # fmt: skip
    return rows


def _book_rows(costs: Sequence[Cost]) -> Rows:
    bound = f"{MEGABYTES} MB, and {SECONDS} s to reconcile or settle"
    rows: Rows = [("command", "seconds", "MB", "orders meanwhile", "said", bound)]
    for c in costs:
        met = "met" if c.met else "MISSED"
        rows.append((c.command, f"{c.seconds:.1f}", f"{c.megabytes:.0f}", f"{c.orders:,}", c.said, met))
    return rows


def _is_number(text: str) -> bool:
    return text.replace(",", "").replace(".", "").isdigit()


def _numeric(rows: Rows) -> list[bool]:
    """Which columns hold nothing but numbers: those are aligned to the right."""
    return [
        all(_is_number(row[i]) or not row[i] for row in rows[1:]) and any(row[i] for row in rows[1:])
        for i in range(len(rows[0]))
    ]


def _markdown_table(rows: Rows) -> list[str]:
    marks = ["---:" if numeric else "---" for numeric in _numeric(rows)]
    return [f"| {' | '.join(row)} |" for row in (rows[0], tuple(marks), *rows[1:])]


def show(results: Results, console: Console) -> None:
    """Print the tables and the verdict."""
    tables = [("Bench", _figure_rows(results.figures))]
    if results.book_costs:
        tables.append(("The books at scale", _book_rows(results.book_costs)))
    tables += [("A day", _endpoint_rows(day.endpoints)) for day in results.days]
    tables.append(("Must hold", _target_rows(targets(results))))
    for title, rows in tables:
        table = Table(title=title)
        for name, numeric in zip(rows[0], _numeric(rows), strict=True):
            table.add_column(name, justify="right" if numeric else "left")
        for row in rows[1:]:
            table.add_row(*row, style="bold red" if row[-1] == "MISSED" else None)
        console.print(table)
    if results.batches:
        console.print(_batches_in_words(results.batches))
    if results.catalogue:
        console.print(_catalogue_in_words(results.catalogue))
    if results.hashing:
        console.print(_hashing_in_words(results.hashing))
    for found in results.crowd:
        console.print(crowd.in_words(found))
    for day in results.days:
        console.print(_day_in_words(day), markup=False, highlight=False)
    for line in _notes(results):
        console.print(line, markup=False, highlight=False)
