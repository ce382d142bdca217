"""Plan all changes that a call makes to a workflow, then apply them to a copy of its prompt.

A change that fits nothing raises an error that lists what there is; fuzzy matches are noted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from comfyui_pipeline.arguments import ALL, BY_NAME, ONE, SHORTCUTS, Argument
from comfyui_pipeline.errors import PatchError
from comfyui_pipeline.workflow import loras, params, roles, title_parameters
from comfyui_pipeline.workflow.changes import Change, Origin, Plan, Planner
from comfyui_pipeline.workflow.graph import Graph, Target
from comfyui_pipeline.workflow.placeholders import FilePlaceholder

if TYPE_CHECKING:
    from comfyui_pipeline.call import ToolCall


def plan(
    graph: Graph,
    call: ToolCall,
    shortcuts: Mapping[str, Any],
    *,
    requested_loras: Sequence[loras.Lora] = (),
    random_seed: int = 0,
    prefix: str = "",
    files: Sequence[FilePlaceholder] = (),
) -> Plan:
    """All changes of a call: parameters named in titles, then ``params``, then roles.

    ``shortcuts``: the shortcut arguments that no placeholder has used. ``random_seed`` goes into
    each seed that the call leaves open, ``prefix`` into the file names of output nodes ("" leaves
    them as they are). ``files``: what placeholders have found for file inputs. Raises PatchError.
    """
    planner = Planner(graph, call.strict)
    named = _title_parameters(planner, call, shortcuts)
    for key, error in call.deferred.items():
        if key not in named:
            raise PatchError(error.message, error.hint, code=error.code)
    for file in files:
        node = graph.nodes[file.node_id]
        planner.set(Target(node, file.input_name), file.value, Origin.ARGUMENT, file.argument)
    params.apply_params(planner, call.params, all_titled=call.all_titled)
    rest = {name: value for name, value in shortcuts.items() if name not in named}
    for argument in _in_order(rest):
        PLACERS.get(argument.name, _place)(planner, argument, rest[argument.name])
    for target, value in loras.assignments(graph, requested_loras) if requested_loras else ():
        planner.set(target, value, Origin.ARGUMENT, "loras")
    if "seed" not in named:
        _place_seeds(planner, call.seed, random_seed)
    if prefix:
        for target in planner.unset(roles.filename_prefixes(graph)):
            planner.set(target, _keep_folder(target, prefix), Origin.FILE_NAME)
    return planner.plan(named)


def apply(prompt: Mapping[str, Mapping[str, Any]], changes: Sequence[Change]) -> dict[str, Any]:
    """A copy of the prompt with the changes applied."""
    inputs = {node_id: dict(node["inputs"]) for node_id, node in prompt.items()}
    for change in changes:
        inputs[change.target.node.id][change.target.name] = change.value
    return {node_id: {**node, "inputs": inputs[node_id]} for node_id, node in prompt.items()}


def available(graph: Graph) -> list[str]:
    """The shortcut arguments that change something in this workflow."""
    return [argument.name for argument in SHORTCUTS if roles.find_targets(graph, argument.name)]


# -- parameters named in titles --------------------------------------------------------------------


def _title_parameters(planner: Planner, call: ToolCall, shortcuts: Mapping[str, Any]) -> set[str]:
    """Set what the workflow's titles name; returns the names that the call gives."""
    given: dict[str, Any] = {**call.extras, **shortcuts}
    if call.seed is not None:
        given["seed"] = call.seed
    parameters = title_parameters.find(planner.graph)
    missing = [p.shown for p in parameters.values() if p.required and p.name not in given]
    if missing:
        raise PatchError(f"This workflow requires {', '.join(missing)}.", "Add it to the call.")
    used = {name: parameter for name, parameter in parameters.items() if name in given}
    for name, parameter in used.items():
        origin = Origin.GIVEN_SEED if name == "seed" else Origin.ARGUMENT
        for target in parameter.targets:
            planner.set(target, given[name], origin, name)
    return set(used)


