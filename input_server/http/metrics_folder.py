"""Where several workers keep their figures together.

A module without imports of its own: prometheus-client reads the variable when it is imported.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

SHARED = "PROMETHEUS_MULTIPROC_DIR"


@contextmanager
def shared_metrics_dir(workers: int) -> Iterator[None]:
    """A folder for that, for as long as the block lasts; none for a single worker. The environment is
    the same afterwards: a process that starts later must not look for a folder that is gone.
    """
    if workers < 2:
        yield
        return
    before = os.environ.get(SHARED)
    os.environ[SHARED] = tempfile.mkdtemp(prefix="comfyui-files-")
    try:
        yield
    finally:
        remove_shared_metrics_dir(workers)
        if before is None:
            del os.environ[SHARED]
        else:
            os.environ[SHARED] = before


def remove_shared_metrics_dir(workers: int) -> None:
    """Remove that folder; also for a worker whose parent was killed before it could."""
    if workers > 1:
        shutil.rmtree(os.environ[SHARED], ignore_errors=True)
