"""One durable transaction for many requests, each decided on its own; none of them harms another.

Read `run_batch` first, then `_commit`. A batch that fails is halved until what it fails with stands alone.
"""

import logging
from collections.abc import Sequence
from typing import Any, TypeVar

from django.db import connection, transaction

from orders.engine.blocked import LockedOut
from orders.engine.requests import Outcomes, Request, Work
from orders.engine.suspects import suspects
from yousinsa.db.errors import (
    STATEMENT_TIMEOUT,
    error_code,
    is_connection_lost,
    is_lock_conflict,
    is_outage,
)
from yousinsa.db.transactions import bounded_attempts
from yousinsa.errors import Busy, InternalError, Problem

R = TypeVar("R", bound=Request)

logger = logging.getLogger(__name__)


def run_batch(requests: Sequence[R], work: Work[R]) -> list[Any]:
    """Carry out what can be, durably, and say of every request what became of it, in the same order.

    An outcome is what `work` says, or an exception. `Busy`: a lock was not had in time, certainly nothing
    was done. `request.unknown()`: the connection was lost at COMMIT and the database did not come back to be
    asked. Whatever else goes wrong is the outcome of the request that it goes wrong with, and no other's.
    Raises only what is nobody's in particular: the database is away.
    """
    outcomes: Outcomes = {r.ticket: InternalError() for r in requests if suspects.has_just_failed(r)}
    failed: list[R] = []
    for together in suspects.apart([r for r in requests if r.ticket not in outcomes]):
        outcomes |= _run(together, work, failed)
    suspects.learn(failed, (r for r in requests if not isinstance(outcomes[r.ticket], Exception)))
    return [outcomes[request.ticket] for request in requests]


def _run(requests: Sequence[R], work: Work[R], failed: list[R]) -> Outcomes:
    """Carry these out together; if that fails, in halves, until what it fails with stands alone."""
    try:
        hopeful, outcomes = work.prepare(requests)
        # By now every request knows what it needs.
        groups = suspects.apart(hopeful)
        if len(groups) < 2:
            return outcomes | (_commit(hopeful, work) if hopeful else {})
    except Exception as exc:
        if is_outage(exc):
            raise
        if len(requests) == 1:
            failed.append(requests[0])
            return {requests[0].ticket: _failure(requests[0], exc)}
        logger.warning("batch of %d failed, and is halved: %s", len(requests), exc)
        half = len(requests) // 2
        outcomes, groups = {}, [requests[:half], requests[half:]]
    for together in groups:
        outcomes = outcomes | _run(together, work, failed)
    return outcomes


def _failure(request: Request, exc: Exception) -> Exception:
    """What to say where one request alone cannot be written."""
    logger.error("%s failed", request, exc_info=exc)
    if not isinstance(exc, Problem):
        return exc
    # It is what is stored that is wrong, not what was asked for.
    error = InternalError()
    error.__cause__ = exc
    return error


def cause_of(failure: Exception) -> Exception:
    """What an `InternalError` stands for; of any other outcome itself."""
    return failure.__cause__ if isinstance(failure.__cause__, Exception) else failure


def _commit(requests: Sequence[R], work: Work[R], *, unknown: bool = False) -> Outcomes:
    """Write in a transaction until it is committed, or the attempts are used up.

    Every retry looks first, under the locks, what is there: an attempt whose COMMIT was never answered may
    have taken effect (`unknown`). A batch that fails twice is split, so that one request cannot keep failing
    the rest. Raises what no further attempt would change.
    """
    for attempt in bounded_attempts():
        committing = False
        try:
            with transaction.atomic(durable=True):
                outcomes = work.write(requests, again=unknown or attempt > 1)
                committing = True
            return outcomes()
        except Exception as exc:
            if not _recover(exc, requests, work):
                if not unknown:
                    raise
                if len(requests) > 1:
                    return _commit_halves(requests, work, unknown=True)
                break
            logger.info("batch of %d, attempt %d: %s", len(requests), attempt, exc)
            unknown = unknown or (committing and is_connection_lost(exc))
            if error_code(exc) == STATEMENT_TIMEOUT and not unknown:
                return {r.ticket: LockedOut() for r in requests}
        if attempt >= 2 and len(requests) > 1 and work.splits and not unknown:
            return _commit_halves(requests, work)
    return {r.ticket: r.unknown() if unknown else Busy() for r in requests}


def _commit_halves(requests: Sequence[R], work: Work[R], *, unknown: bool = False) -> Outcomes:
    half = len(requests) // 2
    first = _commit(requests[:half], work, unknown=unknown)
    return first | _commit(requests[half:], work, unknown=unknown)


def _recover(exc: Exception, requests: Sequence[R], work: Work[R]) -> bool:
    """Make another attempt possible after this; False where none would help."""
    if is_connection_lost(exc):
        connection.close()
        return True
    return work.mends(exc, requests) or is_lock_conflict(exc)
