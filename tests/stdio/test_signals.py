"""Signals while a job runs."""

from __future__ import annotations

import json
import signal
import sys
from typing import Any

import pytest

from tests.stdio.processes import (
    INFO,
    RUN,
    posix,
    response_of,
    start_process,
    write_stdin,
    write_venv_python,
)
from tests.waiting import wait_until

Signals = signal.Signals


@posix
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP"])
@pytest.mark.parametrize("relayed", [False, True], ids=["itself", "by the .venv's Python"])
def test_a_signal_cancels_the_job_and_gives_a_response(
    plugin: Any, fake: Any, name: str, relayed: bool
) -> None:
    fake.script.never_ends = True
    call = json.dumps({"workflow": plugin.workflow("it", RUN)}).encode()
    python = [sys.executable]
    if relayed:
        write_venv_python(plugin, f'exec "{sys.executable}" "$@"')
        python = [sys.executable, "-I", "-S"]
    env = {"COMFYUI_BASE_URL": fake.url}
    process = start_process(plugin, *python, "comfyui_plugin.py", env=env)
    write_stdin(process, call)
    assert fake.script.release.wait(50)  # it is queued
    process.send_signal(getattr(signal, name))
    process.send_signal(signal.SIGTERM)  # a second one does not break off what the first began
    error = response_of(process)["error"]
    (posted,) = fake.script.posted
    assert "stopped" in error
    assert posted["prompt_id"] in error
    assert posted["prompt_id"] in fake.script.cancelled


@posix
@pytest.mark.parametrize("relayed", [False, True], ids=["itself", "by the .venv's Python"])
@pytest.mark.parametrize("refused", [False, True], ids=["cancelled", "refused"])
@pytest.mark.parametrize("parts", [1, 3])
def test_a_stopped_call_reports_for_each_job_whether_it_was_cancelled(
    plugin: Any, fake: Any, relayed: bool, refused: bool, parts: int
) -> None:
    fake.script.never_ends = True
    if refused:
        fake.script.broken = dict.fromkeys(("/interrupt", "/api/jobs", "/queue"), (500, b""))
    name = plugin.workflow("it", RUN)
    call = {f"workflow{n}": name for n in range(1, parts + 1)} if parts > 1 else {"workflow": name}
    python = [sys.executable]
    if relayed:
        write_venv_python(plugin, f'exec "{sys.executable}" "$@"')
        python = [sys.executable, "-I", "-S"]
    process = start_process(
        plugin, *python, "comfyui_plugin.py", env={"COMFYUI_BASE_URL": fake.url}
    )
    write_stdin(process, json.dumps(call).encode())
    wait_until(lambda: fake.script.requested_paths.count("/queue") >= parts)
    process.send_signal(signal.SIGTERM)
    error = response_of(process)["error"]
    for posted in fake.script.posted:
        assert posted["prompt_id"] in error
    assert error.count("was cancelled") == (0 if refused else parts)
    assert error.count("still be running") == (parts if refused else 0)


@posix
def test_a_signal_ignored_at_the_start_stays_ignored(plugin: Any) -> None:
    process = start_process(plugin, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    write_stdin(process, INFO[:-1])
    process.send_signal(signal.SIGHUP)
    write_stdin(process, INFO[-1:])
    assert response_of(process)["status"] == "success"
