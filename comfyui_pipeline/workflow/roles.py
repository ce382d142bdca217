"""What the parts of a workflow do, read from its links, its inputs' names and their types.

The positive text is what feeds a sampler's ``positive`` input, wherever it comes from; a model is
what a node that takes no model gives. No node class is known by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType

from comfyui_pipeline.workflow.graph import WILDCARDS, Graph, InputSpec, Node, Target, is_link

CONDITIONING = "CONDITIONING"
TITLE_OF_ROLE = {"positive": "positive prompt", "negative": "negative prompt"}
NAMES_OF_ROLE = {
    "positive": ("prompt", "positive", "positive_prompt", "text", "caption", "description"),
    "negative": ("negative_prompt", "negative", "negative_text"),
}
SAMPLING = frozenset({"GUIDER", "SAMPLER", "SIGMAS", "NOISE"})
"""Types that only lead into a sampler: what gives them is a part of it."""


def texts(graph: Graph, role: str) -> list[Target]:
    """The text inputs behind ``role`` (``positive`` or ``negative``): by links, title, then name.

    A text that feeds both roles (a zeroed-out negative, for one) is the positive one.
    """
    positive = _texts_by_links(graph, "positive")
    if role == "positive":
        return positive or _texts_by_title(graph, role) or _texts_by_name(graph, role)
    taken = {(t.node.id, t.name) for t in positive}
    negative = _texts_by_links(graph, "negative")
    if negative or positive:
        return [t for t in negative if (t.node.id, t.name) not in taken]
    return _texts_by_title(graph, role) or _texts_by_name(graph, role)


def seeds(graph: Graph) -> list[Target]:
    """Every whole number that is a seed by its name, at its true source.

    ``control_after_generate`` makes none: plain numbers have it too (a width, for one).
    """
    found = []
    for node in graph.nodes.values():
        for spec in node.specs.values():
            named = spec.name.rpartition(".")[2].lower().endswith("seed")
            if spec.type == "INT" and named and spec.name in node.inputs:
                found.append(graph.source(Target(node, spec.name), ("INT",)))
    return _once(found)


def pictures(graph: Graph) -> list[Target]:
    """File inputs of nodes that give a picture on; when there is none, of nodes that give a mask."""
    files = _files(graph, "image_upload")
    given = [target for target in files if "IMAGE" in target.node.outputs]
    return [t for t in given if not _only_its_mask(graph, t.node)] or given or files


def masks(graph: Graph) -> list[Target]:
    """File inputs of nodes that are there for a mask: they give nothing else, or nothing else is used.

    Where there are none, the pictures whose own mask is used beside them.
    """
    files = _files(graph, "image_upload")
    apart = [t for t in files if "IMAGE" not in t.node.outputs and "MASK" in t.node.outputs]
    alone = [t for t in files if _only_its_mask(graph, t.node)]
    return apart or alone or [t for t in files if mask_in_alpha(graph, t)]


def mask_in_alpha(graph: Graph, target: Target) -> bool:
    """Whether a file gives both a picture and a mask, so that the mask has to be a part of it."""
    return {"IMAGE", "MASK"} <= _used_outputs(graph, target.node)


def sizes(graph: Graph) -> list[Node]:
    """Nodes with both ``width`` and ``height`` as whole numbers; makers of a latent come first."""
    both = [
        node
        for node in graph.nodes.values()
        if all((s := node.specs.get(name)) and s.type == "INT" for name in ("width", "height"))
        and not node.inputs.keys().isdisjoint({"width", "height"})
    ]
    latent = [node for node in both if "LATENT" in node.outputs]
    return latent or both


def filename_prefixes(graph: Graph) -> list[Target]:
    """The file-name prefixes of the nodes that save."""
    return [
        Target(node, "filename_prefix")
        for node in graph.nodes.values()
        if node.is_output_node and "filename_prefix" in node.specs
    ]


def samplers(graph: Graph) -> list[Node]:
    """The nodes that end a path of conditioning, or of a guider, in a picture to be."""
    return [node for node in graph.nodes.values() if _samples(node)]


def _samples(node: Node) -> bool:
    linked = {spec.type for spec in node.specs.values() if is_link(node.inputs.get(spec.name))}
    if CONDITIONING in node.outputs or not node.outputs or "GUIDER" in node.outputs:
        return False
    return "GUIDER" in linked or (CONDITIONING in linked and "MODEL" in linked)


def sampling_inputs(graph: Graph, name: str, kinds: tuple[str, ...]) -> list[Target]:
    """Inputs of this name at the samplers and at what only leads into them."""
    found: dict[str, Node] = {}
    waiting = samplers(graph)
    while waiting:
        node = waiting.pop()
        if node.id in found:
            continue
        found[node.id] = node
        for spec in node.specs.values():
            linked = graph.link(node.inputs.get(spec.name))
            if spec.type in SAMPLING and linked is not None:
                waiting.append(linked[0])
    in_order = [node for node in graph.nodes.values() if node.id in found]
    return _named(graph, in_order, name, kinds) or _named(graph, graph.nodes.values(), name, kinds)


def models(graph: Graph) -> list[Target]:
    """Where the diffusion models come from: the file choices of nodes that give a model and take none."""
    return [target for node in _givers(graph, "MODEL") for target in _file_choice(node)]


def vaes(graph: Graph) -> list[Target]:
    """The file choices of nodes that give only a VAE."""
    alone = [node for node in _givers(graph, "VAE") if "MODEL" not in node.outputs]
    return [target for node in alone for target in _file_choice(node)]


def lora_loaders(graph: Graph) -> list[Target]:
    """The LoRA choices of nodes that take a model and give it on."""
    return [
        Target(node, spec.name)
        for node in graph.nodes.values()
        for spec in node.specs.values()
        if is_lora_choice(node, spec)
    ]


def is_lora_choice(node: Node, spec: InputSpec) -> bool:
    """Whether this input chooses the LoRA that its node lays over a model."""
    return (
        spec.type == "COMBO"
        and "lora" in spec.name.lower()
        and "MODEL" in node.outputs
        and any(other.type == "MODEL" for other in node.specs.values())
    )


def control_strengths(graph: Graph) -> list[Target]:
    """How strongly a ControlNet or the like acts: ``strength`` where one comes in."""
    nodes = [
        node
        for node in graph.nodes.values()
        if any("CONTROL_NET" in spec.type for spec in node.specs.values())
    ]
    return _named(graph, nodes, "strength", ("FLOAT",))


def find_targets(graph: Graph, argument: str) -> list[Target]:
    """The inputs that a short argument changes; none where the workflow has no such role."""
    return FINDERS[argument](graph)


def _sides(name: str) -> Callable[[Graph], list[Target]]:
    def found(graph: Graph) -> list[Target]:
        return _once(graph.source(Target(node, name), ("INT",)) for node in sizes(graph))

    return found


def _sampling(name: str, *kinds: str) -> Callable[[Graph], list[Target]]:
    return lambda graph: sampling_inputs(graph, name, kinds)


def _batch(graph: Graph) -> list[Target]:
    nodes = [node for node in graph.nodes.values() if "batch_size" in node.specs]
    latent = [node for node in nodes if "LATENT" in node.outputs]
    return _named(graph, latent or nodes, "batch_size", ("INT",))


def _cfg(graph: Graph) -> list[Target]:
    found = sampling_inputs(graph, "cfg", ("FLOAT",))
    return found or _named(graph, graph.nodes.values(), "guidance", ("FLOAT",))


FINDERS: Mapping[str, Callable[[Graph], list[Target]]] = MappingProxyType(
    {
        "prompt": lambda graph: texts(graph, "positive"),
        "negative_prompt": lambda graph: texts(graph, "negative"),
        "seed": seeds,
        "steps": _sampling("steps", "INT"),
        "cfg": _cfg,
        "sampler": _sampling("sampler_name", "COMBO"),
        "scheduler": _sampling("scheduler", "COMBO"),
        "denoise": _sampling("denoise", "FLOAT"),
        "width": _sides("width"),
        "height": _sides("height"),
        "batch_size": _batch,
        "checkpoint": models,
        "vae": vaes,
        "loras": lora_loaders,
        "image": pictures,
        "mask": masks,
        "strength": control_strengths,
    }
)
"""Short arguments, in the order in which they are told."""


# -- helpers ---------------------------------------------------------------------------------------


def _named(graph: Graph, nodes: Iterable[Node], name: str, kinds: tuple[str, ...]) -> list[Target]:
    targets = [
        Target(node, name)
        for node in nodes
        if name in node.inputs and (spec := node.specs.get(name)) and spec.type in kinds
    ]
    return _once(graph.source(target, kinds) for target in targets)


def _files(graph: Graph, flag: str) -> list[Target]:
    return [
        Target(node, spec.name)
        for node in graph.nodes.values()
        for spec in node.specs.values()
        if spec.takes_file and spec.options.get(flag) and not is_link(node.inputs.get(spec.name))
    ]


def _only_its_mask(graph: Graph, node: Node) -> bool:
    return _used_outputs(graph, node) == {"MASK"}


def _used_outputs(graph: Graph, node: Node) -> set[str]:
    """The types of the outputs that other nodes take."""
    used = graph.used_outputs(node)
    return {node.outputs[slot] for slot in used if 0 <= slot < len(node.outputs)}


def _givers(graph: Graph, kind: str) -> list[Node]:
    return [
        node
        for node in graph.nodes.values()
        if kind in node.outputs and all(spec.type != kind for spec in node.specs.values())
    ]


def _file_choice(node: Node) -> list[Target]:
    """The input that chooses the file: its name ends in ``_name``, or it is the first choice."""
    choices = [s.name for s in node.specs.values() if s.type == "COMBO" and s.name in node.inputs]
    files = [name for name in choices if name.endswith("_name")] or choices[:1]
    return [Target(node, name) for name in files[:1]]


def _texts_by_links(graph: Graph, role: str) -> list[Target]:
    found: list[Target | None] = []
    known: set[tuple[str, int]] = set()
    for node in graph.nodes.values():
        for name in _entrances(node, role):
            found += [graph.source(t, ("STRING",)) for t in _behind(graph, node, name, role, known)]
    return _once(found)


def _entrances(node: Node, role: str) -> Iterator[str]:
    """Inputs where conditioning of this role ends: at samplers, and at guiders that know only one."""
    ends_here = CONDITIONING not in node.outputs
    if role in node.inputs and ends_here:
        yield role
    elif role == "positive" and ends_here and "negative" not in node.inputs:
        for spec in node.specs.values():
            if spec.type == CONDITIONING and spec.name in node.inputs:
                yield spec.name
    elif ends_here and role not in node.inputs:
        for spec in node.specs.values():
            if (
                spec.type == CONDITIONING
                and spec.name.startswith(role)
                and spec.name in node.inputs
            ):
                yield spec.name


def _behind(
    graph: Graph, node: Node, name: str, role: str, known: set[tuple[str, int]]
) -> Iterator[Target]:
    """Follow one conditioning input up to the nodes that make it out of text.

    ``known``: the outputs that were followed before, from here or from another sampler.
    """
    seen: set[str] = set()
    waiting = [(node, name)]
    while waiting:
        below, entrance = waiting.pop()
        linked = graph.link(below.inputs.get(entrance))
        if linked is None or linked[0].id in seen or (linked[0].id, linked[1]) in known:
            continue
        above, slot = linked
        seen.add(above.id)
        known.add((above.id, slot))
        conditions = [
            spec.name
            for spec in above.specs.values()
            if spec.type in (CONDITIONING, *WILDCARDS) and is_link(above.inputs.get(spec.name))
        ]
        same = above.output_names[slot] if 0 <= slot < len(above.output_names) else ""
        chosen = [n for n in (same, role) if n in conditions][:1] or conditions
        if chosen:
            waiting += [(above, condition) for condition in reversed(chosen)]
        else:
            yield from _text_inputs(above, role)


ENCODED = ("text", "prompt", "clip", "t5", "bert", "llama")
"""An encoder with several texts takes the same one for each of its models; others tell apart."""


def _text_inputs(node: Node, role: str) -> list[Target]:
    strings = [s for s in node.specs.values() if s.type == "STRING" and s.name in node.inputs]
    if len(strings) > 1:
        other = "negative" if role == "positive" else "positive"
        strings = [s for s in strings if not s.name.startswith(other)] or strings
    long = [s for s in strings if s.options.get("multiline") or is_link(node.inputs[s.name])]
    names = [spec.name for spec in long or strings]
    if not all(any(word in name for word in ENCODED) for name in names):
        names = names[:1]
    return [Target(node, name) for name in names]


def _texts_by_title(graph: Graph, role: str) -> list[Target]:
    title = TITLE_OF_ROLE[role]
    named = [node for node in graph.nodes.values() if node.title.strip().lower() == title]
    return [Target(n, t.name) for n in named for t in _text_inputs(n, role)]


def _texts_by_name(graph: Graph, role: str) -> list[Target]:
    """Where nothing samples (services that draw by themselves): long texts of a telling name."""
    for name in NAMES_OF_ROLE[role]:
        nodes = [
            node
            for node in graph.nodes.values()
            if (spec := node.specs.get(name)) and spec.options.get("multiline")
        ]
        if found := _named(graph, nodes, name, ("STRING",)):
            return found
    return []


def _once(targets: Iterable[Target | None]) -> list[Target]:
    seen: dict[tuple[str, str], Target] = {}
    for target in targets:
        if target is not None:
            seen.setdefault((target.node.id, target.name), target)
    return list(seen.values())
