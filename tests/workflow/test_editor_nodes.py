"""Nodes that exist only in the editor: left out or followed, and never to be installed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.workflow import offline_calls
from tests.workflow.offline_calls import node

NAMED = {"Node name for S&R": "x"}


def ui(number: int, kind: str, inputs: Any = (), outputs: Any = (), **more: Any) -> dict[str, Any]:
    """``inputs``: ``(name, type, link)``; ``outputs``: ``(type, links)``."""
    return {
        "id": number,
        "type": kind,
        "inputs": [{"name": n, "type": t, "link": link} for n, t, link in inputs],
        "outputs": [{"name": t, "type": t, "links": links} for t, links in outputs],
        "properties": {},
        **more,
    }


def document(*nodes: Any, links: Any, source: int = 1, link: int = 9) -> dict[str, Any]:
    """EmptyImage, the nodes, SaveImage with the link ``link`` from ``source``."""
    first = ui(1, "EmptyImage", (), [("IMAGE", [])], properties=NAMED)
    first["widgets_values"] = [64, 64, 1, 0]
    last = ui(99, "SaveImage", [("images", "IMAGE", link)], widgets_values=["x"], properties=NAMED)
    ends = [*links, [link, source, 0, 99, 0, "IMAGE"]]
    return {"nodes": [first, *nodes, last], "links": ends, "version": 0.4}


def prepared(folder: Path, workflow: Any) -> Any:
    call = {"workflow_json": json.dumps(workflow)}
    return offline_calls.prepare_call(call, offline_calls.settings_in(folder))


def error_of(folder: Path, workflow: Any, **more: str) -> str:
    call = {"workflow_json": json.dumps(workflow), **more}
    return offline_calls.error_of(call, offline_calls.settings_in(folder))


def described(folder: Path, workflow: Any) -> str:
    import time

    from comfyui_pipeline import call as tool_call
    from comfyui_pipeline import describe_command
    from comfyui_pipeline.call_record import CallRecord

    raw = {"command": "describe", "workflow_json": json.dumps(workflow)}
    read = tool_call.parse(json.dumps(raw).encode())
    server: Any = offline_calls.StubServer()
    result = describe_command.describe(
        read, offline_calls.settings_in(folder), server, time.monotonic(), CallRecord()
    )
    return str(result["content"][0]["text"])


def test_a_node_that_passes_its_input_on_is_followed(tmp_path: Path) -> None:
    knot = ui(5, "Knot", [("in", "IMAGE", 3)], [("IMAGE", [9])])
    ready = prepared(tmp_path, document(knot, links=[[3, 1, 0, 5, 0, "IMAGE"]], source=5))
    assert ready.job.prompt["99"]["inputs"]["images"] == ["1", 0]
    assert any("Knot" in note for note in ready.notes)


BY_SERVERS = {
    "its type has a name at the server": {"properties": NAMED},
    "its pack is known": {"properties": {"cnr_id": "some-pack"}},
    "it holds a value": {"widgets_values": [1]},
}


@pytest.mark.parametrize("more", BY_SERVERS.values(), ids=BY_SERVERS)
def test_a_node_that_may_compute_something_is_not_passed_over(tmp_path: Path, more: Any) -> None:
    blur = ui(5, "Blur", [("in", "IMAGE", 3)], [("IMAGE", [9])], **more)
    found = error_of(tmp_path, document(blur, links=[[3, 1, 0, 5, 0, "IMAGE"]], source=5))
    assert "(Blur)" in found


def test_in_a_document_without_any_names_of_types_nothing_is_passed_over(tmp_path: Path) -> None:
    blur = ui(5, "Blur", [("in", "IMAGE", 3)], [("IMAGE", [9])])
    written = document(blur, links=[[3, 1, 0, 5, 0, "IMAGE"]], source=5)
    for one in written["nodes"]:
        one["properties"] = {}
    assert "(Blur)" in error_of(tmp_path, written)


def test_a_chain_that_no_running_node_uses_is_left_out(tmp_path: Path) -> None:
    muter = ui(5, "Muter", [("a", "*", 3), ("b", "*", None)], [("CONNECTION", [4])])
    repeater = ui(6, "Repeater", [("a", "*", 4)], [])
    links = [[3, 1, 0, 5, 0, "IMAGE"], [4, 5, 0, 6, 0, "*"]]
    written = document(muter, repeater, links=links)
    ready = prepared(tmp_path, written)
    assert ready.job.prompt.keys() == {"1", "99"}
    described_text = described(tmp_path, written)
    assert "cannot run" not in described_text
    assert "(Muter) was left out" in described_text
    assert "(Repeater) was left out" in described_text


def test_an_output_node_of_a_missing_pack_is_named(tmp_path: Path) -> None:
    film = ui(5, "SaveFilm", [("images", "IMAGE", 3)], [], properties={"cnr_id": "films"})
    described_text = described(tmp_path, document(film, links=[[3, 1, 0, 5, 0, "IMAGE"]]))
    assert "(SaveFilm): its node type is not installed" in described_text
    assert '"films"' in described_text or "'films'" in described_text


def test_nothing_is_to_be_installed_for_a_type_of_the_editor(tmp_path: Path) -> None:
    """It makes an image of something, so nobody can say what it stands for."""
    knot = ui(5, "Switch", [("a", "IMAGE", 3), ("b", "IMAGE", None)], [("IMAGE", [9])])
    found = error_of(tmp_path, document(knot, links=[[3, 1, 0, 5, 0, "IMAGE"]], source=5))
    assert "(Switch)" in found
    assert "only in the editor" in found
    assert "Manager" not in found


def test_a_getter_without_its_setter_is_of_the_editor(tmp_path: Path) -> None:
    """The pack's name is in the document; other nodes of the type show what it does."""
    pack = {"cnr_id": "pairs", **NAMED}
    put = ui(5, "Put", [("v", "IMAGE", 3)], [], widgets_values=["a"], properties=pack)
    got = ui(6, "Take", [], [("IMAGE", [9])], widgets_values=["a"], properties=pack)
    lost = ui(7, "Take", [], [("IMAGE", [10])], widgets_values=["b"], properties=pack)
    save = ui(8, "SaveImage", [("images", "IMAGE", 10)], widgets_values=["y"], properties=NAMED)
    links = [[3, 1, 0, 5, 0, "IMAGE"], [10, 7, 0, 8, 0, "IMAGE"]]
    ready = prepared(tmp_path, document(put, got, lost, save, links=links, source=6))
    (why,) = ready.skipped_outputs.values()
    assert "'images' (IMAGE) has neither link" in why
    assert any("7 (Take): no node sets 'b'" in text for text in ready.important)
    assert "Manager" not in why


