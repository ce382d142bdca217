"""Responses through the Python of .venv."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from comfyui_pipeline.process import reexec
from tests.stdio.processes import posix, write_venv_python


@posix
@pytest.mark.parametrize(
    "around",
    [
        "echo hello; {}",
        "printf hello; {}",
        "{}; echo bye",
        "echo '{{'; {}; echo '}}'",
        "echo '[1]'; {}",
    ],
)
def test_prints_around_the_response_of_another_python_are_ignored(plugin: Any, around: str) -> None:
    write_venv_python(plugin, around.format(f'"{sys.executable}" "$@"'))
    answered = plugin.call({"workflow": "no such"}, python=(sys.executable, "-I", "-S"))
    assert "no workflow" in answered.error


def test_the_time_used_before_a_reexec_counts(monkeypatch: Any) -> None:
    for value, seconds in [("1", 1.0), ("7.5", 7.5), ("x", 0), ("nan", 0), ("-3", 0), ("1e999", 0)]:
        monkeypatch.setenv(reexec.GUARD, value)
        assert reexec.seconds_before_start() == seconds
        assert reexec.is_child()
    monkeypatch.delenv(reexec.GUARD)
    assert reexec.seconds_before_start() == 0
    assert not reexec.is_child()
