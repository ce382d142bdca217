"""Plan all changes that a call makes to a workflow, then apply them to a copy of its prompt.

A change that fits nothing raises an error that lists what there is; fuzzy matches are noted.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from comfyui_pipeline.argument_keys import fold
from comfyui_pipeline.arguments import ALL, BY_NAME, ONE, SHORTCUTS, Argument
from comfyui_pipeline.errors import PatchError
from comfyui_pipeline.workflow import (
    durations,
    image_roles,
    image_slots,
    loras,
    params,
    passes,
    place_texts,
    roles,
    seeds,
    sizes,
    title_parameters,
)
from comfyui_pipeline.workflow.changes import Change, NoRole, Origin, Plan, Planner, ambiguous
from comfyui_pipeline.workflow.graph import Graph, Target
from comfyui_pipeline.workflow.placeholders import FilePlaceholder
from comfyui_pipeline.workflow.values import range_of
from input_server.light_dataclasses import dataclass, field, replace

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
    filled: Collection[str] = (),
    problems: Sequence[PatchError] = (),
    seed_chooses: bool = False,
) -> Plan:
    """All changes of a call: parameters named in titles, then ``params``, then roles.

    ``shortcuts``: the shortcut arguments that no placeholder has used. ``random_seed`` goes into
    each seed that the call leaves open, ``prefix`` into the file names of output nodes ("" leaves
    them as they are). ``files``: what placeholders have found for file inputs; ``filled``: the keys
    that they have used. ``problems``: mistakes that were found before. ``seed_chooses``: the seed has
    decided choices in texts, also if the workflow has no input for it. Raises one PatchError for all.
    """
    planner = Planner(graph, call.strict, call.spelled)
    titled = _title_parameters(planner, call, shortcuts)
    named = titled.arguments
    attempts = _Attempts([*problems])
    for key, error in call.deferred.items():
        if key not in titled.keys and not _is_input(planner, key, call):
            attempts.problems.append(PatchError(error.message, error.hint, code=error.code))
    for file in files:
        node = graph.nodes[file.node_id]
        planner.set(Target(node, file.input_name), file.value, Origin.ARGUMENT, file.argument)
    attempts.make(params.apply_params, planner, call.params, all_titled=call.all_titled)
    rest = {name: value for name, value in shortcuts.items() if name not in named}
    requested_loras = _with_strength(requested_loras, rest)
    for argument in _in_order(rest):
        placer = PLACERS.get(argument.name, _place)
        attempts.make(_place_or_find, placer, planner, argument, rest[argument.name], call)
    sizes_given = {name: rest[name] for name in sizes.ARGUMENTS if name in rest}
    if sizes_given:
        attempts.make(_place_sizes, planner, sizes_given, call)
    for name in durations.ARGUMENTS:
        if name in rest:
            given = {name: rest[name], **({"fps": rest["fps"]} if "fps" in rest else {})}
            attempts.make(_place_duration, planner, name, given, call)
    attempts.make(_place_loras, attempts, planner, requested_loras, "loras" in rest)
    unknown = [key for key in call.unknown if key not in titled.keys and key not in filled]
    if unknown:
        from comfyui_pipeline.workflow import unknown_keys

        attempts.make(
            unknown_keys.place,
            planner,
            unknown,
            call.extras,
            own_names=call.own_names,
            elsewhere=call.elsewhere,
        )
    if "seed" not in named and not (seed_chooses and not roles.seeds(graph)):
        attempts.make(_place_seeds, planner, call.seed, random_seed)
    if prefix:
        for target in planner.unset(roles.filename_prefixes(graph)):
            planner.set(target, _keep_folder(target, prefix), Origin.FILE_NAME)
    if attempts.problems:
        from comfyui_pipeline.workflow.unknown_keys import together

        raise together(attempts.problems)
    _note_seed(planner, call)
    return planner.plan({*named, *titled.keys})


def _is_input(planner: Planner, key: str, call: ToolCall) -> bool:
    """Whether ``{"enable": true}`` sets an input of that name."""
    value = call.extras.get(key)
    if str(value).strip().lower() not in ("true", "false"):
        return False
    from comfyui_pipeline.workflow.unknown_keys import place_by_name

    return place_by_name(planner, key, value)


@dataclass(slots=True)
class _Attempts:
    """Steps of planning of which each may fail, so that all mistakes are reported together."""

    problems: list[PatchError] = field(default_factory=list)

    def make(self, step: Callable[..., Any], *arguments: Any, **more: Any) -> None:
        try:
            step(*arguments, **more)
        except PatchError as error:
            self.problems.append(error)


def _place_loras(
    attempts: _Attempts, planner: Planner, requested: Sequence[loras.Lora], listed: bool
) -> None:
    """``listed``: whether the call has ``loras``; else they are named in its prompt or the settings."""
    said = "" if listed else "<lora:…>"
    for target, value in loras.assignments(planner.graph, requested) if requested else ():
        attempts.make(planner.set, target, value, Origin.ARGUMENT, "loras", said=said)


def _with_strength(requested: Sequence[loras.Lora], rest: dict[str, Any]) -> Sequence[loras.Lora]:
    """Give ``lora_strength`` to the LoRAs of the call that have no strength of their own."""
    if not requested or "lora_strength" not in rest:
        return requested
    strength = float(rest.pop("lora_strength"))
    return [
        replace(one, strength=strength) if one == loras.Lora(one.name) else one for one in requested
    ]


def _note_seed(planner: Planner, call: ToolCall) -> None:
    if call.seed is None:
        return
    sides = {(t.node.id, t.name) for t in roles.find_targets(planner.graph, "width")}
    if any(
        (c.target.node.id, c.target.name) in sides and not c.is_seed and c.source
        for c in planner.changes.values()
        if c.value != c.target.node.inputs.get(c.target.name)
    ):
        planner.notes.append("At another size the same seed gives a different image.")


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


@dataclass(frozen=True, slots=True)
class _Titled:
    """What parameters in titles have used: keys as written, and arguments that need no other place."""

    keys: frozenset[str] = frozenset()
    arguments: frozenset[str] = frozenset()


def _title_parameters(planner: Planner, call: ToolCall, shortcuts: Mapping[str, Any]) -> _Titled:
    """Set what the workflow's titles name, as the caller wrote it or without case and separators."""
    parameters = title_parameters.find(planner.graph)
    if not parameters:
        return _Titled()
    given: dict[str, Any] = {**call.extras, **shortcuts}
    if call.seed is not None:
        given["seed"] = call.seed
    folded = {fold(key): key for key in reversed(given)}
    keys = {
        name: name if name in given else folded[fold(name)]
        for name in parameters
        if name in given or fold(name) in folded
    }
    missing = [p.shown for name, p in parameters.items() if p.required and name not in keys]
    if missing:
        raise PatchError(f"This workflow requires {', '.join(missing)}.", "Add it to the call.")
    for name, key in keys.items():
        origin = Origin.GIVEN_SEED if key == "seed" else Origin.ARGUMENT
        value = given[key]
        for target in parameters[name].targets:
            planner.set(target, value, origin, name, key=key if key != name else "")
    used = frozenset(keys.values())
    spelled = {key: name for name, key in call.spelled.items()}
    arguments = used & {*shortcuts, "seed"} | {spelled[key] for key in used if key in spelled}
    lists = {n for n, items in call.item_keys.items() if items and used.issuperset(items)}
    return _Titled(used, frozenset(arguments | lists))


