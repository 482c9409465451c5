"""Private MariaDB, Redis and nginx servers: for tests that need a real one, and for the load bench.

    with MariaDB() as mariadb, Redis() as redis:
        environment = {"DATABASE_URL": mariadb.url, "REDIS_URL": redis.url}

Begin with server.py: a server gets a free port on 127.0.0.1 and a directory of its own, which goes when it
does. The supervisor, a process of its own, starts the server and ends with whoever asked for it: a test run
that crashes, or is killed with SIGKILL, leaves neither a server nor a directory behind. Nothing here knows
Django.
"""

from tests.support.services.mariadb import MariaDB
from tests.support.services.nginx import Nginx
from tests.support.services.redis import Redis
from tests.support.services.server import ServerFailed, ServerMissing, find_program, free_port

__all__ = ["MariaDB", "Nginx", "Redis", "ServerFailed", "ServerMissing", "find_program", "free_port"]
