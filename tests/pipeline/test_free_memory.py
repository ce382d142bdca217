"""Freeing the server's memory: on request, after each job, after idle minutes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from comfyui_pipeline import idle_watch, queued_jobs, settings
from comfyui_pipeline.errors import SettingsError
from input_server.light_dataclasses import replace
from tests.conftest import png
from tests.engine.scripted import END, EXECUTED, GOOD, PROMPT, SUCCESS
from tests.pipeline.test_fault_matrix import WORKFLOW
from tests.waiting import wait_until


def test_the_command_unloads_models_and_says_what_is_free(ready: Any) -> None:
    answered = ready.call({"command": "free"})
    assert answered.text.startswith("ComfyUI has unloaded its models. Before: memory ")
    assert answered.result["freed"] is True


def test_a_running_job_is_not_disturbed(plugin: Any, fake: Any) -> None:
    stats = {"system": {"ram_free": 2**30, "ram_total": 2**31}, "devices": []}
    fake.script.broken = {"/system_stats": (200, stats)}
    fake.script.queue = {"queue_running": [[1, "other", PROMPT, {}, []]], "queue_pending": []}
    answered = plugin.call({"command": "unload models"}, COMFYUI_BASE_URL=fake.url)
    assert answered.text == (
        "ComfyUI unloads its models when the running job has ended. Now: memory 1.0 GB of 2.0 GB "
        "free; devices: none."
    )
    assert "/free" in fake.script.requested_paths


def run(plugin: Any, fake: Any, setting: str, **call: str) -> None:
    fake.script.frames, fake.script.history = [EXECUTED, SUCCESS, END], GOOD
    fake.script.files = {"a.png": png(8, 8)}
    given = {"workflow": plugin.workflow("it", WORKFLOW), **call}
    plugin.call(given, COMFYUI_BASE_URL=fake.url, COMFYUI_FREE_MEMORY=setting)


@pytest.mark.parametrize(("setting", "freed"), [("job", True), ("never", False), ("", False)])
def test_memory_is_freed_after_each_job_if_set(
    plugin: Any, fake: Any, setting: str, freed: bool
) -> None:
    run(plugin, fake, setting)
    assert ("/free" in fake.script.requested_paths) is freed
    fake.script.requested_paths.clear()
    run(plugin, fake, setting, dry_run="true")
    assert "/free" not in fake.script.requested_paths


@pytest.mark.skipif(sys.platform == "win32", reason="the process would hold the temporary folder")
def test_a_process_frees_the_memory_after_idle_minutes(plugin: Any, fake: Any) -> None:
    run(plugin, fake, "0.001")
    wait_until(lambda: "/free" in fake.script.requested_paths, "it never freed the memory")


@pytest.fixture
def chosen(tmp_path: Path, fake: Any) -> settings.Settings:
    (tmp_path / "workflows").mkdir()
    environment = {"COMFYUI_BASE_URL": fake.url, "COMFYUI_FREE_MEMORY": "1"}
    return settings.load(tmp_path, environment)


def test_the_watch_waits_for_the_queue_and_the_idle_time(
    chosen: settings.Settings, fake: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert chosen.free_after == 60
    now, busy = [1000.0], [5]

    def sleep(_seconds: float) -> None:
        now[0] += 10
        busy[0] -= 1
        if busy[0] == 0:
            fake.script.queue = {"queue_running": [], "queue_pending": []}

    fake.script.queue = {"queue_running": [[1, "other", PROMPT, {}, []]], "queue_pending": []}
    monkeypatch.setattr(idle_watch.time, "sleep", sleep)
    monkeypatch.setattr(idle_watch.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(idle_watch, "ANSWER_SECONDS", 10_000_000.0)
    assert idle_watch.watch(chosen)
    assert now[0] == 1000 + 40 + 60  # idle since the last look at which a job ran


def test_the_watch_ends_when_a_later_call_queues_a_job(
    chosen: settings.Settings, fake: Any
) -> None:
    queued_jobs.records(chosen).add("later", "it")
    newest = queued_jobs.records(chosen).last()
    assert newest is not None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(idle_watch.time, "time", lambda: newest.at - 1)
        assert not idle_watch.watch(chosen)
    assert not fake.script.requested_paths


def test_the_watch_gives_up_when_the_server_has_stopped(chosen: settings.Settings) -> None:
    gone = replace(chosen, base_url="http://127.0.0.1:9")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(idle_watch, "MAX_FAILURES", 2)
        assert not idle_watch.watch(gone, poll_seconds=0)


@pytest.mark.parametrize("value", ["always", "-1", "1441", "1e3"])
def test_other_values_are_refused(tmp_path: Path, value: str) -> None:
    with pytest.raises(SettingsError, match="or idle minutes"):
        settings.load(tmp_path, {"COMFYUI_FREE_MEMORY": value})