# -- shortcut arguments ----------------------------------------------------------------------------


def _in_order(shortcuts: Mapping[str, Any]) -> list[Argument]:
    """In the table's order, but images of a certain role before others, and masks last: they go into
    images that were set before. Sizes and durations are placed together.
    """
    grouped = {*sizes.ARGUMENTS, *durations.ARGUMENTS}
    given = [a for a in BY_NAME.values() if a.name in shortcuts and a.name not in grouped]
    place = {"mask": 2, "image": 1}
    return sorted(given, key=lambda argument: place.get(argument.role, 0))


def _place_or_find(
    placer: Callable[[Planner, Argument, Any], None],
    planner: Planner,
    argument: Argument,
    value: Any,
    call: ToolCall,
) -> None:
    """Place an argument; if the workflow has no such role, in what its key names otherwise."""
    try:
        placer(planner, argument, value)
    except NoRole:
        text = argument.role in ("positive_text", "negative_text")  # never guessed by a title
        if text or not _place_by_name(planner, argument.name, call):
            raise


def _place_by_name(planner: Planner, name: str, call: ToolCall) -> bool:
    """Set the input or node that an argument's key names; whether there is one."""
    key = planner.key(name)
    value = call.extras.get(key, call.shortcuts.get(name))
    from comfyui_pipeline.workflow.unknown_keys import place_by_name

    return place_by_name(planner, key, value)


