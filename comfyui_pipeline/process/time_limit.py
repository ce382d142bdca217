"""The host's time limit for one call. Runs on older Pythons than the rest (see ``stdio``)."""

from __future__ import annotations

import json
from pathlib import Path

from comfyui_pipeline.bounded.numbers import finite

MANIFEST = "plugin-manifest.json"
HOST_MARGIN = 2.0
"""Seconds before the host's limit at which the watchdog answers in any case."""
REPORT_SECONDS = 1.0
"""What is left for an answer to be worded before that."""
FETCH_GRACE_SECONDS = 12.0
"""How long after the call's deadline results may still be fetched and a run be cancelled. The
watchdog answers 15 s after it (``stdio.GRACE``), or HOST_MARGIN before the host's limit."""
HOST_LIMIT_ABSENT = 60.0
"""What the hosts take when the manifest names no limit (VCPToolBox Plugin.js)."""


def host_limit(plugin: Path) -> float:
    """Seconds after which the host kills this process: the manifest's ``communication.timeout``.

    That is in milliseconds, a number or a string of one; anything else counts as absent.
    """
    try:
        manifest = json.loads((plugin / MANIFEST).read_text("utf-8"))
        stated = finite(float(manifest["communication"]["timeout"]))
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        stated = None
    return stated / 1000 if stated is not None and stated > 0 else HOST_LIMIT_ABSENT


def fetch_grace(limit: float, timeout: float) -> float:
    """How long after a deadline of ``timeout`` requests may last where the host's limit is ``limit``."""
    return max(0.0, min(FETCH_GRACE_SECONDS, limit - HOST_MARGIN - REPORT_SECONDS - timeout))
