"""A private Redis server."""

import secrets
from collections.abc import Sequence
from typing import Literal

from tests.support.services.server import Server, find_program


class Redis(Server):
    """A Redis server that keeps every key, like the one in production (`noeviction`).

    appendonly: when the log is flushed: `always`, `everysec` (a power cut loses a second), or `no` log at
    all, so that a restart forgets everything.
    options: further redis-server options, such as `["--maxmemory", "10mb"]`.
    """

    name = "redis"
    package = "redis-server"

    def __init__(
        self, appendonly: Literal["always", "everysec", "no"] = "everysec", *, options: Sequence[str] = ()
    ) -> None:
        super().__init__()
        self.password = secrets.token_urlsafe(16)
        log = ["--appendonly", "no"]
        if appendonly != "no":
            log = ["--appendonly", "yes", "--appendfsync", appendonly]
        self.tuning = [*log, *options]

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    def command(self) -> list[str]:
        return [
            find_program("redis-server", self.package),
            *("--bind", "127.0.0.1"),
            *("--port", str(self.port)),
            *("--dir", str(self.directory)),
            *("--requirepass", self.password),
            *("--save", ""),
            *("--maxmemory-policy", "noeviction"),
            *self.tuning,
        ]

    def ping(self) -> bool:
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        client = redis.Redis.from_url(self.url, socket_timeout=1, retry=Retry(NoBackoff(), 0))
        try:
            return bool(client.ping())
        except redis.RedisError:  # not up yet, still loading, or somebody else's server with another password
            return False
        finally:
            client.close()
