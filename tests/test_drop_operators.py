"""Two operators at one drop, and stale tabs: what is not possible any more is refused when it is done."""

from collections import Counter

import pytest

from inventory.models import Movement
from orders.drops.services import close_drop, open_drop, pause_drop
from orders.models.drops import Drop, DropItem, Lane
from tests.support.concurrency import in_threads
from tests.support.desk import signed_in, text, url
from tests.support.drops import assert_all_adds_up, item_of, make_drop
from tests.support.factories import make_options, make_user, stock_of
from tests.support.races import goes_wrong, take_row_locks_away
from yousinsa.errors import Conflict

pytestmark = pytest.mark.django_db(transaction=True)

REFUSED = {
    "open": "The drop is open already.",
    "pause": "The drop is paused already.",
    "resume": "The drop is not paused.",
    "close": "The drop was closed and settled before.",
}
DONE = {"open": "open.", "pause": "paused.", "resume": "selling again.", "close": "closed and settled."}


def drop_before(name, lane=Lane.GROUP_COMMIT):
    """A drop to which this can be done."""
    (option,) = make_options([10])
    drop = make_drop((option, 4), lane=lane, opened=name != "open")
    if name == "resume":
        pause_drop(drop.pk)
    return drop


def sent(client, name, drop):
    """What an operator is told who sends the operation's form now; the whole page for anything else."""
    page = client.post(url(Drop, name, drop.pk), follow=True)
    # Not from the page's context: the test client mixes up those of two threads.
    words = text(page)
    return (
        REFUSED[name] if REFUSED[name] in words else DONE[name] if f"{drop}: {DONE[name]}" in words else words
    )


@pytest.mark.parametrize("lane", [Lane.GROUP_COMMIT, Lane.REDIS_LUA])
@pytest.mark.parametrize("name", list(REFUSED))
def test_what_a_stale_tab_sends_is_refused_in_words(on_redis, desk, name, lane):
    drop = drop_before(name, lane)
    assert [sent(desk, name, drop) for _ in range(2)] == [DONE[name], REFUSED[name]]
    assert_all_adds_up()


def told(name):
    """What two operators are told who do it to one drop at the same moment."""
    drop = drop_before(name)
    operators = [signed_in(make_user(staff=True)) for _ in range(2)]
    answers = Counter(in_threads(lambda i: sent(operators[i], name, drop), 2))
    (option,) = [item.option for item in drop.items.all()]
    drop.refresh_from_db()
    return answers, (drop.status, drop.paused, item_of(drop), stock_of(option))


AFTER = {
    "open": ("open", False, (4, 0, 0), (10, 4)),
    "pause": ("open", True, (4, 0, 0), (10, 4)),
    "resume": ("open", False, (4, 0, 0), (10, 4)),
    "close": ("settled", False, (4, 0, 4), (10, 0)),
}


def one_did_it(name):
    return Counter([DONE[name], REFUSED[name]]), AFTER[name]


@pytest.mark.mariadb
@pytest.mark.parametrize("name", list(REFUSED))
def test_of_two_operators_one_has_done_it_and_the_other_is_told(name):
    for _ in range(5):
        assert told(name) == one_did_it(name)
    assert_all_adds_up()


@pytest.mark.mariadb
@pytest.mark.parametrize("name", ["pause", "resume"])
def test_control_without_the_lock_of_the_items_both_have_done_it(monkeypatch, name):
    take_row_locks_away(monkeypatch, DropItem)
    answers, _after = goes_wrong(lambda: told(name), lambda found: found == one_did_it(name), attempts=60)
    assert answers == Counter({DONE[name]: 2})


@pytest.mark.parametrize("lane", Lane.values)
def test_what_runs_by_itself_takes_what_was_done_for_done(on_redis, lane):
    drop = drop_before("open", lane)
    for _ in range(2):
        open_drop(drop.pk)
    with pytest.raises(Conflict, match="open already"):
        open_drop(drop.pk, anew=True)
    for _ in range(2):
        assert close_drop(drop.pk)
    with pytest.raises(Conflict, match="settled before"):
        close_drop(drop.pk, anew=True)
    kinds = Movement.objects.exclude(kind="receive").order_by("id").values_list("kind", flat=True)
    assert list(kinds) == ["allot", "unallot"]
