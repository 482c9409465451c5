"""A store owner receives what arrives of the own products, over HTTP and at the desk."""

from collections import Counter

import pytest

from inventory.models import MAX_UNITS, Kind, Movement
from shop.models import Store
from tests.support.concurrency import in_threads
from tests.support.described import Checked
from tests.support.factories import make_options, make_order, make_user, stock_of
from tests.support.invariants import assert_books_balance
from tests.support.problems import nothing_changes, problem
from tests.support.races import goes_wrong, nothing_locked
from tests.support.wire import Wire

pytestmark = pytest.mark.django_db


@pytest.fixture
def own(buyer):
    """An option of which there are five, one of them promised."""
    (option,) = make_options([5])
    make_order(buyer, (option, 1))
    return option


def owner_of(option):
    return option.product.store.owner


def receive(option, body, user=None, **headers):
    return Wire(user or owner_of(option)).post(f"options/{option.pk}/receive/", body, **headers)


def test_units_are_there_at_once_and_on_record(own):
    answer = receive(own, {"quantity": 7, "reason": " from  Daegu "})
    assert answer.status_code == 200, answer.content
    shown = {"option": own.pk, "sku": own.sku, "on_hand": 12, "reserved": 1, "available": 11}
    assert answer.json() == shown
    assert stock_of(own) == (12, 1)
    movement = Movement.objects.latest("id")
    assert (movement.kind, movement.delta_on_hand, movement.actor, movement.reason, movement.reference) == (
        Kind.RECEIVE, 7, owner_of(own), "from Daegu", "",
    )  # fmt: skip
    # Without a key, the same again is another receipt.
    assert receive(own, {"quantity": 7}).json()["on_hand"] == 19
    assert_books_balance()


def test_a_key_is_received_once(own):
    (other,) = make_options([0], store=own.product.store)
    body = {"quantity": 3, "reason": "box 1"}
    first = receive(own, body, Idempotency_Key="k")
    assert "Idempotent-Replayed" not in first
    again = receive(own, body, Idempotency_Key="k")
    assert (again.status_code, again["Idempotent-Replayed"]) == (200, "true")
    assert again.json() == first.json()
    for change in ({"quantity": 4}, {"reason": "box 2"}):
        problem(receive(own, {**body, **change}, Idempotency_Key="k"), 422, "idempotency_key_reused")
    assert stock_of(own) == (8, 1)
    # A key names a receipt of this option by this owner, and is compared letter by letter.
    assert receive(other, body, Idempotency_Key="k").json()["on_hand"] == 3
    assert receive(own, body, Idempotency_Key="K").json()["on_hand"] == 11
    problem(receive(own, body, Idempotency_Key="a b"), 400, "invalid")
    assert_books_balance()


def test_only_the_owner_of_an_accepted_store_receives(own):
    strangers = (make_user(), make_user(staff=True), owner_of(make_options([1])[0]))
    with nothing_changes():
        for stranger in strangers:
            problem(receive(own, {"quantity": 1}, stranger), 403, "not_your_store")
        problem(Wire(owner_of(own)).post("options/987654321/receive/", {"quantity": 1}), 404, "not_found")
        problem(Wire().post(f"options/{own.pk}/receive/", {"quantity": 1}), 401, "not_authenticated")
    Store.objects.update(status=Store.Status.CLOSED)
    with nothing_changes():
        problem(receive(own, {"quantity": 1}), 403, "store_not_accepted")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "quantity"), ({"quantity": 0}, "quantity"), ({"quantity": -1}, "quantity"),
        ({"quantity": 1_000_001}, "quantity"), ({"quantity": "3"}, "quantity"),
        ({"quantity": 1.5}, "quantity"),
        ({"quantity": 1, "reason": "x" * 201}, "reason"), ({"quantity": 1, "on_hand": 1}, "on_hand"),
    ],
)  # fmt: skip
def test_bad_input_names_its_field(own, body, field):
    with nothing_changes():
        assert [e["field"] for e in problem(receive(own, body), 400, "invalid")["errors"]] == [field]


@pytest.mark.parametrize("headers", [{}, {"Idempotency_Key": "k"}])
def test_more_than_a_counter_holds_is_refused_at_the_field(headers):
    (option,) = make_options([MAX_UNITS])
    with nothing_changes():
        refused = problem(receive(option, {"quantity": 1}, **headers), 400, "invalid_movement")
    assert refused["errors"] == [
        {"field": "quantity", "message": f"More than {MAX_UNITS} on hand cannot be recorded."}
    ]


def test_receipts_are_limited_on_a_budget_of_their_own(own, settings):
    settings.ORDER_RATE = "1/min"
    assert receive(own, {"quantity": 1}).status_code == 200
    refused = receive(own, {"quantity": 1})
    problem(refused, 429, "throttled")
    assert int(refused["Retry-After"]) > 0
    line = {"lines": [{"option": own.pk, "quantity": 1}]}
    assert Wire(owner_of(own)).post("orders/", line).status_code == 201


def test_every_answer_is_described(schema, own):
    owner = Checked(schema, owner_of(own))
    address = f"options/{own.pk}/receive/"
    for body in ({"quantity": 2}, {"quantity": 0}, {"quantity": 2}):
        owner.post(address, body, Idempotency_Key="k")
    owner.post(address, {"quantity": 3}, Idempotency_Key="k")
    owner.post("options/987654321/receive/", {"quantity": 2})
    Checked(schema, make_user()).post(address, {"quantity": 2})
    Checked(schema).post(address, {"quantity": 2})


# --- The same key at the same moment ----------------------------------------------------------------------


def received():
    """What eight threads are answered that send one receipt, and how often it is in the ledger."""
    (option,) = make_options([0])
    owner = owner_of(option)

    def send(_i):
        return receive(option, {"quantity": 5}, owner, Idempotency_Key="k").status_code

    answers = Counter(in_threads(send, 8))
    return answers, Movement.objects.filter(stock__option=option).count()


@pytest.mark.django_db(transaction=True)
def test_sent_by_many_at_once_it_is_received_once():
    for _ in range(3):
        assert received() == (Counter({200: 8}), 1)
    assert_books_balance()


@pytest.mark.mariadb
@pytest.mark.django_db(transaction=True)
def test_control_without_the_lock_it_is_received_again(monkeypatch):
    with nothing_locked(monkeypatch):
        _answers, times = goes_wrong(received, lambda found: found[1] == 1)
    assert times > 1