def _place_sizes(planner: Planner, given: Mapping[str, Any], call: ToolCall) -> None:
    try:
        sizes.place(planner, given, call.shortcuts)
    except NoRole:
        if len(given) > 1 or not _place_by_name(planner, next(iter(given)), call):
            raise


def _place_duration(planner: Planner, name: str, given: Mapping[str, Any], call: ToolCall) -> None:
    try:
        durations.place(planner, name, given)
    except NoRole:
        if not _place_by_name(planner, name, call):
            raise


def _place(planner: Planner, argument: Argument, value: Any) -> None:
    """Set every input of the argument's role."""
    name, key = argument.name, planner.key(argument.name)
    found = roles.find_targets(planner.graph, name)
    if not found:
        hint = SEVERAL_RUNS if name == "batch_size" else _others(planner.graph)
        hint = place_texts.candidates(planner.graph) + hint if name == "prompt" else hint
        raise NoRole(f'This workflow has no input for "{key}".', hint)
    targets = planner.unset(found)
    if not targets:
        raise PatchError(f'"{key}" and "params" both set the same input.', "Give only one.")
    if argument.role == "image" and len(targets) > 1:
        targets = _main_image(planner, targets)
        if len(targets) > 1:
            raise _several_images(planner, targets)
    if name == "prompt":
        targets = place_texts.one(planner, targets)
    if argument.targets != ALL and len(targets) > 1:
        present = {repr(target.node.inputs.get(target.name)) for target in targets}
        if argument.targets == ONE or len(present) > 1:
            raise ambiguous(key, targets)
    for target in targets:
        planner.set(target, value, Origin.ARGUMENT, name, part=_part(planner, argument, target))


def _place_each_text(planner: Planner, argument: Argument, values: Sequence[str]) -> None:
    found = roles.texts(planner.graph, "positive")
    if not found:
        _place(planner, BY_NAME["prompt"], values[0])
    place_texts.each(planner, argument, found, values)


def _part(planner: Planner, argument: Argument, target: Target) -> str:
    if argument.role == "mask":
        return "mask"
    if argument.role not in ("image", *image_roles.ARGUMENT_ROLES):
        return ""
    return image_roles.part_of(planner.graph, target)


def _main_image(planner: Planner, targets: list[Target]) -> list[Target]:
    """The image that is meant if no role is given: the only one without another role, or the start."""
    if planner.strict:
        return targets
    parts = [(image_roles.part_of(planner.graph, target), target) for target in targets]
    for wanted in ("", "start image"):
        found = [target for part, target in parts if part == wanted]
        if len(found) == 1:
            label = wanted or "input image"
            planner.guesses.append(
                f"{planner.key('image')} → {label} of node {found[0].node.label}"
            )
            return found
    return targets[:1] if _can_be_left_out(planner.graph, targets[1:]) else targets


def _can_be_left_out(graph: Graph, targets: Sequence[Target]) -> bool:
    """Whether images are optional for their nodes, and none is saved in the workflow."""
    from comfyui_pipeline.workflow import optional_inputs, required_files

    missing = {file.key for file in required_files.missing_files(graph)}
    prompt = {i: {"inputs": node.inputs} for i, node in graph.nodes.items()}
    return all(
        (target.node.id, target.name) in missing
        and optional_inputs.without(prompt, graph, target.node.id) is not None
        for target in targets
    )


def _several_images(planner: Planner, targets: Sequence[Target]) -> PatchError:
    """The error for one image where the workflow loads several."""
    loaders = "; ".join(_slots(planner.graph, targets))
    return PatchError(
        f'"{planner.key("image")}" is ambiguous: this workflow takes {len(targets)} images.',
        f'Pass them as "images", a list in this order: {loaders}.',
        code="ambiguous",
    )


def _place_each_image(planner: Planner, argument: Argument, values: Sequence[str]) -> None:
    found = roles.images(planner.graph)
    targets = planner.unset(found)
    if not found:
        raise NoRole("This workflow takes no input image.", _others(planner.graph))
    if len(values) > len(targets):
        raise PatchError(
            f"{len(values)} images were given, but this workflow takes {len(targets)}.",
            'Give fewer images; {"info": "workflows"} shows how many each workflow takes.',
        )
    titles = [t.node.title for t in targets[: len(values)]]
    named = all(titles) and len(set(titles)) == len(titles)
    for number, (target, value) in enumerate(zip(targets, values, strict=False), start=1):
        part = _part(planner, argument, target)
        if not part and len(values) > 1:
            part = target.node.title if named else f"image {number}"
        planner.set(target, value, Origin.ARGUMENT, argument.name, part=part)
    if len(values) > 1:
        used = targets[: len(values)]
        order = (
            " They make different results, so that their order has no meaning."
            if image_slots.independent(planner.graph, used)
            else ""
        )
        planner.notes.append(f"Images: {'; '.join(_slots(planner.graph, used))}.{order}")


