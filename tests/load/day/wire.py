"""HTTP/1.1 as cheaply as Python can: kept-alive connections that ask one thing after the other, timed.

It knows what this shop's servers send (a Content-Length with every body) and refuses anything else.
"""

import asyncio
import math
import time
from array import array
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import urlsplit

# How long an answer may take before its connection is given up.
PATIENCE_SECONDS = 30.0
LOST = 0
"""The status of a request whose connection broke before it was answered."""


class Answer(NamedTuple):
    """A status (`LOST`: none came) and a body."""

    status: int
    body: bytes = b""


@dataclass(slots=True)
class Timings:
    """One kind of request: how long each took in ms, how each was answered, how many were answered in the
    time that counts, how many had another answer than is right."""

    took: "array[float]" = field(default_factory=lambda: array("d"))
    statuses: Counter[int] = field(default_factory=Counter)
    in_time: int = 0
    errors: int = 0

    def percentile(self, percent: float) -> float:
        """In ms; 0 where nothing was measured."""
        ordered = sorted(self.took)
        return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] if ordered else 0.0


class Wire:
    """What all connections to one server share: its address, who is waited for, and what was measured."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.host, self.port = parts.hostname or "", parts.port or 80
        self.timings: dict[str, Timings] = {}
        self.counts_until = math.inf  # on the clock of time.monotonic
        self._connections: set[Connection] = set()

    async def connect(self) -> "Connection":
        """Raises OSError where nobody listens."""
        _transport, connection = await asyncio.get_running_loop().create_connection(
            Connection, self.host, self.port
        )
        self._connections.add(connection)
        return connection

    async def watch(self) -> None:
        """Give up connections whose answer does not come; runs until it is cancelled.

        One look a second at all of them costs less than a timer for every request.
        """
        while True:
            await asyncio.sleep(1)
            too_long_ago = time.monotonic() - PATIENCE_SECONDS
            self._connections = {one for one in self._connections if not one.is_over}
            for connection in self._connections:
                connection.give_up_before(too_long_ago)

    def close(self) -> None:
        for connection in self._connections:
            connection.close()


class Line:
    """One shopper's way to the shop: a connection, and another one after it was lost."""

    def __init__(self, wire: Wire, headers: str = "") -> None:
        """`headers`: what is sent with everything, each line ended by CRLF."""
        self._wire = wire
        self._headers = f" HTTP/1.1\r\nHost: {wire.host}:{wire.port}\r\n{headers}"
        self._connection: Connection | None = None

    async def get(self, name: str, path: str, good: Collection[int] = (200,)) -> Answer:
        """Ask, and count the answer under `name`; a status that is not `good` is an error."""
        return await self._ask(name, f"GET {path}{self._headers}\r\n".encode(), good)

    async def post(
        self, name: str, path: str, body: bytes, good: Collection[int] = (200,), key: str = ""
    ) -> Answer:
        """The same with a JSON body; `key`: its Idempotency-Key."""
        named = f"Idempotency-Key: {key}\r\n" if key else ""
        head = (
            f"POST {path}{self._headers}{named}Content-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        return await self._ask(name, head.encode() + body, good)

    async def _ask(self, name: str, request: bytes, good: Collection[int]) -> Answer:
        timings = self._wire.timings.get(name) or self._wire.timings.setdefault(name, Timings())
        sent = time.monotonic()
        try:
            if self._connection is None or self._connection.is_over:
                self._connection = await self._wire.connect()
            answer = await self._connection.ask(request, sent)
        except OSError:
            answer = Answer(LOST)
        timings.statuses[answer.status] += 1
        timings.errors += answer.status not in good
        now = time.monotonic()
        timings.in_time += now <= self._wire.counts_until
        timings.took.append((now - sent) * 1e3)
        return answer


class Connection(asyncio.Protocol):
    """One request at a time; `is_over` once no other can be sent."""

    def __init__(self) -> None:
        self.is_over = False
        self._transport: asyncio.Transport | None = None
        self._waiting: asyncio.Future[Answer] | None = None
        self._sent = 0.0
        self._buffer = b""
        self._ends = 0

    def ask(self, request: bytes, now: float) -> asyncio.Future[Answer]:
        """The answer to come; ConnectionResetError where none does."""
        assert self._transport is not None
        self._sent = now
        waiting = self._waiting = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return waiting

    def give_up_before(self, moment: float) -> None:
        """Break off where the answer to what was asked before `moment` is still not there."""
        if self._transport and self._waiting and self._sent < moment:
            self._transport.abort()

    def close(self) -> None:
        self.is_over = True
        if self._transport:
            self._transport.close()

    # --- asyncio calls these ------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_over = True
        if self._waiting and not self._waiting.done():
            self._waiting.set_exception(ConnectionResetError())

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer = self._buffer + data if self._buffer else data
        if not self._ends:
            self._ends = _end_of(buffer)
        if not self._ends or len(buffer) < self._ends:
            return
        head_ends = buffer.index(b"\r\n\r\n")
        answer = Answer(int(buffer[9:12]), buffer[head_ends + 4 : self._ends])
        self._buffer, self._ends = b"", 0
        waiting, self._waiting = self._waiting, None
        if b"connection: close" in buffer[:head_ends].lower():
            self.close()
        if waiting and not waiting.done():
            waiting.set_result(answer)


def _end_of(buffer: bytes) -> int:
    """How long the answer is that the buffer begins with; 0: that cannot be said yet. Raises ValueError."""
    head_ends = buffer.find(b"\r\n\r\n")
    if head_ends < 0:
        return 0
    head = buffer[:head_ends].lower()
    at = head.find(b"\r\ncontent-length:")
    if at >= 0:
        return head_ends + 4 + int(head[at + 17 :].split(b"\r\n", 1)[0])
    if int(head[9:12]) == HTTPStatus.NO_CONTENT:
        return head_ends + 4
    raise ValueError(f"an answer without a length: {bytes(head[:200])!r}")
