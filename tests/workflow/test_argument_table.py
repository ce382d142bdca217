"""The tables of arguments, commands, questions and roles agree with each other and the documents."""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from comfyui_pipeline import arguments, info
from comfyui_pipeline.argument_keys import HOST_KEYS, find, fold, is_host_key
from comfyui_pipeline.arguments import ARGUMENTS, SHORTCUTS, Argument
from comfyui_pipeline.call import READERS, ToolCall, parse
from comfyui_pipeline.commands import COMMANDS
from comfyui_pipeline.workflow import placeholders, roles
from devtools import argument_document, manifest
from input_server.light_dataclasses import fields

PROJECT = Path(__file__).resolve().parents[2]
DOCUMENTS = ("plugin-manifest.json", "README.md", "README.zh-CN.md")
FIELDS = {field.name for field in fields(ToolCall)}  # type: ignore[arg-type]


@pytest.mark.parametrize("argument", ARGUMENTS, ids=lambda argument: argument.name)
def test_every_argument_has_a_reader_and_a_field_or_a_role(argument: Argument) -> None:
    assert argument.kind in READERS
    assert argument.role in roles.ROLES or argument.field in FIELDS
    assert not argument.role or argument.role in roles.ROLES
    assert not argument.field or argument.field in FIELDS
    assert argument.commands
    assert set(argument.commands) <= COMMANDS.keys()
    assert argument.english
    assert argument.chinese


def test_names_aliases_and_placeholders_are_unique() -> None:
    keys = [fold(key) for argument in ARGUMENTS for key in (argument.name, *argument.aliases)]
    assert sorted(key for key, count in Counter(keys).items() if count > 1) == []
    assert all(find(key)[0] is not None for key in keys)
    names = [name for argument in ARGUMENTS for name in argument.placeholders]
    assert len(names) == len(set(names)) == len(placeholders.ARGUMENT_OF)


def test_every_role_is_used_or_for_new_arguments() -> None:
    assert roles.ROLES.keys() - {argument.role for argument in ARGUMENTS} == set()


def test_every_shortcut_argument_has_a_placeholder() -> None:
    structured = {"size", "aspect_ratio"}
    assert {argument.name for argument in SHORTCUTS if not argument.placeholders} == structured


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_argument_question_and_command_is_documented(document: str) -> None:
    text = (PROJECT / document).read_text("utf-8")
    hidden = {argument.name for argument in ARGUMENTS if argument.hidden} - {"command"}
    if document.endswith(".md"):
        assert "docs/arguments.md" in text
        text += (PROJECT / "docs" / "arguments.md").read_text("utf-8")
    skipped = hidden if document.endswith(".json") else set()
    skipped |= {q.name for q in info.QUESTIONS.values() if q.hidden} if skipped else set()
    names = {*(argument.name for argument in ARGUMENTS), *info.QUESTIONS, *COMMANDS}
    assert [n for n in sorted(names - skipped) if not re.search(rf"\b{n}\b", text)] == []


def test_the_manifest_lists_the_commands_of_the_table() -> None:
    document = json.loads((PROJECT / "plugin-manifest.json").read_text("utf-8"))
    listed = [entry["command"] for entry in document["capabilities"]["invocationCommands"]]
    assert set(listed) == {name for name, command in COMMANDS.items() if not command.question}


def test_the_groups_of_commands_in_the_table_of_arguments_are_those_of_the_table() -> None:
    assert sorted(arguments.EVERY) == sorted(COMMANDS)
    by_id = {name for name, row in COMMANDS.items() if "prompt_id" in row.example}
    assert set(arguments.JOB) == by_id
    with_workflow = {name for name, row in COMMANDS.items() if '"workflow": ' in row.example}
    assert set(arguments.WORKFLOW) == with_workflow


def test_the_manifest_names_exactly_the_bundled_workflows() -> None:
    bundled = {path.stem for path in (PROJECT / "workflows").glob("*.json")}
    named = set(re.findall(r"\b[a-z]\w*_\w+\b", arguments.BY_NAME["workflow"].note))
    assert named == bundled


def test_the_manifest_describes_each_argument_of_run_on_one_line() -> None:
    lines = manifest.descriptions()["run"].splitlines()
    listed = [line.split()[1].rstrip(":") for line in lines if line.startswith("- ")]
    assert sorted(listed) == sorted(
        argument.name
        for argument in ARGUMENTS
        if "run" in argument.commands and not argument.hidden
    )
    assert "- steps: sampling steps; 采样步数" in lines
    assert "- denoise (0–1): denoising strength; 重绘幅度" in lines
    assert all("必需" in line for line in lines if line.startswith("- workflow "))


def test_the_manifest_refers_to_run_for_the_arguments_that_other_commands_share_with_it() -> None:
    texts = manifest.descriptions()
    assert "- " not in texts["submit"]
    assert "- workflow (必需), seed: as for run" in texts["describe"]
    assert "wait, format, return_image: as for run" in texts["result"]
    shown = [question.name for question in info.QUESTIONS.values() if not question.hidden]
    assert all(f"{question} " in texts["info"] for question in shown)


def test_an_alias_is_in_the_document_of_all_arguments_and_not_in_the_manifest() -> None:
    row = Argument(
        "fps", arguments.NUMBER, "frames", "帧率", aliases=("frame_rate",), low=0.5, high=9
    )
    assert manifest.line(row) == "- fps (0.5–9): frames; 帧率"
    assert argument_document.line(row).startswith("| `fps` | frames; 帧率 | `frame_rate` |")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_function_and_a_correct_example(name: str) -> None:
    module, _, function = COMMANDS[name].function.partition(":")
    assert callable(getattr(importlib.import_module(module), function))
    call = parse(COMMANDS[name].example.encode())
    assert call.command == ("info" if COMMANDS[name].question else name)


