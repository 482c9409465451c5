"""Runs scenarios against the no-op, in turns, and checks the books after each run that writes."""

import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tests.load import checks, wrk
from tests.load.machine import cpu_seconds
from tests.load.scenarios import PING, SOLD_OUT_UNITS, Case

SETTLE_SECONDS = 10
# A limited run is as long as it takes, up to this.
LIMITED_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Effort:
    """How long to measure: rounds of which the median counts; seconds of a run, of the no-op before it, and
    of the lead of each, which is not counted. A no-op run that ended less than `ping_age` seconds ago on the
    same server serves again."""

    rounds: int
    seconds: float
    ping_seconds: float
    ping_age: float
    lead: float


@dataclass(frozen=True, slots=True)
class Sample:
    """One run. CPU in milliseconds a request, of gunicorn's workers and of the database's process."""

    answers: wrk.Answers
    app_cpu_ms: float
    database_cpu_ms: float
    deadlocks: int
    ended: float


@dataclass(slots=True)
class Figure:
    """What a scenario came to: medians over its rounds (`rates` and `ping_rates` have them all).

    rate, ping: requests a second without the errors; ratio: of the two; p50 to longest: ms.
    errors: answers that were not meant to come, and broken connections.
    """

    scenario: str
    title: str
    shop: str
    lane: str
    connections: int
    rates: list[float]
    rate: float
    p50: float
    p95: float
    p99: float
    longest: float
    errors: int
    statuses: dict[str, int]
    broken: dict[str, int]
    app_cpu_ms: float
    database_cpu_ms: float
    deadlocks: int
    ping_rates: list[float] = field(default_factory=list)
    ping: float | None = None
    ratio: float | None = None


class Stopwatch:
    """The processor time that a server and its database use from now on, and the deadlocks they meet."""

    def __init__(self, case: Case) -> None:
        self._case = case
        self._workers = case.shop.server(case.lane).workers()
        self._start = self._now()

    def _now(self) -> tuple[float, float, int]:
        pid = self._case.shop.database_pid
        return cpu_seconds(self._workers), cpu_seconds([pid] if pid else []), self._case.shop.deadlocks()

    def read(self, answers: wrk.Answers) -> Sample:
        app, database, deadlocks = (b - a for a, b in zip(self._start, self._now(), strict=True))
        each = 1e3 / max(1, answers.answered)
        return Sample(answers, app * each, database * each, int(deadlocks), time.monotonic())


class Bench:
    """Measures cases, keeps their figures, and tells how it goes through `say`."""

    def __init__(self, effort: Effort, say: Callable[[str], None]) -> None:
        self.effort = effort
        self.figures: list[Figure] = []
        self.books: list[str] = []
        self.drained: list[dict[str, Any]] = []
        self.say = say
        self._pings: dict[Case, list[Sample]] = {}

    def measure(
        self, *cases: Case, rounds: int = 0, seconds: float = 0, with_ping: bool = True
    ) -> list[Figure]:
        """Run the cases in turns, `rounds` times over, each right after the no-op on the same server.

        Raises `checks.Broken` when a run oversold or lost an order.
        """
        samples: dict[Case, list[Sample]] = {case: [] for case in cases}
        pings: dict[Case, list[Sample]] = {case: [] for case in cases}
        for _ in range(rounds or self.effort.rounds):
            for case in cases:
                if with_ping:
                    pings[case].append(self._ping(case))
                samples[case].append(self._run(case, seconds or self.effort.seconds))
        found = [figure_of(case, samples[case], pings[case]) for case in cases]
        for figure in found:
            self.say(in_words(figure))
        self.figures += found
        return found

    def ping_figures(self) -> list[Figure]:
        """The no-op over all its runs, for each shop and number of connections."""
        together: dict[tuple[str, int], tuple[Case, list[Sample]]] = {}
        for case, samples in self._pings.items():
            together.setdefault((case.shop.name, case.connections), (case, []))[1].extend(samples)
        return [replace(figure_of(case, samples, samples), lane="any") for case, samples in together.values()]

    def _ping(self, case: Case) -> Sample:
        no_op = Case(PING, case.shop, case.connections, case.lane)
        known = self._pings.setdefault(no_op, [])
        if not known or time.monotonic() - known[-1].ended >= self.effort.ping_age:
            known.append(self._run(no_op, self.effort.ping_seconds))
        return known[-1]

    def _run(self, case: Case, seconds: float) -> Sample:
        shop, server = case.shop, case.shop.server(case.lane)
        load = case.scenario.load(shop, self.effort.lead + seconds)
        before = checks.mark(shop.query)
        watch = Stopwatch(case)
        answers = wrk.run(
            load.script, server.url, connections=case.connections, arguments=load.arguments, limit=load.limit,
            lead=0.0 if load.limit else self.effort.lead, seconds=LIMITED_SECONDS if load.limit else seconds,
        )  # fmt: skip
        sample = watch.read(answers)
        if case.scenario.writes:
            self._check(case, before, answers)
        if case.scenario.admits:
            self._drain(case, before, answers)
        return sample

    def _drain(self, case: Case, before: checks.Mark, answers: wrk.Answers) -> None:
        """Write what Redis admitted, close the drop, and hold the orders against the answers."""
        shop = case.shop
        found = shop.inside("seed", "drain")
        shop.inside("seed", "close", drop=shop.goods["drop"])
        where = f"{case.scenario.title}, {case.connections} connections"
        told = answers.statuses.get(202, 0)
        placed = checks.mark(shop.query).orders - before.orders
        words = f"{where}: {told:,} answers 202, {placed:,} orders"
        in_doubt = sum(answers.broken.values()) + answers.statuses.get(503, 0)
        if found["differences"] or not told <= placed <= told + in_doubt:
            raise checks.Broken(f"{words}; {'; '.join(found['differences'])}")
        checks.assert_books_balance(shop.query, before)
        self.books.append(words)
        self.drained.append(found)
        self.say(
            f"drained {found['orders']:,} orders at {found['orders'] / max(0.001, found['seconds']):,.0f}/s, "
            f"{found['rss_mb']:.0f} MB"
        )

    def _check(self, case: Case, before: checks.Mark, answers: wrk.Answers) -> None:
        shop = case.shop
        if not answers.drained:
            _settle(shop.query)
        where = f"{case.scenario.title}, {case.lane}, {case.connections} connections, {shop.name}"
        try:
            placed = checks.mark(shop.query).orders - before.orders
            if case.scenario.places:
                words = checks.assert_every_order_counts(placed, answers, case.connections)
                self.books.append(f"{where}: {words}")
            checks.assert_books_balance(shop.query, before)
            if case.scenario.name == "sold_out":
                checks.assert_sold_exactly(shop.query, shop.goods["scarce"], SOLD_OUT_UNITS)
        except checks.Broken as exc:
            raise checks.Broken(f"{where}: {exc}") from exc


