"""Names of a drop's keys in Redis. All share a hash tag, so that a cluster keeps them on one node.

gate      hash: run, epoch, status, opens, closes, limit, rate, slot, and for each option `left:<option>`, and
          `off:<option>` where it was taken off sale
customers hash: buyer -> units ordered in this drop
keys      hash: `<buyer>:<idempotency key>` -> `<number> <fingerprint>`
orders    hash: number -> entry, of orders that are not in the database yet
stream    the admitted orders, in order
released  set: ids of releases that were given back
queue     sorted set: buyer -> when it is their turn, in ms
rebuilding string: the token of whoever computes the counters anew
"""

from functools import lru_cache
from typing import NamedTuple

GROUP = "drain"


class Keys(NamedTuple):
    gate: str
    customers: str
    keys: str
    orders: str
    stream: str
    released: str
    queue: str
    rebuilding: str


@lru_cache(maxsize=1024)
def keys_of(drop_id: int) -> Keys:
    return Keys(*(f"{{drop:{drop_id}}}:{name}" for name in Keys._fields))


def left(option_id: int) -> str:
    """The gate's field that counts what is left of an option."""
    return f"left:{option_id}"


def off_sale(option_id: int) -> str:
    """The gate's field that says that an option is not sold for the time being."""
    return f"off:{option_id}"
