"""From Redis into the database and back: workers, dead letters, recovery, and the proof that it adds up."""

import json
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from redis.crc import key_slot

from inventory.models import Movement
from orders.drops.admission.tallies import tallies
from orders.drops.audit.rebuild import rebuild
from orders.drops.redis.connections import client
from orders.drops.redis.entries import decode_order, encode_order
from orders.drops.redis.keys import GROUP, keys_of
from orders.drops.redis.stream import Stream
from orders.drops.schedule import run_due
from orders.drops.services import close_drop
from orders.drops.writing import drain as drain_module
from orders.drops.writing.drain import CLAIM_IDLE_MS, Drain, DropDrain
from orders.lifecycle import cancel_order
from orders.models import Order, OrderLine
from orders.models.drops import DeadLetter, Drop, DropItem, DropRelease
from orders.placement.batch import place_batch
from shop.models import Product, Store, User
from tests.support.commands import run
from tests.support.drops import assert_all_adds_up, drain_all, item_of, left_in_redis, make_drop
from tests.support.factories import make_options, make_store, make_user, stock_of
from tests.support.invariants import assert_books_balance
from tests.support.problems import problem
from yousinsa.errors import Conflict

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("on_redis")]


@pytest.fixture
def sale(api):
    """A drop of ten units of an option of which there are twelve, and three shoppers."""
    (option,) = make_options([12])
    return Sale(option, make_drop((option, 10), limit=3), [api(make_user(address=True)) for _ in range(3)])


class Sale:
    def __init__(self, option, drop, shoppers):
        self.option, self.drop, self.shoppers = option, drop, shoppers
        self.names = keys_of(drop.pk)

    def buy(self, shopper=0, units=1, **headers):
        body = {"drop": self.drop.pk, "lines": [{"option": self.option.pk, "quantity": units}]}
        return self.shoppers[shopper].post("orders/", body, **headers)

    def admit(self, shopper=0, units=1, **headers):
        answer = self.buy(shopper, units, **headers)
        assert answer.status_code == 202, answer.content
        return answer.json()["number"]

    def status(self, number, shopper=0):
        return self.shoppers[shopper].get(f"orders/{number}/").json()["status"]

    def worker(self, name="another"):
        return Stream(client(), self.drop.pk, name)

    def rebuilt(self):
        tallies().flush()
        return rebuild(self.drop.pk)


def test_a_line_names_the_store_and_the_rate_of_when_it_is_written(sale):
    """Also by a worker that has been at this drop for long."""
    worker, first = Drain(), sale.option.product.store_id
    sale.admit()
    assert worker.once() == 1
    other = make_store()
    Store.objects.filter(pk=other.pk).update(commission_rate=300)
    Product.objects.filter(pk=sale.option.product_id).update(store=other)
    sale.admit(1)
    assert worker.once() == 1
    worker.leave()
    rows = OrderLine.objects.order_by("id").values_list("store", "commission_rate")
    assert list(rows) == [(first, 1_000), (other.pk, 300)]


def reconcile(*arguments):
    """Exit code and differences of reconcile_stock."""
    status, out, err = run("reconcile_stock", "--json", *arguments)
    return status, json.loads(out)["differences"], err


# --- Workers ----------------------------------------------------------------------------------------------


def test_an_entry_that_is_delivered_twice_is_written_once(sale, monkeypatch):
    number = sale.admit()
    first, second = DropDrain(sale.drop.pk, "a"), DropDrain(sale.drop.pk, "b", idle_ms=0)

    def slowly(*arguments):
        monkeypatch.undo()
        assert second.once() == 1  # it took over what the first one is at
        return place_batch(*arguments)

    monkeypatch.setattr(drain_module, "place_batch", slowly)
    assert first.once() == 1
    assert Order.objects.get().number == number
    assert (item_of(sale.drop), client().xlen(sale.names.stream)) == ((10, 1, 0), 0)
    assert_all_adds_up()


