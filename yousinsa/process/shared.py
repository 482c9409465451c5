"""A little memory that gunicorn's workers share: for what must hold on a machine and may be forgotten.

SHARED_DIR (deploy/gunicorn.conf.py makes it, anew at each start) holds the mapped files; without it the
memory is this process's own.
"""

import mmap
import os
from pathlib import Path


def shared_bytes(name: str, size: int) -> mmap.mmap:
    """`size` bytes, zero at first, the same for every process of this gunicorn."""
    directory = os.environ.get("SHARED_DIR")
    if not directory:
        return mmap.mmap(-1, size)
    descriptor = os.open(Path(directory, name), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        os.truncate(descriptor, size)  # a file that is there keeps its bytes
        return mmap.mmap(descriptor, size)
    finally:
        os.close(descriptor)
