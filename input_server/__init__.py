"""File server: serves the files of named mounts by URL to clients with a key.

``GET /comfyui_server/pw=<key>/files/<alias>/<path>``
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .http.express_registry import Registry

__all__ = ["register_routes"]


def register_routes(
    app: Registry, plugin_config: Mapping[str, Any] | None, project_base_path: str | Path | None
) -> None:
    """Register the routes with an Express-like registry.

    ``plugin_config``: the host's settings (``COMFYUI_MOUNTS``, ``COMFYUI_ACCESS_KEY``,
    ``DebugMode``); settings missing there come from the environment and ``config.env``.
    ``project_base_path``: relative mounts start there; None means this project's folder.
    Raises ConfigError for a mount or a key that cannot be served.

    Clients with wrong keys are locked out, but their responses are not delayed, as that would block
    the caller of the handler. A thread deletes files by the mounts' rules once an hour.
    """
    from .application import create_file_server
    from .http.express_registry import register
    from .log import log_line
    from .mounts.cleanup import start_cleanup_thread
    from .settings import read, short_key_warnings

    base = Path(project_base_path) if project_base_path else None
    config = read(plugin_config or {}, base)
    server = create_file_server(config)
    register(app, server, access_log=config.access_log)
    for warning in short_key_warnings(config):
        log_line(warning)
    start_cleanup_thread(server.mounts, log_line)
