"""What the environment may say, and what the process says about itself."""

import os
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import pytest
from django.db import OperationalError, connections

from tests.support.wire import Wire

ROOT = Path(__file__).resolve().parent.parent
GOOD_KEY = "k3y-" + "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def manage(tmp_path, *arguments, **environment):
    """Run manage.py as an operator does, with nothing in the environment but this."""
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "VAR_DIR": str(tmp_path), **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_deployment_check_is_clean(tmp_path):
    done = manage(
        tmp_path, "check", "--deploy", "--fail-level", "WARNING",
        SECRET_KEY=GOOD_KEY, DEBUG="0", HTTPS="1", ALLOWED_HOSTS="shop.example",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "no issues (0 silenced)" in done.stdout


@pytest.mark.parametrize("on", [{"PAYMENT_SANDBOX": "1", "DEBUG": "0"}, {"DEBUG": "1"}])
def test_the_deployment_check_fails_where_anybody_pays_with_nothing(tmp_path, on):
    done = manage(
        tmp_path, "check", "--deploy", SECRET_KEY=GOOD_KEY, HTTPS="1", ALLOWED_HOSTS="shop.example", **on
    )
    assert done.returncode != 0
    assert "orders.E003" in done.stderr


def test_migrations_say_what_the_models_say(tmp_path):
    done = manage(tmp_path, "makemigrations", "--check", "--dry-run", SECRET_KEY=GOOD_KEY)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({}, "SECRET_KEY is not set"),
        ({"SECRET_KEY": ""}, "SECRET_KEY is not set"),
        ({"SECRET_KEY": "k" * 49}, "SECRET_KEY is shorter than 50 characters"),
        ({"SECRET_KEY": "development-only-" + "x" * 48}, "SECRET_KEY is the one that is public"),
        ({"SECRET_KEY": GOOD_KEY, "PAYMENT_RATE": "often"}, "PAYMENT_RATE: A rate is written like 20/s"),
        ({"SECRET_KEY": GOOD_KEY, "DATABASE_URL": "postgres://x/y"}, "DATABASE_URL must be"),
        ({"SECRET_KEY": GOOD_KEY, "ORDER_RATE": "fast"}, "ORDER_RATE: A rate is written like 20/s"),
        ({"SECRET_KEY": GOOD_KEY, "COMMISSION_RATE": "-1"}, "COMMISSION_RATE is 0 to 10000"),
        ({"SECRET_KEY": GOOD_KEY, "COMMISSION_RATE": "10001"}, "COMMISSION_RATE is 0 to 10000"),
        ({"SECRET_KEY": GOOD_KEY, "FOUR_EYES": "yes"}, "FOUR_EYES is auto, 1 or 0"),
        ({"SECRET_KEY": GOOD_KEY, "SIGN_IN_RATE": "0/s"}, "SIGN_IN_RATE: A rate is written like 20/s"),
    ],
)
def test_a_wrong_environment_stops_the_start_and_says_why(tmp_path, environment, sentence):
    done = manage(tmp_path, "check", DEBUG="0", **environment)
    assert done.returncode != 0
    assert sentence in done.stderr.strip().splitlines()[-1]


def test_development_needs_no_secret(tmp_path):
    done = manage(tmp_path, "check", DEBUG="1")
    assert done.returncode == 0, done.stderr


def test_https_is_insisted_on_except_by_probes(tmp_path):
    script = (
        "import django; django.setup()\n"
        "from django.test import Client\n"
        "for path in ('/healthz', '/api/v1/products/', '/admin/'):\n"
        "    answer = Client().get(path, headers={'host': 'shop.example'})\n"
        "    print(path, answer.status_code, answer.headers.get('Location'))\n"
        "answer = Client().get('/healthz', secure=True, headers={'host': 'shop.example'})\n"
        "print(answer.headers['Strict-Transport-Security'])\n"
        "from django.conf import settings\n"
        "print(settings.SESSION_COOKIE_SECURE, settings.CSRF_COOKIE_SECURE, settings.TOKEN_COOKIE)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={
            "PATH": os.environ["PATH"], "VAR_DIR": str(tmp_path), "SECRET_KEY": GOOD_KEY, "HTTPS": "1",
            "ALLOWED_HOSTS": "shop.example", "DJANGO_SETTINGS_MODULE": "yousinsa.settings",
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )  # fmt: skip
    assert done.stdout.splitlines() == [
        "/healthz 200 None",
        "/api/v1/products/ 301 https://shop.example/api/v1/products/",
        "/admin/ 301 https://shop.example/admin/",
        "max-age=31536000; includeSubDomains; preload",
        "True True __Host-token",
    ], done.stderr


# --- Probes -----------------------------------------------------------------------------------------------


def test_healthz_asks_nothing():
    """Without a database fixture: a query would be refused."""
    answer = Wire().get("/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


@pytest.mark.django_db
def test_readyz_asks_the_database():
    answer = Wire().get("/readyz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok", "checks": {"database": True}})


@pytest.mark.django_db(transaction=True)
def test_readyz_says_that_the_database_is_away():
    gone = OperationalError(2002, "Can't connect to server")
    with patch.object(connections["default"], "cursor", side_effect=gone):
        answer = Wire().get("/readyz")
    assert (answer.status_code, answer.json()) == (
        503,
        {"status": "unavailable", "checks": {"database": False}},
    )
    assert Wire().get("/readyz").status_code == 200


@pytest.mark.django_db
@pytest.mark.parametrize("up", [True, False])
def test_readyz_names_redis_where_it_is_away_and_stays_ready(redis_server, settings, up):
    settings.REDIS_URL = redis_server.url if up else "redis://127.0.0.1:1/0"
    settings.CACHES = {
        "default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": settings.REDIS_URL}
    }
    answer = Wire().get("/readyz")
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    assert (answer.status_code, answer.json()) == (
        200,
        {"status": "ok" if up else "degraded", "checks": {"database": True, "redis": up}},
    )


def test_metrics_speak_prometheus():
    answer = Wire().get("/metrics")
    assert answer.status_code == 200
    assert answer["Content-Type"].startswith("text/plain")
    assert b"# HELP process_cpu_seconds_total" in answer.content
