"""What the parts of a workflow do, read from its links: which text is positive, which input a seed."""

from __future__ import annotations

from collections.abc import Iterator

from comfyui_pipeline.workflow.graph import Graph, Node, Target, is_link

CONDITIONING = "CONDITIONING"
SEED_NAMES = frozenset({"seed", "noise_seed"})
TITLE_OF_ROLE = {"positive": "positive prompt", "negative": "negative prompt"}


def texts(graph: Graph, role: str) -> list[Target]:
    """The text inputs behind ``role`` (``positive`` or ``negative``): by links, then by title.

    A text that feeds both roles (a zeroed-out negative, for one) is the positive one.
    """
    positive = _texts_by_links(graph, "positive")
    if role == "positive":
        return positive or _texts_by_title(graph, TITLE_OF_ROLE[role])
    taken = {(t.node.id, t.name) for t in positive}
    negative = _texts_by_links(graph, "negative")
    if negative or positive:
        return [t for t in negative if (t.node.id, t.name) not in taken]
    return _texts_by_title(graph, TITLE_OF_ROLE[role])


def seeds(graph: Graph) -> list[Target]:
    """Every whole-number input that the schema or its name makes a seed, at its true source."""
    found = []
    for node in graph.nodes.values():
        for spec in node.specs.values():
            named = spec.name in SEED_NAMES or spec.options.get("control_after_generate")
            if spec.type == "INT" and named and spec.name in node.inputs:
                found.append(graph.source(Target(node, spec.name), ("INT",)))
    return _once(found)


def pictures(graph: Graph) -> list[Target]:
    """File inputs of nodes that give a picture on; when there is none, of nodes that give a mask."""
    files = [
        Target(node, spec.name)
        for node in graph.nodes.values()
        for spec in node.specs.values()
        if spec.takes_file and spec.options.get("image_upload")
    ]
    return [target for target in files if "IMAGE" in target.node.outputs] or files


def sizes(graph: Graph) -> list[Node]:
    """Nodes with both ``width`` and ``height`` as whole numbers; makers of a latent come first."""
    both = [
        node
        for node in graph.nodes.values()
        if all((s := node.specs.get(name)) and s.type == "INT" for name in ("width", "height"))
    ]
    latent = [node for node in both if "LATENT" in node.outputs]
    return latent or both


def prefixes(graph: Graph) -> list[Target]:
    """The file-name prefixes of the nodes that save."""
    return [
        Target(node, "filename_prefix")
        for node in graph.nodes.values()
        if node.saves and "filename_prefix" in node.specs
    ]


def _texts_by_links(graph: Graph, role: str) -> list[Target]:
    found: list[Target | None] = []
    for node in graph.nodes.values():
        for name in _entrances(node, role):
            found += [graph.source(t, ("STRING",)) for t in _behind(graph, node, name, role, set())]
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


def _behind(graph: Graph, node: Node, name: str, role: str, seen: set[str]) -> list[Target]:
    """Follow one conditioning input up to the nodes that make it out of text."""
    linked = graph.link(node.inputs.get(name))
    if linked is None or linked[0].id in seen:
        return []
    above, slot = linked
    seen.add(above.id)
    conditions = [
        spec.name
        for spec in above.specs.values()
        if spec.type == CONDITIONING and is_link(above.inputs.get(spec.name))
    ]
    same = above.output_names[slot] if slot < len(above.output_names) else ""
    chosen = [n for n in (same, role) if n in conditions][:1] or conditions
    if chosen:
        return [text for n in chosen for text in _behind(graph, above, n, role, seen)]
    return _text_inputs(above)


def _text_inputs(node: Node) -> list[Target]:
    strings = [s for s in node.specs.values() if s.type == "STRING" and s.name in node.inputs]
    long = [s for s in strings if s.options.get("multiline")]
    return [Target(node, spec.name) for spec in long or strings]


def _texts_by_title(graph: Graph, title: str) -> list[Target]:
    named = [node for node in graph.nodes.values() if node.title.strip().lower() == title]
    return [Target(n, t.name) for n in named for t in _text_inputs(n)]


def _once(targets: list[Target | None]) -> list[Target]:
    seen: dict[tuple[str, str], Target] = {}
    for target in targets:
        if target is not None:
            seen.setdefault((target.node.id, target.name), target)
    return list(seen.values())
