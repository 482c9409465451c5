"""A private nginx with the configuration that is deployed."""

import json
import os
import signal
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from email.message import Message
from pathlib import Path
from typing import NamedTuple

from tests.support.services.server import Server, find_program, free_port

CONFIGURATION = Path(__file__).resolve().parents[3] / "deploy" / "nginx.conf"
# Where it writes by default, which is of the machine's own nginx.
SCRATCH = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")

CERTIFICATE = (
    "ssl_certificate /etc/nginx/tls/fullchain.pem",
    "ssl_certificate_key /etc/nginx/tls/privkey.pem",
)


class Answered(NamedTuple):
    """What came back from nginx."""

    status: int
    headers: Message
    body: bytes


class Nginx(Server):
    """deploy/nginx.conf in front of a shop on `shop_port`; places and ports are this server's own.

    certificate: of 127.0.0.1, and its key. None: no TLS, for a bench that would measure its own.
    replaced: further words of the configuration, and what stands in their place; each must be in there.
    """

    name = "nginx"
    package = "nginx-light"

    def __init__(
        self,
        shop_port: int,
        certificate: tuple[Path, Path] | None,
        *,
        authority: Path | None = None,
        replaced: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        self._shop_port = shop_port
        self._certificate = certificate
        self._replaced = replaced or {}
        self._tls = ssl.create_default_context(cafile=authority) if authority else None

    @property
    def url(self) -> str:
        return f"{'https' if self._certificate else 'http'}://127.0.0.1:{self.port}"

    def configuration(self) -> str:
        """deploy/nginx.conf for this server. Raises AssertionError where it does not say what is replaced."""
        text = CONFIGURATION.read_text()
        listening = "ssl http2 " if self._certificate else ""
        own = {
            "/run/nginx.pid": f"{self.directory}/pid",
            "/var/log/nginx/": f"{self.directory}/",
            "/var/cache/yousinsa": f"{self.directory}/cache",
            "listen 80 ": f"listen 127.0.0.1:{free_port()} ",
            "listen 443 ssl http2 ": f"listen 127.0.0.1:{self.port} {listening}",
            "127.0.0.1:8000 max_fails": f"127.0.0.1:{self._shop_port} max_fails",
            "/etc/nginx/mime.types": f"{self.directory}/mime.types",
            "http {\n": "http {\n" + "".join(f"{of}_temp_path {self.directory}/{of};\n" for of in SCRATCH),
        }
        for name, path in zip(CERTIFICATE, self._certificate or ("", ""), strict=True):
            own[f"{name};"] = f"{name.split()[0]} {path};" if path else ""
        for words, instead in (own | dict(self._replaced)).items():
            assert words in text, f"deploy/nginx.conf does not say {words!r}"
            text = text.replace(words, instead)
        return text

    def kill(self, signal_number: int = signal.SIGTERM) -> None:
        """End it with its workers, which would outlive a master that is killed with SIGKILL."""
        super().kill(signal_number)

    def prepare(self) -> None:
        (self.directory / "mime.types").write_text("types { application/json json; }\n")

    def command(self) -> list[str]:
        path = self.directory / "nginx.conf"
        path.write_text(self.configuration())
        # Its workers would otherwise be nobody, who may not look into the directory.
        user = " user root;" if os.geteuid() == 0 else ""
        program = find_program("nginx", self.package)
        return [
            program,
            "-e",
            "stderr",
            "-p",
            str(self.directory),
            "-c",
            str(path),
            "-g",
            f"daemon off;{user}",
        ]

    def ping(self) -> bool:
        try:
            return self.ask("/metrics").status == 404
        except OSError:
            return False

    def ask(self, path: str, *, method: str = "GET", body: object = None, **headers: str | None) -> Answered:
        """Ask for `path`, or send `body` as JSON; headers with underscores, None for one that is not sent.

        Raises OSError where nobody answers.
        """
        data = None if body is None else json.dumps(body).encode()
        sent = {name.replace("_", "-"): value for name, value in headers.items() if value is not None}
        sent |= {"Content-Type": "application/json"} if data else {}
        request = urllib.request.Request(self.url + path, data, sent, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60, context=self._tls) as answer:
                return Answered(answer.status, answer.headers, answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return Answered(error.code, error.headers, error.read())
