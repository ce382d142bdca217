"""The hourly cleanup of all mounts."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

from .mount import Mount
from .removal import apply_plan, ignore_lease_breaks
from .resolve import Missing
from .retention import plans
from .table import MountTable

FIRST_SECONDS, INTERVAL_SECONDS = 60.0, 3600.0


def start_cleanup_thread(mounts: MountTable, log: Callable[[str], None]) -> None:
    """Start a daemon thread that cleans up every hour. To be called from the main thread."""
    ignore_lease_breaks()

    def work() -> None:
        time.sleep(FIRST_SECONDS)
        while True:
            clean_all(mounts, log)
            time.sleep(INTERVAL_SECONDS)

    threading.Thread(target=work, name="cleanup", daemon=True).start()


def clean_all(mounts: Iterable[Mount], log: Callable[[str], None]) -> None:
    """Clean up every mount once. An error in one is logged and does not affect the others."""
    listed = list(mounts)
    for mount in listed:
        try:
            (plan,) = plans([mount], time.time(), listed)
            if plan.removals:
                apply_plan(plan, log)
        except Missing:  # a results folder before its first file, or a drive that was unplugged
            continue
        except (OSError, RuntimeError, ValueError) as error:
            with suppress(OSError, ValueError):
                log(f"{mount.alias} was not cleaned up: {error}")
