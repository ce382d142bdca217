"""Seconds, frames and frames per second: set in all places that must agree."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from comfyui_pipeline.call import parse
from comfyui_pipeline.errors import PatchError
from comfyui_pipeline.workflow import patch
from comfyui_pipeline.workflow.changes import Plan
from comfyui_pipeline.workflow.graph import build
from tests.workflow.prompts import node


def kind(outputs: str, *, output: bool = False, **inputs: Any) -> dict[str, Any]:
    read = {
        name: [kind, {}] if isinstance(kind, str) else kind
        for name, kind in ((n.replace("__", "."), k) for n, k in inputs.items())
    }
    return {"input": {"required": read}, "output": outputs.split(), "output_node": output}


EITHER = "FLOAT,INT,BOOLEAN"
TYPES: Mapping[str, Any] = {
    "Whole": kind("INT", value="INT"),
    "Decimal": kind("FLOAT", value="FLOAT"),
    "Math": kind("FLOAT INT", expression="STRING", values__a=EITHER, values__b=EITHER),
    "Film": kind("LATENT", length=["INT", {"min": 1, "max": 999, "step": 4}]),
    "Sound": kind("LATENT", frames_number="INT", frame_rate="FLOAT,INT"),
    "Join": kind("LATENT", one="LATENT", two="LATENT", frame_rate="FLOAT"),
    "Decode": kind("IMAGE", samples="LATENT"),
    "Load": kind("IMAGE", frame_load_cap="INT", force_rate="INT"),
    "Motion": kind("CONDITIONING", images="IMAGE", fps="INT"),
    "Save": kind("", images="IMAGE", frame_rate="FLOAT", filename_prefix="STRING", output=True),
    "Cut": kind("AUDIO", audio="AUDIO", duration="FLOAT"),
    "Song": kind("AUDIO", duration="FLOAT", seed="INT"),
    "Keep": kind("", audio="AUDIO", output=True),
    "Choice": kind("VIDEO", duration=[["5s", "10s"], {}], seed="INT", output=True),
    "Range": kind("VIDEO", duration=["INT", {"min": 5, "max": 15, "step": 5}], output=True),
}


def plan(nodes: Mapping[str, Any], **call: Any) -> Plan:
    read = parse(json.dumps({"workflow_json": nodes, **call}).encode())
    return patch.plan(build(nodes, TYPES), read, read.shortcuts, random_seed=9)


def changed(nodes: Mapping[str, Any], **call: Any) -> dict[str, Any]:
    changes = [c for c in plan(nodes, **call).changes if not c.is_seed and c.argument]
    return {f"{c.target.node.id}.{c.target.name}": c.value for c in changes}


def film(*, length: Any, rate: Any, sound_rate: Any = 24) -> dict[str, Any]:
    """A film with sound."""
    return {
        "l": node("Film", length=length),
        "a": node("Sound", frames_number=length, frame_rate=sound_rate),
        "j": node("Join", one=["l", 0], two=["a", 0], frame_rate=rate),
        "d": node("Decode", samples=["j", 0]),
        "o": node("Save", images=["d", 0], frame_rate=rate, filename_prefix="x"),
    }


def computed() -> dict[str, Any]:
    """A film whose length is computed from seconds and a rate, as a whole number and a decimal."""
    return {
        "s": node("Decimal", "Duration", value=5.0),
        "f": node("Whole", "Frame Rate", value=24),
        "same": node("Math", expression="a", values__a=["f", 0]),
        "n": node("Math", expression="a * b + 1", values__a=["s", 0], values__b=["f", 0]),
        **film(length=["n", 1], rate=["same", 0], sound_rate=["same", 1]),
    }


def named(nodes: dict[str, Any]) -> dict[str, Any]:
    for one in nodes.values():
        one["inputs"] = {name.replace("__", "."): v for name, v in one["inputs"].items()}
    return nodes


def test_places_that_must_agree_are_set_together() -> None:
    nodes = film(length=81, rate=24.0)
    assert changed(nodes, frames=49) == {"l.length": 49, "a.frames_number": 49}
    assert changed(nodes, fps=25) == {"a.frame_rate": 25, "j.frame_rate": 25, "o.frame_rate": 25}


def test_a_computed_length_is_set_through_its_seconds_and_the_rate_at_its_source() -> None:
    nodes = named(computed())
    assert changed(nodes, seconds=3) == {"s.value": 3.0}
    assert changed(nodes, fps=30) == {"f.value": 30}


def test_frames_take_the_place_of_what_computes_them() -> None:
    found = changed(named(computed()), frames=49)
    assert found == {"l.length": 49, "a.frames_number": 49}


def test_a_length_computed_from_seconds_and_a_fixed_rate_has_seconds() -> None:
    nodes = computed()
    nodes["n"]["inputs"] = {"expression": "max(5, round(a * 24)) + 1", "values.a": ["s", 0]}
    assert changed(named(nodes), duration=3) == {"s.value": 3.0}


def test_a_rate_that_only_conditions_the_motion_or_shows_a_control_stays() -> None:
    nodes = film(length=81, rate=24.0)
    nodes["p"] = node("Load", frame_load_cap=0, force_rate=24)
    nodes["preview"] = node("Save", images=["p", 0], frame_rate=8.0, filename_prefix="p")
    found = changed(nodes, fps=25)
    assert "preview.frame_rate" not in found
    assert found["p.force_rate"] == 25  # as fast as the film


def test_a_cut_of_a_sound_is_not_the_duration_where_something_is_made() -> None:
    nodes = {
        "m": node("Song", duration=30.0, seed=1),
        "c": node("Cut", audio=["m", 0], duration=20.0),
        "k": node("Keep", audio=["c", 0]),
    }
    assert changed(nodes, duration=9) == {"m.duration": 9.0}


@pytest.mark.parametrize(
    ("class_type", "now", "wanted", "value"),
    [
        ("Choice", "10s", 4, "5s"),
        ("Choice", "5s", 9, "10s"),
        ("Range", 5, 14, 15),
        ("Range", 10, 2, 5),
    ],
)
def test_the_nearest_duration_that_a_service_makes_is_chosen_and_said(
    class_type: str, now: Any, wanted: float, value: Any
) -> None:
    planned = plan({"v": node(class_type, duration=now, seed=1)}, duration=wanted)
    assert [c.value for c in planned.changes if c.argument == "duration"] == [value]
    assert any(f"cannot make {wanted} s" in note for note in planned.notes)
    exact = plan({"v": node(class_type, duration=now, seed=1)}, duration=5)
    assert not exact.notes


def test_frames_of_a_workflow_of_seconds_become_seconds() -> None:
    nodes = {"m": node("Song", duration=30.0, seed=1), "k": node("Keep", audio=["m", 0])}
    with pytest.raises(PatchError, match="no frames per second"):
        plan(nodes, frames=48)
    nodes["v"] = node("Choice", duration="10s", seed=1)
    nodes["v"]["inputs"]["frame_rate"] = 24.0
    types = json.loads(json.dumps(TYPES))
    types["Choice"]["input"]["required"]["frame_rate"] = ["FLOAT", {}]
    del nodes["m"], nodes["k"]
    read = parse(json.dumps({"workflow_json": nodes, "frames": 120}).encode())
    planned = patch.plan(build(nodes, types), read, read.shortcuts, random_seed=9)
    assert [c.value for c in planned.changes if c.argument == "frames"] == ["5s"]
    assert any("120 frames at 24 frames per second: 5 s" in note for note in planned.notes)


def test_the_frames_of_a_loaded_film_are_those_that_are_loaded() -> None:
    nodes = {
        "p": node("Load", frame_load_cap=0, force_rate=24),
        "o": node("Save", images=["p", 0], frame_rate=24.0, filename_prefix="x"),
    }
    assert changed(nodes, frames=33) == {"p.frame_load_cap": 33}
