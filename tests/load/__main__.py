"""`python -m tests.load`: measure the shop under load, check its books, say which promises it keeps."""

import argparse
import shlex
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from datetime import date
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tests.load import books, crowd, machine, report
from tests.load.checks import Broken
from tests.load.day import habits
from tests.load.day.run import QUICK_SECONDS, SECONDS, SETTINGS, TOLD_DIFFERENCES, Plan, pass_day
from tests.load.measuring import Bench, Effort
from tests.load.scenarios import (
    DROP,
    HOT_ORDER,
    HOT_ORDER_COOKIE,
    LANES,
    LONE_ORDER,
    PLAIN,
    Case,
    Scenario,
    drop_rush,
    sold_out,
)
from tests.load.shop import FEW_PRODUCTS, PRODUCTS, Shop, Shops
from tests.support.server import ROOT
from tests.support.services import ServerMissing, find_program

FULL = Effort(rounds=3, seconds=6.0, ping_seconds=3.0, ping_age=0.0, lead=1.0)
QUICK = Effort(rounds=1, seconds=1.5, ping_seconds=1.0, ping_age=15.0, lead=0.5)
CONNECTIONS = [64, 500]
ATTEMPTS, QUICK_ATTEMPTS = 20_000, 5_000
HISTORY = 1_000_000
NAMES = [
    "hot_order", "hot_order_cookie", *(scenario.name for scenario in PLAIN), "sold_out", "drop",
    "drop_rush", "lone_order", "batches", "hashing", "catalogue", "crowd", "day", "sqlite", "binlog",
    "flat_cost", "books",
]  # fmt: skip
# What a quick bench leaves out unless `--only` names it.
NOT_QUICK = {
    "hot_order_cookie", "product_list_strangers", "store_list", "sign_in", "binlog", "flat_cost", "books",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Step:
    """A part of the bench that is measured in one go."""

    title: str
    work: Callable[[], object]


def read_options(arguments: list[str]) -> argparse.Namespace:
    """The command line. Exits with a message where it makes no sense."""
    parser = argparse.ArgumentParser(prog="python -m tests.load", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="one short run of each, in less than two minutes"
    )
    parser.add_argument(
        "--only", nargs="+", choices=NAMES, metavar="NAME", help="measure only these: %(choices)s"
    )
    parser.add_argument(
        "--skip", nargs="+", choices=NAMES, default=[], metavar="NAME",
        help=f"leave these out (flat_cost writes {HISTORY:,} orders first, which takes minutes)",
    )  # fmt: skip
    parser.add_argument("--lanes", nargs="+", choices=LANES, default=list(LANES), metavar="LANE")
    parser.add_argument("--seconds", type=float, metavar="N", help="how long a run is measured")
    parser.add_argument("--rounds", type=int, metavar="N", help="runs of each, of which the median counts")
    parser.add_argument("--connections", type=int, nargs="+", metavar="N", help="default: 64 500; quick: 500")
    parser.add_argument(
        "--history",
        type=int,
        default=HISTORY,
        metavar="N",
        help="orders in the tables of flat_cost and books",
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIRECTORY",
        help="for the results; default: docs/bench for a whole bench, var/bench for a quick or partial one",
    )  # fmt: skip
    parser.add_argument(
        "--catalog", type=Path, metavar="FILE",
        help="a file for import_catalog: with it every filter of the product list is measured, and the day "
        "sells what is in it",
    )  # fmt: skip
    parser.add_argument(
        "--orders", type=Path, metavar="FILE",
        help="a file for replay_orders: the day's baskets and favourites are measured from it",
    )  # fmt: skip
    parser.add_argument(
        "--day-seconds", type=float, metavar="N",
        help=f"how long the day is (default: {SECONDS:.0f}; quick: {QUICK_SECONDS:.0f})",
    )  # fmt: skip
    parser.add_argument(
        "--think", type=float, default=0.0, metavar="N", help="seconds between two clicks in the day (0)"
    )
    parser.add_argument(
        "--faults", action="store_true", help="in the day, kill a worker and restart the database"
    )
    options = parser.parse_args(arguments)
    if options.catalog and not options.catalog.is_file():
        parser.error(f"--catalog: there is no file {options.catalog}")
    try:
        options.habits = habits.read(options.orders) if options.orders else habits.BUILT_IN
    except (OSError, ValueError) as exc:
        parser.error(f"--orders: {exc}")
    for name, least in (
        ("seconds", 0.5), ("rounds", 1), ("history", 1), ("day_seconds", 10), ("think", 0),
    ):  # fmt: skip
        value = getattr(options, name)
        if value is not None and value < least:
            parser.error(f"--{name.replace('_', '-')} must be at least {least}")
    if options.connections and not all(1 <= n <= 2000 for n in options.connections):
        parser.error("--connections must be from 1 to 2000")
    return options


def without_out(arguments: list[str]) -> list[str]:
    """The command line without the place of the results, which is nobody else's business."""
    kept = [text for before, text in zip(["", *arguments], arguments, strict=False) if before != "--out"]
    return [text for text in kept if text.partition("=")[0] != "--out"]


def effort_of(options: argparse.Namespace) -> Effort:
    effort = QUICK if options.quick else FULL
    if options.seconds:
        effort = replace(effort, seconds=options.seconds, ping_seconds=max(1.0, options.seconds / 2))
    return replace(effort, rounds=options.rounds or effort.rounds)


def wanted(options: argparse.Namespace) -> list[str]:
    left_out = set(options.skip) | (NOT_QUICK if options.quick else set())
    return options.only or [name for name in NAMES if name not in left_out]


def plan(options: argparse.Namespace, bench: Bench, shops: Shops, results: report.Results) -> list[Step]:
    """What is to be measured, in order."""
    names = wanted(options)
    counts = sorted(set(options.connections or (CONNECTIONS[-1:] if options.quick else CONNECTIONS)))
    most = counts[-1]
    steps: list[Step] = []

    def add(name: str, title: str, work: Callable[[], object]) -> None:
        if name in names:
            steps.append(Step(title, work))

    def measure(scenario: Scenario, shop: Callable[[], Shop], connections: int) -> Callable[[], object]:
        return lambda: bench.measure(Case(scenario, shop(), connections))

    for n in counts:
        on = f"{n} connections"
        add("hot_order", f"hot order, {on}", partial(_hot, bench, shops, options.lanes, n))
        add("hot_order_cookie", f"hot order, {on}", measure(HOT_ORDER_COOKIE, shops.mariadb, n))
    for scenario in PLAIN:
        for n in sorted({min(n, scenario.most_connections or n) for n in counts}):
            add(scenario.name, f"{scenario.title}, {n} connections", measure(scenario, shops.mariadb, n))
    attempts = QUICK_ATTEMPTS if options.quick else ATTEMPTS
    add("sold_out", "sold out", measure(sold_out(attempts), shops.mariadb, most))
    add("drop", f"drop, {most} connections", measure(DROP, shops.mariadb, most))
    add("drop_rush", "rush at a drop", measure(drop_rush(attempts), shops.mariadb, most))
    add("lone_order", "lone order", partial(_lone, bench, shops))
    add("batches", "batches of 64", lambda: results.batches.update(_batches(shops, options.quick)))
    add("hashing", "password hash", lambda: results.hashing.update(shops.mariadb().inside("seed", "hashing")))
    if options.catalog:
        add("catalogue", "every filter", lambda: results.catalogue.update(_catalogue(shops, options.catalog)))
    add("crowd", "a crowd that only looks", lambda: results.crowd.append(_crowd(shops, most, bench.effort)))
    add("day", "a day", lambda: _day(shops, options, results, bench))
    for n in counts:
        add("sqlite", f"SQLite, {n} connections", measure(HOT_ORDER, shops.sqlite, n))
    add("binlog", "binary log", measure(HOT_ORDER, lambda: shops.mariadb("binlog", binlog=True), most))
    add("flat_cost", "flat cost", partial(_flat, bench, shops, most, options.history))
    add("books", "the books", lambda: results.book_costs.extend(_books(shops, options)))
    return steps


def _hot(bench: Bench, shops: Shops, lanes: list[str], connections: int) -> None:
    shops.mariadb().start(lanes)
    bench.measure(*(Case(HOT_ORDER, shops.mariadb(), connections, lane) for lane in lanes))


def _lone(bench: Bench, shops: Shops) -> None:
    """One order after the other; many short turns, since the two differ by little."""
    lanes = ("group_commit", "row_lock")
    shops.mariadb().start(lanes)
    cases = [Case(LONE_ORDER, shops.mariadb(), 1, lane) for lane in lanes]
    quick = bench.effort.rounds == 1
    bench.measure(*cases, rounds=3 if quick else 7, seconds=1.0 if quick else 3.0, with_ping=False)


def _batches(shops: Shops, quick: bool) -> dict[str, object]:
    shop = shops.mariadb()
    return shop.inside(
        "batches", "measure", buyers=shop.goods["shopper_ids"], option=shop.goods["hot"],
        database_pid=shop.database_pid, batches=50 if quick else 200, windows=3 if quick else 5,
    )  # fmt: skip


def _catalogue(shops: Shops, file: Path) -> dict[str, object]:
    return shops.mariadb("catalogue").inside("catalogue", "measure", file=str(file.resolve()))


def _crowd(shops: Shops, connections: int, effort: Effort) -> crowd.Crowd:
    return crowd.measure(shops.mariadb(), connections=connections, seconds=effort.seconds, lead=effort.lead)


def _day(shops: Shops, options: argparse.Namespace, results: report.Results, bench: Bench) -> None:
    """In a shop of its own, since its holds are short. Raises `Broken` where books and journals differ."""
    shop = shops.mariadb("day", products=FEW_PRODUCTS if options.catalog else PRODUCTS, settings=SETTINGS)
    plan = Plan(
        seconds=options.day_seconds or (QUICK_SECONDS if options.quick else SECONDS), think=options.think,
        faults=options.faults, catalog=options.catalog,
        habits=options.habits,
    )  # fmt: skip
    passed = pass_day(shop, plan, shops.restart_mariadb, bench.say)
    results.days.append(passed)
    bench.books.append(f"a day: {passed.words}")
    bench.say(passed.in_words())
    if passed.differences:
        raise Broken("; ".join(passed.differences[:TOLD_DIFFERENCES]))


def _flat(bench: Bench, shops: Shops, connections: int, history: int) -> None:
    scenario = replace(HOT_ORDER, name="flat_cost", title="order, one hot option, among many or none")
    full = shops.mariadb("million" if history == HISTORY else f"history-{history}", history=history)
    bench.measure(*(Case(scenario, shop, connections) for shop in (shops.mariadb("empty"), full)))


def _books(shops: Shops, options: argparse.Namespace) -> list[books.Cost]:
    """As many options as 200,000 beside a million orders, fewer beside fewer."""
    products = books.PRODUCTS if options.history == HISTORY else books.QUICK_PRODUCTS
    return books.measure(shops.mariadb("books", history=options.history, products=products))


def measure(options: argparse.Namespace, console: Console) -> report.Results:
    """Run the whole plan; a broken run ends it and is told in the results."""
    started = time.monotonic()
    effort = effort_of(options)
    results = report.Results(
        date=date.today().isoformat(),
        command=shlex.join(["python", "-m", "tests.load", *without_out(sys.argv[1:])]),
        quick=options.quick,
        effort=asdict(effort),
        machine=machine.facts(),
    )
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with ExitStack() as stack:
        bar = stack.enter_context(Progress(*columns, console=console, transient=True))
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="yousinsa-bench-")))

        def say(line: str) -> None:
            console.print(f"{time.monotonic() - started:6.0f} s  {line}", markup=False, highlight=False)

        bench = Bench(effort, say)
        shops = Shops(stack, scratch, say)
        steps = plan(options, bench, shops, results)
        task = bar.add_task("", total=len(steps))
        try:
            for step in steps:
                bar.update(task, description=step.title)
                try:
                    step.work()
                except ServerMissing:
                    raise
                except RuntimeError as exc:  # a server or a tool failed: the other figures are worth having
                    results.failures.append(f"{step.title}: {exc}")
                    say(results.failures[-1])
                bar.advance(task)
        except Broken as exc:
            results.broken = str(exc)
        results.figures = [*bench.ping_figures(), *bench.figures]
        results.books = bench.books
        results.drained = bench.drained
        results.complaints = [line for shop in shops.all() for line in shop.complaints()]
    results.minutes = round((time.monotonic() - started) / 60, 1)
    return results