# -- shortcut arguments ----------------------------------------------------------------------------


def _in_order(shortcuts: Mapping[str, Any]) -> list[Argument]:
    """In the table's order, but masks last: they go into images that were set before."""
    given = [argument for argument in BY_NAME.values() if argument.name in shortcuts]
    return sorted(given, key=lambda argument: argument.role == "mask")


def _place(planner: Planner, argument: Argument, value: Any) -> None:
    """Set every input of the argument's role."""
    name = argument.name
    found = roles.find_targets(planner.graph, name)
    if not found:
        raise PatchError(f'This workflow has no input for "{name}".', _others(planner.graph))
    targets = planner.unset(found)
    if not targets:
        raise PatchError(f'"{name}" and "params" both set the same input.', "Give only one.")
    if argument.targets != ALL and len(targets) > 1:
        present = {repr(target.node.inputs.get(target.name)) for target in targets}
        if argument.targets == ONE or len(present) > 1:
            raise _several(name, targets)
    for target in targets:
        planner.set(target, value, Origin.ARGUMENT, name)


def _place_each_image(planner: Planner, argument: Argument, values: Sequence[str]) -> None:
    targets = planner.unset(roles.images(planner.graph))
    if len(values) > len(targets):
        raise PatchError(
            f"{len(values)} images were given, but this workflow takes {len(targets)}.",
            "Give fewer images.",
        )
    for target, value in zip(targets, values, strict=False):
        planner.set(target, value, Origin.ARGUMENT, argument.name)


def _place_mask(planner: Planner, argument: Argument, value: str) -> None:
    found = roles.masks(planner.graph)
    if not found or not roles.mask_in_alpha(planner.graph, found[0]):
        _place(planner, argument, value)
    elif len(found) > 1:
        raise _several(argument.name, found)
    else:
        planner.set_mask(found[0], value)


def _placed_elsewhere(_planner: Planner, _argument: Argument, _value: Any) -> None:
    """``loras`` are placed together with those named in the prompt (``requested_loras``)."""


PLACERS: Mapping[str, Callable[[Planner, Argument, Any], None]] = {
    "images": _place_each_image,
    "mask": _place_mask,
    "loras": _placed_elsewhere,
}
"""Shortcut arguments that do not simply set all inputs of their role."""


def _several(argument: str, targets: Sequence[Target]) -> PatchError:
    inputs = "; ".join(f"node {t.node.label}, input {t.name}" for t in targets[: params.MAX_LISTED])
    several = ' Or pass them as "images", a list in this order.' if argument == "image" else ""
    return PatchError(
        f'"{argument}" is ambiguous; it matches {len(targets)} inputs of this workflow.',
        f"Set each with params instead: {inputs}.{several}",
        code="ambiguous",
    )


def _others(graph: Graph) -> str:
    names = available(graph)
    if not names:
        return "It has no shortcut arguments; change its nodes with params."
    return f"Its shortcut arguments are: {', '.join(names)}."


def _place_seeds(planner: Planner, given: int | None, random_seed: int) -> None:
    found = roles.seeds(planner.graph)
    if given is not None and not found:
        raise PatchError("This workflow has no seed input.", _others(planner.graph))
    for target in planner.unset(found):
        if given is not None:
            planner.set(target, given, Origin.GIVEN_SEED, "seed")
        else:
            planner.set(target, _in_range(target, random_seed), Origin.RANDOM_SEED)


def _in_range(target: Target, seed: int) -> int:
    highest = target.spec.options.get("max") if target.spec else None
    return seed % (highest + 1) if isinstance(highest, int) and highest >= 0 else seed


def _keep_folder(target: Target, prefix: str) -> str:
    """The prefix in the workflow's own folder: ``a/ComfyUI`` -> ``a/<prefix>``."""
    old = target.node.inputs.get(target.name)
    folder = old.rpartition("/")[0] if isinstance(old, str) else ""
    return f"{folder}/{prefix}" if folder else prefix
