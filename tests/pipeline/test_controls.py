"""Control words of a call: dry runs, limits, output nodes, file names and formats, ids of jobs."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
import requests
from PIL import Image

from comfyui_pipeline import dispatch, repeated_job, settings
from comfyui_pipeline.call import ToolCall
from comfyui_pipeline.call_record import CallRecord
from tests.conftest import png
from tests.pipeline.servers import Server, slow
from tests.pipeline.test_fault_matrix import GOOD, GOOD_FRAMES, WORKFLOW
from tests.waiting import TIMEOUT

TWO: dict[str, Any] = {
    "1": {
        "class_type": "EmptyImage",
        "inputs": {"width": 64, "height": 48, "batch_size": 1, "color": 255},
        "_meta": {"title": "Blank"},
    },
    "2": {
        "class_type": "ImageInvert",
        "inputs": {"image": ["1", 0]},
        "_meta": {"title": "Inverted"},
    },
    "3": {
        "class_type": "SaveImage",
        "inputs": {"images": ["1", 0], "filename_prefix": "draft"},
        "_meta": {"title": "Draft"},
    },
    "4": {
        "class_type": "SaveImage",
        "inputs": {"images": ["2", 0], "filename_prefix": "final"},
        "_meta": {"title": "Final"},
    },
}


@pytest.fixture
def two(ready: Any) -> Any:
    ready.workflow("two", TWO)
    return ready


def files(answered: Any) -> list[str]:
    return [output["file"] for output in answered.result["outputs"]]


@pytest.mark.parametrize("key", ["dry_run", "validate_only", "simulate"])
def test_a_dry_run_queues_and_uploads_nothing(two: Any, key: str) -> None:
    checked = two.call({"workflow": "two", key: "true"})
    assert "Nothing was queued or uploaded" in checked.text
    assert checked.result["outputs"] == []
    assert not two.output.exists() or not list(two.output.rglob("*.png"))
    unknown = two.call({"command": "status", "prompt_id": "last"})
    assert "has queued none" in unknown.error


def test_a_dry_run_reports_a_file_that_would_be_uploaded(ready: Any, image_uri: str) -> None:
    call = {"workflow": "resize_image", "image": image_uri, "width": "32", "height": "32"}
    assert "Would be uploaded" in ready.call({**call, "dry_run": True}).text
    missing = ready.call({**call, "image": "nowhere.png", "dry_run": True})
    assert "nowhere.png" in missing.error


def test_only_the_branch_of_the_given_output_node_runs(two: Any) -> None:
    for name in ("Final", "final", "4"):
        (file,) = files(two.call({"workflow": "two", "output": name}))
        assert file.startswith("final")
    assert len(files(two.call({"workflow": "two", "output": "all"}))) == 2


@pytest.mark.parametrize("name", ["Inverted", "2", "Nowhere"])
def test_what_is_no_output_node_is_an_error_that_lists_them(two: Any, name: str) -> None:
    refused = two.call({"workflow": "two", "output": name})
    assert '3 "Draft"' in refused.error
    assert '4 "Final"' in refused.error


@pytest.mark.parametrize(
    ("given", "begin"),
    [
        ({"filename_prefix": "hero"}, "hero_"),
        ({"filename": "hero.png"}, "hero_"),
        ({"filename_prefix": "project\\hero"}, "project/hero_"),
        ({"filename_prefix": "hero", "folder": "output/project"}, "project/hero_"),
        ({"folder": "project"}, "project/final_"),
        ({"filename": "v1.5"}, "v1.5_"),
    ],
)
def test_results_have_the_given_name(two: Any, given: dict[str, str], begin: str) -> None:
    (file,) = files(two.call({"workflow": "two", "output": "Final", **given}))
    assert file.startswith(begin)


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/x", "C:\\x", "~/x", "\\\\host\\x"])
def test_no_name_leads_out_of_the_output_folder(two: Any, name: str) -> None:
    for key in ("filename_prefix", "folder"):
        refused = two.call({"workflow": "two", key: name})
        assert "in the output folder only" in refused.error


def test_a_format_that_no_node_offers_is_a_copy(two: Any) -> None:
    for given, extension, form in (("webp", ".webp", "WEBP"), (".JPG", ".jpg", "JPEG")):
        call = {"workflow": "two", "output": "Final", "format": given, "quality": "80"}
        (file,) = files(two.call(call))
        assert file.endswith(extension)
        with Image.open(two.output / file) as image:
            assert (image.format, image.size) == (form, (64, 48))


def test_the_saved_format_needs_no_copy(two: Any) -> None:
    (file,) = files(two.call({"workflow": "two", "output": "Final", "format": "png"}))
    assert not file.endswith("_copy.png")


def test_a_copy_without_metadata_has_no_prompt(two: Any) -> None:
    (file,) = files(two.call({"workflow": "two", "output": "Final", "metadata": "none"}))
    with Image.open(two.output / file) as image:
        assert "prompt" not in image.info


def test_a_setting_passes_images_on_without_prompt_and_workflow(two: Any) -> None:
    call = {"workflow": "two", "output": "Final"}
    (copy,) = files(two.call(call, COMFYUI_METADATA="none"))
    with Image.open(two.output / copy) as image:
        assert "prompt" not in image.info
    (kept,) = files(two.call({**call, "metadata": "keep"}, COMFYUI_METADATA="none"))
    with Image.open(two.output / kept) as image:
        assert "prompt" in image.info


def test_the_result_of_a_submitted_job_has_the_format_that_was_asked_for(two: Any) -> None:
    call = {"command": "submit", "workflow": "two", "output": "Final", "format": "webp"}
    two.call({**call, "metadata": "none", "return_image": "none"})
    later = {"command": "result", "prompt_id": "last", "wait": "60"}
    kept = two.call(later)
    (file,) = files(kept)
    with Image.open(two.output / file) as image:
        assert image.format == "WEBP"
    assert len(kept.result["content"]) == 1
    assert "in WEBP" in kept.text
    other = two.call({**later, "format": "jpg", "quality": "70", "return_image": "preview"})
    (file,) = files(other)
    assert file.endswith(".jpg")
    assert len(other.result["content"]) == 2
    assert "WEBP" not in other.text
    original = two.call({**later, "format": "png", "metadata": "keep"})
    with Image.open(two.output / files(original)[0]) as image:
        assert "prompt" in image.info


def test_what_a_result_cannot_have_is_said_in_its_first_lines(two: Any) -> None:
    two.call({"workflow": "two", "output": "Final"})
    later = {"command": "result", "prompt_id": "last"}
    for given, said in (
        ({"format": "mp4"}, "\"format\" is 'mp4', in which no copy can be made"),
        ({"quality": "50"}, '"quality" had no effect'),
    ):
        answered = two.call({**later, **given})
        assert said in answered.text.splitlines()[1]
        assert files(answered)[0].endswith(".png")


def test_the_extension_of_a_file_name_is_its_format(two: Any) -> None:
    (file,) = files(two.call({"workflow": "two", "output": "Final", "filename": "hero.jpg"}))
    assert file.startswith("hero_")
    assert file.endswith(".jpg")


def test_a_format_that_cannot_be_had_is_refused_before_running(two: Any) -> None:
    refused = two.call({"workflow": "two", "format": "mp4"})
    assert "mp4" in refused.error
    assert "webp" in refused.error


def test_a_quality_without_effect_is_reported(two: Any) -> None:
    assert '"quality" has no effect' in two.call({"workflow": "two", "quality": "80"}).text


def test_a_webhook_is_refused_before_running(two: Any) -> None:
    refused = two.call({"workflow": "two", "webhook_url": "http://127.0.0.1:9/x"})
    assert "Nothing was queued" in refused.error


def test_a_node_is_bypassed_as_in_the_editor(two: Any) -> None:
    plain = two.call({"workflow": "two", "output": "Draft", "filename": "x"})
    call = {"workflow": "two", "output": "Final", "filename": "y"}
    bypassed = two.call({**call, "params": [{"node_title": "Inverted", "bypass": True}]})
    first, second = (two.output / files(answered)[0] for answered in (plain, bypassed))
    with Image.open(first) as one, Image.open(second) as other:
        assert one.getpixel((0, 0)) == other.getpixel((0, 0))


def test_a_node_that_cannot_be_bypassed_is_an_error(two: Any) -> None:
    refused = two.call({"workflow": "two", "params": [{"node_id": "1", "mode": 4}]})
    assert "cannot be bypassed" in refused.error


def test_the_branch_of_a_muted_node_does_not_run(two: Any) -> None:
    muted = two.call({"workflow": "two", "params": [{"node_id": "2", "mode": 2}]})
    (file,) = files(muted)
    assert file.startswith("draft")


# -- jobs ------------------------------------------------------------------------------------------


def at(server: Server, plugin: Any, call: dict[str, Any]) -> Any:
    return plugin.call(call, COMFYUI_BASE_URL=server.url)


@pytest.mark.parametrize("key", ["wait", "timeout"])
def test_a_job_that_is_waited_for_no_longer_is_handed_over(
    server: Server, plugin: Any, key: str
) -> None:
    plugin.workflow("slow", slow(40))
    left = at(server, plugin, {"workflow": "slow", key: "0.5"})
    assert left.result["complete"] is False
    prompt_id = left.result["prompt_id"]
    assert prompt_id in left.text
    cancelled = at(server, plugin, {"command": "cancel", "prompt_id": "last"})
    assert prompt_id in (cancelled.result["prompt_id"] if "result" in cancelled.json else prompt_id)


@pytest.mark.parametrize("given", [{"wait": "false"}, {"async": True}, {"background": "yes"}])
def test_a_call_that_does_not_wait_submits(two: Any, given: dict[str, Any]) -> None:
    submitted = two.call({"workflow": "two", **given})
    assert submitted.result["state"] in ("queued", "running", "ended")
    assert "outputs" not in submitted.result
    ended = two.call({"command": "result", "prompt_id": "last", "wait": "60"})
    assert ended.result["prompt_id"] == submitted.result["prompt_id"]


def test_a_repeated_job_id_returns_the_first_job(two: Any) -> None:
    first = two.call({"workflow": "two", "job_id": "mine"})
    again = two.call({"workflow": "two", "job_id": "mine"})
    assert again.result["prompt_id"] == first.result["prompt_id"]
    assert "was used before" in again.text
    assert files(again) == files(first)
    other = two.call({"workflow": "two", "job_id": "another"})
    assert other.result["prompt_id"] != first.result["prompt_id"]


def test_ids_are_understood_as_people_copy_them(two: Any) -> None:
    prompt_id = two.call({"workflow": "two"}).result["prompt_id"]
    for text in (
        f"`{prompt_id}`",
        f"{prompt_id.upper()}.",
        f"(prompt id {prompt_id})",
        prompt_id[:8],
        "last",
        "Latest",
        "上一个",
    ):
        state = two.call({"command": "status", "prompt_id": text})
        assert state.result["prompt_id"] == prompt_id, text


def test_an_unknown_id_names_the_last_jobs_and_invites_no_second_run(two: Any) -> None:
    prompt_id = two.call({"workflow": "two"}).result["prompt_id"]
    lost = two.call({"command": "result", "prompt_id": "00000000-0000-4000-8000-000000000000"})
    assert prompt_id in lost.error
    assert "queue the workflow again" not in lost.error


def test_the_same_call_names_the_job_that_is_running_already(server: Server, plugin: Any) -> None:
    plugin.workflow("slow", slow(40))
    first = at(server, plugin, {"command": "submit", "workflow": "slow"}).result["prompt_id"]
    second = at(server, plugin, {"command": "submit", "workflow": "slow"})
    assert first in second.text
    assert "The same call is" in second.text
    for prompt_id in (second.result["prompt_id"], first):
        at(server, plugin, {"command": "cancel", "prompt_id": prompt_id})


def test_a_job_whose_results_were_reported_is_not_looked_up_in_the_queue(
    plugin: Any, fake: Any
) -> None:
    plugin.workflow("it", WORKFLOW)
    fake.script.frames, fake.script.history = GOOD_FRAMES, GOOD
    fake.script.files = {"a.png": png(8, 8)}
    prompt_id = plugin.call({"workflow": "it"}, COMFYUI_BASE_URL=fake.url).result["prompt_id"]
    running = {"queue_running": [[0, prompt_id, {}, {}, []]], "queue_pending": []}
    fake.script.broken = {"/queue": (200, running)}
    second = plugin.call({"workflow": "it"}, COMFYUI_BASE_URL=fake.url)
    assert "The same call is" not in second.text


def test_a_limit_of_time_without_effect_on_submit_is_reported(two: Any) -> None:
    for given in ({"wait": "30"}, {"timeout": "30"}, {"on_timeout": "cancel"}):
        submitted = two.call({"command": "submit", "workflow": "two", **given})
        assert f'Note: "{next(iter(given))}" has no effect here' in submitted.text
    assert "no effect" not in two.call({"workflow": "two", "wait": "false"}).text


def test_keys_without_effect_are_in_the_first_lines_of_every_answer(two: Any) -> None:
    two.call({"workflow": "two"})
    for call in (
        {"command": "status", "prompt_id": "last"},
        {"command": "result", "prompt_id": "last"},
        {"command": "cancel", "prompt_id": "last"},
        {"command": "describe", "workflow": "two"},
        {"info": "workflows"},
        {"command": "queue"},
    ):
        answered = two.call({**call, "steps": "3", "maid": "Nova"})
        note = answered.text.splitlines()[1]
        assert note.startswith('Note: "steps" has no effect with the command'), call
        assert answered.result["notes"][0] in note
        assert answered.result["warnings"][0] in note


@pytest.mark.parametrize("command", ["run", "submit"])
def test_two_calls_with_a_job_id_at_the_same_time_queue_one_job(
    server: Server, plugin: Any, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """Both find no earlier job; the second one finds that of the first when it comes to queueing."""
    plugin.workflow("two", TWO)
    monkeypatch.setattr(repeated_job, "answer", lambda *_: None)
    chosen = settings.load(plugin.folder, {"COMFYUI_BASE_URL": server.url})
    call = ToolCall(command, workflow="two", job_id="mine")
    first, second = (
        dispatch.perform(call, chosen, time.monotonic(), CallRecord()) for _ in range(2)
    )
    assert second["prompt_id"] == first["prompt_id"]
    assert second["repeated"]
    history = requests.get(f"{server.url}/history", timeout=TIMEOUT).json()
    queue = server.queue()
    assert len(history) + len(queue["queue_running"]) + len(queue["queue_pending"]) == 1
    other = ToolCall(command, workflow="two", job_id="another")
    third = dispatch.perform(other, chosen, time.monotonic(), CallRecord())
    assert third["prompt_id"] != first["prompt_id"]


def test_processes_with_the_same_job_id_run_it_once(server: Server, plugin: Any) -> None:
    plugin.workflow("two", TWO)
    call = {"workflow": "two", "job_id": "mine"}
    started = [plugin.start(call, COMFYUI_BASE_URL=server.url) for _ in range(4)]
    answers = [json.loads(one.communicate(timeout=TIMEOUT)[0]) for one in started]
    results = [answer["result"] for answer in answers]
    assert len({result["prompt_id"] for result in results}) == 1
    assert sum("repeated" not in result for result in results) == 1
    assert len({result["outputs"][0]["file"] for result in results}) == 1
