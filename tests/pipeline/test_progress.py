"""How far a run is, as a person sees it at stderr."""

from __future__ import annotations

import io
import sys

import pytest

from comfyui_pipeline import progress
from comfyui_pipeline.engine.base import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    with progress.at_stderr() as tell:
        tell(Progress("queued", position=3))
        for step in range(1, 5):
            tell(Progress("running", "7", step, 4))
    assert "waiting in the queue behind 3" in screen.getvalue()
    assert "node 7: 4 of 4" in screen.getvalue()
    assert "4/4" in screen.getvalue()


def test_a_log_gets_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    log, now = io.StringIO(), [100.0]
    monkeypatch.setattr(sys, "stderr", log)
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with progress.at_stderr() as tell:
        for step in range(1, 61):
            now[0] += 0.125
            tell(Progress("running", "7", step, 60))
    assert log.getvalue().splitlines() == ["node 7: 24 of 60", "node 7: 48 of 60"]
