"""The load bench's own tools: it reads what wrk prints, sees broken books, and judges its figures.

No test here measures anything: figures belong in the bench, not in the suite.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.db.models import F

from inventory.models import Movement, Stock
from orders.models import Order, OrderLine
from tests.load import checks, crowd, report, wrk
from tests.load.__main__ import effort_of, is_whole, read_options, wanted, without_out
from tests.load.day.habits import BUILT_IN
from tests.load.day.run import Endpoint, Passed
from tests.load.machine import cpu_seconds, facts
from tests.load.measuring import Figure
from tests.support.factories import make_options, make_order

pytestmark = pytest.mark.sqlite

PRINTED = """Running 42s test @ http://127.0.0.1:8000
  2 threads and 500 connections
drained
drained

  9200 requests in 3.21s, 4.11MB read
Requests/sec:   2866.04

{"statuses": {"201": 9000, "409": 150, "503": 50}, "in_time": {"201": 6000, "409": 100}, "elapsed": 2.4, \
"broken": {"connect": 0, "read": 2, "write": 0, "timeout": 1}, "p50": 81.5, "p95": 120.25, "p99": 300.0, \
"longest": 410.125}
"""


def answers(statuses: dict[int, int], *, broken: int = 0, drained: bool = True) -> wrk.Answers:
    return wrk.Answers(
        statuses=statuses, in_time=statuses, seconds=1.0, broken={"read": broken}, drained=drained,
        p50=1, p95=2, p99=3, longest=4,
    )  # fmt: skip


# --- What wrk prints ----------------------------------------------------------------------


def test_a_run_that_lasted_as_long_as_it_should() -> None:
    found = wrk.parse(PRINTED, seconds=2.0, drained=True)
    assert found.answered == 9200
    assert found.rate([201]) == 3000
    assert found.rate([201, 409]) == 3050
    assert found.besides([201, 409]) == 50 + 3
    assert (found.p50, found.p95, found.p99, found.longest) == (81.5, 120.25, 300.0, 410.125)


def test_a_run_that_used_up_its_requests_is_as_long_as_it_took() -> None:
    assert wrk.parse(PRINTED, seconds=120.0, drained=True).rate([201]) == pytest.approx(6000 / 2.4)


def test_a_script_that_failed_is_told_with_what_wrk_said() -> None:
    with pytest.raises(wrk.LoadFailed, match="no such file"):
        wrk.parse("orders.lua: no such file\n", seconds=1, drained=False)


def test_every_lua_script_is_there() -> None:
    scripts = {path.name for path in Path(wrk.__file__).parent.glob("*.lua")}
    assert scripts == {"shoppers.lua", "orders.lua", "prepared.lua"}


def test_how_old_a_price_is_that_somebody_is_shown() -> None:
    seller = crowd.Seller("http://127.0.0.1", 1, "token")
    seller.changed_at = {1: 10.0, 2: 10.5, 3: 11.0}
    assert seller.age(3, 99.0) == 0
    assert seller.age(2, 10.9) == 0
    assert seller.age(2, 11.5) == 0.5
    assert seller.age(1, 11.5) == 1.0


# --- Books ------------------------------------------------------------------------------------------


def test_orders_are_held_against_answers() -> None:
    assert "2 orders" in checks.assert_every_order_counts(2, answers({201: 2, 409: 7}), 10)
    with pytest.raises(checks.Broken, match="1 accepted orders are lost"):
        checks.assert_every_order_counts(1, answers({201: 2}), 10)
    with pytest.raises(checks.Broken, match="nobody was told of 1 orders"):
        checks.assert_every_order_counts(3, answers({201: 2, 409: 1}), 10)


@pytest.mark.parametrize(
    "doubtful", [answers({201: 2, 503: 1}), answers({201: 2}, broken=1), answers({201: 2}, drained=False)]
)
def test_an_order_whose_answer_was_lost_is_no_fault(doubtful: wrk.Answers) -> None:
    checks.assert_every_order_counts(3, doubtful, 10)


def query(sql: str) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return list(cursor.fetchall())


START = checks.Mark(0, 0)


@pytest.fixture
def sold(buyer: Any) -> Stock:
    """Of three units of an option two are sold."""
    (option,) = make_options([3])
    make_order(buyer, (option, 1))
    make_order(buyer, (option, 1))
    return Stock.objects.get(option=option)


def test_books_that_balance(sold: Stock) -> None:
    checks.assert_books_balance(query, START)
    assert checks.mark(query).orders == 2


BREAK: dict[str, Callable[[], Any]] = {
    "differs from its ledger": lambda: Stock.objects.update(on_hand=F("on_hand") + 1),
    "has a gap": lambda: Movement.objects.filter(sequence=2).delete(),
    "a wrong balance": lambda: Movement.objects.filter(sequence=1).update(on_hand_after=9),
    "promises something else": lambda: Order.objects.filter(pk=Order.objects.first().pk).update(  # type: ignore[union-attr]
        status="cancelled"
    ),
    "has no lines": lambda: OrderLine.objects.filter(order=Order.objects.first()).delete(),
    "another total": lambda: Order.objects.update(total=1),
    "no movement of its own": lambda: Movement.objects.filter(kind="reserve").update(reference="?"),
}


@pytest.mark.parametrize("rule", BREAK)
def test_books_that_do_not_balance_are_seen(sold: Stock, rule: str) -> None:
    BREAK[rule]()
    with pytest.raises(checks.Broken, match=rule):
        checks.assert_books_balance(query, START)


def test_selling_out_is_exact_or_broken(buyer: Any) -> None:
    (option,) = make_options([2])
    make_order(buyer, (option, 1))
    with pytest.raises(checks.Broken, match="of 2 units 1 were sold"):
        checks.assert_sold_exactly(query, option.pk, 2)
    make_order(buyer, (option, 1))
    checks.assert_sold_exactly(query, option.pk, 2)


# --- Report -----------------------------------------------------------------------------------------


def figure(scenario: str, rate: float, **changes: Any) -> Figure:
    values: dict[str, Any] = {
        "scenario": scenario, "title": scenario, "shop": "mariadb", "lane": "group_commit",
        "connections": 500, "rates": [rate], "rate": rate, "p50": 200.0, "p95": 300.0, "p99": 400.0,
        "longest": 500.0, "errors": 0, "statuses": {"201": 100}, "broken": {}, "app_cpu_ms": 0.5,
        "database_cpu_ms": 0.1, "deadlocks": 0, "ping_rates": [2500.0], "ping": 2500.0, "ratio": rate / 2500,
    }  # fmt: skip
    return Figure(**(values | changes))


def a_day(*, rate: float = 1300.0, faults: tuple[str, ...] = (), differences: tuple[str, ...] = ()) -> Passed:
    found = [
        Endpoint(name, 100, 2, rate, 90.0, 300.0, p99, {"200": 98, "503": 2})
        for name, p99 in (("buy", 400.0), ("pay", 1200.0), ("all", 900.0))
    ]
    return Passed(
        seconds=240.0, think=0.0, faults=list(faults), endpoints=found, driver_cpu_ms=0.05, app_cpu_ms=0.9,
        database_cpu_ms=0.2, load=(0.1, 4.0), staff={"shipped": 7}, words="9 purchases against 8 orders",
        differences=list(differences),
    )  # fmt: skip


@pytest.fixture
def results() -> report.Results:
    return report.Results(
        date="2026-01-02",
        command="python -m tests.load",
        quick=False,
        effort={"rounds": 3, "seconds": 6.0},
        machine=facts(),
        figures=[
            figure("hot_order", 2000.0),
            figure("hot_order", 250.0, lane="row_lock"),
            figure("hot_order", 400.0, shop="sqlite"),
            figure("sold_out", 2000.0, statuses={"201": 200, "409": 19_800}),
            figure("baskets", 700.0, errors=3, statuses={"201": 97, "503": 3}, deadlocks=2),
        ],
        batches={"size": 64, "rate": 5000.0, "python_ms": 0.1, "database_ms": 0.06, "together_ms": 0.16},
        crowd=[
            crowd.Crowd(
                connections=500,
                rate=20_000.0,
                p50=10.0,
                p99=40.0,
                longest=90.0,
                errors=0,
                orders=199.5,
                order_p99=80.0,
                order_errors=2,
                oldest=1_400.0,
                looks=90,
            )
        ],
        days=[a_day()],
    )


def test_targets_are_judged(results: report.Results) -> None:
    judged = {target.name: target for target in report.targets(results)}
    assert judged["hot option, orders/s"].met is True
    assert judged["hot option, share of the no-op"].measured == 0.8
    assert judged["hot option, times row_lock"].measured == 8.0
    assert judged["sold out, refusals/s"].measured == pytest.approx(1980)
    assert judged["baskets of 3, errors"].met is False
    assert judged["SQLite, orders/s"].met is False
    assert judged["CPU ms an order, batches of 64"].met is True
    assert judged["product page, requests/s"].met is None
    assert judged["a crowd that only looks, pages/s"].met is True
    assert judged["behind what changes, in ms"].met is True
    assert judged["crowd and buyers, errors"].measured == 2
    results.crowd.clear()
    judged = {target.name: target for target in report.targets(results)}
    assert judged["a crowd that only looks, pages/s"].met is None
    assert judged["a day, all requests/s"].met is True
    assert judged["a day, p99 of buying in ms"].met is True
    assert judged["a day, p99 of paying in ms"].met is False
    assert judged["a day, what people were told against the books"].met is True


def test_a_day_with_faults_is_judged_by_its_books_alone(results: report.Results) -> None:
    results.days = [a_day(faults=("kill a worker",), differences=("an order is lost",))]
    judged = {target.name: target for target in report.targets(results)}
    assert judged["a day, all requests/s"].met is None
    assert judged["a day, what people were told against the books"].met is False
    assert not is_whole(read_options(["--faults"]), results)


def test_what_is_written(results: report.Results, tmp_path: Path) -> None:
    written = {path.name for path in report.write(results, tmp_path)}
    assert written == {f"{stem}.{kind}" for stem in ("2026-01-02", "latest") for kind in ("md", "png")} | {
        "2026-01-02.json"
    }
    document = json.loads((tmp_path / "2026-01-02.json").read_text())
    assert {
        "date",
        "command",
        "machine",
        "effort",
        "figures",
        "batches",
        "days",
        "books",
        "targets",
    } <= set(document)
    assert {"cores", "memory_gib", "kernel", "versions"} <= set(document["machine"])
    assert document["figures"][0]["rate"] == 2000.0
    table = (tmp_path / "2026-01-02.md").read_text()
    assert "![Orders a second by lane](2026-01-02.png)" in table
    assert "| hot_order | mariadb | row_lock | 500 | 250 | 0.10 |" in table
    assert "MISSED" in table
    assert "answers by status 201: 97, 503: 3; broken none" in table
    assert "2 deadlocks" in table
    assert "20,000 pages/s, p50 10.0 ms, p99 40.0 ms" in table
    assert "at most 1,400 ms behind" in table
    assert "| pay | 100 | 2 | 1,300.0 | 90 | 300 | 1,200 | 200: 98, 503: 2 |" in table
    assert "9 purchases against 8 orders" in table
    assert (tmp_path / "latest.png").read_bytes().startswith(b"\x89PNG")


# --- Command line -----------------------------------------------------------------------------------


def test_a_quick_bench_leaves_the_long_ones_out_unless_they_are_named() -> None:
    names = wanted(read_options(["--quick"]))
    assert "hot_order" in names
    assert "flat_cost" not in names
    assert wanted(read_options(["--quick", "--only", "flat_cost"])) == ["flat_cost"]
    assert "flat_cost" not in wanted(read_options(["--skip", "flat_cost"]))


@pytest.mark.parametrize(
    "arguments",
    [
        ["--only", "nothing"],
        ["--seconds", "0"],
        ["--connections", "0"],
        ["--lanes", "fast"],
        ["--day-seconds", "1"],
        ["--orders", "/nowhere.csv"],
        ["--catalog", "/nowhere.csv"],
    ],
)
def test_nonsense_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        read_options(arguments)
    assert "usage:" in capsys.readouterr().err


def test_only_a_whole_bench_goes_to_the_documentation(results: report.Results) -> None:
    assert is_whole(read_options([]), results)
    assert is_whole(read_options(["--lanes", *reversed(read_options([]).lanes)]), results)
    for arguments in (["--quick"], ["--only", "pay"], ["--lanes", "row_lock"], ["--seconds", "2"]):
        assert not is_whole(read_options(arguments), results)
    results.broken = "an order is lost"
    assert not is_whole(read_options([]), results)


def test_the_recorded_command_does_not_say_where_the_results_went() -> None:
    assert without_out(["--quick", "--out", "/x", "--only", "pay"]) == ["--quick", "--only", "pay"]
    assert without_out(["--out=/x", "--quick"]) == ["--quick"]


def test_the_day_is_as_invoices_say_or_as_they_said(tmp_path: Path) -> None:
    assert read_options([]).habits is BUILT_IN
    invoices = tmp_path / "orders.csv"
    invoices.write_text("InvoiceNo,StockCode,Quantity,CustomerID\n1,A,2,kim\n1,B,4,kim\n")
    assert read_options(["--orders", str(invoices)]).habits.lines.mean == 2


def test_the_effort_follows_the_command_line() -> None:
    effort = effort_of(read_options(["--seconds", "4", "--rounds", "5"]))
    assert (effort.seconds, effort.ping_seconds, effort.rounds) == (4, 2, 5)


def test_processor_time_is_read_and_a_dead_process_is_told() -> None:
    assert cpu_seconds([os.getpid()]) > 0
    with pytest.raises(RuntimeError, match="has ended"):
        cpu_seconds([2**22 + 1])
