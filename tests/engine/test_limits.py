"""The time and size limits of the engine."""

from __future__ import annotations

import math

from comfyui_pipeline.engine import (
    cancelling,
    comfyui,
    error_text,
    http,
    messages,
    schema_cache,
    subscription,
    waiting,
    websocket,
)
from comfyui_pipeline.engine.timeouts import Timeouts
from comfyui_pipeline.process import time_limit


def test_the_timeouts_and_retry_limits() -> None:
    assert Timeouts() == Timeouts(
        ask_after=5.0,
        poll_interval=0.5,
        reconnect_after=30.0,
        stall_timeout=math.inf,
        idle_timeout=15.0,
        down_timeout_running=8.0,
        down_timeout_queued=60.0,
    )
    assert waiting.HISTORY_PAUSES == (0.0, 0.05, 0.1, 0.2, 0.4, 0.8, 1.5)
    assert (http.TRIES, http.FIRST_WAIT, http.MAX_PARALLEL_REQUESTS) == (3, 0.25, 8)
    assert {429, 502, 503, 504} == http.BUSY
    assert {502, 503, 504, 520, 521, 522, 523, 524, 525, 526, 527, 530} == http.GATEWAY
    assert time_limit.FETCH_GRACE == 12
    assert (time_limit.WATCHDOG_GRACE, time_limit.HOST_MARGIN, time_limit.READING_MARGIN) == (
        15,
        2,
        2,
    )
    assert (waiting.QUEUE_SECONDS, comfyui.SOCKET_SECONDS, cancelling.REQUEST_SECONDS) == (
        5,
        5,
        5,
    )
    assert {500, 502, 503, 504} == subscription.TEMPORARY
    assert (subscription.FIRST_PAUSE, subscription.LONGEST_PAUSE) == (0.5, 8.0)
    assert (schema_cache.MAX_AGE_SECONDS, schema_cache.MAX_BYTES) == (120.0, 32 * 2**20)
    assert (error_text.LISTED, error_text.SHOWN) == (10, 300)


def test_the_size_limits() -> None:
    assert http.MAX_BODY == 64 * 2**20
    assert websocket.MAX_MESSAGE == 64 * 2**20
    assert messages.MAX_IMAGES_BYTES == 128 * 2**20
