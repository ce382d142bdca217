"""The LoRAs of a call, with loaders for them: named in its prompt, in ``loras``, or by the settings.

A LoRA of the settings that cannot be used does not stop the call; it is left out and reported.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from comfyui_pipeline import load_workflow
from comfyui_pipeline.call_context import CallContext
from comfyui_pipeline.engine.protocol import Engine
from comfyui_pipeline.errors import PatchError
from comfyui_pipeline.load_workflow import LoadedWorkflow
from comfyui_pipeline.workflow import loras, matching, model_names, roles
from comfyui_pipeline.workflow.shipped import SHIPPED
from input_server.light_dataclasses import dataclass, replace

SETTING = "COMFYUI_DEFAULT_LORAS"


@dataclass(frozen=True, slots=True)
class CallLoras:
    """``loaded``: the workflow with enough loaders; ``problems``: mistakes in what the call names;
    ``stale``: sentences on LoRAs of the settings that were left out.
    """

    loaded: LoadedWorkflow
    requested: tuple[loras.Lora, ...] = ()
    problems: tuple[PatchError, ...] = ()
    stale: tuple[str, ...] = ()


def from_prompt(text: str) -> tuple[str, tuple[loras.Lora, ...], tuple[PatchError, ...]]:
    """The prompt without its LoRA tags, their LoRAs, and what is wrong with them."""
    try:
        left, found = loras.from_prompt(text)
    except PatchError as error:
        return text, (), (error,)
    return left, tuple(found), ()


def with_loaders(
    context: CallContext,
    loaded: LoadedWorkflow,
    shortcuts: Mapping[str, Any],
    tagged: Sequence[loras.Lora],
    used: Collection[str],
) -> CallLoras:
    """``tagged``: the LoRAs of the prompt; ``used``: arguments that placeholders have used."""
    try:
        requested = (*tagged, *loras.from_list(shortcuts.get("loras", ())))
        loras.check_count(requested)
        by_default = _of_settings(context, loaded, shortcuts, requested, used)
        requested = (*requested, *by_default.requested)
        loaded = by_default.loaded
        if context.call.add_loras:
            loaded, requested = _with_loaders(loaded, requested, context.engine)
    except PatchError as error:
        return CallLoras(loaded, problems=(error,))
    return CallLoras(loaded, requested, stale=by_default.stale)


def _of_settings(
    context: CallContext,
    loaded: LoadedWorkflow,
    shortcuts: Mapping[str, Any],
    others: Sequence[loras.Lora],
    used: Collection[str],
) -> CallLoras:
    """The LoRAs of the settings that the server has, for a shipped workflow that gets a prompt."""
    names = context.settings.defaults.loras
    if not names or loaded.name not in SHIPPED or "prompt" not in shortcuts:
        return CallLoras(loaded)
    if "loras" in shortcuts or "loras" in used:
        return CallLoras(loaded)
    try:
        wanted = loras.from_list(names)
        free = len(roles.lora_loaders(loaded.graph)) - len(others)
        if len(wanted) > free and not context.call.add_loras:
            return CallLoras(loaded)
        loaded, choices = _choices(context, loaded, [*others, *wanted], wanted)
    except PatchError as error:
        return CallLoras(loaded, stale=(f"{SETTING} has no effect: {error.message}",))
    known = [one for one in wanted if _is_known(one, choices)]
    stale = [
        model_names.stale_sentence(SETTING, one.name, choices) for one in wanted if one not in known
    ]
    return CallLoras(loaded, tuple(known), stale=tuple(stale))


def _choices(
    context: CallContext,
    loaded: LoadedWorkflow,
    every: Sequence[loras.Lora],
    wanted: Sequence[loras.Lora],
) -> tuple[LoadedWorkflow, list[str]]:
    """The server's LoRAs; its types are requested again where those of an earlier call lack one."""
    choices = _listed(_with_loaders(loaded, every, context.engine)[0])
    types = {t.node.class_type for t in roles.lora_loaders(loaded.graph)} & loaded.from_cache
    if types and not all(_is_known(one, choices) for one in wanted):
        loaded = load_workflow.with_fresh_schemas(loaded, types, context.settings, context.engine)
        choices = _listed(loaded)
    return loaded, choices


def _listed(loaded: LoadedWorkflow) -> list[str]:
    spec = roles.lora_loaders(loaded.graph)[0].spec
    return [str(choice) for choice in spec.choices] if spec else []


def _is_known(one: loras.Lora, choices: Sequence[str]) -> bool:
    return len(matching.find_file(one.name, choices, strict=False).names) == 1


def _with_loaders(
    loaded: LoadedWorkflow, requested: Sequence[loras.Lora], engine: Engine
) -> tuple[LoadedWorkflow, tuple[loras.Lora, ...]]:
    """The workflow with a loader for each LoRA, and the LoRAs in the order of the loaders.

    Raises PatchError.
    """
    graph = loaded.graph
    loaders = roles.lora_loaders(graph)
    if len(requested) <= len(loaders):
        return loaded, tuple(requested)
    known = {t.node.class_type: loaded.schemas[t.node.class_type] for t in loaders}
    catalog = known or engine.catalog()
    new = loras.new_loaders(graph, requested)
    prompt = loras.add_loaders(loaded.prompt, graph, new, catalog)
    class_types = {node["class_type"] for node in prompt.values()}
    added = {name: catalog[name] for name in class_types & catalog.keys()}
    in_order = (*requested[: len(loaders)], *(lora for _, ones in new for lora in ones))
    return replace(loaded, prompt=prompt, schemas={**added, **loaded.schemas}), in_order