# -- prompts ---------------------------------------------------------------------------------------

PROMPT = {
    "1": node("EmptyImage", width=64, height=64, batch_size=1, color=0),
    "2": node("SaveImage", images=["1", 0], filename_prefix="x"),
}


def test_a_node_without_links_is_left_out_of_a_prompt(tmp_path: Path) -> None:
    prompt = {**PROMPT, "3": node("Sticker", text="hello")}
    assert prepared(tmp_path, prompt).job.prompt.keys() == {"1", "2"}
    described_text = described(tmp_path, prompt)
    assert "(Sticker) was left out" in described_text
    assert "cannot run" not in described_text


def test_a_reroute_in_a_prompt_is_not_to_be_installed(tmp_path: Path) -> None:
    prompt = {
        **PROMPT,
        "2": node("SaveImage", images=["3", 0], filename_prefix="x"),
        "3": node("Reroute", any=["1", 0]),
    }
    found = error_of(tmp_path, prompt)
    assert "only in the editor" in found
    assert "Manager" not in found


def test_of_any_other_type_both_are_said_to_be_possible(tmp_path: Path) -> None:
    prompt = {
        **PROMPT,
        "2": node("SaveImage", images=["3", 0], filename_prefix="x"),
        "3": node("Blur", image=["1", 0]),
    }
    assert "if it is part of a custom-node pack" in error_of(tmp_path, prompt)