def test_every_info_question_is_answered_from_disk_or_by_the_server() -> None:
    for question in info.QUESTIONS.values():
        assert (question.ask_server is None) != (question.read_folder is None)
    assert not parse(b'{"info": "workflows"}').needs_server
    assert parse(b'{"info": "loras"}').needs_server
    with pytest.raises(ValueError, match="not asked of the server"):
        info.ask("workflows", None)  # type: ignore[arg-type]


ROW = """TEXTS: tuple[Argument, ...] = (
    Argument(
        "shininess",
        NUMBER,
        "how much it shines",
        "光泽",
        low=1,
        high=240,
        aliases=("gloss_level",),
        role="any_input",
        input_names=("gloss",),
        input_types=("INT", "FLOAT"),
    ),
"""
SCRIPT = """
import json, sys
from comfyui_pipeline.call import parse
from comfyui_pipeline.workflow import describe, graph, patch
schemas = {
    "Paint": {"input": {"required": {"gloss": ["FLOAT", {}], "name": ["STRING", {}]}}, "output": []},
    "Save": {"input": {"required": {"gloss": ["INT", {}]}}, "output": []},
}
nodes = {
    "1": {"class_type": "Paint", "inputs": {"gloss": 8.0, "name": "x"}},
    "2": {"class_type": "Save", "inputs": {"gloss": 8}},
}
found = graph.build(nodes, schemas)
results = []
for key in ("shininess", "Gloss-Level"):
    call = parse(json.dumps({"workflow": "x", key: "24"}).encode())
    patched = patch.apply(nodes, patch.plan(found, call, call.shortcuts).changes)
    results.append([patched[i]["inputs"]["gloss"] for i in nodes])
text, _ = describe.describe(found, "x", (), (), full=False)
print(json.dumps({"results": results, "described": "- shininess = 8" in text}))
"""


def test_a_numeric_argument_is_one_row_of_the_table(tmp_path: Path) -> None:
    """In a copy of the code, so that everything derived at import time sees the row."""
    for package in ("comfyui_pipeline", "input_server"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(PROJECT / package, tmp_path / package, ignore=ignored)
    table = tmp_path / "comfyui_pipeline" / "value_arguments.py"
    source = table.read_text("utf-8")
    first = "TEXTS: tuple[Argument, ...] = (\n"
    assert source.count(first) == 1
    table.write_text(source.replace(first, ROW), "utf-8")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert json.loads(done.stdout) == {"results": [[24.0, 24], [24.0, 24]], "described": True}


# -- batches ---------------------------------------------------------------------------------------


def parts(**call: Any) -> tuple[ToolCall, ...]:
    return parse(json.dumps({"workflow1": "x", "workflow2": "y", **call}).encode()).parts


def test_a_key_with_the_number_of_a_part_is_that_parts_argument_only() -> None:
    first, second = parts(prompt1="a", prompt2="b", steps2="7", cfg="3")
    assert first.shortcuts == {"prompt": "a", "cfg": 3.0}
    assert second.shortcuts == {"prompt": "b", "steps": 7, "cfg": 3.0}
    assert "prompt1" not in {**first.extras, **second.extras}


def test_a_workflow_parameter_that_ends_in_a_number_is_shared_unless_a_part_has_its_own() -> None:
    assert [part.extras["lora_1"] for part in parts(lora_1="ink")] == ["ink", "ink"]
    assert [part.extras["lora_1"] for part in parts(lora_1="ink", lora_12="fox")] == ["ink", "fox"]
    own = parts(lora_11="ink", lora_12="fox")
    assert [part.extras["lora_1"] for part in own] == ["ink", "fox"]


def test_a_workflow_parameter_without_a_number_has_one_value_per_part() -> None:
    assert [part.extras["style"] for part in parts(style1="ink", style2="oil")] == ["ink", "oil"]
    assert [part.extras["style"] for part in parts(style="ink", style2="oil")] == ["ink", "oil"]


def test_a_number_above_nine_is_not_parsed_as_part_one() -> None:
    keys = {f"workflow{number}": "x" for number in range(1, 12)}
    batch = parse(json.dumps({**keys, "prompt11": "last"}).encode()).parts
    assert [dict(part.shortcuts) for part in batch] == [{}] * 10 + [{"prompt": "last"}]


def test_a_typo_is_reported_by_its_own_part() -> None:
    first, second = parts(promt1="a")
    assert set(first.ignored) == {"promt"}
    assert second.ignored == {}


# -- keys without effect ---------------------------------------------------------------------------


def test_an_argument_of_another_command_is_reported() -> None:
    call = parse(b'{"workflow": "x", "detail": "full", "prompt_id": "5"}')
    assert set(call.ignored) == {"detail", "prompt_id"}
    assert "run" in call.ignored["detail"]
    assert parse(b'{"workflow": "x", "prompt": "a"}').ignored == {}


def test_the_names_of_the_table_are_the_known_keys() -> None:
    assert arguments.role_of("mask") == "mask"
    assert arguments.role_of("maid") == ""
    assert find("maid")[0] is None
    assert all(is_host_key(key) and find(key)[0] is None for key in HOST_KEYS)
