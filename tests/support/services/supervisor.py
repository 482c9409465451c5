"""The process that starts a private server and ends it with whoever asked for it.

Run as a script, isolated from the environment: it imports nothing of ours.
"""

import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path


def supervise(directory: Path, parent: int) -> None:
    """Start and end processes as the parent asks on standard input; end with the parent, whatever its end.

    The pipe closes when the parent dies. Should a fork of the parent hold it open, the changed parent id
    tells; should the supervisor itself be killed, the kernel kills its server (Linux only).
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    die_with_supervisor = (lambda: libc.prctl(1, signal.SIGKILL)) if libc else None  # 1: PR_SET_PDEATHSIG
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    process: subprocess.Popen[bytes] | None = None
    try:
        while os.getppid() == parent:
            if process:
                process.poll()  # a server that was killed from outside must not stay a zombie
            if not select.select([sys.stdin], [], [], 0.2)[0]:
                continue
            request = sys.stdin.readline()
            if not request:
                break
            verb, argument = json.loads(request)
            answer = None
            if verb == "start":
                with (directory / "server.log").open("wb") as log:
                    process = subprocess.Popen(
                        argument,
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        start_new_session=True,
                        preexec_fn=die_with_supervisor,
                    )
                answer = process.pid
            elif process and verb == "signal":
                process.send_signal(argument)
            elif process and verb == "wait":
                with contextlib.suppress(subprocess.TimeoutExpired):
                    answer = process.wait(argument)
            print(json.dumps(answer), flush=True)
    finally:
        if process and process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)  # its group: installing MariaDB is a script with children
            process.wait()
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    supervise(Path(sys.argv[1]), int(sys.argv[2]))
