"""Those who wait in one process at the same time, taken together. Nothing waits for a timer."""

from queue import Empty, SimpleQueue
from typing import TypeVar

T = TypeVar("T")


def take_together(inbox: SimpleQueue[T], most: int, *, patience: float | None = None) -> list[T]:
    """All that wait now, up to `most`, in their order; without any, sleep until the first one comes.

    Empty where nobody came for `patience` seconds (None: for ever).
    """
    found: list[T] = []
    try:
        found.append(inbox.get(timeout=patience))
        while len(found) < most:
            found.append(inbox.get_nowait())
    except Empty:
        pass
    return found
