"""gunicorn: few processes, some threads; an order that waits for its group's commit keeps none of them.

Driven by PORT, BIND_HOST, WEB_CONCURRENCY, WEB_THREADS, ACCESS_LOG, VAR_DIR and PROMETHEUS_MULTIPROC_DIR.
"""

import os
import resource
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PORT = os.environ.get("PORT") or "8000"

# A container sets BIND_HOST=0.0.0.0; on a host only the proxy in front may reach the workers.
bind = f"{os.environ.get('BIND_HOST') or '127.0.0.1'}:{PORT}"
# Connections that arrive while every worker is full wait here (the kernel caps it at net.core.somaxconn).
backlog = 2048

worker_class = "yousinsa.http.worker.Worker"
# The cores this process may use, which in a container can be fewer than the machine has.
workers = int(os.environ.get("WEB_CONCURRENCY") or len(os.sched_getaffinity(0)))
# For what waits for the database, Redis or a payment: more than there are database connections.
threads = int(os.environ.get("WEB_THREADS") or 64)

# Idle kept-alive connections sit in the worker's poller and hold no thread. gthread keeps up to
# worker_connections - threads of them and answers the rest with `Connection: close`: this bounds clients, not
# requests, and stays well above `threads`. A gthread worker dies when accept() finds no free file descriptor,
# therefore that limit is raised as far as allowed, and connections stay below it.
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
files = 65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536)
resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
other_files = 2 * threads + 128  # each thread's poller and database connection; Redis, logs, listeners
worker_connections = max(threads + 1, min(4000, files - other_files))

# No header of a request says where the application is mounted, not even one from this host.
forwarder_headers = ""

# Longer than the proxy keeps an idle connection (60 s in nginx.conf): if the server closed first, the proxy
# could send an order into a closing connection and would have to answer 502 without knowing its outcome.
keepalive = 75

# `timeout` watches a worker's main loop, not its requests: the lock waits bound those, and answer 503.
timeout = 60
# What is in flight when a worker is told to stop may finish: longer than any bounded wait of an order.
graceful_timeout = 30

# Each worker imports the project itself. Preloading would save some memory, but threads, locks and connection
# pools that came to life before the fork would be shared or dead after it, and SIGHUP would keep old code.
preload_app = False

# The workers' heartbeat is a file: on a slow disk touching it may block, and the worker be killed for it.
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108
# No control socket: it lies in the home directory, where two servers share it and a container cannot write.
control_socket_disable = True

errorlog = "-"
# The proxy in front logs requests already; ACCESS_LOG=- prints them here.
accesslog = os.environ.get("ACCESS_LOG") or None

# prometheus_client sums the workers' counters from files in this directory and reads its name when it is
# imported. One per port: two servers from one checkout must not empty each other's.
METRICS = Path(
    os.environ.setdefault(
        "PROMETHEUS_MULTIPROC_DIR", str(Path(os.environ.get("VAR_DIR") or ROOT / "var") / "metrics" / PORT)
    )
)

# What the workers share in memory (yousinsa/process/shared.py): there too, since in a container whose root is
# read-only that is where they may write.
SHARED = METRICS / "shared"
os.environ["SHARED_DIR"] = str(SHARED)


def on_starting(server: Any) -> None:
    """Forget what an earlier run counted or shared."""
    if server.master_pid:  # SIGUSR2: the old master's workers still count in there
        return
    SHARED.mkdir(parents=True, exist_ok=True)
    for memory in SHARED.iterdir():
        memory.unlink()
    METRICS.mkdir(parents=True, exist_ok=True)
    for counters in METRICS.glob("*.db"):
        counters.unlink()


def child_exit(_server: Any, worker: Any) -> None:
    """Drop a dead worker's live gauges; its counters stay, since what it counted has happened."""
    from prometheus_client.multiprocess import mark_process_dead

    mark_process_dead(worker.pid)


def post_worker_init(_worker: Any) -> None:
    """Refuse a database that loses letters; spare the garbage collector what lives as long as the worker.

    Hundreds of orders in flight survive its young generations: at CPython's threshold of 700 allocations it
    took a fifth of a worker's time. Reference counting frees nearly all that a request makes.
    """
    import gc

    from yousinsa.db.checks import refuse_wrong_charset

    refuse_wrong_charset()
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
