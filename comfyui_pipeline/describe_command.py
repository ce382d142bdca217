"""The command ``describe``: what a workflow does, what can be changed, what the server lacks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from comfyui_pipeline import load_workflow
from comfyui_pipeline.call import ToolCall
from comfyui_pipeline.call_record import CallRecord
from comfyui_pipeline.engine.protocol import Engine
from comfyui_pipeline.settings import Settings
from comfyui_pipeline.text_result import text_result
from comfyui_pipeline.workflow import validate
from comfyui_pipeline.workflow.describe import describe as describe_graph


def describe(
    call: ToolCall, settings: Settings, engine: Engine, started: float, _record: CallRecord
) -> Mapping[str, Any]:
    """Describe the workflow that the call names or contains."""
    found = load_workflow.find(call, settings, started + settings.timeout, engine)
    loaded = load_workflow.read(found, settings, engine, seed=call.seed or 0)
    notes = (*((loaded.chosen,) if loaded.chosen else ()), *loaded.notes)
    problems = validate.problems(loaded.graph, loaded.schemas, loaded.origin)
    text, fields = describe_graph(loaded.graph, loaded.name, problems, notes, full=call.full)
    return text_result(text, **fields)
