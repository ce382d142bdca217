"""The host's time limit for one call. Runs on older Pythons than the rest (see ``front_door``)."""

from __future__ import annotations

import json
from pathlib import Path

from comfyui_pipeline.numbers import finite

MANIFEST = "plugin-manifest.json"
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
