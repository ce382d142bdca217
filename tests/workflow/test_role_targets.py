"""The inputs that arguments change in 393 recorded workflows, against what people read in them.

``run.py check-workflows`` does the same through the tool's stdin, and prints the figures.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, cast

import pytest

from comfyui_pipeline import call as tool_call
from comfyui_pipeline import prepare
from comfyui_pipeline.errors import ToolError
from devtools import role_targets
from devtools.role_targets import Recorded
from input_server.light_dataclasses import replace
from tests.workflow import offline_calls

PARTS = 12

ABOUT = frozenset({"prompt", "negative", "size", "images"})
Wrong = dict[str, list[str]]


class Server(offline_calls.StubServer):
    """A server with the node types of one workflow, which keeps the names of uploaded pictures."""

    def __init__(self, known: Mapping[str, Any], pictures: Mapping[bytes, str]) -> None:
        super().__init__()
        self.known, self.pictures = known, pictures

    def schemas(self, names: Any) -> dict[str, Any]:
        return {name: self.known[name] for name in names if name in self.known}

    def catalog(self) -> Mapping[str, Any]:
        return self.known

    def upload(self, content: bytes, name: str, subfolder: str) -> str:
        return self.pictures[content]


@cache
def known_failures() -> Wrong:
    read: Wrong = json.loads(
        (role_targets.DATA / "roles" / "known_failures.json").read_text("utf-8")
    )
    return read


def wrong_in(one: Recorded, folder: Path) -> list[str]:
    """What is wrong with a workflow, without a server or a process."""
    chosen = offline_calls.settings_in(folder)
    pictures = {p.read_bytes(): p.name for p in (folder / "attachments").iterdir()}
    found = []
    for ask in role_targets.asks(one):
        if ask.about not in ABOUT:
            continue
        call = {"workflow_json": one.workflow, **ask.arguments}
        context = offline_calls.context_of(tool_call.parse(json.dumps(call).encode()), chosen)
        context = replace(context, engine=cast(Any, Server(one.schemas, pictures)))
        got: Any
        try:
            got = prepare.prepare(context).job.prompt
        except ToolError:
            got = None
        found += [ask.about] if role_targets.judge(one, ask.about, got) else []
        if ask.about == "prompt" and role_targets.crossed(one, got):
            found.append("crossed")
    return found


@pytest.mark.parametrize("part", range(PARTS))
def test_arguments_change_what_a_reader_expects(part: int, tmp_path: Path) -> None:
    from PIL import Image

    offline_calls.settings_in(tmp_path)
    for number in range(1, 25):
        image = Image.new("RGB", (8, 8), (number, 0, 0))
        image.save(tmp_path / "attachments" / role_targets.IMAGE.format(number))
    wrong: Wrong = defaultdict(list)
    names = set()
    for one in role_targets.recorded(part, PARTS):
        names.add(one.name)
        for about in wrong_in(one, tmp_path):
            wrong[about].append(one.name)
    known = {about: sorted(names.intersection(found)) for about, found in known_failures().items()}
    assert {about: sorted(found) for about, found in wrong.items()} == {
        about: found for about, found in known.items() if found
    }


def test_a_wrong_change_is_found() -> None:
    prompt = {
        "1": {"class_type": "A", "inputs": {"text": "x", "width": 1, "height": ["3", 0]}},
        "2": {"class_type": "B", "inputs": {"text": "y", "image": "a.png"}},
        "3": {"class_type": "C", "inputs": {"value": 5}},
    }
    expected = {
        "prompt": ["1.text"],
        "never": ["2.text"],
        "size": {"width": "1.width", "height": "1.height", "factor": 0.5},
        "images": ["2.image"],
        "steps": ["3.value"],
    }
    one = Recorded("x", prompt, prompt, {}, expected)

    def changed(node: str, **inputs: Any) -> dict[str, Any]:
        return {**prompt, node: {**prompt[node], "inputs": {**prompt[node]["inputs"], **inputs}}}

    text = changed("1", text=role_targets.TEXT)
    assert role_targets.judge(one, "prompt", text) == ""
    assert role_targets.crossed(one, text) == ""
    for wrong in (None, prompt, changed("2", text=role_targets.TEXT)):
        assert role_targets.judge(one, "prompt", wrong)
    assert role_targets.crossed(one, changed("2", text=role_targets.TEXT))
    size = changed("1", width=640) | {"3": {"class_type": "C", "inputs": {"value": 360}}}
    assert role_targets.judge(one, "size", size) == ""
    assert role_targets.judge(one, "size", changed("1", width=1280, height=720))
    assert role_targets.judge(one, "images", changed("2", image="picture1.png")) == ""
    assert role_targets.judge(one, "images", prompt)
    assert role_targets.judge(one, "steps", changed("3", value=13)) == ""
    assert role_targets.judge(one, "steps", changed("3", value=14))
