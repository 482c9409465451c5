"""Python's search for objects that hold each other in a circle, and when it is not worth its time."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

OBJECTS = 100_000


@contextmanager
def rarely_collected() -> Iterator[None]:
    """Meanwhile circles are looked for once in `OBJECTS` new objects, instead of in 700.

    For commands that make rows by the hundred thousand and hold none for long: a fifth of their time goes
    into the search, and what it looks for they do not make.
    """
    before = gc.get_threshold()
    gc.set_threshold(OBJECTS, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
