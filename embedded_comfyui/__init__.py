"""A small server with ComfyUI's protocol that computes the nodes which need no model.

For demos and tests. It never invents an image: a node type that it cannot compute is rejected, as
ComfyUI rejects an unknown one.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from embedded_comfyui.nodes.base import Node
    from embedded_comfyui.server import EmbeddedServer

__all__ = ["serve_in_thread"]


def serve_in_thread(
    base: Path | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    extra_nodes: Mapping[str, Node] | None = None,
) -> EmbeddedServer:
    """Start a server in this process; it accepts requests when this returns.

    ``base``: the folder for ``input``, ``output`` and ``temp``; None creates a temporary one.
    ``port`` 0 chooses a free port. ``extra_nodes``: node type -> node, in addition to the built-in
    ones. Raises ImportError if aiohttp or numpy is missing, OSError if the port is in use.
    """
    from embedded_comfyui.server import EmbeddedServer

    return EmbeddedServer(base, host, port, extra_nodes or {})
