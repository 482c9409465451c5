"""Connections between requests: none of them keeps a thread, however slowly its client sends.

gunicorn's threaded worker gives a connection to a thread once a byte of a request is there, and the thread
waits for the others. Here the main loop gathers requests (intake.py) and threads see whole ones only; the
exception are long bodies, of which few are read at a time. Who takes too long is told so, and closed.
"""

import errno
import json
import selectors
import socket
import struct
import time
from collections import deque
from functools import partial
from http import HTTPStatus
from itertools import islice
from typing import Any

from gunicorn.http import errors, get_parser
from gunicorn.http.unreader import SocketUnreader
from gunicorn.workers.gthread import STOP_KEEPALIVE_LINGER, TConn, ThreadWorker

from yousinsa.http.intake import BYTES_A_SECOND, LARGE, MORE, SECONDS, Intake, Unfit

RECEIVE = 64 << 10
# What all connections of a process together may have sent of requests that are not whole.
MAX_GATHERED = 64 << 20
# Closing: how long, and for how much, we go on reading so that the client gets to read our answer.
LEAVE_SECONDS, LEAVE_BYTES = 2.0, 4 << 20
# A client that does not read its answer keeps a thread for so long, then it is closed.
SEND_SECONDS = 10

CODES = {
    400: "malformed_request",
    408: "request_timeout",
    413: "body_too_large",
    414: "uri_too_long",
    417: "expectation_failed",
    431: "headers_too_large",
    500: "internal_error",
    501: "transfer_coding_unsupported",
    503: "busy",
}
_DETAILS = {
    408: "The request did not arrive in time.",
    413: "The body is too large.",
    414: "The address is too long.",
    431: "The headers are too large.",
    500: "Something went wrong on our side. It has been recorded.",
    503: "The shop is too busy. Nothing was changed: try again.",
}


