"""Assigning saved widget values to inputs."""

from __future__ import annotations

from comfyui_pipeline.workflow import schema
from comfyui_pipeline.workflow.convert import widget_values, widgets
from comfyui_pipeline.workflow.convert.prompt import convert
from tests.workflow.prompts import SCHEMAS


def test_values_saved_by_another_version_are_assigned_to_their_widgets() -> None:
    sampler = schema.read(SCHEMAS["KSampler"])
    layout = widgets.layout(sampler)
    note = widget_values.assign(layout, [5, "randomize", 20, 8.0, "euler", "normal", 0.5], sampler)
    assert note is None
    layout = widgets.layout(sampler)
    note = widget_values.assign(layout, [5, 20, 8.0, "euler", "normal", 0.5], sampler)
    got = {w.name: w.value for w in layout.widgets if w.sent}
    assert note is not None
    assert got == {
        "seed": 5,
        "steps": 20,
        "cfg": 8.0,
        "sampler_name": "euler",
        "scheduler": "normal",
        "denoise": 0.5,
    }


def test_a_list_value_of_a_widget_is_not_sent_as_a_link() -> None:
    schema = {
        "input": {"required": {"colors": ["COLORS", {}]}},
        "output": [],
        "output_name": [],
        "output_node": True,
    }
    saved = {"id": 1, "type": "X", "inputs": [], "outputs": [], "widgets_values": [["4", 0]]}
    document = {"nodes": [saved], "links": [], "version": 0.4}
    layout = convert(document, {"X": schema}, seed=1).prompt
    assert layout["1"]["inputs"] == {"colors": {"__value__": ["4", 0]}}
