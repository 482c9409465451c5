"""TCP proxies in front of a server that lose a connection at the worst moment."""

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Literal, Self

Moment = Literal["before", "after"]


class Proxy:
    """Forwards connections to `port` of 127.0.0.1, piece by piece, by way of `to_server` and `to_client`."""

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._away = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def to_server(self, pair: "Pair", data: bytes) -> bool:
        """Deal with what the client sent; False once the connection has been cut."""
        return pair.send_to_server(data)

    def to_client(self, pair: "Pair", data: bytes) -> bool:
        """Deal with what the server sent; False once the connection has been cut."""
        return pair.send_to_client(data)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._away:
                client.close()
                continue
            pair = Pair(client, socket.create_connection(self._target))
            for ends in ((client, self.to_server), (pair.server, self.to_client)):
                threading.Thread(target=_pump, args=(pair, *ends), daemon=True).start()


class Pair:
    """One connection: its client's end, its server's end, and what the client said last."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client = client
        self.server = server
        self.asked = b""

    def send_to_server(self, data: bytes) -> bool:
        self.asked = data
        with contextlib.suppress(OSError):
            self.server.sendall(data)
            return True
        return False

    def send_to_client(self, data: bytes) -> bool:
        with contextlib.suppress(OSError):
            self.client.sendall(data)
            return True
        return False


def _pump(pair: Pair, source: socket.socket, deal_with: Callable[[Pair, bytes], bool]) -> None:
    while data := _receive(source):
        if not deal_with(pair, data):
            return
    _close(pair.client)
    _close(pair.server)


class CommitProxy(Proxy):
    """In front of MariaDB. Armed, it cuts the first connection that sends COMMIT.

    `before`: the server never sees the COMMIT. `after`: the server commits, its answer is lost. With
    `stay_away` no new connection is served until `open()`.
    """

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self._moment: Moment | None = None
        self._stay_away = False
        self.cut = threading.Event()

    def arm(self, moment: Moment, *, stay_away: bool = False) -> None:
        self.cut.clear()
        self._stay_away = stay_away
        self._moment = moment

    def open(self) -> None:
        self._away = False

    def to_server(self, pair: Pair, data: bytes) -> bool:
        """A COMMIT is a packet of its own: length, sequence, 0x03, the word."""
        moment = self._moment
        if not moment or data[5:] != b"COMMIT":
            return super().to_server(pair, data)
        self._moment = None
        self._away = self._stay_away
        _close(pair.client)  # nobody hears the answer
        if moment == "after":
            pair.server.sendall(data)
            pair.server.shutdown(socket.SHUT_WR)  # the server commits, then finds nobody there
        else:
            _close(pair.server)
        self.cut.set()
        return False


class ScriptProxy(Proxy):
    """In front of Redis. Armed, it swallows the answer to the next script that writes.

    `then` is called once the script has run; nobody hears its answer.
    """

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self._then: Callable[[], None] | None = None
        self._lock = threading.Lock()
        self.swallowed = threading.Event()

    def arm(self, then: Callable[[], None]) -> None:
        self._then = then

    def to_client(self, pair: Pair, data: bytes) -> bool:
        if b"EVALSHA" not in pair.asked or b"accepted" not in data:
            return super().to_client(pair, data)
        with self._lock:
            then, self._then = self._then, None
        if then is None:
            return super().to_client(pair, data)
        then()
        _close(pair.client)
        self.swallowed.set()
        return False


class WatchingProxy(Proxy):
    """In front of a web server: notes the request lines that come by, and can hold them back.

    replaced: words of answers, and others of the same length that stand in their place.
    """

    def __init__(self, port: int, *, replaced: tuple[bytes, bytes] = (b"", b"")) -> None:
        super().__init__(port)
        self._replaced = replaced
        self.seen: list[str] = []
        self.came = threading.Semaphore(0)
        self.let_through = threading.Event()
        self.let_through.set()

    def to_server(self, pair: Pair, data: bytes) -> bool:
        """A request without a body comes in one piece."""
        self.seen.append(data.partition(b"\r\n")[0].decode())
        self.came.release()
        self.let_through.wait(60)
        return super().to_server(pair, data)

    def to_client(self, pair: Pair, data: bytes) -> bool:
        words, instead = self._replaced
        return super().to_client(pair, data.replace(words, instead) if words else data)

    def go_away(self) -> None:
        """No new connection is served from now on; those that are open end with the server."""
        self._away = True


def _receive(end: socket.socket) -> bytes:
    try:
        return end.recv(1 << 16)
    except OSError:
        return b""


def _close(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
