"""How far a long command has come: a bar for a person at a terminal, now and then a line for a log."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from django.core.management.base import OutputWrapper
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

PLAIN_SECONDS = 10

Advance = Callable[[int], None]
"""Call it with how many more are done."""


@contextmanager
def progress(title: str, total: int, stream: OutputWrapper) -> Iterator[Advance]:
    """Show on `stream` (a command's `stderr`) how many of `total` are done; yields `advance(n)`.

    Where `stream` is no terminal, plain lines appear, at most one in `PLAIN_SECONDS`.
    """
    if stream.isatty():
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task(title, total=total)
            yield lambda n: bar.advance(task, n)
        return

    done = 0
    next_line = time.monotonic() + PLAIN_SECONDS

    def advance(n: int) -> None:
        nonlocal done, next_line
        done += n
        if time.monotonic() >= next_line:
            stream.write(f"{title}: {done:,} of {total:,}")
            next_line = time.monotonic() + PLAIN_SECONDS

    yield advance
