"""Commands of manage.py, run in this process as an operator runs them."""

import json
from io import StringIO
from typing import Any, NamedTuple

from django.core.management import call_command


class Outcome(NamedTuple):
    """The exit status, and what was said on both streams."""

    status: Any
    out: str
    err: str


def run(command: str, *arguments: str) -> Outcome:
    """Run a command to its end. Raises `CommandError` where it complains."""
    out, err = StringIO(), StringIO()
    status: Any = 0
    try:
        call_command(command, *arguments, stdout=out, stderr=err)
    except SystemExit as ended:
        status = ended.code
    return Outcome(status, out.getvalue(), err.getvalue())


def reconcile(*arguments: str) -> Outcome:
    return run("reconcile_stock", *arguments)


def verify() -> tuple[Any, dict[str, Any]]:
    """What `verify_ledger` says: (exit status, its JSON)."""
    outcome = run("verify_ledger", "--json")
    return outcome.status, json.loads(outcome.out)
