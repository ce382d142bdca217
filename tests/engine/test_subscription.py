"""When a broken WebSocket is connected again."""

from __future__ import annotations

from typing import Any

import pytest

from comfyui_pipeline.engine import subscription
from comfyui_pipeline.engine.websocket import HandshakeRefused, WebSocketError
from tests.engine.clock import Clock


@pytest.mark.parametrize(
    ("status", "again"),
    [(500, True), (502, True), (503, True), (504, True), (403, False), (404, False)],
)
def test_a_refused_handshake_is_retried_only_after_a_temporary_status(
    monkeypatch: pytest.MonkeyPatch, status: int, again: bool
) -> None:
    clock, tries = Clock(), list[float]()
    monkeypatch.setattr(subscription, "time", clock)

    def connect() -> Any:
        tries.append(clock.now - 1000)
        raise HandshakeRefused(status)

    subscribed = subscription.Subscription(connect, lambda text: None)
    while clock.now < 1060:
        assert subscribed.next(clock.now + 100 if again else 1060) is None
    assert tries[:6] == pytest.approx([0, 0.5, 1.5, 3.5, 7.5, 15.5] if again else [0])


def test_the_pause_before_reconnecting_doubles_up_to_8_s(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, connected = Clock(), list[float]()
    monkeypatch.setattr(subscription, "time", clock)

    class Broken:
        def receive(self, until: float) -> str:
            raise WebSocketError

        def hang_up(self) -> None:
            return

    def connect() -> Any:
        connected.append(clock.now - 1000)
        return Broken()

    subscribed = subscription.Subscription(connect, lambda text: None)
    while clock.now < 1040:
        assert subscribed.next(clock.now + 100) is None
    assert connected[:7] == pytest.approx([0, 0.5, 1.5, 3.5, 7.5, 15.5, 23.5])