def _settle(query: checks.Query) -> None:
    """Wait until what was in flight when the run was cut off has come to its end."""
    give_up_at, last = time.monotonic() + SETTLE_SECONDS, None
    while time.monotonic() < give_up_at and (now := checks.mark(query)) != last:
        last = now
        time.sleep(1)


def figure_of(case: Case, samples: Sequence[Sample], pings: Sequence[Sample]) -> Figure:
    """The medians of a case's runs, beside those of the no-op."""
    answers = [sample.answers for sample in samples]
    statuses: Counter[int] = Counter()
    broken: Counter[str] = Counter()
    for one in answers:
        statuses.update(one.statuses)
        broken.update({kind: count for kind, count in one.broken.items() if count})
    rates = [one.rate(case.scenario.good) for one in answers]
    ping_rates = [ping.answers.rate(PING.good) for ping in pings]
    ping = statistics.median(ping_rates) if pings else None

    def median(values: list[float], digits: int = 1) -> float:
        return round(statistics.median(values), digits)

    return Figure(
        scenario=case.scenario.name, title=case.scenario.title, shop=case.shop.name, lane=case.lane,
        connections=case.connections, rates=[round(rate, 1) for rate in rates], rate=median(rates),
        p50=median([one.p50 for one in answers]), p95=median([one.p95 for one in answers]),
        p99=median([one.p99 for one in answers]), longest=median([one.longest for one in answers]),
        errors=sum(one.besides(case.scenario.good) for one in answers),
        statuses={str(status): count for status, count in sorted(statuses.items())}, broken=dict(broken),
        app_cpu_ms=median([sample.app_cpu_ms for sample in samples], 3),
        database_cpu_ms=median([sample.database_cpu_ms for sample in samples], 3),
        deadlocks=sum(sample.deadlocks for sample in samples),
        ping_rates=[round(rate, 1) for rate in ping_rates], ping=round(ping, 1) if ping else None,
        ratio=round(statistics.median(rates) / ping, 3) if ping else None,
    )  # fmt: skip


def in_words(figure: Figure) -> str:
    """One line: what, how many a second, against the no-op, how fast, how many errors."""
    ratio = f", {figure.ratio:.2f} of the no-op" if figure.ratio is not None else ""
    errors = f", {figure.errors:,} errors" if figure.errors else ""
    return (
        f"{figure.title} [{figure.shop}, {figure.lane}, {figure.connections}]: {figure.rate:,.0f}/s{ratio}, "
        f"p50 {figure.p50:,.0f} p99 {figure.p99:,.0f} ms{errors}"
    )
