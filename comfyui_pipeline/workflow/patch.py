"""Plan the caller's changes in full against the graph, then carry them out at once.

A change that fits nothing is an error that lists what there is; what had to be guessed is noted; the
prompt given is never altered.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from comfyui_pipeline.arguments import Param, ToolCall
from comfyui_pipeline.errors import PatchError
from comfyui_pipeline.workflow import loras, matching, roles, title_parameters
from comfyui_pipeline.workflow.graph import Graph, Node, Target
from comfyui_pipeline.workflow.values import fit
from input_server.light_dataclasses import dataclass, field, replace

LISTED = 30
SHOWN = 80
"""Characters of a wrong name that an error repeats."""
MAX_CHANGES = 100_000
"""Inputs that one call may set, counted each time."""
MAX_COMPARED = 1_000_000
"""Names that are compared because none of a workflow's is exactly as the call writes it."""
EACH_OF_SEVERAL = frozenset({"image", "mask", "checkpoint", "vae", "width", "height"})
"""Short arguments whose several places are different things: one value cannot mean them all."""


@dataclass(frozen=True, slots=True)
class Change:
    """A new value for one input. ``reason`` is the argument that asked for it.

    ``mask``: a file that is to become the see-through part of the picture that the value names.
    """

    target: Target
    value: Any
    reason: str
    replaced_link: bool = False
    mask: str | None = None

    @property
    def needs_file(self) -> bool:
        """Whether the value names a picture or another file that has to be brought to the server."""
        spec = self.target.spec
        kept = self.reason == "mask" and self.mask is not None
        return spec is not None and spec.takes_file and isinstance(self.value, str) and not kept


@dataclass(frozen=True, slots=True)
class Plan:
    """All changes, what was guessed for them, and the keys of the call that they used up."""

    changes: tuple[Change, ...]
    guesses: tuple[str, ...] = ()
    used_keys: frozenset[str] = frozenset()


@dataclass(slots=True)
class _Planning:
    """A plan in the making."""

    graph: Graph
    strict: bool
    changes: dict[tuple[str, str], Change] = field(default_factory=dict)
    guesses: list[str] = field(default_factory=list)
    titles: dict[str, list[Node]] = field(default_factory=dict)
    found: dict[str, list[Node]] = field(
        default_factory=dict
    )  # a title as written -> what it means
    count: int = 0
    compared: int = 0

    def set(self, target: Target, value: Any, reason: str) -> None:
        self.count += 1
        if self.count > MAX_CHANGES:
            raise PatchError(
                f"The call sets more than {MAX_CHANGES} inputs.", "Split it into several calls."
            )
        linked = self.graph.link(target.node.inputs.get(target.name)) is not None
        fitted = fit(self.graph, target, value, strict=self.strict)
        if fitted.note:
            self.guesses.append(fitted.note)
        self.changes[_place(target)] = Change(target, fitted.value, reason, replaced_link=linked)

    def set_mask(self, target: Target, mask: str) -> None:
        """Lay a mask into the picture that the input names, be it a new one or the workflow's own."""
        own = Change(target, target.node.inputs.get(target.name), "mask")
        self.changes[_place(target)] = replace(self.changes.get(_place(target), own), mask=mask)

    def compare(self, names: int) -> None:
        """Count names that have to be compared. Raises PatchError when they become too many."""
        self.compared += names
        if self.compared > MAX_COMPARED:
            raise PatchError(
                "Too many node titles or input names of this call are in no node of the workflow.",
                "Write them exactly; the command describe lists them.",
            )

    def titled(self, title: str) -> list[Node]:
        """The nodes of exactly this title."""
        if not self.titles:
            for node in self.graph.nodes.values():
                self.titles.setdefault(node.title, []).append(node)
        return self.titles.get(title, [])

    def open(self, targets: Iterable[Target]) -> list[Target]:
        """Those that nothing has set yet."""
        return [target for target in targets if _place(target) not in self.changes]


def plan(
    graph: Graph,
    call: ToolCall,
    short: Mapping[str, Any],
    *,
    requested_loras: Sequence[loras.Lora] = (),
    random_seed: int = 0,
    prefix: str = "",
) -> Plan:
    """Every change that this call means, in no need of an order.

    ``short``: the short arguments that are still to be placed. ``drawn_seed`` goes into each seed
    that the caller left open; ``prefix`` into the file names of saving nodes ("" leaves them).
    Parameters named in titles come first, then ``params``, then roles. Raises PatchError.
    """
    planning = _Planning(graph, call.strict)
    named = _from_titles(planning, call, short)
    _from_params(planning, call.params)
    for argument in (name for name in roles.FINDERS if name in short and name not in named):
        if argument not in ("seed", "loras", "mask"):
            _from_role(planning, argument, short[argument])
    if "images" in short and "images" not in named:
        _each_picture(planning, short["images"])
    if "mask" in short and "mask" not in named:
        _mask(planning, short["mask"])
    for target, value in loras.settings(graph, requested_loras) if requested_loras else ():
        planning.set(target, value, "loras")
    if "seed" not in named:
        _seeds(planning, call.seed, random_seed)
    if prefix:
        for target in planning.open(roles.filename_prefixes(graph)):
            planning.set(target, _in_folder(target, prefix), "file name")
    return Plan(
        tuple(planning.changes.values()), tuple(dict.fromkeys(planning.guesses)), frozenset(named)
    )


