"""The host's time limit for one call, and the limits derived from it, in seconds.

Runs on older Pythons than the rest (see ``stdio``).
"""

from __future__ import annotations

import json
from pathlib import Path

from comfyui_pipeline.bounded.numbers import finite
from comfyui_pipeline.process.project import project_file

MANIFEST = "plugin-manifest.json"
HOST_MARGIN = 2.0
"""The watchdog responds this long before the host's limit at the latest."""
REPORT_SECONDS = 1.0
"""Reserved for writing the response before that."""
READING_MARGIN = 2.0
"""Reading an incomplete call ends this long before the watchdog responds."""
WATCHDOG_GRACE = 15.0
"""The watchdog responds this long after the call's deadline, if the pipeline has not."""
FETCH_GRACE = WATCHDOG_GRACE - 3.0
"""How long after the call's deadline outputs may be fetched and a job be cancelled."""
DEFAULT_HOST_LIMIT = 60.0
"""The hosts' limit if the manifest has none (VCPToolBox Plugin.js)."""


def host_limit(project: Path) -> float:
    """Return when the host kills this process: ``communication.timeout`` of the project's manifest.

    The manifest has milliseconds, as a number or a string; any other value counts as absent.
    """
    try:
        manifest = json.loads(project_file(project, MANIFEST).read_text("utf-8"))
        milliseconds = finite(float(manifest["communication"]["timeout"]))
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        milliseconds = None
    if milliseconds is None or milliseconds <= 0:
        return DEFAULT_HOST_LIMIT
    return milliseconds / 1000


def fetch_grace(limit: float, timeout: float) -> float:
    """Return how long requests may take after the deadline ``timeout``, given the host's ``limit``."""
    return max(0.0, min(FETCH_GRACE, limit - HOST_MARGIN - REPORT_SECONDS - timeout))
