"""Group commit as it is deployed: gunicorn, whose threads do not wait with the orders, on MariaDB."""

import json
import os
import signal
import threading
import urllib.error
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from inventory.models import Stock
from orders.models import Order
from tests.support.factories import make_options, make_user
from tests.support.invariants import assert_books_balance
from tests.support.locks import row_locked, until_somebody_waits
from tests.support.server import WebServer, environment_of_tests
from tests.support.wire import token_of

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.mariadb]


def post_order(server, buyer, option, key=None):
    """(status, problem code or order number) of an order over HTTP."""
    headers = {
        "Authorization": f"Bearer {token_of(buyer)}",
        "Content-Type": "application/json",
    }
    if key:
        headers["Idempotency-Key"] = key
    body = json.dumps({"lines": [{"option": option.pk, "quantity": 1}]}).encode()
    request = urllib.request.Request(f"{server.url}/api/v1/orders/", body, headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)["number"]
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)["code"]


@pytest.fixture
def environment(tmp_path):
    return environment_of_tests(tmp_path, PLACEMENT="group_commit", WEB_CONCURRENCY="1", WEB_THREADS="4")


def test_waiting_orders_keep_no_threads(environment, tmp_path):
    (option,) = make_options([1_000])
    buyers = [make_user() for _ in range(60)]
    stock = Stock.objects.get(option=option)
    with WebServer(environment, log=tmp_path / "log") as server, ThreadPoolExecutor(60) as pool:
        with row_locked("inventory_stock", stock.pk):
            futures = [pool.submit(post_order, server, buyer, option) for buyer in buyers]
            until_somebody_waits()
            # More orders than threads wait, and everything else answers.
            assert server.answers()
            with urllib.request.urlopen(f"{server.url}/api/v1/products/", timeout=10) as answer:
                assert json.load(answer)["results"][0]["options"][0]["available"] == 1_000
            assert not any(future.done() for future in futures)
        outcomes = Counter(future.result(timeout=60)[0] for future in futures)
    assert outcomes[201] == Order.objects.count() > 0
    assert outcomes[201] + outcomes[503] == 60
    assert_books_balance()


def test_a_clean_stop_finishes_what_was_accepted(environment, tmp_path):
    (option,) = make_options([1_000])
    buyers = [make_user() for _ in range(20)]
    stock = Stock.objects.get(option=option)
    with WebServer(environment, log=tmp_path / "log") as server, ThreadPoolExecutor(20) as pool:
        with row_locked("inventory_stock", stock.pk):
            futures = [pool.submit(post_order, server, buyer, option) for buyer in buyers]
            until_somebody_waits()
            server.terminate()
        statuses = [future.result(timeout=60)[0] for future in futures]
        server.process.wait(timeout=60)
        assert server.process.returncode == 0
    # Whoever was answered 201 has an order, and nobody else has one; no answer was simply dropped.
    assert Counter(statuses)[201] == Order.objects.count() >= 1
    assert set(statuses) <= {201, 503}
    assert_books_balance()


def test_a_killed_worker_loses_no_answered_order_and_no_unit(environment, tmp_path):
    (option,) = make_options([10_000])
    buyers = [make_user() for _ in range(16)]
    environment["WEB_CONCURRENCY"] = "2"
    answered, failed = [], []
    enough = threading.Event()

    def shop(server, buyer):
        for n in range(40):
            try:
                status, number = post_order(server, buyer, option, key=f"{buyer.pk}-{n}")
            except OSError:
                failed.append((buyer, f"{buyer.pk}-{n}"))
                continue
            assert status == 201
            answered.append(number)
            if len(answered) > 100:
                enough.set()

    with WebServer(environment, log=tmp_path / "log") as server, ThreadPoolExecutor(16) as pool:
        futures = [pool.submit(shop, server, buyer) for buyer in buyers]
        enough.wait(60)
        os.kill(server.workers()[0], signal.SIGKILL)
        for future in futures:
            future.result(timeout=120)
        # Whoever got no answer asks again with the same key, and has one order after it.
        for buyer, key in failed:
            status, number = post_order(server, buyer, option, key=key)
            assert status == 201
            answered.append(number)
    assert len(set(answered)) == len(answered) == 16 * 40
    assert set(answered) == set(Order.objects.values_list("number", flat=True))
    assert_books_balance()