def apply(prompt: Mapping[str, Mapping[str, Any]], changes: Sequence[Change]) -> dict[str, Any]:
    """A new prompt with the changes made."""
    inputs = {node_id: dict(node["inputs"]) for node_id, node in prompt.items()}
    for change in changes:
        inputs[change.target.node.id][change.target.name] = change.value
    return {node_id: {**node, "inputs": inputs[node_id]} for node_id, node in prompt.items()}


def with_value(change: Change, value: str) -> Change:
    """The same change with the server's name of a file that was brought in."""
    return replace(change, value=value)


def _place(target: Target) -> tuple[str, str]:
    return target.node.id, target.name


# -- parameters named in titles --------------------------------------------------------------------


def _from_titles(planning: _Planning, call: ToolCall, short: Mapping[str, Any]) -> set[str]:
    """Set what the workflow's titles name; gives the names that were given."""
    given: dict[str, Any] = {**call.extras, **short}
    if call.seed is not None:
        given["seed"] = call.seed
    named = title_parameters.find(planning.graph)
    missing = [p.name for p in named.values() if p.required and p.name not in given]
    if missing:
        told = ", ".join(f'"{name}"' for name in missing)
        raise PatchError(f"This workflow requires {told}.", "Add it to the call.")
    used = set()
    for param in named.values():
        if param.name in given:
            used.add(param.name)
            for target in param.targets:
                planning.set(target, given[param.name], param.name)
    return used


# -- params ----------------------------------------------------------------------------------------


def _from_params(planning: _Planning, params: Sequence[Param]) -> None:
    for param in params:
        for node in _nodes_of(planning, param):
            for name, value in param.inputs.items():
                planning.set(Target(node, _input(planning, node, name)), value, "params")


def _nodes_of(planning: _Planning, param: Param) -> list[Node]:
    """By id, title, title without case and width, role, class, and the nearest title at last."""
    graph = planning.graph
    if param.node_id is not None:
        if param.node_id in graph.nodes:
            return [graph.nodes[param.node_id]]
        raise PatchError(
            f"There is no node {param.node_id[:SHOWN]!r}.", _nodes(graph), code="unknown_node"
        )
    title = param.node_title or ""
    found = planning.titled(title)
    if not found and not planning.strict:
        if title not in planning.found:
            planning.found[title] = _loosely_titled(planning, title)
        found = planning.found[title]
    if not found:
        raise PatchError(
            f"There is no node titled {title[:SHOWN]!r}.", _nodes(graph), code="unknown_node"
        )
    if len(found) > 1 and not param.all:
        candidates = "; ".join(node.label for node in found[:LISTED])
        raise PatchError(
            f"{len(found)} nodes could be {title[:SHOWN]!r}: {candidates}.",
            'Use node_id, or add "all": true to change them all.',
            code="ambiguous",
        )
    return found


def _loosely_titled(planning: _Planning, title: str) -> list[Node]:
    nodes = list(planning.graph.nodes.values())
    planning.compare(len(nodes))
    wanted = matching.plain(title)
    same = [node for node in nodes if matching.plain(node.title) == wanted]
    if same:
        return same
    by_role = _by_role(planning.graph, wanted)
    by_class = [node for node in nodes if matching.plain(node.class_type) == wanted]
    guessed = by_role or by_class
    if not guessed:
        names = [node.title or node.class_type for node in nodes]
        likely = set(matching.guess(title, list(dict.fromkeys(names))).names)
        guessed = [node for node in nodes if (node.title or node.class_type) in likely]
    for node in guessed:
        planning.guesses.append(f"node {title[:SHOWN]!r} → {node.label}")
    return guessed


def _by_role(graph: Graph, word: str) -> list[Node]:
    """The nodes that a role's name means: ``positive``, ``negative prompt``, ``sampler``…"""
    argument = ROLE_WORDS.get(word, word.replace(" ", "_"))
    if argument == "sampler":
        return roles.samplers(graph)
    if argument not in roles.FINDERS:
        return []
    return list({t.node.id: t.node for t in roles.find_targets(graph, argument)}.values())


