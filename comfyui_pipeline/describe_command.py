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
from comfyui_pipeline.workflow import app_mode, placeholders, required_files, validate
from comfyui_pipeline.workflow import graph as graphs
from comfyui_pipeline.workflow.describe import describe as describe_graph


def describe(
    call: ToolCall, settings: Settings, engine: Engine, started: float, _record: CallRecord
) -> Mapping[str, Any]:
    """Describe the workflow that the call names or contains."""
    found = load_workflow.find(call, settings, started + settings.timeout, engine)
    loaded = load_workflow.read(found, settings, engine, seed=call.seed or 0)
    graph = loaded.graph
    notes = (*((loaded.chosen,) if loaded.chosen else ()), *loaded.notes)
    needed = placeholders.needed(loaded.prompt)
    checked = graphs.build(placeholders.with_samples(loaded.prompt, graph), loaded.schemas)
    problems = validate.problems(checked if needed else graph, loaded.schemas, loaded.origin)
    missing = required_files.missing_files(checked if needed else graph)
    notes = (*notes, *((required_files.sentence(missing),) if missing else ()))
    app = app_mode.read(loaded.ui, graph)
    text, fields = describe_graph(
        graph, loaded.name, problems, notes, full=call.full, app=app, template=needed
    )
    return text_result(text, **fields)
