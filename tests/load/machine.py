"""What the figures were measured on, and how much processor time a process has used."""

import os
import platform
import re
import subprocess
import tempfile
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tests.support.services import ServerMissing, find_program

PACKAGES = ("Django", "djangorestframework", "gunicorn", "mysqlclient", "msgspec")
PROGRAMS = {
    "MariaDB": ("mariadbd", "mariadb-server-core", "--version"),
    "Redis": ("redis-server", "redis-server", "--version"),
    "wrk": ("wrk", "wrk", "--version"),
    "nginx": ("nginx", "nginx-light", "-v"),
}
_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pids: Iterable[int]) -> float:
    """Processor time that these processes have used so far, in user and kernel mode, all threads together.

    Raises RuntimeError where one of them has ended.
    """
    ticks = 0
    for pid in pids:
        try:
            status = Path(f"/proc/{pid}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError) as exc:
            raise RuntimeError(f"process {pid} of the shop has ended") from exc
        # After the command's name, which is in parentheses and may hold anything.
        fields = status.rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / _TICKS


def facts() -> dict[str, Any]:
    """Cores, memory, system and versions: what somebody needs to compare figures with their own."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "processor": _first(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text()),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": _system(),
        "kernel": platform.release(),
        "file_system": _file_system(Path(tempfile.gettempdir())),
        "load_before": round(os.getloadavg()[0], 2),
        "versions": {"Python": platform.python_version(), **_packages(), **_programs()},
    }


def memory_available() -> int:
    """Bytes that programs can still take without swapping."""
    kib = _first(r"MemAvailable:\s*(\d+)", Path("/proc/meminfo").read_text())
    return int(kib) * 1024


def _first(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    return match[1].strip() if match else ""


def _system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return platform.system()


def _file_system(directory: Path) -> str:
    """The type of the file system that the databases are on: on a tmpfs nothing is ever flushed."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    found = [
        (Path(where), kind)
        for _, where, kind, *_ in mounts
        if directory.resolve().is_relative_to(Path(where))
    ]
    return max(found, key=lambda mount: len(mount[0].parts))[1]


def _packages() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def _programs() -> dict[str, str]:
    found = {}
    for name, (program, package, version_of) in PROGRAMS.items():
        try:
            command = [find_program(program, package), version_of]
        except ServerMissing:
            found[name] = "not installed"
        else:
            printed = subprocess.run(command, capture_output=True, text=True, check=False)
            found[name] = _first(r"(\d+\.\d+(?:\.\d+)?)", printed.stdout + printed.stderr)
    return found
