"""How long a server and a job may be silent or down before the pipeline reacts."""

from __future__ import annotations

import math

from input_server.light_dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds.

    ``ask_after``: without a WebSocket message, before the queue and the history are asked.
    ``poll_interval``: between two such requests while there is no WebSocket. ``reconnect_after``:
    without a message while the job runs, before the WebSocket is replaced. ``stall_timeout``: without
    a message, before the job counts as stalled (setting COMFYUI_SILENCE_TIMEOUT; its default is in
    ``settings_table``). ``idle_timeout``: for which the server may run nothing although jobs wait.
    ``down_timeout_running``: for which it may refuse connections before a running job counts as
    lost; ``down_timeout_queued``: the same for a waiting job, as long as a restart takes.
    """

    ask_after: float = 5.0
    poll_interval: float = 0.5
    reconnect_after: float = 30.0
    stall_timeout: float = math.inf
    idle_timeout: float = 15.0
    down_timeout_running: float = 8.0
    down_timeout_queued: float = 60.0
