"""A shop with settlements under the old rules is brought up to date: nothing is settled a second time."""

import json
import os
import subprocess
import sys

import pytest

from tests.support.environment import DATABASE, mariadb_server
from tests.support.server import ROOT


@pytest.fixture(scope="module")
def migrated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("old")
    address = f"sqlite:///{folder}/old.sqlite3"
    if DATABASE == "mariadb":
        address = mariadb_server().create_database(f"yousinsa_old_{os.getpid()}")
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.old_shop"],
        cwd=ROOT, env=os.environ | {"DATABASE_URL": address, "VAR_DIR": str(folder)},
        capture_output=True, text=True, timeout=250, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_approved_settlements_stay_as_they_are(migrated):
    assert migrated["untouched"]


def test_lines_name_who_sold_them_and_at_what_rate(migrated):
    """By the product where nothing says otherwise; by the settlement that has them where one has."""
    assert {number: [store, rate] for number, store, rate in migrated["lines"]} == {
        "plain1": ["A", 1000], "plain2": ["A", 3000], "quiet3": ["A", 1000], "logged4": ["A", 1000],
        "own5": ["B", 1000], "kept6": ["C", 1000], "found7": ["D", 1000], "same8": ["E", 1000],
        "lost9": ["D", 1000], "plain10": ["A", 3000],
    }  # fmt: skip


def test_deliveries_and_returns_are_in_the_settlements_that_had_them(migrated):
    entries = {(number, units): (store, share, of, month) for number, store, units, share, of, month in
               migrated["entries"]}  # fmt: skip
    assert entries == {
        ("plain1", 2): ("A", 2_000, "A", 3), ("quiet3", 1): ("A", 2_000, "A", 3),
        ("quiet3", -1): ("B", -2_000, "B", 4), ("logged4", 3): ("A", 2_100, "A", 3),
        ("logged4", -1): ("A", -700, None, None), ("own5", 1): ("B", 500, "B", 3),
        ("kept6", 1): ("C", 100, None, None), ("found7", 1): ("D", 200, "D", 3),
        ("same8", 1): ("E", 2_000, "E", 3), ("lost9", 1): ("D", 333, None, None),
        ("plain10", 3): ("A", 9_000, None, None),
    }  # fmt: skip
    assert len(migrated["entries"]) == len(entries)


def test_a_draft_of_the_old_rules_is_computed_again_before_it_is_approved(migrated):
    assert "compute it again" in migrated["draft"]


def test_what_was_settled_is_not_settled_again(migrated):
    """C sold `kept`; D is paid at last for `lost`; A gives back what came back, at the rate that it had."""
    assert migrated["new"] == {
        "3": [["C", 1_000, 0, 100, 900, 0]],
        "4": [["A", 0, 7_000, -700, -6_300, 0], ["D", 3_333, 0, 333, 3_000, 1]],
        "5": [["A", 30_000, 64_000, -3_400, -30_600, 0]],
    }
    assert migrated["in no settlement"] == 0
    # A has sold nothing in the end but `quiet`, whose return B was charged with in April.
    assert migrated["kept"] == {"A": 18_000, "B": 4_500 - 18_000, "C": 900, "D": 4_800, "E": 18_000}


def test_what_was_sold_keeps_the_look_that_its_option_has_and_is_found(migrated):
    """Here rather than in a program of its own: it is one shop that is brought up to date."""
    names = ["plain", "plain", "quiet", "logged", "own", "kept", "found", "same", "lost", "plain"]
    assert migrated["looks"] == [[name, "M", "Ecru"] for name in names]
    terms = [["phone", "87654321010"], ["recipient", "kim minji"], ["tracking", "60123456"]]
    assert migrated["terms"] == terms * len(names)
