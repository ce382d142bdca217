"""Serves the files of named mounts by URL, under a key, and nothing else.

``GET /comfyui_server/pw=<key>/files/<alias>/<path>``
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from input_server.express import Registry

__all__ = ["register_routes"]


def register_routes(
    app: Registry, plugin_config: Mapping[str, Any] | None, project_base_path: str | Path | None
) -> None:
    """Register the one route with an Express-like registry.

    ``plugin_config``: the host's settings (``COMFYUI_MOUNTS``, ``COMFYUI_ACCESS_KEY``,
    ``DebugMode``); what is absent there comes from the environment and from ``config.env``.
    ``project_base_path``: relative mounts begin there; None means this project's folder.
    Raises ConfigError for a mount or a key that cannot be served.
    """
    from input_server.config import read
    from input_server.express import register

    base = Path(project_base_path) if project_base_path else None
    register(app, read(plugin_config or {}, base))
