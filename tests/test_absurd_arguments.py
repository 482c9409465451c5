"""Whatever is typed after a command: it is refused in words that name the argument, without a traceback."""

import io
from pathlib import Path

import pytest
from django.core.management import call_command, get_commands, load_command_class
from django.core.management.base import CommandError

from tests.support.server import ROOT

pytestmark = pytest.mark.django_db

TOO_LONG = "9" * 5_000
NUMBERS = ["1e20", "-1", "0", "1.5", "", " ", "nan", "inf", "۵", "9" * 20, TOO_LONG, "x"]
"""Of these none is a whole number from 1 on that anything could have."""
DAYS = ["0001-01-01", "9999-12-31", "2026-02-30", "2026-13-01", "today", "", "1e20", "20260101T00", TOO_LONG]
MONTHS = ["0001-01", "9999-12", "2026-13", "2026", "", "1e20", TOO_LONG]
MOMENTS = ["0001-01-01T00:00:00", "9999-12-31T23:59:59-12:00", "2026-02-30T00:00", "soon", "", TOO_LONG]
SECONDS = ["nan", "inf", "-inf", "-1", "0", "1e20", "soon", "", TOO_LONG]
AMOUNTS = ["nan", "snan", "inf", "-1", "0", "1e20", "much", "", TOO_LONG]
FILES = ["x" * 5_000, "nothing/there.csv", "a\0b"]
ADDRESSES = ["", "x", "sqlite://", "mysql://", "postgres://a/b", "mysql://h:port/n", "1e20"]

DROP = ("--name", "Air", "--option", "1", "--allotment", "1", "--limit", "1", "--lane", "group_commit")
SETTLE = ("--from", "2026-01-01", "--to", "2026-01-31")
TOKENS = ("--buyers", "1", "--out", "/nonexistent/tokens")
ABSURD: dict[str, list[tuple[tuple[str, ...], str, list[str]]]] = {
    "check_text": [],
    "close_month": [((), "", MONTHS)],
    "copy_shop": [((), "--from", ADDRESSES)],
    "create_drop": [
        *((DROP, name, NUMBERS) for name in ("--option", "--allotment", "--limit", "--rate")),
        (DROP, "--price", [n for n in NUMBERS if n != "0"]),
        (DROP, "--opens", MOMENTS), (DROP, "--closes", MOMENTS),
        (DROP, "--lane", ["", "x"]), (DROP, "--name", ["", "x" * 1_000]),
    ],
    "drain_orders": [],
    "expire_orders": [((), "--every", SECONDS)],
    "import_catalog": [((), "", FILES), (("nothing.csv",), "--limit", NUMBERS)],
    "issue_tokens": [(TOKENS, "--buyers", NUMBERS), (TOKENS, "--out", FILES)],
    "reseal_secrets": [],
    "reconcile_stock": [
        ((), "--since", DAYS), ((), "--option", NUMBERS), ((), "--store", NUMBERS), ((), "--chunk", NUMBERS),
    ],
    "rebuild_drop": [((), "", NUMBERS)],
    "replay_orders": [
        ((), "", FILES), (("nothing.csv",), "--limit", NUMBERS), (("nothing.csv",), "--rate", AMOUNTS),
    ],
    "run_drops": [((), "--every", SECONDS)],
    "run_worker": [],
    "seed_demo": [
        ((), name, [n for n in NUMBERS if n != "0"])
        for name in ("--products", "--buyers", "--stock", "--orders")
    ],
    "settle": [(SETTLE, "--from", DAYS), (SETTLE, "--to", DAYS), (SETTLE, "--store", NUMBERS)],
    "verify_ledger": [],
}  # fmt: skip


def ours() -> set[str]:
    folders = (ROOT / app / "management" / "commands" for app in ("shop", "inventory", "orders"))
    return {path.stem for folder in folders for path in folder.glob("*.py")} - {"__init__"}


def test_every_command_and_every_argument_is_in_the_table() -> None:
    assert set(ABSURD) == ours()
    for name in ours():
        parser = load_command_class(get_commands()[name], name).create_parser("manage.py", name)
        own = {
            (action.option_strings or [""])[-1]
            for action in parser._actions
            if action.nargs != 0 and action.dest not in ("verbosity", "settings", "pythonpath")
        }
        assert {argument for _, argument, _ in ABSURD[name]} == own, name


@pytest.mark.parametrize(
    ("command", "needed", "argument", "value"),
    [
        pytest.param(command, needed, argument, value, id=f"{command} {argument} {value[:12]!a}")
        for command, rows in ABSURD.items()
        for needed, argument, values in rows
        for value in values
    ],
)
def test_it_is_refused_in_words(
    command: str, needed: tuple[str, ...], argument: str, value: str, tmp_path: Path
) -> None:
    given = [f"{argument}={value}"] if argument else ["--", value]
    with pytest.raises((CommandError, SystemExit)) as refused:
        call_command(command, *needed, *given, stdout=io.StringIO(), stderr=io.StringIO())
    said = str(refused.value)
    assert 10 < len(said.replace(value, "") if value.strip() else said) < 700
    if argument in ("--price", "--rate", "--since", "--opens"):
        assert argument in said
