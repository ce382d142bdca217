"""What a question is answered with, for servers that have much, little or odd things."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from comfyui_pipeline import info
from comfyui_pipeline.engine import responses

GB = 2**30


class Server:
    """An engine that has what it is given."""

    def __init__(self, **has: Any) -> None:
        self.has = has

    def models(self, folder: str) -> list[str]:
        return self.has.get(folder, [])

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
def test_models_are_those_of_their_folder(what: str, folder: str) -> None:
    answer = info.ask(what, Server(**{folder: ["a", "b"]}))  # type: ignore[arg-type]
    assert answer["items"] == ["a", "b"]
    assert text(answer) == f"2 {what}:\n- a\n- b"
    none = info.ask(what, Server(other=["x"]))  # type: ignore[arg-type]
    assert (text(none), none["items"]) == (f"This server has no {what}.", [])


@pytest.mark.parametrize(("many", "more"), [(199, ""), (200, ""), (201, "…and 1 more")])
def test_two_hundred_names_are_shown_and_all_are_in_the_items(many: int, more: str) -> None:
    answer = info.ask("loras", Server(loras=[f"n{i}" for i in range(many)]))  # type: ignore[arg-type]
    assert len(answer["items"]) == many
    lines = text(answer).splitlines()
    assert sum(line.startswith("- ") for line in lines) == min(many, 200)
    assert lines[-1] == (more or f"- n{many - 1}")


def test_samplers_and_schedulers_are_the_choices_of_the_cores_own_node() -> None:
    inputs = {"sampler_name": [["euler", "ddim"]], "scheduler": [["karras"]]}
    server = Server(schemas={"KSampler": {"input": {"required": inputs}}})
    assert info.ask("samplers", server)["items"] == ["euler", "ddim"]  # type: ignore[arg-type]
    assert info.ask("schedulers", server)["items"] == ["karras"]  # type: ignore[arg-type]
    assert "no samplers" in text(info.ask("samplers", Server(schemas={})))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("running", "pending", "told"),
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
def test_the_queue_is_told_in_its_order(running: Any, pending: Any, told: str) -> None:
    answer = info.ask("queue", Server(running=running, pending=pending))  # type: ignore[arg-type]
    assert text(answer) == told
    assert answer["pending"] == [item[1] for item in sorted(pending)]


def test_the_system_is_told_without_its_command_line() -> None:
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


def test_workflows_are_listed_with_what_can_be_changed_in_them(tmp_path: Path) -> None:
    def put(name: str, document: Any) -> None:
        (tmp_path / name).write_text(json.dumps(document), "utf-8")

    link = {"images": ["1", 0]}
    put(
        "prompt.json",
        {
            "1": {"class_type": "EmptyImage", "inputs": {"width": 8}, "_meta": {"title": "Canvas"}},
            "2": {"class_type": "Resize", "inputs": {"width": 8, **link}},
            "3": {"class_type": "PreviewImage", "inputs": link},
        },
    )
    nodes = [
        {"id": 1, "type": "A", "widgets_values": [1], "title": "First"},
        {"id": 2, "type": "B", "widgets_values": [1]},
        {"id": 3, "type": "C", "widgets_values": []},
        {"id": 4, "type": "D"},
        "no node",
    ]
    put("ui.json", {"nodes": nodes, "links": [], "version": 0.4})
    (tmp_path / "broken.json").write_text("{", "utf-8")
    answer = info.workflows(tmp_path)
    items = {item["name"].removesuffix(".json"): item for item in answer["items"]}
    assert items["prompt"]["nodes"] == ['"Canvas"', '"Resize"']
    assert items["ui"]["nodes"] == ['"First"', '"B"']
    assert items["broken"]["problem"].startswith("cannot be run: ")
    assert (items["prompt"]["problem"], items["broken"]["nodes"]) == (None, [])
    lines = text(answer).splitlines()
    assert lines[0] == "3 workflows in the workflows folder:"
    assert any(line.endswith('nodes "Canvas", "Resize"') for line in lines)
    assert any("cannot be run" in line for line in lines)


def test_where_there_are_none_it_says_where_to_put_some(tmp_path: Path) -> None:
    assert text(info.workflows(tmp_path)).startswith("No workflows: put files saved from ComfyUI")


def test_a_workflow_behind_a_url_is_fetched_within_the_calls_own_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from types import SimpleNamespace

    from comfyui_pipeline import describe_command, load_workflow

    asked: list[float] = []

    def find(call: Any, settings: Any, deadline: float) -> Any:
        asked.append(deadline)
        raise TimeoutError

    monkeypatch.setattr(load_workflow, "find", find)
    settings: Any = SimpleNamespace(timeout=30.0)
    nothing: Any = None
    with pytest.raises(TimeoutError):
        describe_command.describe(nothing, settings, nothing, 100.0, nothing)
    assert asked == [130.0]
