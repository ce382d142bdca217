"""The positive and the negative text of a workflow: by links, else by title, else by input name.

The positive text is what feeds the ``positive`` input of a sampler or guider, whatever its node is
called. What feeds the negative side as well is positive only if nothing else is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from comfyui_pipeline.workflow.branches import unused_inputs
from comfyui_pipeline.workflow.graph import WILDCARDS, Graph, InputSpec, Node, Target, is_link
from comfyui_pipeline.workflow.running import running
from comfyui_pipeline.workflow.text_sources import OTHER_TITLES, TextSources
from comfyui_pipeline.workflow.text_words import words
from input_server.light_dataclasses import dataclass, field

CONDITIONING = "CONDITIONING"
PLAIN_TYPES = frozenset({
    "MODEL", "CLIP", "VAE", "IMAGE", "MASK", "LATENT", "STRING", "INT", "FLOAT", "BOOLEAN", "COMBO",
    "SIGMAS", "SAMPLER", "NOISE", "GUIDER", "CONTROL_NET", "CLIP_VISION", "CLIP_VISION_OUTPUT",
    "STYLE_MODEL", "UPSCALE_MODEL", "VIDEO", "AUDIO",
})  # fmt: skip
"""Types of one thing; any other type may bundle several, as pipes and contexts do."""
NEGATIVE = frozenset({"negative", "neg", "nag", "uncond", "unconditional"})
TITLES = {
    "positive": ("positive prompt", "user prompt", "正向提示词", "正面提示词", "prompt", "提示词"),
    "negative": ("negative prompt", "负向提示词", "负面提示词", "反向提示词", "negative"),
}
INPUT_NAMES = {
    "positive": (
        "prompt", "positive", "positive_prompt", "text_prompt", "prompt_text", "input_prompt",
        "user_prompt", "text", "caption", "description",
    ),
    "negative": ("negative_prompt", "negative", "negative_text"),
}  # fmt: skip
ENCODER_INPUTS = ("text", "prompt", "clip", "t5", "bert", "llama")
"""Parts of the input names of an encoder that takes the same text once for each of its models."""
MAX_FOLLOWED_APART = 64
"""Samplers whose conditioning is followed on its own; what more of them share is followed once."""


def texts(graph: Graph, side: str) -> list[Target]:
    """The text inputs of the ``positive`` or ``negative`` side. ``graph``: the part that runs."""
    sources = TextSources(graph)
    by_links = _by_links(graph, sources)
    found = by_links[side]
    if found:
        return found
    other = _keys(by_links["negative" if side == "positive" else "positive"])
    if side == "positive":
        other |= _keys(by_links["zeroed"])
    if side == "negative" and other:  # never by a title: the negative side may be zeroed
        return _by_input_name(graph, sources, side, other)
    return _by_title(graph, sources, side, other) or _by_input_name(graph, sources, side, other)


def independent(targets: Sequence[Target]) -> list[Target]:
    """The first input of each different text, if there are several; empty texts do not count."""
    different: dict[str, Target] = {}
    nodes: set[str] = set()
    for target in targets:
        text = target.node.inputs.get(target.name)
        if isinstance(text, str) and text.strip() and target.node.id not in nodes:
            nodes.add(target.node.id)
            different.setdefault(text.strip(), target)
    return list(different.values()) if len(different) > 1 else []


def without_empty(targets: Sequence[Target]) -> list[Target]:
    """The inputs that hold a text, if any does: an empty encoder next to them is no prompt."""
    filled = {t.node.id for t in targets if str(t.node.inputs.get(t.name) or "").strip()}
    return [t for t in targets if t.node.id in filled] or list(targets)


# -- by links --------------------------------------------------------------------------------------


def _by_links(graph: Graph, sources: TextSources) -> dict[str, list[Target]]:
    positive: list[Target] = []
    negative: list[Target] = []
    zeroed: list[Target | None] = []
    ends = [(node, _sides(node)) for node in running(graph) if CONDITIONING not in node.outputs]
    ends = [(node, sides) for node, sides in ends if any(sides)]
    whole = [(node, sides) for node, sides in ends if "MODEL" not in node.outputs]
    shared: set[tuple[str, int]] = set()
    followed: set[tuple[object, ...]] = set()
    for node, sides in whole or ends:
        key = tuple(str(node.inputs[name]) for side in sides for name in side)
        if key in followed:
            continue
        followed.add(key)
        apart = len(followed) <= MAX_FOLLOWED_APART
        found = []
        for side, names in zip(("positive", "negative"), sides, strict=True):
            walk = _Walk(graph, side, set() if apart else shared)
            encoders = [target for name in names for target in walk.encoders(node, name)]
            found.append(_unique(sources.of(target) for target in encoders))
            zeroed += _behind(graph, walk.zeroed, sources)
        own = [t for t in found[0] if _key(t) not in _keys(found[1])] or found[0]
        positive += own
        negative += [t for t in found[1] if _key(t) not in _keys(own)]
    positive = _unique(positive)
    negative = [t for t in _unique(negative) if _key(t) not in _keys(positive)]
    return {"positive": positive, "negative": negative, "zeroed": _unique(zeroed)}


def _behind(
    graph: Graph, ends: Iterable[tuple[Node, int]], sources: TextSources
) -> Iterator[Target | None]:
    """The texts behind nodes that set the negative side to zero: they are no positive ones either."""
    for node, slot in ends:
        walk = _Walk(graph, "zeroed")
        for name in walk.further(node, slot):
            yield from (sources.of(target) for target in walk.encoders(node, name))


def _sides(node: Node) -> tuple[list[str], list[str]]:
    """The conditioning inputs of a node where conditioning ends, by side."""
    given = [
        s.name for s in node.specs.values() if s.type == CONDITIONING and s.name in node.inputs
    ]
    given += [n for n in ("positive", "negative") if n in node.inputs and n not in given]
    given = [name for name in given if is_link(node.inputs[name])]
    negative = [name for name in given if not words(name).isdisjoint(NEGATIVE)]
    positive = [name for name in given if name not in negative]
    named = [name for name in positive if name.startswith("positive")]
    targets = [name for name in positive if "target" in words(name)]
    return named or targets or positive, negative


@dataclass(slots=True)
class _Walk:
    """Follows conditioning of one side up to the texts of the nodes that encode it."""

    graph: Graph
    side: str
    followed: set[tuple[str, int]] = field(default_factory=set)
    zeroed: list[tuple[Node, int]] = field(default_factory=list)

    def encoders(self, node: Node, name: str) -> Iterator[Target]:
        waiting = [(node, name)]
        while waiting:
            below, entrance = waiting.pop()
            linked = self.graph.link(below.inputs.get(entrance))
            if linked is None or (linked[0].id, linked[1]) in self.followed:
                continue
            self.followed.add((linked[0].id, linked[1]))
            above, slot = linked
            spec = below.specs.get(entrance)
            bundled = spec is not None and spec.type not in (CONDITIONING, *WILDCARDS)
            if self.side == "negative" and "zero" in words(above.class_type):
                self.zeroed.append((above, slot))  # what is set to zero says nothing
                continue
            further = self.further(above, slot, bundled=bundled)
            if further:
                waiting += [(above, name) for name in reversed(further)]
            else:
                yield from encoder_texts(above, self.side, named=bundled)

    def further(self, above: Node, slot: int, *, bundled: bool = False) -> list[str]:
        """The inputs where the conditioning of an output comes from; none for an encoder."""
        unused = unused_inputs(self.graph, above)
        linked = [
            spec
            for spec in above.specs.values()
            if spec.name not in unused and is_link(above.inputs.get(spec.name))
        ]
        conditions = [s.name for s in linked if s.type in (CONDITIONING, *WILDCARDS)]
        if not above.specs:  # a switch whose inputs grow in the editor
            conditions = [n for n, v in above.inputs.items() if n not in unused and is_link(v)]
        same = above.output_names[slot] if 0 <= slot < len(above.output_names) else ""
        chosen = [n for n in (same, same.lower(), self.side) if n in conditions][:1]
        if chosen or (conditions and not bundled):
            return chosen or conditions
        bundles = [s.name for s in linked if s.type not in PLAIN_TYPES and s.name not in conditions]
        return [] if encoder_texts(above, self.side, named=bundled) else bundles[:1]


def encoder_texts(node: Node, side: str, *, named: bool = False) -> list[Target]:
    """The texts that a node encodes. ``named``: only those that are named after the side."""
    strings = [s for s in node.specs.values() if s.type == "STRING" and s.name in node.inputs]
    other = "negative" if side == "positive" else "positive"
    if named:
        strings = [spec for spec in strings if side in words(spec.name)]
    elif len(strings) > 1:
        strings = [spec for spec in strings if other not in words(spec.name)] or strings
    long = [s for s in strings if s.options.get("multiline") or is_link(node.inputs[s.name])]
    names = [spec.name for spec in long or strings]
    if not all(any(word in name for word in ENCODER_INPUTS) for name in names):
        names = names[:1]
    return [Target(node, name) for name in names]


# -- by title and name -----------------------------------------------------------------------------


def _by_title(
    graph: Graph, sources: TextSources, side: str, other: frozenset[tuple[str, str]]
) -> list[Target]:
    """Texts by the title of their node: the titles that say most come first."""
    texts = [node for node in running(graph) if {"STRING", CONDITIONING} & set(node.outputs)]
    bad = OTHER_TITLES if side == "positive" else OTHER_TITLES[1:]
    for word in TITLES[side]:
        named = [n for n in texts if word in n.title.lower() and not _has_any(n.title, bad, word)]
        found = _unique(sources.of(t) for n in named for t in encoder_texts(n, side))
        if found := [t for t in found if _key(t) not in other]:
            return found
    return []


def _has_any(title: str, bad: Iterable[str], wanted: str) -> bool:
    return any(word in title.lower() and word not in wanted for word in bad)


def _by_input_name(
    graph: Graph, sources: TextSources, side: str, other: frozenset[tuple[str, str]]
) -> list[Target]:
    """For workflows without a sampler (partner services): multiline texts with a prompt's name, also
    inside a dynamic combo (``model.prompt``).
    """
    given = [
        Target(node, spec.name)
        for node in running(graph)
        for spec in node.specs.values()
        if spec.name.rpartition(".")[2] in INPUT_NAMES[side] and _is_long_text(node, spec)
    ]
    writers = _writers(graph, sources, given)
    making = [t for t in given if set(t.node.outputs) != {"STRING"}]
    for among in (making, given):
        for name in INPUT_NAMES[side]:
            named = [t for t in among if t.name.rpartition(".")[2] == name]
            found = _unique(sources.of(t) for t in named if t.node.id not in writers)
            if found := [t for t in found if _key(t) not in other]:
                return found
    return []


def _writers(graph: Graph, sources: TextSources, given: Iterable[Target]) -> frozenset[str]:
    """The nodes of language models that write one of these texts: their instructions are no prompt."""
    linked = [graph.link(t.node.inputs[t.name]) for t in given if sources.of(t) is None]
    return frozenset(link[0].id for link in linked if link is not None)


def _is_long_text(node: Node, spec: InputSpec) -> bool:
    return (
        spec.type == "STRING" and spec.name in node.inputs and bool(spec.options.get("multiline"))
    )


# -- helpers ---------------------------------------------------------------------------------------


def _key(target: Target) -> tuple[str, str]:
    return target.node.id, target.name


def _keys(targets: Iterable[Target]) -> frozenset[tuple[str, str]]:
    return frozenset(map(_key, targets))


def _unique(targets: Iterable[Target | None]) -> list[Target]:
    return list({_key(t): t for t in targets if t is not None}.values())
