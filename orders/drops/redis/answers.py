"""What is said of a drop in Redis, word for word: by the Lua scripts, the lanes, the gate and the metrics.

The scripts are given these words as locals (scripts.py): `Answer.SHORT` is `ANSWER_SHORT` there.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, NamedTuple


class Answer(StrEnum):
    """What became of one attempt to buy. In parentheses: what Redis says besides."""

    ACCEPTED = "accepted"
    # The idempotency key names an order (its number); it was used for something else.
    REPLAYED = "replayed"
    REUSED = "reused"
    # Over the customer's limit (units bought); not enough left (option and units, of each that is short).
    LIMIT = "limit"
    SHORT = "short"
    # Not the shopper's turn (time of the place in ms, place, ms to wait).
    QUEUED = "queued"
    CLOSED = "closed"
    # The gate, or a counter, is missing, or of another life of the server.
    LOST = "lost"
    # The gate is of another epoch than the caller knows (that epoch).
    EPOCH = "epoch"

    # What Redis does not say: no open account is the buyer's; written into the database at once; not asked;
    # asked, and not answered.
    STRANGER = "stranger"
    PLACED = "placed"
    BUSY = "busy"
    UNKNOWN = "unknown"


class GateStatus(StrEnum):
    """Whether a drop's gate lets orders in. `FENCED` while its counters are computed anew."""

    OPEN = "open"
    PAUSED = "paused"
    CLOSED = "closed"
    FENCED = "fenced"


class GiveBack(StrEnum):
    """What became of a release: done, done before, of another epoch, or of an order that nobody admitted."""

    DONE = "done"
    AGAIN = "again"
    EPOCH = "epoch"
    UNKNOWN = "unknown"


class Reply(NamedTuple):
    """An answer, and what Redis says besides."""

    answer: Answer
    details: Sequence[Any] = ()

    @classmethod
    def of(cls, found: Sequence[Any]) -> "Reply":
        """From a script's table."""
        return cls(Answer(found[0]), found[1:])