def problem(status: int, detail: str = "") -> bytes:
    """A whole response, which closes its connection: a problem document as the shop's own."""
    title = HTTPStatus(status).phrase
    body = json.dumps(
        {
            "type": f"/api/docs/#{CODES[status]}",
            "title": title,
            "status": status,
            "code": CODES[status],
            "detail": detail or _DETAILS.get(status, title),
        }
    ).encode()
    retry = "Retry-After: 1\r\n" if status == 503 else ""
    head = (
        f"HTTP/1.1 {status} {title}\r\nConnection: close\r\nContent-Type: application/problem+json\r\n"
        f"{retry}Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Gathered(SocketUnreader):
    """What a thread reads a request from: what was gathered, and of a long body what is still to come.

    `last` says that the connection ends with this request.
    """

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self.last = self.large = False
        self._began = 0.0
        self._read = 0

    def give(self, data: bytes, *, large: bool, last: bool) -> None:
        self.buf.write(data)
        self.large, self.last = large, large or last
        self._began, self._read = time.monotonic(), 0

    def chunk(self, size_hint: int | None = None) -> bytes:
        if not self.large:
            return b""
        if time.monotonic() - self._began > SECONDS + self._read / BYTES_A_SECOND:
            raise TimeoutError("the body comes too slowly")
        self.sock.settimeout(SECONDS)
        try:
            piece: bytes = super().chunk(size_hint)
        finally:
            self.sock.settimeout(None)
        self._read += len(piece)
        return piece


class Reception(ThreadWorker):
    """Everything of a connection's life that is not handling a request. Plain HTTP: TLS ends at the proxy."""

    def __init__(self, *args: Any, **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        self._arriving: dict[TConn, Intake] = {}
        self._gathered = 0
        self._leaving: dict[TConn, tuple[float, list[int]]] = {}
        self._swept = 0.0
        # Long bodies are read by few threads: the others go on answering.
        self._large_left = max(1, self.cfg.threads // 8)
        self._large_waiting: deque[TConn] = deque()
        if self.cfg.is_ssl:
            raise RuntimeError("This worker speaks plain HTTP: TLS ends at the proxy in front of it.")

    # --- A connection comes -------------------------------------------------------------------------

    def accept(self, listener: socket.socket) -> None:
        try:
            sock, address = listener.accept()
        except OSError as exc:
            if exc.errno not in (errno.EAGAIN, errno.ECONNABORTED, errno.EWOULDBLOCK):
                raise
            return
        if self.nr_conns >= self.worker_connections - 1:
            self._make_room()
        self.nr_conns += 1
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", SEND_SECONDS, 0))
        self.receive(TConn(self.cfg, sock, address, listener.getsockname()))

    def _make_room(self) -> None:
        """Close the connection that has been silent for longest; kept ones first, which had their answer."""
        if self.keepalived_conns:
            conn = self.keepalived_conns.popleft()
            self.poller.unregister(conn.sock)
            self._close(conn)
            return
        for conn, intake in islice(self._arriving.items(), 256):
            if not intake.data:
                self._drop(conn)
                return

    # --- A request comes ----------------------------------------------------------------------------

    def receive(self, conn: TConn, data: bytes = b"") -> None:
        """Gather this connection's next request, of which `data` is there."""
        now = time.monotonic()
        intake = Intake(now)
        if not data or self._take(conn, intake, data, now):
            self._gathered += len(data)
            self._arriving[conn] = intake
            self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._on_arrival, conn))

    def on_client_socket_readable(self, conn: TConn, client: Any) -> None:
        """A kept connection's next request begins, or its client has closed it."""
        try:
            self.keepalived_conns.remove(conn)
        except ValueError:  # closed to make room, in this very turn
            return
        self.poller.unregister(client)
        try:
            piece = client.recv(RECEIVE)
        except OSError:
            piece = b""
        if piece:
            self.receive(conn, piece)
        else:
            self._close(conn)

    def _on_arrival(self, conn: TConn, sock: Any) -> None:
        intake = self._arriving.get(conn)
        if intake is None:
            return
        try:
            piece = sock.recv(RECEIVE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._drop(conn)
            return
        if piece:
            self._gathered += len(piece)
            self._take(conn, intake, piece, time.monotonic())
        elif intake.has_head:
            intake.last = True  # less than was announced: the application says what that means
            self._hand_over(conn, intake, large=False)
        else:
            self._drop(conn)

    def _take(self, conn: TConn, intake: Intake, piece: bytes, now: float) -> bool:
        """Add what came; whether there is more to come."""
        asked = intake.has_head
        try:
            state = intake.feed(piece, now)
        except Unfit as exc:
            self._refuse(conn, exc.status)
            return False
        if state != MORE:
            self._hand_over(conn, intake, large=state == LARGE)
            return False
        if self._gathered > MAX_GATHERED and len(intake.data) > RECEIVE:
            self._refuse(conn, 503)
            return False
        if intake.has_head and not asked and intake.wants_to_be_asked:
            self._send(conn, b"HTTP/1.1 100 Continue\r\n\r\n")
        return True

    def _hand_over(self, conn: TConn, intake: Intake, *, large: bool) -> None:
        """Give the request to a thread, where none of its bytes has to be waited for."""
        self._forget(conn)
        if conn.parser is None:
            conn.parser = get_parser(self.cfg, conn.sock, conn.client)
            conn.parser.unreader = Gathered(conn.sock)
        conn.data_ready = True
        conn.parser.unreader.give(bytes(intake.data), large=large, last=intake.last)
        if not large:
            self.enqueue_req(conn)
        elif self._large_left:
            self._large_left -= 1
            self.enqueue_req(conn)
        else:
            self._large_waiting.append(conn)

    def _forget(self, conn: TConn) -> None:
        """It is not waited for any more."""
        intake = self._arriving.pop(conn, None)
        if intake is not None:
            self._gathered -= len(intake.data)
            self.poller.unregister(conn.sock)

    def handle_request(self, req: Any, conn: TConn) -> Any:
        if not conn.parser.unreader.large:
            req._expected_100_continue = False  # it was told to continue, and did
        return super().handle_request(req, conn)

    def _keepalive_after(self, conn: TConn, keepalive: bool) -> bool:
        # What the application did not read is in memory.
        return keepalive and bool(conn.parser.finish_body())

    # --- A request is answered ----------------------------------------------------------------------

    def finish_request(self, conn: TConn, fs: Any) -> None:
        unreader = conn.parser.unreader
        if unreader.large:
            unreader.large = False
            self._large_left += 1
            if self._large_waiting:
                self._large_left -= 1
                self.enqueue_req(self._large_waiting.popleft())
        try:
            if fs.cancelled() or not fs.result():
                self._leave(conn)
            elif rest := unreader.take_buffered():
                conn.sock.setblocking(False)
                self.receive(conn, rest)
            else:
                super().finish_request(conn, fs)
        except Exception:
            self._close(conn)

    # --- A connection goes --------------------------------------------------------------------------

    def murder_pending(self) -> None:
        """Once a second: who takes too long, and who is done."""
        now = time.monotonic()
        if now - self._swept < 1:
            return
        self._swept = now
        for conn, intake in list(self._arriving.items()):
            if intake.is_late(now):
                if intake.data:
                    self._refuse(conn, 408)
                else:
                    self._drop(conn)
            elif not self.alive and not intake.data and now - intake.began > STOP_KEEPALIVE_LINGER:
                self._drop(conn)
        for conn, (until, _read) in list(self._leaving.items()):
            if until > now:
                break
            self._gone(conn)

    def _refuse(self, conn: TConn, status: int) -> None:
        self._forget(conn)
        self._send(conn, problem(status))
        self._leave(conn)

    def _send(self, conn: TConn, data: bytes) -> None:
        try:
            conn.sock.send(data, socket.MSG_DONTWAIT)
        except OSError:
            self.log.debug("a client does not take what it is told")

    def _drop(self, conn: TConn) -> None:
        self._forget(conn)
        self._close(conn)

    def _close(self, conn: TConn) -> None:
        self.nr_conns -= 1
        conn.close()

    def _leave(self, conn: TConn) -> None:
        """Say that nothing more comes, and wait for the client to close: what it still sends would else make
        the system throw away the end of our answer (RFC 9112, 9.6).
        """
        try:
            conn.sock.setblocking(False)
            conn.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._close(conn)
            return
        self._leaving[conn] = (time.monotonic() + LEAVE_SECONDS, [0])
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._on_leaving, conn))

    def _on_leaving(self, conn: TConn, sock: Any) -> None:
        if conn not in self._leaving:
            return
        _until, read = self._leaving[conn]
        try:
            piece = sock.recv(RECEIVE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            piece = b""
        read[0] += len(piece)
        if not piece or read[0] > LEAVE_BYTES:
            self._gone(conn)

    def _gone(self, conn: TConn) -> None:
        del self._leaving[conn]
        self.poller.unregister(conn.sock)
        self._close(conn)

    # --- Errors -------------------------------------------------------------------------------------

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Answer what gunicorn refuses, or what nobody foresaw, as the shop answers its own errors."""
        status, detail = 500, ""
        match exc:
            case errors.LimitRequestLine():
                status = 414
            case errors.LimitRequestHeaders():
                status = 431
            case errors.ExpectationFailed():
                status = 417
            case errors.UnsupportedTransferCoding():
                status = 501
            case errors.InvalidResponseHeader() | errors.InvalidResponseHeaderName():
                pass
            case errors.ConfigurationProblem():
                pass
            case errors.ParseException() | errors.InvalidChunkSize() | errors.ChunkMissingTerminator():
                status, detail = 400, str(exc)
        if status == 500:
            self.log.error("Error handling request %s", getattr(req, "uri", ""), exc_info=exc)
        else:
            self.log.warning("Invalid request from ip=%s: %s", addr[0] if addr else "", exc)
        try:
            client.send(problem(status, detail), socket.MSG_DONTWAIT)
        except OSError:
            self.log.debug("Failed to send error message.")
