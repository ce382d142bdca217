"""A small server that speaks ComfyUI's protocol and computes the nodes that need no model.

For demos, tests and trying out calls. It never makes up a picture: a node that it cannot compute is
refused, as ComfyUI refuses a class that it does not know.
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
    """Start a server inside this process, ready when this returns.

    ``base``: the folder of its ``input``, ``output`` and ``temp``; None makes one that is removed at
    the end. ``port`` 0 takes a free one. ``extra_nodes``: class name -> node, beside its own.
    Raises ImportError when aiohttp or numpy are missing, OSError when the port is taken.
    """
    from embedded_comfyui.server import EmbeddedServer

    return EmbeddedServer(base, host, port, extra_nodes or {})
