"""The command ``describe``: what a workflow does, what can be changed, what the server lacks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from comfyui_pipeline import complete, load_workflow
from comfyui_pipeline.call import ToolCall
from comfyui_pipeline.call_record import CallRecord
from comfyui_pipeline.engine.protocol import Engine
from comfyui_pipeline.settings import Settings
from comfyui_pipeline.text_result import text_result
from comfyui_pipeline.workflow import app_mode, patch, placeholders, required_files, validate
from comfyui_pipeline.workflow import graph as graphs
from comfyui_pipeline.workflow.changes import Plan
from comfyui_pipeline.workflow.describe import Needs
from comfyui_pipeline.workflow.describe import describe as describe_graph
from input_server.light_dataclasses import replace


def describe(
    call: ToolCall, settings: Settings, engine: Engine, started: float, _record: CallRecord
) -> Mapping[str, Any]:
    """Describe the workflow that the call names or contains."""
    found = load_workflow.find(call, settings, started + settings.timeout, engine)
    loaded = load_workflow.read(found, settings, engine, seed=call.seed or 0)
    graph, defaults = loaded.graph, settings.defaults
    template = placeholders.needed(loaded.prompt)
    given = {**complete.for_placeholders(defaults), "seed": 0}
    required = placeholders.required(loaded.prompt, given, lambda: graph)
    prompt = placeholders.with_samples(loaded.prompt, graph) if template else loaded.prompt
    checked = replace(loaded, prompt=prompt)
    plan = complete.with_models(checked, Plan(()), defaults, strict=call.strict)
    completed = graphs.build(patch.apply(prompt, plan.changes), loaded.schemas)
    missing = required_files.missing_files(completed)
    _, needed, _ = required_files.without_optional(prompt, completed, missing)
    text, fields = describe_graph(
        graph,
        loaded.name,
        validate.problems(completed, loaded.schemas, loaded.origin),
        (
            *((loaded.chosen,) if loaded.chosen else ()),
            *loaded.unplaced,
            *plan.stale_settings,
            *plan.important,
            *loaded.notes,
        ),
        full=call.full,
        app=app_mode.read(loaded.ui, graph, loaded.converted),
        template=template,
        parts=loaded.converted.parts if loaded.converted else None,
        needs=Needs(required, needed, frozenset(file.key for file in missing)),
    )
    return text_result(text, **fields)
