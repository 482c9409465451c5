"""gunicorn's threaded worker, which also waits for answers without keeping a thread for each.

An order waits for its group's commit. A thread for each waiting order costs two switches between threads and
a fight for the interpreter lock, more than the order itself. Here a request whose answer is not decided yet
(a `DeferredResponse`) is put aside with its connection; once a group is decided, one thread writes all of
its answers.

gunicorn's master imports this module, reception.py and intake.py, and keeps them when it loads the
application anew: nothing of the application is imported here, not even `DeferredResponse`, which is known by
what it can do.
"""

import socket
import threading
from collections import deque
from concurrent.futures import Future
from datetime import datetime
from functools import partial
from typing import Any

from gunicorn.workers.gthread import TConn

from yousinsa.http.reception import Reception

# Answers that are written before the main thread hears of them and listens to their connections again.
ANSWERS_AT_ONCE = 32


class _PutAside(BaseException):
    """A request that cannot be answered yet, and the way out of gunicorn's handling of it.

    No `Exception`, since gunicorn answers those with 500.
    """

    def __init__(self, body: Any, response: Any, environ: dict[str, Any]) -> None:
        super().__init__()
        self.body = body
        self.response = response
        self.environ = environ
        self.since = datetime.now()


class _Outbox:
    """Stands in for a socket while gunicorn writes a response, so that it can be sent in one piece."""

    __slots__ = ("pieces",)

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def sendall(self, data: bytes) -> None:
        self.pieces.append(data)


def _write_in_one_piece(response: Any, body: list[bytes]) -> None:
    """Headers and body in one packet: sent one after the other they would wake the client twice."""
    sock, outbox = response.sock, _Outbox()
    response.sock = outbox
    for piece in body:
        response.write(piece)
    response.close()
    response.sock = sock
    sock.sendall(b"".join(outbox.pieces))


class Worker(Reception):
    """Relies on a few of ThreadWorker's methods; requirements.txt pins the gunicorn that has them."""

    def __init__(self, *args: Any, **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        self._lock = threading.Lock()
        self._decided: deque[tuple[TConn, _PutAside]] = deque()
        self._answering = False

    # --- Putting aside ------------------------------------------------------------------------------

    def load_wsgi(self) -> None:
        super().load_wsgi()
        application: Any = self.wsgi  # type: ignore[has-type]

        def call(environ: dict[str, Any], start_response: Any) -> Any:
            response = start_response.__self__
            if response.req.unreader.last:
                response.force_close()
            if "," in environ.get("HTTP_IDEMPOTENCY_KEY", ""):
                # Two of them, joined by gunicorn, would be a third one; with the space that RFC 9110 (5.3)
                # has after the comma they are none. One with a comma in it stays as it is.
                keys = [value for name, value in response.req.headers if name == "IDEMPOTENCY-KEY"]
                environ["HTTP_IDEMPOTENCY_KEY"] = ", ".join(keys)
            body = application(environ, start_response)
            if hasattr(body, "when_ready"):
                raise _PutAside(body, response, environ)
            if isinstance(body, list):
                _write_in_one_piece(response, body)
                return []
            return body

        self.wsgi = call

    def enqueue_req(self, conn: TConn) -> None:
        def done(future: "Future[Any]") -> None:
            if future.cancelled() or not isinstance(future.exception(), _PutAside):
                self.method_queue.defer(self.finish_request, conn, future)

        self.tpool.submit(self.handle, conn).add_done_callback(done)

    def handle(self, conn: TConn) -> Any:
        try:
            return super().handle(conn)
        except _PutAside as request:
            request.body.when_ready(partial(self._put, conn, request))
            raise

    # --- Answering ----------------------------------------------------------------------------------

    def _put(self, conn: TConn, request: _PutAside) -> None:
        """The request can be answered. Called in the thread that decided it, which must not be kept."""
        if request.body.takes_long:
            self.tpool.submit(self._answer_alone, conn, request)
            return
        with self._lock:
            self._decided.append((conn, request))
            if self._answering:
                return
            self._answering = True
        self.tpool.submit(self._answer_all)

    def _answer_all(self) -> None:
        while True:
            with self._lock:
                count = min(len(self._decided), ANSWERS_AT_ONCE)
                requests = [self._decided.popleft() for _ in range(count)]
                if not requests:
                    self._answering = False
                    return
            answered = [(conn, self._answer(conn, request)) for conn, request in requests]
            self.method_queue.defer(self._finish_all, answered)

    def _answer_alone(self, conn: TConn, request: _PutAside) -> None:
        self.method_queue.defer(self._finish_all, [(conn, self._answer(conn, request))])

    def _answer(self, conn: TConn, request: _PutAside) -> Future[bool]:
        """Write one answer; returns whether the connection can be kept, which a slow reader leaves open."""
        response, outbox = request.response, _Outbox()
        response.sock = outbox
        keep: Future[bool] = Future()
        try:
            for piece in request.body:
                response.write(piece)
            response.close()
            self.log.access(response, response.req, request.environ, datetime.now() - request.since)
            request.body.close()
            data = b"".join(outbox.pieces)
            left = data[self._send_now(conn.sock, data) :]
            if left:
                # This client does not read. A thread of its own waits for it; the others' answers go on.
                return self.tpool.submit(self._send_slowly, conn, request, left)
            keep.set_result(self._keepalive_after(conn, not response.should_close()))
        except OSError as exc:
            self.log.debug("Ignoring a client that went away: %s", exc)
            keep.set_result(False)
        except Exception as exc:
            self.handle_error(response.req, conn.sock, conn.client, exc)
            keep.set_result(False)
        return keep

    def _send_now(self, sock: socket.socket, data: bytes) -> int:
        """Send what the socket takes without waiting; returns how many bytes that was."""
        try:
            return sock.send(data, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return 0

    def _send_slowly(self, conn: TConn, request: _PutAside, data: bytes) -> bool:
        try:
            conn.sock.sendall(data)
        except OSError:
            return False
        return bool(self._keepalive_after(conn, not request.response.should_close()))

    def _finish_all(self, answered: list[tuple[TConn, Future[bool]]]) -> None:
        for conn, keep in answered:
            if keep.done():
                self.finish_request(conn, keep)
            else:
                keep.add_done_callback(partial(self.method_queue.defer, self.finish_request, conn))
