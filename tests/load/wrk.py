"""Drives HTTP with wrk and reads what it saw.

The Lua scripts beside this module say what is sent and when to stop (shoppers.lua); this one starts wrk, ends
the run once nothing is in flight any more, and parses the line of JSON that the script prints at the end.
"""

import json
import math
import random
import signal
import subprocess
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.server import ROOT
from tests.support.services import find_program

# wrk needs little itself, and more threads would only take turns with the workers on the cores.
THREADS = 2
# An answer may take this long before wrk calls it a timeout, and all of them before a run is cut off.
TIMEOUT_SECONDS = 30
DRAIN_SECONDS = 40


class LoadFailed(RuntimeError):
    """wrk did not run to its end; the message is what it printed."""


@dataclass(frozen=True, slots=True)
class Answers:
    """What came back in one run.

    statuses: how many answers of each status, from the first to those that were in flight at the deadline.
    in_time: of these, the ones between the end of the lead and the deadline, which are `seconds` apart.
    broken: connections that failed to connect, read, write, or answer in time. drained: nothing was cut off.
    p50 to longest: milliseconds, corrected by wrk for coordinated omission.
    """

    statuses: dict[int, int]
    in_time: dict[int, int]
    seconds: float
    broken: dict[str, int]
    drained: bool
    p50: float
    p95: float
    p99: float
    longest: float

    @property
    def answered(self) -> int:
        return sum(self.statuses.values())

    def rate(self, statuses: Collection[int]) -> float:
        """Answers of these statuses a second."""
        return sum(self.in_time.get(status, 0) for status in statuses) / self.seconds

    def besides(self, statuses: Collection[int]) -> int:
        """How many answers have another status, or did not arrive."""
        others = sum(count for status, count in self.statuses.items() if status not in statuses)
        return others + sum(self.broken.values())


def run(
    script: str,
    url: str,
    *,
    connections: int,
    seconds: float,
    lead: float = 0.0,
    limit: int | None = None,
    arguments: Mapping[str, object],
) -> Answers:
    """Load `url` with tests/load/`script`, for `seconds` after a `lead` or until `limit` are answered.

    `arguments` are the script's own. Raises `LoadFailed`, and `ServerMissing` where wrk is not installed.
    """
    threads = min(THREADS, connections)
    given = {**arguments, "lead": lead, "seconds": seconds, "connections": connections, "threads": threads}
    given["seed"] = random.randrange(1, 2**31)
    if limit is not None:
        given["limit"] = limit
    longest = math.ceil(lead + seconds) + DRAIN_SECONDS
    path = Path(__file__).with_name(script).relative_to(ROOT)
    command = [
        find_program("wrk", "wrk"), f"-t{threads}", f"-c{connections}", f"-d{longest}s",
        "--timeout", f"{TIMEOUT_SECONDS}s", "-s", str(path), url,
        "--", *(f"{name}={value}" for name, value in given.items()),
    ]  # fmt: skip
    printed, drained = _watch(command, threads)
    return parse(printed, seconds=seconds, drained=drained)


def _watch(command: list[str], threads: int) -> tuple[str, bool]:
    """Run wrk until each of its threads has said "drained"; returns what it printed, and whether all did."""
    lines, waiting = [], threads
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout
        try:
            for line in process.stdout:
                lines.append(line)
                waiting -= line == "drained\n"
                if line == "drained\n" and waiting == 0:
                    process.send_signal(signal.SIGINT)
        except BaseException:
            process.kill()
            raise
    if process.returncode != 0:
        raise LoadFailed("".join(lines))
    return "".join(lines), waiting <= 0


def parse(printed: str, *, seconds: float, drained: bool) -> Answers:
    """Read the line of JSON that shoppers.lua prints last. Raises `LoadFailed` where there is none."""
    found: dict[str, Any] | None = None
    for line in printed.splitlines():
        if line.startswith('{"statuses"'):
            found = json.loads(line)
    if found is None:
        raise LoadFailed(printed)
    # A run that used up its requests ended with the last answer, before the deadline.
    elapsed = found.pop("elapsed")
    found["seconds"] = min(seconds, elapsed) if elapsed > 0 else seconds
    for name in ("statuses", "in_time"):
        found[name] = {int(status): count for status, count in found[name].items()}
    return Answers(**found, drained=drained)