ROLE_WORDS = {
    "positive": "prompt",
    "positive prompt": "prompt",
    "negative": "negative_prompt",
    "negative prompt": "negative_prompt",
    "model": "checkpoint",
    "size": "width",
    "latent": "width",
    "lora": "loras",
    "controlnet": "strength",
}


def _nodes(graph: Graph) -> str:
    labels = [node.label for node in graph.nodes.values()]
    more = f"; and {len(labels) - LISTED} more" if len(labels) > LISTED else ""
    return f"This workflow has: {'; '.join(labels[:LISTED])}{more}."


def _input(planning: _Planning, node: Node, name: str) -> str:
    if name in node.specs or name in node.inputs:
        return name
    known = [*node.specs, *(given for given in node.inputs if given not in node.specs)]
    planning.compare(len(known))
    found = matching.find_input(name, known, strict=planning.strict)
    if len(found.names) == 1:
        if found.guessed:
            planning.guesses.append(
                f"input {name[:SHOWN]!r} → {found.names[0]!r} of node {node.label}"
            )
        return found.names[0]
    if found.names:
        raise PatchError(
            f"The input {name[:SHOWN]!r} of node {node.label} could be {' or '.join(found.names)}.",
            "Use one of these names.",
            code="ambiguous",
        )
    raise PatchError(
        f"Node {node.label} has no input {name[:SHOWN]!r}.",
        f"It has: {_some(known)}." if known else "It has none.",
        code="unknown_input",
    )


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(name[:SHOWN] for name in names[:LISTED]) + more


# -- short arguments -------------------------------------------------------------------------------


def _from_role(planning: _Planning, argument: str, value: Any) -> None:
    found = roles.find_targets(planning.graph, argument)
    if not found:
        raise PatchError(
            f'This workflow has nothing that "{argument}" could change.', _others(planning.graph)
        )
    targets = planning.open(found)
    if not targets:
        raise PatchError(f'"{argument}" and "params" both set the same input.', "Give only one.")
    if argument in EACH_OF_SEVERAL and len(targets) > 1:
        values = {repr(target.node.inputs.get(target.name)) for target in targets}
        if argument in ("image", "mask") or len(values) > 1:
            raise _several(argument, targets)
    for target in targets:
        planning.set(target, value, argument)


def _mask(planning: _Planning, value: str) -> None:
    found = roles.masks(planning.graph)
    if not found or not roles.mask_in_alpha(planning.graph, found[0]):
        _from_role(planning, "mask", value)
    elif len(found) > 1:
        raise _several("mask", found)
    else:
        planning.set_mask(found[0], value)


def _several(argument: str, targets: Sequence[Target]) -> PatchError:
    ways = "; ".join(f"node {t.node.label}, input {t.name}" for t in targets[:LISTED])
    several = ' Or give "images": a list, in this order.' if argument == "image" else ""
    return PatchError(
        f'{len(targets)} places of this workflow could be meant by "{argument}".',
        f"Name each in params: {ways}.{several}",
        code="ambiguous",
    )


def _others(graph: Graph) -> str:
    there = available(graph)
    if not there:
        return "It has no short arguments at all; change nodes with params."
    return f"Its short arguments are: {', '.join(there)}."


def available(graph: Graph) -> list[str]:
    """The short arguments that change something in this workflow."""
    return [name for name in roles.FINDERS if roles.find_targets(graph, name)]


def _each_picture(planning: _Planning, values: Sequence[str]) -> None:
    targets = planning.open(roles.pictures(planning.graph))
    if len(values) > len(targets):
        raise PatchError(
            f"{len(values)} pictures were given, and this workflow takes {len(targets)}.",
            "Give as many as it takes.",
        )
    for target, value in zip(targets, values, strict=False):
        planning.set(target, value, "images")


def _seeds(planning: _Planning, given: int | None, drawn: int) -> None:
    found = roles.seeds(planning.graph)
    if given is not None and not found:
        raise PatchError(
            'This workflow draws nothing at random, so "seed" has nowhere to go.',
            _others(planning.graph),
        )
    for target in planning.open(found):
        highest = target.spec.options.get("max") if target.spec else None
        if given is not None:
            planning.set(target, given, "seed")
        else:
            fits = drawn % (highest + 1) if isinstance(highest, int) and highest >= 0 else drawn
            planning.set(target, fits, "drawn")


def _in_folder(target: Target, prefix: str) -> str:
    """The workflow's own folder with the prompt's words as the name: ``a/ComfyUI`` -> ``a/words``."""
    old = target.node.inputs.get(target.name)
    folder = old.rpartition("/")[0] if isinstance(old, str) else ""
    return f"{folder}/{prefix}" if folder else prefix