def _slots(graph: Graph, targets: Sequence[Target]) -> list[str]:
    return image_slots.slots(graph, targets[: params.MAX_LISTED])


def _place_mask(planner: Planner, argument: Argument, value: str) -> None:
    found = roles.masks(planner.graph)
    if not found or not roles.mask_in_alpha(planner.graph, found[0]):
        _place(planner, argument, value)
    elif len(found) > 1:
        raise ambiguous(planner.key(argument.name), found)
    else:
        planner.set_mask(found[0], value)


def _place_steps(planner: Planner, argument: Argument, value: int) -> None:
    """The steps, and in proportion where one sampler hands over to the next."""
    _place(planner, argument, value)
    for target in roles.find_targets(planner.graph, argument.name):
        old = target.node.inputs.get(target.name)
        if planner.value(target) != value or not isinstance(old, int) or old in (0, value):
            continue
        for part in planner.unset(
            passes.parts_of_schedule(planner.graph, target, argument.input_names)
        ):
            at = part.node.inputs.get(part.name)
            if isinstance(at, int) and 0 < at <= old:
                new = max(1, round(at * value / old))
                planner.set(
                    part, new, Origin.ARGUMENT, argument.name, part=f"{part.name} in proportion"
                )


def _place_strength(planner: Planner, argument: Argument, value: float) -> None:
    """The strength of a ControlNet; without one, how much an input image is changed."""
    graph = planner.graph
    if roles.find_targets(graph, argument.name) or not roles.images(graph) or not 0 <= value <= 1:
        _place(planner, argument, value)
        return
    targets = planner.unset(roles.find_targets(graph, "denoise"))
    if not targets:
        _place(planner, argument, value)
        return
    for target in targets:
        planner.set(target, value, Origin.ARGUMENT, argument.name, part="denoise")
    planner.notes.append(
        f'This workflow has no ControlNet, so "{planner.key(argument.name)}" was used as denoise.'
    )


SEVERAL_RUNS = (
    'For several results run it several times in one call: "workflow1", "prompt1", "workflow2", '
    '"prompt2", …'
)


def _placed_elsewhere(_planner: Planner, _argument: Argument, _value: Any) -> None:
    """``loras`` are placed together with those named in the prompt (``requested_loras``)."""


PLACERS: Mapping[str, Callable[[Planner, Argument, Any], None]] = {
    "images": _place_each_image,
    "prompts": _place_each_text,
    "mask": _place_mask,
    "loras": _placed_elsewhere,
    "steps": _place_steps,
    "strength": _place_strength,
}
"""Shortcut arguments that do not simply set all inputs of their role."""


def _others(graph: Graph) -> str:
    from comfyui_pipeline.workflow import additions

    names = [*available(graph), *additions.arguments(graph)]
    if not names:
        return "It has no shortcut arguments; change its nodes with params."
    return f"Its shortcut arguments are: {', '.join(names)}."


def _place_seeds(planner: Planner, given: int | None, random_seed: int) -> None:
    found = roles.seeds(planner.graph)
    if given is not None and not found:
        raise PatchError("This workflow has no seed input.", _others(planner.graph))
    targets = planner.unset(found)
    if given is None:
        seed, origin = (
            seeds.drawn([target.spec for target in targets], random_seed),
            Origin.RANDOM_SEED,
        )
    else:
        seed, origin = given, Origin.GIVEN_SEED
    for target in targets:
        value = seeds.fitting(target.spec, seed)
        planner.set(target, value, origin, "seed")
        if value != given and given is not None and target.spec is not None:
            planner.notes.append(
                f"Node {target.node.label} takes seeds{range_of(target.spec)}: it got {value}, which "
                f"follows from {given}."
            )


def _keep_folder(target: Target, prefix: str) -> str:
    """The prefix in the workflow's own folder: ``a/ComfyUI`` -> ``a/<prefix>``."""
    old = target.node.inputs.get(target.name)
    folder = old.rpartition("/")[0] if isinstance(old, str) else ""
    return f"{folder}/{prefix}" if folder else prefix