def test_an_entry_between_commit_and_acknowledgement_counts_once(sale, monkeypatch):
    sale.admit()
    sale.admit(1)
    monkeypatch.setattr(Stream, "done", lambda self, entries: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        DropDrain(sale.drop.pk, "dies").once()
    monkeypatch.undo()
    assert (item_of(sale.drop), client().xlen(sale.names.stream)) == ((10, 2, 0), 2)
    assert_all_adds_up()
    assert reconcile() == (0, [], "")
    assert rebuild(sale.drop.pk).left == {sale.option.pk: 8}
    assert Order.objects.count() == 2
    assert_all_adds_up()


def test_a_dead_workers_entries_are_taken_over(sale, monkeypatch):
    monkeypatch.setattr(drain_module, "CLAIM_EVERY_SECONDS", 0)
    numbers = {sale.admit(), sale.admit(1)}
    assert len(sale.worker("dead").read(10)) == 2
    alive = DropDrain(sale.drop.pk, "alive")
    assert alive.once() == 0  # it may still be at work
    client().execute_command(
        "XCLAIM", sale.names.stream, GROUP, "dead", 0,
        *(row["message_id"] for row in client().xpending_range(sale.names.stream, GROUP, "-", "+", 10)),
        "IDLE", CLAIM_IDLE_MS, "JUSTID",
    )  # fmt: skip
    assert alive.once() == 2
    assert set(Order.objects.values_list("number", flat=True)) == numbers
    assert alive.is_done
    assert_all_adds_up()


def test_a_worker_that_ends_leaves_no_name_behind(sale):
    sale.admit()
    drain = Drain()
    drain.once()
    assert [c["name"] for c in client().xinfo_consumers(sale.names.stream, GROUP)] == [drain.consumer]
    drain.leave()
    assert client().xinfo_consumers(sale.names.stream, GROUP) == []


def test_the_command_ends_when_everything_is_written(sale):
    number = sale.admit()
    out = StringIO()
    call_command("drain_orders", "--until-empty", stdout=out)
    assert out.getvalue() == "1 orders done\n"
    assert sale.status(number) == "pending"
    call_command("drain_orders", "--until-empty", stdout=out)


def test_what_is_not_applied_is_never_trimmed(sale, monkeypatch):
    numbers = [sale.admit(shopper) for shopper in (0, 1, 2)]
    monkeypatch.setattr(drain_module, "BATCH", 2)
    assert DropDrain(sale.drop.pk, "a").once() == 2
    assert client().xlen(sale.names.stream) == 1
    assert sale.status(numbers[2], 2) == "accepted"
    assert_all_adds_up()
    drain_all()
    assert sale.status(numbers[2], 2) == "pending"


# --- Dead letters -----------------------------------------------------------------------------------------


def spoil(sale, number, **changes):
    """Rewrite an admitted entry in the stream, as nobody should."""
    ((id, fields),) = [
        row for row in client().xrange(sale.names.stream) if decode_order(row[1]["o"]).number == number
    ]
    entry = decode_order(fields["o"])
    values = {field: getattr(entry, field) for field in entry.__struct_fields__} | changes
    spoilt = encode_order(type(entry)(**values)).decode()
    client().xdel(sale.names.stream, id)
    client().xadd(sale.names.stream, {"o": spoilt})
    return spoilt


def test_an_order_that_cannot_be_written_is_set_aside_alone_and_its_units_come_back(sale):
    good, bad = sale.admit(0), sale.admit(1, units=2, Idempotency_Key="k")
    spoil(sale, bad, buyer=10**9)  # nobody
    drain_all()
    letter = DeadLetter.objects.get()
    assert (letter.number, letter.units, letter.code) == (bad, 2, "unwritable")
    assert Order.objects.get().number == good
    assert (item_of(sale.drop), left_in_redis(sale.drop, sale.option)) == ((10, 1, 0), 9)
    assert_all_adds_up()


def test_its_buyer_sees_the_reason_and_may_buy_again(sale):
    number = sale.admit(0, units=3, Idempotency_Key="k")
    Drop.objects.update(limit_per_customer=1)  # what nobody can do by the house's own means
    drain_all()
    Drop.objects.update(limit_per_customer=3)
    shown = sale.shoppers[0].get(f"orders/{number}/").json()
    assert (shown["status"], shown["lines"][0]["quantity"]) == ("rejected", 3)
    assert "At most 1 a customer" in shown["note"]
    refused = sale.shoppers[0].post(f"orders/{number}/pay/", {"provider": "sandbox"})
    problem(refused, 409, "invalid_transition")
    assert sale.shoppers[1].get(f"orders/{number}/").status_code == 404
    again = sale.admit(0, units=3, Idempotency_Key="k")
    assert again != number
    drain_all()
    assert sale.status(again) == "pending"
    assert_all_adds_up()


def test_a_key_that_was_used_elsewhere_makes_a_dead_letter_not_a_second_order(sale):
    body = {"lines": [{"option": sale.option.pk, "quantity": 1}]}
    assert sale.shoppers[0].post("orders/", body, Idempotency_Key="k").status_code == 201
    number = sale.admit(0, Idempotency_Key="k")
    drain_all()
    assert DeadLetter.objects.get().code == "idempotency_key_reused"
    assert (sale.status(number), left_in_redis(sale.drop, sale.option)) == ("rejected", 10)
    assert_all_adds_up()


@pytest.mark.parametrize("raw", [{"o": "{"}, {"x": "y"}, {"o": '["N",1,null,"",1,1,[[1,-5,0]]]'}])
def test_what_is_no_order_is_set_aside_and_gives_nothing_back(sale, raw):
    number = sale.admit()
    client().xadd(sale.names.stream, raw)
    drain_all()
    assert DeadLetter.objects.get().code == "malformed"
    assert (sale.status(number), left_in_redis(sale.drop, sale.option)) == ("pending", 9)
    assert_all_adds_up()


def test_an_entry_that_redis_did_not_admit_gives_nothing_back(sale):
    number = sale.admit()
    entry = decode_order(client().xrange(sale.names.stream)[0][1]["o"])
    forged = [*(getattr(entry, field) for field in entry.__struct_fields__)]
    forged[0], forged[1] = "FORGED", 10**9
    client().xadd(sale.names.stream, {"o": json.dumps(forged)})
    drain_all()
    assert (DeadLetter.objects.get().number, sale.status(number)) == ("FORGED", "pending")
    assert left_in_redis(sale.drop, sale.option) == 9
    assert DropRelease.objects.get().told_at
    assert_all_adds_up()


def test_an_entry_that_is_never_finished_is_set_aside_after_bounded_deliveries(sale, monkeypatch):
    number = sale.admit()
    monkeypatch.setattr(drain_module, "MAX_DELIVERIES", 2)
    sale.worker("kills itself").read(1)
    for name in ("a", "b"):
        assert len(sale.worker(name).claim(1, idle_ms=0)) == 1
    assert DropDrain(sale.drop.pk, "c", idle_ms=0).once() == 1
    assert DeadLetter.objects.get(number=number).code == "undeliverable"
    assert left_in_redis(sale.drop, sale.option) == 10
    assert_all_adds_up()


def test_while_the_database_is_busy_nothing_is_set_aside(sale, monkeypatch):
    number = sale.admit()

    def busy(requests, *args):
        from yousinsa.errors import Busy

        return [Busy() for _ in requests]

    drain = DropDrain(sale.drop.pk, "patient")
    monkeypatch.setattr(drain_module, "place_batch", busy)
    for _ in range(2 * drain_module.MAX_TRIES):
        assert drain.once() == 0
    assert not drain.is_done
    monkeypatch.undo()
    assert drain.once() == 1
    assert sale.status(number) == "pending"


def test_closing_settles_what_is_left_in_the_stream_and_set_aside(sale):
    good, bad = sale.admit(0), sale.admit(1, units=2)
    spoil(sale, bad, buyer=10**9)
    sale.worker("dead").read(1)
    assert close_drop(sale.drop.pk)
    assert (Order.objects.get().number, DeadLetter.objects.get().number) == (good, bad)
    assert (item_of(sale.drop), stock_of(sale.option)) == ((10, 1, 9), (12, 1))
    assert client().keys("*") == []
    assert not DropRelease.objects.filter(told_at__isnull=True).exists()
    assert_books_balance()


# --- Recovery ---------------------------------------------------------------------------------------------


def test_a_missing_gate_is_closed_until_it_is_rebuilt(sale):
    written = sale.admit(0, units=2, Idempotency_Key="k")
    drain_all()
    client().flushall()
    refused = sale.buy(1)
    assert problem(refused, 409, "drop_not_open")["opens_at"]
    assert refused["Retry-After"] == "5"
    run_due()
    sale.drop.refresh_from_db()
    assert "rebuild_drop" in sale.drop.problem
    (difference,) = reconcile()[1]
    assert (difference["kind"], difference["expected"], difference["found"]) == ("escrow", 10, 2)
    assert sale.rebuilt() == ({sale.option.pk: 8}, 0, 2)
    problem(sale.buy(0, units=2), 409, "purchase_limit")
    assert sale.buy(0, units=2, Idempotency_Key="k").json()["number"] == written
    sale.admit(0)
    drain_all()
    assert (item_of(sale.drop), reconcile()[0]) == ((10, 3, 0), 0)
    run_due()
    sale.drop.refresh_from_db()
    assert sale.drop.problem == ""


def test_a_missing_counter_is_closed_never_zero_and_never_unlimited(sale):
    client().hdel(sale.names.gate, f"left:{sale.option.pk}")
    problem(sale.buy(), 409, "drop_not_open")
    assert sale.rebuilt().left == {sale.option.pk: 10}
    sale.admit()


@pytest.mark.parametrize("field", ["run", "epoch"])
def test_another_life_of_the_server_or_another_epoch_is_closed(sale, field):
    client().hset(sale.names.gate, field, "9")
    problem(sale.buy(), 409, "drop_not_open")
    sale.rebuilt()
    sale.admit()


def test_a_rebuild_keeps_what_waits_in_the_stream(sale):
    numbers = [sale.admit(0, units=2), sale.admit(1)]
    sale.worker("dead").read(1)
    client().delete(sale.names.gate, sale.names.customers)
    assert sale.rebuilt() == ({sale.option.pk: 7}, 0, 2)
    assert [sale.status(number, i) for i, number in enumerate(numbers)] == ["pending", "pending"]
    problem(sale.buy(0, units=2), 409, "purchase_limit")
    assert_all_adds_up()


def test_what_redis_forgot_is_counted_to_the_unit_and_sold_again(sale):
    sale.admit(0)
    drain_all()
    lost = [sale.admit(1, units=2), sale.admit(2)]
    client().flushall()
    tallies().flush()
    out = StringIO()
    call_command("rebuild_drop", str(sale.drop.pk), stdout=out)
    assert "3 units unaccounted for" in out.getvalue()
    assert sale.rebuilt().unaccounted == 0  # counted once
    sale.drop.refresh_from_db()
    assert (sale.drop.unaccounted, left_in_redis(sale.drop, sale.option)) == (3, 9)
    assert sale.shoppers[1].get(f"orders/{lost[0]}/").status_code == 404
    for shopper in (1, 2):
        sale.admit(shopper, units=3)
    drain_all()
    assert item_of(sale.drop) == (10, 7, 0)
    assert_all_adds_up()


def test_entries_of_an_epoch_that_was_taken_back_are_not_sold(sale):
    number = sale.admit(0)
    ((_id, fields),) = client().xrange(sale.names.stream)
    client().flushall()
    sale.rebuilt()
    client().xadd(sale.names.stream, fields)  # an old replica, an old disk
    drain_all()
    assert DeadLetter.objects.get(number=number).code == "stale_epoch"
    assert (Order.objects.count(), left_in_redis(sale.drop, sale.option)) == (0, 10)
    assert_all_adds_up()


def test_closing_after_a_loss_returns_every_unit(sale):
    sale.admit(0)
    drain_all()
    sale.admit(1)
    client().flushall()
    tallies().flush()
    assert close_drop(sale.drop.pk)
    sale.drop.refresh_from_db()
    assert (sale.drop.unaccounted, item_of(sale.drop), stock_of(sale.option)) == (1, (10, 1, 9), (12, 1))
    assert Movement.objects.filter(kind="unallot", reason="closed").get().delta_reserved == -9
    assert reconcile()[0] == 0


def test_units_on_their_way_back_are_counted_once_by_a_rebuild(sale):
    sale.admit(0, units=3)
    drain_all()
    client().hset(sale.names.gate, "epoch", "9")  # not to be believed: nothing can be told to it
    cancel_order(order_id=Order.objects.get().pk, actor_id=None)
    assert DropRelease.objects.filter(told_at__isnull=True).exists()
    assert sale.rebuilt().left == {sale.option.pk: 10}
    run_due()
    assert left_in_redis(sale.drop, sale.option) == 10
    assert_all_adds_up()


def test_only_one_rebuilds_at_a_time(sale):
    client().set(sale.names.rebuilding, "somebody")
    with pytest.raises(Conflict):
        rebuild(sale.drop.pk)
    with pytest.raises(CommandError):
        call_command("rebuild_drop", str(sale.drop.pk))
    sale.admit()  # it was left alone
    close_drop(sale.drop.pk)
    with pytest.raises(Conflict):
        rebuild(sale.drop.pk)


def test_reconciliation_sees_a_unit_too_many_and_a_unit_too_few(sale):
    sale.admit()
    for delta, cause in ((1, "Redis sells units that the drop does not have"), (-2, "units unaccounted for")):
        client().hincrby(sale.names.gate, f"left:{sale.option.pk}", delta)
        code, (difference,), printed = reconcile("--fix")
        assert (code, difference["option"], difference["sku"]) == (1, sale.option.pk, sale.option.sku)
        assert difference["cause"] == f"drop {sale.drop.pk}: {cause}"
        assert "rebuild_drop" in printed
    sale.rebuilt()
    assert reconcile("--option", str(sale.option.pk))[0] == 0


def test_a_redis_that_is_away_answers_busy(sale, settings):
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    problem(sale.buy(), 503, "busy")
    assert DropItem.objects.get().applied == 0


def test_all_keys_of_a_drop_are_on_one_node_of_a_cluster():
    assert len({key_slot(name.encode()) for name in keys_of(12)}) == 1
    assert len({key_slot(keys_of(n).gate.encode()) for n in range(20)}) > 1


def test_a_buyer_who_withdrew_still_has_what_was_admitted(sale):
    number = sale.admit()
    User.objects.filter(pk=sale.shoppers[0].user.pk).update(is_active=False)
    drain_all()
    assert Order.objects.get().number == number
