"""What a call leaves open and the workflow lacks: models of the settings, models that the server has
under another name, and the files without which nothing should run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from comfyui_pipeline.errors import PatchError
from comfyui_pipeline.load_workflow import LoadedWorkflow
from comfyui_pipeline.settings import DefaultValues
from comfyui_pipeline.workflow import (
    model_names,
    patch,
    required_files,
    validate,
)
from comfyui_pipeline.workflow.changes import STAND_IN, Change, Origin, Plan, Planner
from comfyui_pipeline.workflow.graph import Graph, is_link
from comfyui_pipeline.workflow.required_files import RequiredFile
from comfyui_pipeline.workflow.shipped import SHIPPED
from comfyui_pipeline.workflow.values import WrongValue
from input_server.light_dataclasses import replace

MAX_SHOWN = 80


def with_default_texts(
    name: str, shortcuts: Mapping[str, Any], defaults: DefaultValues
) -> dict[str, Any]:
    """The shortcut arguments, with the settings' negative prompt and quality words.

    These fill the placeholders of templates and complete the workflows that come with the plugin;
    other workflows keep what their authors wrote, as only templates and ours leave it to the caller.
    """
    completed = dict(shortcuts)
    if name not in SHIPPED:
        return completed
    if defaults.negative_prompt and "prompt" in completed:
        completed.setdefault("negative_prompt", defaults.negative_prompt)
    if defaults.quality_tags and completed.get("prompt"):
        completed["prompt"] = f"{completed['prompt']}, {defaults.quality_tags}"
    return completed


def for_placeholders(defaults: DefaultValues) -> dict[str, Any]:
    """Values of the settings for placeholders that the call does not fill, by argument."""
    values = {
        "checkpoint": defaults.checkpoint,
        "vae": defaults.vae,
        "loras": defaults.loras,
        "negative_prompt": defaults.negative_prompt,
        "quality_tags": defaults.quality_tags,
    }
    return {name: value for name, value in values.items() if value}


def complete(
    loaded: LoadedWorkflow, plan: Plan, defaults: DefaultValues, *, strict: bool
) -> tuple[LoadedWorkflow, Plan]:
    """The workflow and the plan with models that the server has. Raises PatchError for a missing file.

    ``strict``: a model of another name is not used.
    """
    plan = with_models(loaded, plan, defaults, strict=strict)
    return _without_missing_files(loaded, loaded.graph, plan)


def with_models(
    loaded: LoadedWorkflow, plan: Plan, defaults: DefaultValues, *, strict: bool
) -> Plan:
    """The plan with the models of the settings, and those that the server has for missing ones."""
    graph = loaded.graph
    set_inputs = {(c.target.node.id, c.target.name) for c in plan.changes}
    shipped = loaded.name in SHIPPED
    planner = Planner(graph, strict)
    stale = model_names.stale_settings(graph, set_inputs, _models(defaults), every=shipped)
    if shipped:
        for target, name in model_names.default_values(graph, set_inputs, _models(defaults)):
            with suppress(WrongValue):  # reported by ``stale``
                planner.set(target, name, Origin.DEFAULT)
    set_inputs |= set(planner.changes)
    important: list[str] = []
    guesses = list(planner.guesses)
    found = model_names.replacements(
        graph, set_inputs, preferred=defaults.checkpoint, any_of=shipped
    )
    for one in [] if strict else found:
        planner.set(one.target, one.new, Origin.DEFAULT, part=STAND_IN)
        (guesses if one.same_file else important).append(str(one))
    return replace(
        plan,
        changes=(*plan.changes, *planner.changes.values()),
        guesses=(*plan.guesses, *guesses),
        important=(*dict.fromkeys(important), *plan.important),
        stale_settings=(*plan.stale_settings, *stale),
    )


def _models(defaults: DefaultValues) -> dict[str, str]:
    """Argument -> the model that the settings give it."""
    return {"checkpoint": defaults.checkpoint, "vae": defaults.vae}


def is_doubtful(plan: Plan) -> bool:
    """Whether the server seems to lack a model that the workflow or a setting names."""
    return bool(plan.stale_settings) or any(
        change.origin is Origin.DEFAULT for change in plan.changes
    )


def _without_missing_files(
    loaded: LoadedWorkflow, graph: Graph, plan: Plan
) -> tuple[LoadedWorkflow, Plan]:
    """Leave out optional images that the call does not give next to others; raise for the rest."""
    set_inputs = {(c.target.node.id, c.target.name) for c in plan.changes}
    saved = [
        f"Node {target.node.label} was not given an image and took the one that the workflow names: "
        f"{str(target.node.inputs.get(target.name))[:MAX_SHOWN]}."
        for target in required_files.saved_images(graph, set_inputs)
        if not is_link(target.node.inputs.get(target.name))
    ]
    plan = replace(plan, notes=(*plan.notes, *saved))
    missing = required_files.missing_files(graph, set_inputs)
    if not missing:
        return loaded, plan
    prompt, needed, left_out = required_files.without_optional(
        loaded.prompt, graph, missing, set_inputs
    )
    notes = [f"node {node.label} was left out: no file was given for it" for node in left_out]
    if needed:
        raise _required_error(loaded, plan, needed)
    kept = tuple(change for change in plan.changes if _is_in(change, prompt))
    return replace(loaded, prompt=prompt), replace(
        plan, changes=kept, important=(*plan.important, *(f"{note}." for note in notes))
    )


def _required_error(
    loaded: LoadedWorkflow, plan: Plan, needed: Sequence[RequiredFile]
) -> PatchError:
    """The error for missing files, and what else keeps the workflow from running."""
    patched = replace(loaded, prompt=patch.apply(loaded.prompt, plan.changes))
    graph = patched.graph
    runs = {node.id for node in validate.needed_nodes(graph)}
    problems = [
        problem
        for problem in validate.problems(graph, patched.schemas, patched.origin)
        if problem.node.id in runs
    ]
    error = required_files.required_error(needed)
    if not problems:
        return error
    more = " ".join([error.hint, validate.summary(problems), *plan.stale_settings])
    return PatchError(error.message, more, code=error.code)


def _is_in(change: Change, prompt: Mapping[str, Any]) -> bool:
    return change.target.node.id in prompt
