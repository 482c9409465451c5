"""Lane `group_commit`: orders that wait in the same process commit together (orders/engine/committer.py)."""

from django.db import connection

from orders.engine.committer import Committer
from orders.placement.batch import place_batch
from orders.placement.requests import Placed, PlaceRequest
from yousinsa.http.deferred import Deferred
from yousinsa.process.once import PerProcess

# Threads do not survive a fork: a process's own starts with its first order.
committer = PerProcess(lambda: Committer(place_batch))


def group_commit(request: PlaceRequest) -> Placed:
    """Place one order together with those that wait beside it.

    Raises RuntimeError inside an open transaction: the committer could not see what it wrote, and would
    wait for its locks while it waits for the committer.
    """
    return begin(request).result()


def begin(request: PlaceRequest) -> Deferred[Placed]:
    """The same without waiting for the outcome."""
    if connection.in_atomic_block:
        raise RuntimeError("group_commit cannot run inside a transaction: use row_lock there")
    return committer().submit(request)
