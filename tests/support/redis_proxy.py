"""A TCP proxy in front of Redis that stops the world between a script and its answer."""

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Self


class RedisProxy:
    """Forwards connections to `port`. Armed, it swallows the answer to the next script that writes.

    `then` is called once the script has run; nobody hears its answer.
    """

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._then: Callable[[], None] | None = None
        self._lock = threading.Lock()
        self.swallowed = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def arm(self, then: Callable[[], None]) -> None:
        self._then = then

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._target)
            asked: list[bytes] = [b""]
            threading.Thread(target=self._forward, args=(client, server, asked), daemon=True).start()
            threading.Thread(target=self._back, args=(server, client, asked), daemon=True).start()

    def _forward(self, client: socket.socket, server: socket.socket, asked: list[bytes]) -> None:
        while data := _receive(client):
            asked[0] = data
            try:
                server.sendall(data)
            except OSError:
                break
        _close(server)

    def _back(self, server: socket.socket, client: socket.socket, asked: list[bytes]) -> None:
        while data := _receive(server):
            if b"EVALSHA" in asked[0] and b"accepted" in data and self._take(client):
                break
            try:
                client.sendall(data)
            except OSError:
                break
        _close(client)

    def _take(self, client: socket.socket) -> bool:
        with self._lock:
            then, self._then = self._then, None
        if then is None:
            return False
        then()
        _close(client)
        self.swallowed.set()
        return True


def _receive(end: socket.socket) -> bytes:
    try:
        return end.recv(1 << 16)
    except OSError:
        return b""


def _close(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
