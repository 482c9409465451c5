"""Order numbers: readable, in the order of time, and never drawn twice, also not by two processes."""

import os
import re
from datetime import UTC, datetime, timedelta

import pytest

from orders.placement.numbers import (
    first_id_since,
    id_at,
    ids_at,
    new_number,
    new_order_id,
    number_at,
    placed_at,
)

pytestmark = pytest.mark.sqlite


def test_numbers_are_readable_unlike_and_in_order_of_time():
    drawn = [new_number() for _ in range(5_000)]
    assert len(set(drawn)) == len(drawn)
    assert all(re.fullmatch(r"[0-9A-HJKMNP-TV-Z]{9}-[0-9A-HJKMNP-TV-Z]{8}", number) for number in drawn)
    times = [number[:9] for number in drawn]
    assert times == sorted(times)


def test_a_forked_process_draws_other_numbers():
    new_number()  # the parent has random bits in store, of which the child gets a copy
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.write(writing, "".join(new_number()[10:] for _ in range(300)).encode())
        os._exit(0)
    mine = {new_number()[10:] for _ in range(300)}
    os.close(writing)
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    theirs = {text[i : i + 8] for i in range(0, len(text), 8)}
    assert len(theirs) == 300
    assert not mine & theirs


def test_an_order_id_says_when_it_was_drawn():
    before = datetime.now(UTC)
    drawn = new_order_id()
    after = datetime.now(UTC)
    millisecond = timedelta(milliseconds=1)
    assert before - millisecond <= placed_at(drawn) <= after + millisecond
    assert first_id_since(before - millisecond, slack=timedelta(0)) <= drawn
    assert drawn < first_id_since(after + 2 * millisecond, slack=timedelta(0))
    assert placed_at(id_at(1_800_000_000.123, below=2**40 + 5)).timestamp() == 1_800_000_000.123
    past = datetime(1999, 1, 1, tzinfo=UTC)
    assert first_id_since(past) < first_id_since(past, slack=timedelta(0)) < 0
    assert placed_at(ids_at(past)[0]) == placed_at(ids_at(past)[-1]) == past
    assert number_at(past) < number_at(past + timedelta(milliseconds=1)) < new_number()
