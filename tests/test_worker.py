"""gunicorn's worker with answers that come later: nobody's thread is kept, and no client holds up another."""

import os
import selectors
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

import pytest
from gunicorn.config import Config
from gunicorn.glogging import Logger
from gunicorn.workers.gthread import TConn

from yousinsa.http.worker import Worker

pytestmark = pytest.mark.sqlite

LARGE = b"x" * 4_000_000


class Undecided:
    """A body that starts its response when it is read, as a `DeferredResponse`."""

    def __init__(self, path, start_response):
        self.path = path
        self.start_response = start_response
        self.parked = threading.Event()
        self.takes_long = path == "/slow"
        self.closed = False
        self.go = threading.Event()

    def when_ready(self, callback):
        self.callback = callback
        self.parked.set()

    def __iter__(self):
        if self.path == "/breaks":
            raise ValueError("not foreseen")
        if self.path == "/slow":
            self.go.wait(30)
        body = LARGE if self.path == "/large" else b"small"
        self.start_response("200 OK", [("Content-Length", str(len(body)))])
        yield body

    def close(self):
        self.closed = True


class Shop:
    """An application for the worker, which hands out bodies that are not decided yet."""

    def __init__(self):
        self.bodies = SimpleQueue()

    def wsgi(self):
        return self.call

    def call(self, environ, start_response):
        path = environ["PATH_INFO"]
        if path == "/now":
            start_response("200 OK", [("Content-Length", "3")])
            return [b"now"]
        body = Undecided(path, start_response)
        self.bodies.put(body)
        return body


class Served:
    """A worker without a master: its main loop is the thread that calls `turn`."""

    def __init__(self):
        self.shop = Shop()
        config = Config()
        config.set("threads", 2)
        self.worker = Worker(0, os.getpid(), [], self.shop, 0, config, Logger(config))
        self.worker.load_wsgi()
        self.worker.tpool = ThreadPoolExecutor(2)
        self.worker.poller = selectors.DefaultSelector()
        queue = self.worker.method_queue
        queue.init()
        self.worker.poller.register(queue.fileno(), selectors.EVENT_READ, queue.run_callbacks)
        self.clients = []

    def connect(self, kind=socket.SOCK_STREAM):
        client, server = socket.socketpair(type=kind)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        client.settimeout(30)
        self.clients.append(client)
        self.worker.nr_conns += 1
        return client, TConn(self.worker.cfg, server, ("127.0.0.1", 1), ("127.0.0.1", 2))

    def ask(self, path, **how):
        client, conn = self.connect(**how)
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: shop\r\n\r\n".encode())
        self.worker.receive(conn, conn.sock.recv(1 << 16))
        return client

    def park(self, path):
        client = self.ask(path)
        body = self.shop.bodies.get(timeout=30)
        assert body.path == path
        assert body.parked.wait(30)
        return client, body

    def turn(self):
        """One turn of the main loop, which is woken by a request that is finished, or by a client."""
        self.worker.wait_for_and_dispatch_events(30)

    def close(self):
        for client in self.clients:
            client.close()
        self.worker.tpool.shutdown()
        self.worker.method_queue.close()
        self.worker.poller.close()


@pytest.fixture
def served():
    served = Served()
    yield served
    served.close()


def answer(client, size):
    found = b""
    while len(found.partition(b"\r\n\r\n")[2]) < size:
        piece = client.recv(1 << 16)
        assert piece, found[:200]
        found += piece
    return found


def test_more_answers_wait_than_there_are_threads(served):
    parked = [served.park(f"/{i}") for i in range(10)]
    assert answer(served.ask("/now"), 3).endswith(b"now")
    served.turn()
    for _client, body in parked:
        body.callback()
    for client, body in parked:
        assert answer(client, 5).endswith(b"\r\n\r\nsmall")
        assert body.closed


def test_a_connection_is_kept_for_the_next_request(served):
    client, body = served.park("/first")
    body.callback()
    assert b"Connection: keep-alive" in answer(client, 5)
    served.turn()
    (kept,) = served.worker.keepalived_conns
    client.sendall(b"GET /now HTTP/1.1\r\nHost: shop\r\n\r\n")
    served.worker.on_client_socket_readable(kept, kept.sock)
    assert answer(client, 3).endswith(b"now")
    served.turn()
    assert served.worker.nr_conns == 1


def test_a_client_that_does_not_read_holds_up_nobody(served):
    lazy, large = served.park("/large")
    client, small = served.park("/small")
    large.callback()
    small.callback()
    assert answer(client, 5).endswith(b"small")
    assert answer(lazy, len(LARGE)).endswith(LARGE)


def test_an_answer_that_takes_long_holds_up_nobody(served):
    waiting, slow = served.park("/slow")
    client, small = served.park("/small")
    slow.callback()
    small.callback()
    assert answer(client, 5).endswith(b"small")
    slow.go.set()
    assert answer(waiting, 5).endswith(b"small")


def test_a_client_that_left_ends_its_connection_only(served):
    gone, body = served.park("/gone")
    gone.close()
    client, small = served.park("/small")
    body.callback()
    small.callback()
    assert answer(client, 5).endswith(b"small")
    while served.worker.nr_conns == 2:
        served.turn()
    assert served.worker.nr_conns == 1


def test_an_answer_that_cannot_be_made_is_500(served):
    client, body = served.park("/breaks")
    body.callback()
    found = answer(client, 1)
    assert found.startswith(b"HTTP/1.1 500 ")
    assert b"application/problem+json" in found
    served.turn()
    client.close()
    while served.worker.nr_conns:
        served.turn()


def test_an_answer_comes_in_one_piece(served):
    # Of this socket, each call to receive is one call to send.
    client = served.ask("/now", kind=socket.SOCK_SEQPACKET)
    assert client.recv(1 << 16).endswith(b"\r\n\r\nnow")
