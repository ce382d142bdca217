"""Turn a call into a job that can be queued: load, plan, place input files, patch, validate."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from comfyui_pipeline import (
    call_loras,
    change_texts,
    complete,
    controls,
    inputs,
    job_facts,
    load_workflow,
    prompt_ids,
)
from comfyui_pipeline.bounded import json_text
from comfyui_pipeline.call import ToolCall
from comfyui_pipeline.call_context import CallContext
from comfyui_pipeline.engine.protocol import Engine, Job, Prompt
from comfyui_pipeline.errors import PatchError, WorkflowError
from comfyui_pipeline.load_workflow import LoadedWorkflow
from comfyui_pipeline.media import file_names
from comfyui_pipeline.prepared_job import PreparedJob
from comfyui_pipeline.settings import Settings
from comfyui_pipeline.workflow import doubts, loras, patch, placeholders, roles, validate
from comfyui_pipeline.workflow.changes import Plan
from input_server.light_dataclasses import replace

MAX_RANDOM_SEED = 2**53 - 1
"""The largest integer that is exact in JavaScript, in which hosts and clients read the seed."""
TEXTS = frozenset({"prompt", "prompts", "negative_prompt"})
ADDING = frozenset({"images", "width", "height", "size", "scale", "batch_size"})
"""Arguments for which nodes may be added to a workflow."""
MAX_NAMED = 8
"""Workflows that an error lists."""


def prepare(context: CallContext) -> PreparedJob:
    """Everything before queueing. Raises WorkflowError, MediaError and EngineError's children."""
    call, settings, engine, watch = context.call, context.settings, context.engine, context.watch
    controls.refuse_unsupported(call)
    random_seed = random.randint(0, MAX_RANDOM_SEED)
    seed = _choice_seed(call, random_seed)
    with watch.time("load"):
        found = load_workflow.find(call, settings, context.deadline, engine)
    with watch.time("convert"):
        loaded = load_workflow.read(
            found, settings, engine, seed=seed, wanted=controls.switches(call), strict=call.strict
        )
    loaded = controls.choose_outputs(loaded, call)
    planned = controls.without_modes(call, loaded.switched.entries)
    if planned.unknown:
        from comfyui_pipeline import app_inputs

        planned = app_inputs.placed(planned, loaded)
    context = replace(context, call=planned)
    loaded, plan = _plan(context, loaded, random_seed)
    plan, delivery = controls.with_saving(loaded, call, plan, plan.used_keys)
    with watch.time("download"):
        place = inputs.check_files if call.dry_run else inputs.place_files
        changes, file_notes = place(plan.changes, context)
    with watch.time("patch"):
        prompt = patch.apply(loaded.prompt, changes)
    with watch.time("validate"):
        try:
            loaded, checked = _validate(replace(loaded, prompt=prompt), settings, engine)
        except WorkflowError as error:
            if not plan.stale_settings:
                raise
            raise WorkflowError(
                error.message, f"{' '.join(plan.stale_settings)} {error.hint}"
            ) from None
    document, queued = _document(loaded, checked.prompt)
    if queued is not checked.prompt:
        loaded = replace(loaded, prompt=queued)
    known = plan.used_keys.union(call.unknown)  # planning has reported the unknown ones
    ignored = (text for key, text in call.ignored.items() if key not in known)
    ready = PreparedJob(
        name=loaded.name,
        job=Job(json_text.nan_to_null(queued), _prompt_id(call), _extra_data(document, settings)),
        graph=loaded.graph,
        changes=tuple(changes),
        guesses=plan.guesses,
        skipped_outputs=checked.skipped_outputs,
        important=(
            *((loaded.chosen,) if loaded.chosen else ()),
            *loaded.unplaced,
            *plan.stale_settings,
            *plan.important,
            *ignored,
        ),
        notes=(
            *loaded.notes,
            *plan.notes,
            *doubts.sentences(loaded.graph, queued),
            *file_notes,
            *_unused_trigger_words(engine, loaded, queued),
            *controls.limit_notes(call, settings),
        ),
        changed=(*change_texts.sentences(changes), *loaded.switched.said),
        seed_origin=change_texts.seed_origin(changes),
        batch=change_texts.batch_of(loaded.graph),
        delivery=delivery,
    )
    return job_facts.remembered(ready)


