"""What compose.yaml and the Dockerfile describe is started, as far as that goes without a container engine.

A mount namespace stands in for the container: its root is read-only, what the file names as tmpfs is one, the
user is the image's, with no capability but to read (this machine's Python may lie in somebody's home).
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from orders.models import Order, Status
from tests.support.factories import make_options, make_order, make_user
from tests.support.server import ROOT, environment_of_tests
from tests.support.services import Redis, free_port

pytestmark = [pytest.mark.mariadb, pytest.mark.django_db(transaction=True)]

COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
DOCKERFILE = (ROOT / "Dockerfile").read_text()
HOME = "/srv/yousinsa"
# Everything is mounted anew in here, and gone with the last process of the namespace.
CONTAINER = """
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /srv
cp -a "$1" {home}
chown -R 0:0 {home}
mkdir -p {home}/var
chown {uid}:{uid} {home}/var
cd {home}
for place in {tmpfs}; do mount -t tmpfs -o mode=1777 tmpfs "$place"; done
mount -o remount,ro /srv
mount -o remount,bind,ro /
shift
exec setpriv --reuid {uid} --regid {uid} --clear-groups --no-new-privs \\
    --bounding-set -all,+dac_read_search --inh-caps -all,+dac_read_search \\
    --ambient-caps -all,+dac_read_search -- "$@"
"""


def why_not() -> str:
    if os.getuid() != 0:
        return "only root can mount"
    if not all(map(shutil.which, ("unshare", "setpriv", "mount"))):
        return "util-linux is not here"
    if Path(sys.prefix).resolve().is_relative_to("/tmp"):  # noqa: S108
        return "Python lies in /tmp, which the container has of its own"
    allowed = subprocess.run(["unshare", "--mount", "mount", "--make-rprivate", "/"], capture_output=True)
    return "" if allowed.returncode == 0 else "no mount namespaces here"


def of_the_image() -> dict[str, str]:
    """The Dockerfile's ENV."""
    block = re.search(r"^ENV ((?:.*\\\n)*.*)$", DOCKERFILE, re.MULTILINE)
    assert block
    return dict(pair.split("=", 1) for pair in block[1].replace("\\\n", " ").split())


def of_the_file(service: str) -> dict[str, str]:
    """A service's environment; what has no value in the file is not set."""
    values = COMPOSE["services"][service]["environment"]
    return {name: str(value) for name, value in values.items() if value is not None}


class Container:
    """Runs the commands of compose.yaml's services."""

    def __init__(self, code: Path, environment: dict[str, str]) -> None:
        self.code, self.environment = code, environment
        self.running: list[subprocess.Popen[bytes]] = []

    def start(self, service: str) -> subprocess.Popen[bytes]:
        told = COMPOSE["services"][service]
        assert told["read_only"] is True
        assert told["cap_drop"] == ["ALL"]
        cmd = json.loads(re.search(r"^CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)[1])  # type: ignore[index]
        uid = re.search(r"--uid (\d+)", DOCKERFILE)[1]  # type: ignore[index]
        script = CONTAINER.format(home=HOME, uid=uid, tmpfs=" ".join(told["tmpfs"]))
        command = ["unshare", "--mount", "bash", "-c", script, "container", str(self.code)]
        path = f"{Path(sys.prefix).resolve() / 'bin'}:{os.environ['PATH']}"
        process = subprocess.Popen(
            [*command, *told.get("command", cmd)],
            env={"PATH": path, **of_the_image(), **of_the_file(service), **self.environment},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self.running.append(process)
        return process

    def stop(self) -> None:
        for process in self.running:
            process.terminate()
        for process in self.running:
            process.wait(timeout=45)


@pytest.fixture
def container(redis_server: Redis, tmp_path: Path) -> Any:
    if reason := why_not():
        pytest.skip(reason)
    code = tmp_path / "code"
    left_out = shutil.ignore_patterns(
        "__pycache__", ".*", "var", "tests", "docs", "requirements*", "pyproject.toml"
    )
    shutil.copytree(ROOT, code, ignore=left_out)
    place = environment_of_tests(Path(HOME) / "var")
    environment = {
        "SECRET_KEY": "k" * 60, "DATABASE_URL": place["DATABASE_URL"], "REDIS_URL": redis_server.url,
        "PORT": str(free_port()), "BIND_HOST": "127.0.0.1", "WEB_CONCURRENCY": "1",
    }  # fmt: skip
    subprocess.run(
        [sys.executable, "manage.py", "collectstatic", "--noinput", "--verbosity", "0"],
        cwd=code, env={**environment, "PATH": os.environ["PATH"]}, check=True,
    )  # fmt: skip
    container = Container(code, environment)
    yield container
    container.stop()


def wait_until(done: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    """Until it is; a process that ends before says why."""
    give_up_at = time.monotonic() + 90
    while not done():
        if process.poll() is not None or time.monotonic() > give_up_at:
            process.terminate()
            output = process.stdout.read().decode() if process.stdout else ""
            pytest.fail(f"status {process.returncode}: {output[-3000:]}")
        time.sleep(0.1)


def test_the_shop_of_compose_starts_on_a_read_only_root(container: Container) -> None:
    migrated = container.start("migrate")
    output, _ = migrated.communicate(timeout=120)
    assert migrated.returncode == 0, output.decode()

    app = container.start("app")
    url = f"http://127.0.0.1:{container.environment['PORT']}"

    def answers() -> bool:
        try:
            with urllib.request.urlopen(f"{url}/healthz", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    wait_until(answers, app)
    for path in ("/readyz", "/api/v1/products/", "/metrics", "/static/desk/desk.css"):
        with urllib.request.urlopen(f"{url}{path}", timeout=30) as answer:
            assert answer.status == 200, path

    order = make_order(make_user(), (make_options([3])[0], 1))
    Order.objects.filter(pk=order.pk).update(expires_at=order.created_at)
    worker = container.start("worker")
    wait_until(lambda: Order.objects.get(pk=order.pk).status == Status.EXPIRED, worker)


def test_the_root_is_read_only_and_the_user_may_write_to_its_tmpfs_alone(container: Container) -> None:
    """What stands in for the container refuses what a container refuses."""
    tried = {}
    for place in (f"{HOME}/var", HOME, "/srv", "/tmp", "/var/tmp"):  # noqa: S108
        COMPOSE["services"]["migrate"]["command"], command = (
            ["touch", f"{place}/x"], COMPOSE["services"]["migrate"]["command"],
        )  # fmt: skip
        try:
            tried[place] = container.start("migrate").wait(timeout=60)
        finally:
            COMPOSE["services"]["migrate"]["command"] = command
    assert {place for place, status in tried.items() if status == 0} == {"/tmp"}  # noqa: S108
