"""Results of the command info for servers with many, few or unusual entries."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from comfyui_pipeline import info, settings
from comfyui_pipeline.call import parse
from comfyui_pipeline.engine import responses
from comfyui_pipeline.errors import CallError

GB = 2**30


class Server:
    """An engine that has what it is given."""

    def __init__(self, **has: Any) -> None:
        self.has = has

    def models(self, folder: str) -> list[str]:
        return self.has.get(folder, [])

    def metadata(self, folder: str, name: str) -> dict[str, str]:
        return {}

    def embeddings(self) -> list[str]:
        return self.has["embeddings"]

    def queue_state(self) -> Any:
        state = {"queue_running": self.has["running"], "queue_pending": self.has["pending"]}
        return responses.queue(state)

    def system(self) -> Any:
        return self.has["stats"]

    def schemas(self, names: list[str]) -> Any:
        return self.has["schemas"] if names == ["KSampler"] else {}


def text(answer: Any) -> str:
    (part,) = answer["content"]
    assert part["type"] == "text"
    return part["text"]


@pytest.mark.parametrize(
    ("what", "folder"),
    [
        ("checkpoints", "checkpoints"),
        ("loras", "loras"),
        ("vaes", "vae"),
        ("controlnets", "controlnet"),
        ("upscalers", "upscale_models"),
    ],
)
def test_models_are_listed_from_their_folder(what: str, folder: str) -> None:
    answer = info.ask(what, Server(**{folder: ["a", "b"]}))  # type: ignore[arg-type]
    assert answer["items"] == ["a", "b"]
    assert text(answer) == f"2 {what}:\n- a\n- b"
    none = info.ask(what, Server(other=["x"]))  # type: ignore[arg-type]
    assert (text(none), none["items"]) == (f"This server has no {what}.", [])


@pytest.mark.parametrize(("many", "more"), [(199, ""), (200, ""), (201, "…and 1 more")])
def test_two_hundred_names_are_shown_and_all_are_in_items(many: int, more: str) -> None:
    answer = info.ask("loras", Server(loras=[f"n{i}" for i in range(many)]))  # type: ignore[arg-type]
    assert len(answer["items"]) == many
    lines = text(answer).splitlines()
    assert sum(line.startswith("- ") for line in lines) == min(many, 200)
    assert lines[-1] == (more or f"- n{many - 1}")


def test_samplers_and_schedulers_are_the_choices_of_ksampler() -> None:
    inputs = {"sampler_name": [["euler", "ddim"]], "scheduler": [["karras"]]}
    server = Server(schemas={"KSampler": {"input": {"required": inputs}}})
    assert info.ask("samplers", server)["items"] == ["euler", "ddim"]  # type: ignore[arg-type]
    assert info.ask("schedulers", server)["items"] == ["karras"]  # type: ignore[arg-type]
    assert "no samplers" in text(info.ask("samplers", Server(schemas={})))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("running", "pending", "expected"),
    [
        ([], [], "0 running, 0 waiting."),
        ([[4, "a"]], [], "1 running, 0 waiting. Prompt ids in order: a."),
        ([], [[4, "a"]], "0 running, 1 waiting. Prompt ids in order: a."),
        (
            [[4, "a"]],
            [[7, "b"], [5, "c"]],
            "1 running, 2 waiting. Prompt ids in order: a, c, b.",
        ),
    ],
)
def test_the_queue_is_listed_in_order(running: Any, pending: Any, expected: str) -> None:
    answer = info.ask("queue", Server(running=running, pending=pending))  # type: ignore[arg-type]
    assert text(answer) == expected
    assert answer["pending"] == [item[1] for item in sorted(pending)]


def test_the_system_is_described_without_its_command_line() -> None:
    stats = {
        "system": {
            "comfyui_version": "0.8.0",
            "os": "linux",
            "ram_free": 3 * GB,
            "ram_total": 8 * GB,
            "argv": ["--api-key", "s3cret"],
        },
        "devices": [{"name": "cpu", "vram_free": GB // 2, "vram_total": GB}, {"name": "x"}],
    }
    answer = info.ask("system", Server(stats=stats))  # type: ignore[arg-type]
    assert text(answer) == (
        "ComfyUI 0.8.0 on linux, memory 3.0 GB of 8.0 GB free; devices: cpu: 0.5 GB of 1.0 GB free; "
        "x: ? of ? free."
    )
    assert "s3cret" not in json.dumps(answer)
    assert len(answer["devices"]) == 2
    bare = text(info.ask("system", Server(stats={})))  # type: ignore[arg-type]
    assert bare == "ComfyUI ? on ?, memory ? of ? free; devices: none."


@pytest.fixture
def unasked(tmp_path: Path) -> settings.Settings:
    """Settings of an installation whose server does not respond."""
    (tmp_path / "workflows").mkdir()
    return settings.load(tmp_path, {"COMFYUI_BASE_URL": "http://127.0.0.1:9"})


def test_workflows_are_listed_with_their_purpose_where_no_server_responds(
    unasked: settings.Settings,
) -> None:
    def put(name: str, document: Any) -> None:
        (unasked.workflows_dir / name).write_text(json.dumps(document), "utf-8")

    put(
        "prompt.json",
        {
            "1": {"class_type": "L", "inputs": {"image": "a.png"}, "_meta": {"title": "Canvas"}},
            "2": {"class_type": "Resize", "inputs": {"width": 8, "height": 9, "image": ["1", 0]}},
            "3": {"class_type": "PreviewImage", "inputs": {"images": ["2", 0]}},
        },
    )
    nodes = [
        {"id": 1, "type": "A", "widgets_values": [1], "title": "First"},
        {"id": 2, "type": "B", "widgets_values": [1]},
        {"id": 3, "type": "C", "widgets_values": []},
    ]
    put("ui.json", {"nodes": nodes, "links": [], "version": 0.4})
    (unasked.workflows_dir / "broken.json").write_text("{", "utf-8")
    answer = info.workflows(unasked)
    items = {item["name"]: item for item in answer["items"]}
    assert items["prompt"]["nodes"] == ['"Canvas"', '"Resize"']
    assert items["ui"]["nodes"] == ['"First"', '"B"']
    assert items["broken"]["problem"].startswith("cannot be run: ")
    assert (items["prompt"]["problem"], items["broken"]["nodes"]) == (None, [])
    assert (items["prompt"]["runs"], items["broken"]["runs"]) == (None, False)
    lines = text(answer).splitlines()
    assert lines[0].startswith("3 workflows in the workflows folder (whether they run is not known")
    assert (
        "- prompt: 图像处理 image processing (Resize: width, height), needs image, to 8x9" in lines
    )
    assert any("cannot be run" in line for line in lines)
    assert not any("Canvas" in line or "First" in line for line in lines)


def test_without_workflows_the_text_says_where_to_put_them(unasked: settings.Settings) -> None:
    assert text(info.workflows(unasked)).startswith("No workflows: put files saved from ComfyUI")


def test_a_list_says_what_runs_and_is_kept_for_two_minutes(ready: Any) -> None:
    first = ready.call({"info": "workflows"}).result
    items = {item["name"]: item for item in first["items"]}
    assert (items["resize_image"]["runs"], items["resize_image"]["missing"]) == (True, "")
    assert items["text2img_api"]["runs"] is False
    assert "CheckpointLoaderSimple" in items["text2img_api"]["missing"]
    kept = ready.call({"info": "workflows"}, COMFYUI_BASE_URL=ready.environment["COMFYUI_BASE_URL"])
    assert kept.result == first
    ready.workflow("added", {"1": {"class_type": "PreviewImage", "inputs": {}}})
    assert "added" in {item["name"] for item in ready.call({"info": "workflows"}).result["items"]}


@pytest.mark.parametrize(
    ("question", "topics"),
    [
        ("samplers, schedulers", ["samplers", "schedulers"]),
        (["queue", "system"], ["queue", "system"]),
        ("队列、系统", ["queue", "system"]),
        ('["loras", "vaes"]', ["loras", "vaes"]),
        ("loras and vaes", ["loras", "vaes"]),
        ("list_models", None),
    ],
)
def test_several_topics_are_answered_in_one_call(question: Any, topics: list[str] | None) -> None:
    asked = parse(json.dumps({"info": question}).encode()).info.split(",")
    if topics is None:
        assert {"checkpoints", "loras", "vaes"} <= set(asked)
    else:
        assert asked == topics


def test_the_fields_of_several_topics_are_kept_apart(ready: Any) -> None:
    answer = ready.call({"info": "queue, outputs"}).result
    assert answer["topics"] == {"queue": {"running": [], "pending": []}, "outputs": {"items": []}}


@pytest.mark.parametrize("question", ["lorras", "loras, samplrs", "天气"])
def test_an_unknown_topic_is_named(question: str) -> None:
    with pytest.raises(CallError, match="has no topic"):
        parse(json.dumps({"info": question}).encode())


@pytest.mark.parametrize(
    "question", ["clip_vision", "clip visions", "ClipVision", "loras, clip_vision"]
)
def test_every_model_folder_of_the_server_is_a_topic(plugin: Any, fake: Any, question: str) -> None:
    fake.script.broken = {
        "/models/clip_vision": (200, ["a.safetensors"]),
        "/models/loras": (200, []),
        "/models": (200, ["loras", "clip_vision"]),
    }
    answered = plugin.call({"info": question}, COMFYUI_BASE_URL=fake.url)
    assert "1 clip_vision:\n- a.safetensors" in answered.text


def test_a_topic_that_is_no_folder_either_lists_both(plugin: Any, fake: Any) -> None:
    fake.script.broken = {"/models": (200, ["loras", "ultralytics"])}
    error = plugin.call({"info": "weather"}, COMFYUI_BASE_URL=fake.url)
    assert error.json["code"] == "invalid_call"
    assert "no topic 'weather'" in error.error
    assert "ultralytics" in error.error


def test_a_workflow_url_is_downloaded_within_the_deadline_of_the_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from types import SimpleNamespace

    from comfyui_pipeline import describe_command, load_workflow

    asked: list[float] = []

    def find(call: Any, settings: Any, deadline: float, engine: Any) -> Any:
        asked.append(deadline)
        raise TimeoutError

    monkeypatch.setattr(load_workflow, "find", find)
    limits: Any = SimpleNamespace(timeout=30.0)
    nothing: Any = None
    with pytest.raises(TimeoutError):
        describe_command.describe(nothing, limits, nothing, 100.0, nothing)
    assert asked == [130.0]
