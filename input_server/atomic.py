"""Files that appear whole: written beside and then named."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def file_lock(file: Path) -> Iterator[None]:
    """Hold off others who would read and write the same file here, until the block ends. Beside it
    lies an empty ``.<name>.lock`` from then on. Raises OSError.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.with_name(f".{file.name}.lock").open("ab") as lock:
        if sys.platform == "win32":
            import msvcrt

            lock.seek(0)
            msvcrt.locking(lock.fileno(), msvcrt.LK_LOCK, 1)  # tries for ten seconds
            try:
                yield
            finally:
                lock.seek(0)
                msvcrt.locking(lock.fileno(), msvcrt.LK_UNLCK, 1)
        else:
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_EX)  # closing the file ends it
            yield


def write_atomic(file: Path, content: bytes) -> None:
    """Write a file in one step for everybody who looks. Raises OSError."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f".{file.name}.{secrets.token_hex(6)}")
    try:
        part.write_bytes(content)
        os.replace(part, file)  # noqa: PTH105 - atomic on POSIX and Windows alike
    finally:
        part.unlink(missing_ok=True)