def _unused_trigger_words(engine: Engine, loaded: LoadedWorkflow, prompt: Prompt) -> list[str]:
    if not roles.lora_loaders(loaded.graph):
        return []
    from comfyui_pipeline import trigger_words

    return trigger_words.unused(engine, loaded.graph, prompt)


def _choice_seed(call: ToolCall, random_seed: int) -> int:
    """The seed of random choices in texts. It is the same for the seed that the answer shows, which is
    smaller where a node takes only 32 bits.
    """
    return (random_seed if call.seed is None else call.seed) % 2**32


def _prompt_id(call: ToolCall) -> str:
    """A new id, or the one that belongs to the caller's own name for the job."""
    return prompt_ids.of_job_id(call.job_id) if call.job_id else prompt_ids.new()


def _plan(
    context: CallContext, loaded: LoadedWorkflow, random_seed: int
) -> tuple[LoadedWorkflow, Plan]:
    """Fill in placeholders, add LoRA loaders where needed, and plan all changes.

    When planning fails with node types from the cache, or finds no model by them, it is repeated with
    those of the server.
    """
    call = context.call
    seed = random_seed if call.seed is None else call.seed
    shortcuts = dict(call.shortcuts)
    choices: list[str] = []
    if not call.strict and not TEXTS.isdisjoint(shortcuts):
        from comfyui_pipeline.workflow import prompt_choices

        if prompt_choices.has_any(shortcuts):
            drawn = _choice_seed(call, random_seed)
            graph = loaded.graph
            again = "" if roles.seeds(graph) else f' ("seed": "{drawn}" chooses these again)'
            handlers = prompt_choices.handlers(graph)
            shortcuts, choices = prompt_choices.choose(shortcuts, drawn, handlers, again)
    tagged: tuple[loras.Lora, ...] = ()
    problems: tuple[PatchError, ...] = ()
    if "prompt" in shortcuts:
        shortcuts["prompt"], tagged, problems = call_loras.from_prompt(shortcuts["prompt"])
    prompt_text = shortcuts.get("prompt", "")
    defaults = context.settings.defaults
    given = {**complete.for_placeholders(defaults), **call.extras, **shortcuts, "seed": seed}
    template = loaded
    filled = placeholders.fill(loaded.prompt, given, lambda: template.graph)
    loaded = replace(loaded, prompt=filled.nodes, notes=(*loaded.notes, *choices, *filled.notes))
    shortcuts = complete.with_default_texts(loaded.name, shortcuts, defaults)
    shortcuts = {name: value for name, value in shortcuts.items() if name not in filled.used}
    chosen = call_loras.with_loaders(context, loaded, shortcuts, tagged, filled.used)
    loaded = chosen.loaded
    problems = (*problems, *chosen.problems)
    if not call.strict and not ADDING.isdisjoint(shortcuts):
        from comfyui_pipeline import added_nodes

        loaded = added_nodes.add(loaded, shortcuts, context.engine)
    prefix = file_names.prefix_from_prompt(prompt_text.replace("%", " "))

    def plan(loaded: LoadedWorkflow) -> tuple[LoadedWorkflow, Plan]:
        planned = patch.plan(
            loaded.graph,
            call,
            shortcuts,
            requested_loras=chosen.requested,
            random_seed=random_seed,
            prefix=prefix,
            files=filled.files,
            filled=filled.used,
            problems=problems,
            seed_chooses=bool(choices) or bool(loaded.converted and loaded.converted.drawn),
        )
        planned = replace(planned, stale_settings=chosen.stale)
        if call.workflow_json is not None:
            from comfyui_pipeline import nested_files

            folders = inputs.allowed_folders(context.settings)
            nested = nested_files.changes(loaded.graph, planned.changes, folders)
            planned = replace(planned, changes=(*planned.changes, *nested))
        return complete.complete(loaded, planned, defaults, strict=call.strict)

    try:
        planned = plan(loaded)
    except PatchError as error:
        if not loaded.from_cache:
            raise _explained(loaded, error, shortcuts, context) from None
    else:
        if not (loaded.from_cache and complete.is_doubtful(planned[1])):
            return planned
    loaded = load_workflow.with_fresh_schemas(
        loaded, loaded.from_cache, context.settings, context.engine
    )
    try:
        return plan(loaded)
    except PatchError as error:
        raise _explained(loaded, error, shortcuts, context) from None


