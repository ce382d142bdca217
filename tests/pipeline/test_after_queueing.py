"""No failure on our side after queueing loses the prompt id or the stored files."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from comfyui_pipeline import dispatch, outputs, report
from comfyui_pipeline import settings as pipeline_settings
from comfyui_pipeline.call import parse
from comfyui_pipeline.call_record import CallRecord
from comfyui_pipeline.media import image_convert, image_decode, media_info, previews
from tests.conftest import png
from tests.media import broken_files as broken
from tests.pipeline.test_fault_matrix import DONE, END, NODE, SUCCESS, WORKFLOW
from tests.waiting import TIMEOUT


def scripted(fake: Any, files: dict[str, bytes]) -> None:
    """A job that succeeds with these files, and its history."""
    images = [{"filename": name, "subfolder": "", "type": "output"} for name in files]
    fake.script.files = files
    fake.script.frames = [NODE, SUCCESS, END]
    fake.script.history = {
        "ID": {
            "outputs": {"9": {"images": images}},
            "status": {"status_str": "success", "messages": [["execution_success", {}]]},
            "prompt": [0, "ID", WORKFLOW, {}, ["9"]],
        }
    }


def test_odd_files_are_stored_and_returned_by_run_and_result(plugin: Any, fake: Any) -> None:
    scripted(fake, broken.STORED)
    name = plugin.workflow("odd", WORKFLOW)
    first = plugin.call({"workflow": name}, COMFYUI_BASE_URL=fake.url)
    ident = first.result["prompt_id"]
    again = plugin.call({"command": "result", "prompt_id": ident}, COMFYUI_BASE_URL=fake.url)
    for answered in (first, again):
        files = {output["file"]: output for output in answered.result["outputs"]}
        assert files.keys() - {"fine_1.png"} == broken.STORED.keys()  # next to one without preview
        for file, content in broken.STORED.items():
            assert Path(files[file]["path"]).read_bytes() == content
            assert files[file]["url"] in answered.text
        assert {files[f"{name}.webm"]["seconds"] for name in ("nan", "endless", "negative")} == {
            None
        }
        assert files["exif.jpg"]["width"] == 64
        assert "no preview of avif.avif" in answered.text
        assert "missing end.jpg: its last bytes are missing" in answered.text


def test_a_file_that_does_not_match_its_name_has_failed(plugin: Any, fake: Any) -> None:
    scripted(
        fake,
        {**{name: content for name, (content, _) in broken.FAILED.items()}, "a.png": png(8, 8)},
    )
    answered = plugin.call(
        {"workflow": plugin.workflow("bad", WORKFLOW)}, COMFYUI_BASE_URL=fake.url
    )
    assert answered.result["complete"] is False
    assert [output["file"] for output in answered.result["outputs"]] == ["a.png"]
    warnings = "\n".join(answered.result["warnings"])
    for name, (_, message) in broken.FAILED.items():
        assert any(name in line and message in line for line in answered.result["warnings"]), (
            name,
            warnings,
        )
    assert [path.name for path in plugin.output.rglob("*") if path.is_file()] == ["a.png"]


@pytest.mark.parametrize("name", ["empty.png", "page.png", "head.tif", "head.psd", "head.avif"])
def test_a_job_whose_only_image_is_invalid_fails(plugin: Any, fake: Any, name: str) -> None:
    content, message = broken.FAILED[name]
    scripted(fake, {name: content})
    error = plugin.call(
        {"workflow": plugin.workflow("bad", WORKFLOW)}, COMFYUI_BASE_URL=fake.url
    ).error
    assert message in error
    assert fake.script.posted[-1]["prompt_id"] in error


def every_exception() -> list[type[Exception]]:
    """The built-in exception classes that accept a text."""
    found: list[type[Exception]] = []
    waiting: list[type[Exception]] = [Exception]
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        if kind.__module__ == "builtins" and not issubclass(kind, UnicodeError):
            found.append(kind)
    return sorted(set(found), key=lambda kind: kind.__name__)


BREAKABLE = [
    (media_info, "_movie"),
    (media_info, "measured"),
    (image_decode, "measured_size"),
    (image_convert, "exif_orientation"),
    (image_convert, "apply_orientation"),
    (image_convert, "first_frame"),
    (previews, "build_previews"),
    (previews, "_uri"),
    (report, "build_result"),
    (report, "_properties"),
    (report, "_preview_notes"),
    (outputs, "url_for_file"),
]


@pytest.mark.parametrize(("module", "name"), BREAKABLE, ids=lambda value: str(value)[-24:])
@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(kind=st.sampled_from(every_exception()))
def test_any_exception_after_queueing_keeps_the_prompt_id_and_the_files(
    tmp_path_factory: pytest.TempPathFactory, module: Any, name: str, kind: type[Exception]
) -> None:
    from tests.faulty import FakeServer

    def fails(*_: Any, **__: Any) -> Any:
        raise kind("on purpose")

    folder = tmp_path_factory.mktemp("stored")
    fake, record = FakeServer(), CallRecord()
    scripted(fake, {"a.png": png(8, 8), "film.mp4": (broken.FILES / "film.mp4").read_bytes()})
    environ = {"COMFYUI_BASE_URL": fake.url, "FILE_SERVER_ACCESS_KEY": "key"}
    chosen = pipeline_settings.load(folder, environ)
    call = parse(json.dumps({"workflow_json": WORKFLOW}).encode())
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, name, fails)
            try:
                answer = json.dumps(dispatch.perform(call, chosen, 10.0**9, record))
            except Exception as error:
                answer = f"{error} {record.summary(str(error))}"
    finally:
        fake.stop()
    assert fake.script.posted[-1]["prompt_id"] in answer
    stored = {path.name for path in (folder / "output").rglob("*") if path.is_file()}
    assert stored == {"a.png", "film.mp4"}
    if name != "url_for_file":  # without addresses there are no results to be named
        assert all(file in answer for file in stored)


def waiting_is(plugin: Any, *lines: str) -> None:
    """Replace the code that waits for a job in this installation."""
    module = plugin.folder / "comfyui_pipeline" / "engine" / "waiting.py"
    text = module.read_text("utf-8")
    assert "    def wait(\n" in text
    body = "".join(f"        {line}\n" for line in lines)
    new = f"    def wait(self, *_: object) -> None:\n{body}\n    def _unused(\n"
    module.write_text(text.replace("    def wait(\n", new, 1), "utf-8")


def test_an_internal_error_while_waiting_names_the_job_and_does_not_cancel_it(
    plugin: Any, fake: Any
) -> None:
    waiting_is(plugin, "raise KeyError")
    fake.script.never_ends = True
    answered = plugin.call({"workflow": plugin.workflow("it", WORKFLOW)}, COMFYUI_BASE_URL=fake.url)
    ident = fake.script.posted[-1]["prompt_id"]
    assert answered.json["code"] == "internal_error"
    assert f'{{"command": "result", "prompt_id": "{ident}"}}' in answered.error
    assert not fake.script.cancelled


def test_the_watchdogs_response_names_the_job(plugin: Any, fake: Any) -> None:
    waiting_is(plugin, "import threading", "threading.Event().wait()")
    manifest = plugin.folder / "plugin-manifest.json"
    document = json.loads(manifest.read_text("utf-8"))
    document["communication"]["timeout"] = 12_000
    manifest.write_text(json.dumps(document), "utf-8")
    fake.script.never_ends = True
    answered = plugin.call({"workflow": plugin.workflow("it", WORKFLOW)}, COMFYUI_BASE_URL=fake.url)
    assert "No result within this call's time limit" in answered.error
    assert f'"prompt_id": "{fake.script.posted[-1]["prompt_id"]}"' in answered.error


@pytest.mark.skipif(sys.platform == "win32", reason="Windows ends a process without a signal")
@pytest.mark.parametrize("parts", [1, 2])
def test_a_stopped_call_names_and_cancels_its_job(plugin: Any, fake: Any, parts: int) -> None:
    fake.script.frames, fake.script.never_ends = [NODE, DONE], True
    fake.script.files = {"a.png": png(8, 8)}
    name = plugin.workflow("it", WORKFLOW)
    call = {"workflow": name} if parts == 1 else {"workflow1": name, "workflow2": name}
    process = plugin.start(call, COMFYUI_BASE_URL=fake.url)
    while len(fake.script.posted) < parts:
        assert process.poll() is None
        fake.script.release.wait(0.05)
    output = plugin.output / "a.png"
    while parts == 1 and not output.exists():  # the fake server's frames name one run only
        assert process.poll() is None
        fake.script.stopped.wait(0.05)
    os.kill(process.pid, signal.SIGTERM)
    message = json.loads(process.communicate(timeout=TIMEOUT)[0])["error"]
    for posted in fake.script.posted:
        assert posted["prompt_id"] in message
        assert posted["prompt_id"] in fake.script.cancelled
    if parts == 1:
        assert "a.png" in message
