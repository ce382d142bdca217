"""Another ComfyUI on this machine, for the error of a closed port: ComfyUI Desktop uses port 8000."""

from __future__ import annotations

import time
from collections.abc import Sequence

from comfyui_pipeline.engine import responses
from comfyui_pipeline.engine.json_shape import check_depth
from comfyui_pipeline.engine.server_url import ServerUrl
from comfyui_pipeline.engine.socket_http import SocketTransport
from comfyui_pipeline.engine.transport import Request

SECONDS = 1.0
"""For each port: it is on this machine, so that an answer takes milliseconds."""
MAX_BYTES = 64 * 2**10


def other_port(closed: ServerUrl, ports: Sequence[int]) -> int | None:
    """The first of ``ports`` at which ComfyUI answers, apart from the closed one."""
    others = (port for port in ports if port != closed.port)
    return next((port for port in others if _is_comfyui(closed.with_port(port))), None)


def _is_comfyui(url: ServerUrl) -> bool:
    import json

    until = time.monotonic() + SECONDS
    transport = SocketTransport(url, {}, SECONDS, 1)
    try:
        response = transport.open(Request("GET", "/system_stats"), until)
        try:
            content = b""
            while len(content) <= MAX_BYTES and (piece := response.read(until)):
                content += piece
        finally:
            response.close()
        document = json.loads(content)
        check_depth(document)
        return response.status == 200 and "comfyui_version" in responses.system(document)["system"]
    except Exception:  # whatever is there, it is not ComfyUI
        return False
    finally:
        transport.close()