def _explained(
    loaded: LoadedWorkflow, error: PatchError, shortcuts: Mapping[str, Any], context: CallContext
) -> WorkflowError:
    """The error with missing node types, and with workflows for the images that do not fit here."""
    count = len(shortcuts.get("images", ()))
    if count > len(roles.images(loaded.graph)):
        from comfyui_pipeline import workflow_choice

        entries = load_workflow.entries(context.settings, context.engine)
        if names := workflow_choice.taking_images(entries, count):
            hint = f"{error.hint} {count} images fit: {', '.join(names[:MAX_NAMED])}.".strip()
            error = PatchError(error.message, hint, code=error.code)
    if error.code == "unknown_node" and (off := controls.off_hint(loaded, context.call)):
        error = PatchError(error.message, f"{off} {error.hint}", code=error.code)
    return _after_missing_types(loaded, error)


def _after_missing_types(loaded: LoadedWorkflow, error: PatchError) -> WorkflowError:
    """The error, after the node types that the server lacks: without these no argument fits."""
    problems = validate.problems(loaded.graph, loaded.schemas, loaded.origin)
    missing = [problem for problem in problems if problem.missing_type]
    return WorkflowError(validate.summary(missing), str(error)) if missing else error


def _validate(
    loaded: LoadedWorkflow, settings: Settings, engine: Engine
) -> tuple[LoadedWorkflow, validate.Checked]:
    """The part of the prompt that can run. A cached node type that rejects a value is refreshed."""
    problems = validate.problems(loaded.graph, loaded.schemas, loaded.origin)
    doubtful = {p.node.class_type for p in problems if p.maybe_stale} & loaded.from_cache
    if doubtful:
        loaded = load_workflow.with_fresh_schemas(loaded, doubtful, settings, engine)
        problems = validate.problems(loaded.graph, loaded.schemas, loaded.origin)
    return loaded, validate.check(loaded.graph, loaded.prompt, problems)


def _document(
    loaded: LoadedWorkflow, prompt: Mapping[str, Mapping[str, Any]]
) -> tuple[Mapping[str, Any] | None, Mapping[str, Mapping[str, Any]]]:
    """The editor's document of the prompt, and the prompt with the ids that new nodes have in it."""
    if loaded.ui is None:
        types = {node["class_type"] for node in prompt.values()}
        if not any(_reads_document(loaded.schemas.get(name, {})) for name in types):
            return None, prompt
        from comfyui_pipeline.workflow.convert import node_document

        return json_text.nan_to_null(node_document.from_prompt(prompt, loaded.schemas)), prompt
    from comfyui_pipeline.workflow.convert import write_back

    written = write_back.written(loaded.ui, loaded.schemas, prompt, loaded.converted)
    return json_text.nan_to_null(written.document), write_back.renamed(prompt, written.renamed)


def _reads_document(schema: Mapping[str, Any]) -> bool:
    """Whether a node type may read the editor's document: it is given one, and is not one of ComfyUI's
    own that only save it.
    """
    groups = schema.get("input")
    hidden = groups.get("hidden") if isinstance(groups, dict) else None
    kinds = list(hidden.values()) if isinstance(hidden, dict) else hidden or []
    own = not str(schema.get("python_module", "")).startswith("custom_nodes.")
    return "EXTRA_PNGINFO" in kinds and not (own and schema.get("output_node"))


def _extra_data(document: Mapping[str, Any] | None, settings: Settings) -> dict[str, Any]:
    """What is queued next to the prompt: the editor's document, which nodes write into saved images
    so that the editor can open these, and the key that partner nodes need.
    """
    extra: dict[str, Any] = {}
    if document is not None:
        extra["extra_pnginfo"] = {"workflow": document}
    if settings.comfy_api_key:
        extra["api_key_comfy_org"] = settings.comfy_api_key
    return extra
