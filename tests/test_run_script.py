"""What `make run` does when one of its processes ends: deploy/run.sh, with stand-ins for its programs."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.support.concurrency import until
from tests.support.server import ROOT

pytestmark = pytest.mark.sqlite

# Everything that run.sh does goes through .venv/bin/python. Who plays a process writes down its id.
PYTHON = """#!/usr/bin/env bash
case "$*" in
*gunicorn*) echo "web $$" >>started; exec sleep 100 ;;
*run_worker) echo "worker $$" >>started; [ ! -e worker-fails ] || exit 3; exec sleep 100 ;;
esac
"""


class Shop:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / "deploy").mkdir()
        shutil.copy(ROOT / "deploy" / "run.sh", directory / "deploy")
        (directory / ".venv" / "bin").mkdir(parents=True)
        for name, text in (("deploy/setup.sh", "#!/bin/sh\n"), (".venv/bin/python", PYTHON)):
            (directory / name).write_text(text)
            (directory / name).chmod(0o755)

    def __enter__(self) -> "Shop":
        environment = {"PATH": os.environ["PATH"], "SECRET_KEY": "k" * 50, "VAR_DIR": str(self.directory)}
        with (self.directory / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [self.directory / "deploy" / "run.sh"], env=environment, stdout=log, stderr=log
            )
        return self

    def started(self, who: str) -> list[int]:
        """The process ids of all that played this part so far."""
        file = self.directory / "started"
        lines = file.read_text().splitlines() if file.exists() else []
        return [int(line.split()[1]) for line in lines if line.startswith(who)]

    def wait_for(self, who: str, count: int) -> list[int]:
        until(lambda: len(self.started(who)) >= count, why=lambda: self.log)
        return self.started(who)

    @property
    def log(self) -> str:
        return (self.directory / "log").read_text()

    def assert_nothing_is_left(self) -> None:
        for pid in self.started(""):
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(timeout=30)


@pytest.fixture
def shop(tmp_path):
    with Shop(tmp_path) as running:
        yield running


def test_a_worker_that_ends_is_started_again_and_the_shop_stays_open(shop, tmp_path):
    (web,) = shop.wait_for("web", 1)
    (first,) = shop.wait_for("worker", 1)
    (tmp_path / "worker-fails").touch()
    os.kill(first, signal.SIGKILL)
    shop.wait_for("worker", 3)
    (tmp_path / "worker-fails").unlink()
    last = shop.wait_for("worker", 4)[-1]
    os.kill(last, 0)
    os.kill(web, 0)
    assert shop.process.poll() is None
    said = [line for line in shop.log.splitlines() if "the worker ended" in line]
    assert said == [
        "run: the worker ended with status 137, starting it again in 1 s",
        "run: the worker ended with status 3, starting it again in 2 s",
        "run: the worker ended with status 3, starting it again in 4 s",
    ]


def test_the_shop_closes_with_its_web_server(shop):
    (web,) = shop.wait_for("web", 1)
    shop.wait_for("worker", 1)
    os.kill(web, signal.SIGKILL)
    assert shop.process.wait(timeout=30) == 137
    assert "run: gunicorn ended with status 137, closing" in shop.log
    shop.assert_nothing_is_left()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_closes_everything(shop, number):
    shop.wait_for("web", 1)
    shop.wait_for("worker", 1)
    shop.process.send_signal(number)
    assert shop.process.wait(timeout=30) == 0
    shop.assert_nothing_is_left()
