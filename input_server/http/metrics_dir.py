"""The directory in which several workers share their metrics.

Imports nothing else of this package: prometheus-client reads the variable when it is imported.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"


@contextmanager
def shared_metrics_dir(workers: int) -> Iterator[None]:
    """Create the directory and set the variable until the block ends; nothing for a single worker.

    The variable is restored: a process that starts later must not look for a deleted directory.
    """
    if workers < 2:
        yield
        return
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = tempfile.mkdtemp(prefix="comfyui-files-")
    try:
        yield
    finally:
        remove_shared_metrics_dir(workers)
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before


def remove_shared_metrics_dir(workers: int) -> None:
    """Remove the directory; also called by a worker whose parent was killed."""
    if workers > 1:
        shutil.rmtree(os.environ[VARIABLE], ignore_errors=True)
