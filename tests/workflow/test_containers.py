"""Workflows as other programs pass them on: wrapped, in other encodings, in films and sounds."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from comfyui_pipeline.errors import MediaError, WorkflowError
from comfyui_pipeline.workflow import files
from tests.conftest import png
from tests.workflow import offline_calls
from tests.workflow.offline_calls import PROJECT, node

PROMPT: dict[str, Any] = {
    "1": node("EmptyImage", width=8, height=8, batch_size=1, color=1),
    "2": node("PreviewImage", images=["1", 0]),
}
UI = offline_calls.editor_document()
ENTRY = {"prompt": [1, "id", PROMPT, {}, ["2"]], "outputs": {}, "status": {}}
MEDIA = PROJECT / "tests" / "data" / "media_with_workflow"


@pytest.mark.parametrize(
    "wrapped",
    [
        {"input": {"workflow": PROMPT}},
        {"input": {"prompt": PROMPT}},
        {"prompt": PROMPT, "client_id": "x"},
        {"prompt": json.dumps(PROMPT)},
        {"api": PROMPT},
        {"output": PROMPT, "workflow": {"version": 1}},
        {"id": ENTRY},
        ENTRY,
        ENTRY["prompt"],
        {"queue_running": [ENTRY["prompt"]]},
        json.dumps(PROMPT),
        json.dumps(json.dumps(PROMPT)),
        [PROMPT],
        [{"id": 1, **PROMPT["1"]}, {"id": 2, **PROMPT["2"]}],
    ],
)
def test_a_prompt_is_found_in_what_other_programs_put_around_it(wrapped: Any) -> None:
    found = files.from_document("x", wrapped)
    assert found.nodes == PROMPT
    assert found.ui is None
    assert found.notes == ()
    assert files.from_bytes("x", json.dumps(wrapped).encode()).nodes == PROMPT


def test_the_editors_document_next_to_a_prompt_is_kept() -> None:
    request = {"prompt": PROMPT, "extra_data": {"extra_pnginfo": {"workflow": UI}}}
    for wrapped in (request, {"output": PROMPT, "workflow": UI}):
        found = files.from_document("x", wrapped)
        assert (found.nodes, found.ui) == (PROMPT, UI)
    assert files.from_document("x", {"data": {"workflow": json.dumps(UI)}}).ui == UI


def test_keys_next_to_the_nodes_are_left_out_and_named() -> None:
    extra = {"version": 1, "comment": "hello", "extra_data": {"a": 1}}
    found = files.from_document("x", {**extra, **PROMPT})
    assert found.nodes == PROMPT
    assert "'version', 'comment', 'extra_data'" in found.notes[0]
    broken = {**PROMPT, "3": {"inputs": {}}}
    with pytest.raises(WorkflowError, match=r"Node 3 .* has no class_type"):
        files.from_document("x", broken)


def test_several_workflows_are_mentioned() -> None:
    found = files.from_document("x", {"a": PROMPT, "b": PROMPT})
    assert found.notes == ("The JSON holds 2 workflows; the first was used.",)


def test_integer_ids_in_links_become_the_servers() -> None:
    linked = {**PROMPT, "2": node("PreviewImage", images=[1, 0], other=[7, 0])}
    nodes = files.from_document("x", linked).nodes or {}
    assert nodes["2"]["inputs"] == {"images": ["1", 0], "other": [7, 0]}


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("utf-8", ""),
        ("utf-8-sig", ""),
        ("utf-16", "UTF-16"),
        ("utf-16-le", "UTF-16"),
        ("gbk", "GBK"),
    ],
)
def test_the_encoding_of_a_file_is_named(encoding: str, shown: str) -> None:
    titled = {**PROMPT, "2": node("PreviewImage", "保存图像到这里", images=["1", 0])}
    ascii_only = encoding == "utf-16-le"  # without a mark it is recognised by its zeros
    text = json.dumps(titled, ensure_ascii=ascii_only)
    found = files.from_bytes("x", text.encode(encoding))
    assert found.nodes == titled
    assert [shown in note for note in found.notes] == [True] * bool(shown)


@pytest.mark.parametrize("path", sorted(MEDIA.iterdir()), ids=lambda path: path.suffix)
def test_the_workflow_of_a_film_or_sound_is_read(path: Path) -> None:
    content = path.read_bytes()
    found = files.from_bytes(path.name, content)
    assert found.nodes == {"1": {"class_type": "X", "inputs": {}, "_meta": {}}}
    assert found.ui == {"nodes": []}
    for end in range(0, len(content), 7):  # cut off anywhere
        with suppress(WorkflowError):
            files.from_bytes(path.name, content[:end])
    for at in range(0, len(content), 5):
        with suppress(WorkflowError):
            files.from_bytes(path.name, content[:at] + b"\xff" + content[at + 1 :])


def test_the_workflow_of_a_flac_is_read() -> None:
    comment = b"prompt=" + json.dumps(PROMPT).encode()
    block = bytes(4) + (1).to_bytes(4, "little") + len(comment).to_bytes(4, "little") + comment
    content = b"fLaC" + b"\x00" + (2).to_bytes(3, "big") + b"xx"
    content += b"\x84" + len(block).to_bytes(3, "big") + block
    assert files.from_bytes("a.flac", content).nodes == PROMPT
    with pytest.raises(WorkflowError, match=r"'a\.flac' contains no workflow"):
        files.from_bytes("a.flac", content[:8])


# -- numbers that JSON does not have, and files within a workflow ----------------------------------


def prepared(tmp_path: Path, flow: Any, **arguments: Any) -> Any:
    chosen = offline_calls.settings_in(tmp_path)
    return offline_calls.prepare_call({"workflow_json": flow, **arguments}, chosen)


def test_nan_matters_only_where_a_node_reads_it(tmp_path: Path) -> None:
    odd = {**PROMPT, "2": node("PreviewImage", images=["1", 0], viewport=float("nan"))}
    assert prepared(tmp_path, odd).job.prompt["2"]["inputs"]["viewport"] is None
    odd = {**PROMPT, "1": node("EmptyImage", width=8, height=8, batch_size=float("nan"), color=1)}
    with pytest.raises(
        WorkflowError, match=r"node 1 \(EmptyImage\): its input 'batch_size' is NaN"
    ):
        prepared(tmp_path, odd)


def loading(value: str) -> dict[str, Any]:
    return {"1": node("LoadImage", image=value), "2": node("PreviewImage", images=["1", 0])}


def test_files_that_a_workflow_of_the_call_names_are_uploaded(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    cat = tmp_path / "pictures" / "cat.png"
    cat.write_bytes(png(8, 8))
    (tmp_path / "attachments").mkdir()
    (tmp_path / "attachments" / "dog.png").write_bytes(png(8, 8))
    for value in (str(cat), cat.as_uri(), f"![cat]({cat.as_uri()})", "dog.png"):
        ready = prepared(tmp_path, loading(value))
        assert ready.job.prompt["1"]["inputs"]["image"].startswith("comfyui-plugin/")
        assert "image ← " in ready.changed[0]
    assert (
        prepared(tmp_path, loading("photo.png")).job.prompt["1"]["inputs"]["image"] == "photo.png"
    )
    with pytest.raises(MediaError, match="outside the folders"):
        prepared(tmp_path, loading("/etc/hosts"))


def test_a_file_of_an_argument_replaces_that_of_the_workflow(tmp_path: Path) -> None:
    (tmp_path / "attachments").mkdir()
    (tmp_path / "attachments" / "dog.png").write_bytes(png(8, 8))
    ready = prepared(tmp_path, loading("http://127.0.0.1:9/gone.png"), image="dog.png")
    assert ready.job.prompt["1"]["inputs"]["image"].startswith("comfyui-plugin/")
