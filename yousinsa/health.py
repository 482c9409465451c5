"""Whether the process is up, whether it can serve, and what it counts."""

import os

import prometheus_client
from django.conf import settings
from django.core.cache import cache
from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from prometheus_client import CollectorRegistry, multiprocess


def healthz(request: HttpRequest) -> JsonResponse:
    """The process answers. Asks nothing else, so that a lost database does not restart healthy processes."""
    return JsonResponse({"status": "ok"})


def readyz(request: HttpRequest) -> JsonResponse:
    """The database answers, and Redis where it is configured; 503 names what does not."""
    checks = {"database": _database_answers()}
    if settings.REDIS_URL:
        checks["redis"] = _redis_answers()
    ready = all(checks.values())
    body = {"status": "ok" if ready else "unavailable", "checks": checks}
    return JsonResponse(body, status=200 if ready else 503)


def _database_answers() -> bool:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        connection.close()
        return False
    return True


def _redis_answers() -> bool:
    try:
        return bool(cache.client.get_client(write=True).ping())  # type: ignore[attr-defined]
    except Exception:
        return False


def metrics(request: HttpRequest) -> HttpResponse:
    """Prometheus text format, over all of gunicorn's processes. The proxy keeps strangers away from it."""
    registry = prometheus_client.REGISTRY
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)
    return HttpResponse(
        prometheus_client.generate_latest(registry), content_type=prometheus_client.CONTENT_TYPE_LATEST
    )
