"""Progress on stderr, as a bar or as log lines."""

from __future__ import annotations

import io
import sys

import pytest

from comfyui_pipeline import progress
from comfyui_pipeline.engine.protocol import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    with progress.show_on_stderr() as show:
        show(Progress("queued", position=3))
        for step in range(1, 5):
            show(Progress("running", "7", step, 4))
    assert "waiting in the queue behind 3" in screen.getvalue()
    assert "node 7: 4 of 4" in screen.getvalue()
    assert "4/4" in screen.getvalue()


def test_a_log_gets_a_line_every_few_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    log, now = io.StringIO(), [100.0]
    monkeypatch.setattr(sys, "stderr", log)
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with progress.show_on_stderr() as show:
        for step in range(1, 61):
            now[0] += 0.125
            show(Progress("running", "7", step, 60))
    assert log.getvalue().splitlines() == ["node 7: 24 of 60", "node 7: 48 of 60"]


@pytest.mark.parametrize(
    ("step", "line"),
    [
        (Progress("queued", position=1), "waiting in the queue behind 1"),
        (Progress("queued", position=0), ""),
        (Progress("running"), ""),
        (Progress("running", "7"), "node 7"),
        (Progress("running", "7", 0, 4), "node 7: 0 of 4"),
        (Progress("running", "7", 2.5, 4), "node 7: 2.5 of 4"),
        (Progress("running", "7", 3, 0), "node 7"),
    ],
)
@pytest.mark.parametrize(("after", "due"), [(3.0, True), (2.9, False)])
def test_a_log_line_every_three_seconds_has_stage_node_and_percentage(
    monkeypatch: pytest.MonkeyPatch, step: Progress, line: str, after: float, due: bool
) -> None:
    log, now = io.StringIO(), [100.0]
    monkeypatch.setattr(sys, "stderr", log)
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with progress.show_on_stderr() as show:
        now[0] += after
        show(step)
        show(step)
    assert log.getvalue() == (f"{line}\n" if line and due else "")


def test_a_bar_restarts_with_each_node_and_is_cleared_at_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    with progress.show_on_stderr() as show:
        show(Progress("running", "7", 4, 4))
        show(Progress("running", "8"))
        show(Progress("running", "9", 1, 3))
        show(Progress("saving"))
    shown = screen.getvalue()
    assert "node 8:" in shown.replace("node 8: 0", "node 8:")
    assert "1/3" in shown
    assert "saving" in shown
    assert shown.rpartition("\r")[2].strip() == ""


def test_without_a_stderr_nothing_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    with progress.show_on_stderr() as show:
        assert isinstance(show, progress.LogLines)
