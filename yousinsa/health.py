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
    """503 while the database does not answer. Redis is a helper: without it the answer is 200 `degraded`.

    Every machine asks the same Redis: a 503 for it would have the balancer take all of them away at once.
    """
    checks = {"database": _database_answers()}
    if settings.REDIS_URL:
        checks["redis"] = _redis_answers()
    if not checks["database"]:
        return JsonResponse({"status": "unavailable", "checks": checks}, status=503)
    return JsonResponse({"status": "ok" if all(checks.values()) else "degraded", "checks": checks})


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