def is_whole(options: argparse.Namespace, results: report.Results) -> bool:
    """Worth keeping: everything was measured at full length, and nothing went wrong."""
    less = (
        options.quick,
        options.only,
        options.skip,
        options.seconds,
        options.rounds,
        options.connections,
        options.faults,
        options.day_seconds,
    )
    return not (any(less) or set(options.lanes) != set(LANES) or results.broken or results.failures)


def main() -> int:
    """Exit status: 0, 1 when a run oversold, lost an order, or failed, 2 when a server or wrk is missing."""
    options = read_options(sys.argv[1:])
    # Nobody reads a log through a window of 80 columns.
    console = Console(width=None if sys.stdout.isatty() else 160)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # through the contexts that end what was started
    try:
        find_program("wrk", "wrk")
        results = measure(options, console)
    except ServerMissing as exc:
        console.print(str(exc), style="bold red")
        return 2
    except KeyboardInterrupt:
        return 130
    directory = options.out or ROOT / ("docs" if is_whole(options, results) else "var") / "bench"
    written = report.write(results, directory)
    report.show(results, console)
    console.print(f"Written: {', '.join(str(path) for path in written)}", highlight=False)
    if results.broken:
        console.print(f"The books do not balance: {results.broken}", style="bold red", markup=False)
        return 1
    console.print("The books balanced to the unit after every run.")
    for failure in results.failures:
        console.print(f"Not measured: {failure}", style="bold red", markup=False)
    return 1 if results.failures else 0


if __name__ == "__main__":
    sys.exit(main())
