"""Many shoppers over HTTP at once, who remember what they were answered: for tests that hurt a shop."""

import asyncio
import contextlib
import json
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

RECONNECT_SECONDS = 0.05
ANSWER_SECONDS = 60


class Request(NamedTuple):
    """One POST: the shopper's token, the path, the body, and the key that it is known by."""

    token: str
    path: str
    body: Any
    key: str


class Outcome(NamedTuple):
    """What a request was answered; status 0: nothing, as the connection was lost."""

    request: Request
    status: int
    answer: dict[str, Any]

    @property
    def number(self) -> str:
        return str(self.answer.get("number", ""))


class Crowd:
    """So many kept-alive connections, each sending one request after the other until there are none left.

    `next_request(i)` gives the i-th request, or None to send that shopper home. `stop()` lets what is in
    flight be answered.
    """

    def __init__(self, url: str, connections: int, next_request: Callable[[int], Request | None]) -> None:
        parts = urlsplit(url)
        self._address = (parts.hostname, parts.port)
        self._connections = connections
        self._next_request = next_request
        self._count = 0
        self._stopping = False
        self._more = threading.Condition()
        self.outcomes: list[Outcome] = []
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._stopping = True
        self.finish()

    def finish(self) -> None:
        """Until every request was answered."""
        self._thread.join(timeout=240)
        assert not self._thread.is_alive()

    def wait_for(self, status: int, count: int) -> None:
        """Until so many further requests were answered with this status."""
        with self._more:
            wanted = self.statuses()[status] + count
            enough = self._more.wait_for(lambda: self.statuses()[status] >= wanted, timeout=60)
        assert enough, self.statuses()

    def statuses(self) -> Counter[int]:
        return Counter(outcome.status for outcome in self.outcomes)

    def answered(self, status: int) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if outcome.status == status]

    async def _run(self) -> None:
        await asyncio.gather(*(self._shop() for _ in range(self._connections)))

    async def _shop(self) -> None:
        streams = None
        while not self._stopping:
            request = self._next_request(self._count)
            self._count += 1
            if request is None:
                break
            status, answer = 0, dict[str, Any]()
            try:
                streams = streams or await asyncio.open_connection(*self._address, limit=1 << 20)
                status, answer = await asyncio.wait_for(self._ask(*streams, request), ANSWER_SECONDS)
            except (OSError, asyncio.IncompleteReadError, TimeoutError):
                if streams:
                    streams[1].close()
                streams = None
                await asyncio.sleep(RECONNECT_SECONDS)
            if streams and streams[1].is_closing():
                streams = None
            with self._more:
                self.outcomes.append(Outcome(request, status, answer))
                self._more.notify_all()
        if streams:
            streams[1].close()
            with contextlib.suppress(OSError):
                await streams[1].wait_closed()

    async def _ask(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: Request
    ) -> tuple[int, dict[str, Any]]:
        body = json.dumps(request.body).encode()
        head = (
            f"POST {request.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {request.token}\r\n"
            f"Content-Type: application/json\r\nIdempotency-Key: {request.key}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode() + body)
        headers = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().split("\r\n")
        fields = dict(line.split(": ", 1) for line in headers[1:] if ": " in line)
        raw = await reader.readexactly(int(fields.get("content-length", 0)))
        if fields.get("connection") == "close":
            writer.close()
        return int(headers[0].split(" ")[1]), json.loads(raw or b"{}")
