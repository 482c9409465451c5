"""A TCP proxy in front of MariaDB that can lose a connection exactly at COMMIT."""

import contextlib
import socket
import threading
from typing import Literal, Self

Moment = Literal["before", "after"]


class Proxy:
    """Forwards connections to `port`. Armed, it cuts the first one that sends COMMIT.

    `before`: the server never sees the COMMIT. `after`: the server commits, its answer is lost. With
    `stay_away` no new connection is served until `open()`.
    """

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._moment: Moment | None = None
        self._stay_away = False
        self._away = False
        self.cut = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def arm(self, moment: Moment, *, stay_away: bool = False) -> None:
        self.cut.clear()
        self._stay_away = stay_away
        self._moment = moment

    def open(self) -> None:
        self._away = False

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._away:
                client.close()
                continue
            server = socket.create_connection(self._target)
            threading.Thread(target=self._forward, args=(client, server), daemon=True).start()
            threading.Thread(target=self._back, args=(server, client), daemon=True).start()

    def _forward(self, client: socket.socket, server: socket.socket) -> None:
        """Client to server. A COMMIT is a packet of its own: length, sequence, 0x03, the word."""
        while data := _receive(client):
            moment = self._moment
            if moment and data[5:] == b"COMMIT":
                self._moment = None
                self._away = self._stay_away
                _close(client)  # nobody hears the answer
                if moment == "after":
                    server.sendall(data)
                    server.shutdown(socket.SHUT_WR)  # the server commits, then finds nobody there
                else:
                    _close(server)
                self.cut.set()
                return
            server.sendall(data)
        _close(server)

    def _back(self, server: socket.socket, client: socket.socket) -> None:
        while data := _receive(server):
            try:
                client.sendall(data)
            except OSError:
                break
        _close(client)


def _receive(end: socket.socket) -> bytes:
    try:
        return end.recv(1 << 16)
    except OSError:
        return b""


def _close(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
