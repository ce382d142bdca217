"""Node types that the server has in place of others, as it says itself (``/node_replacements``).

The server replaces them in every prompt that it is sent (ComfyUI app/node_replace_manager.py). The
same is done here first, so that arguments, roles and checks see the node that runs. An editor
document is changed in the same way, as its nodes hold their values by position.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from comfyui_pipeline.workflow import schema as node_types
from comfyui_pipeline.workflow.graph import is_link
from comfyui_pipeline.workflow.node_label import node_label
from comfyui_pipeline.workflow.schema import NodeSchemas
from input_server.light_dataclasses import dataclass

Raw = dict[str, Any]
Prompt = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Replacement:
    """What stands in for one node type.

    ``inputs``: name of an input of ``new`` -> the name of the old one, ``fixed``: -> its value.
    ``outputs``: old slot -> new slot. None for inputs and outputs that keep their names and slots.
    ``widgets``: the old inputs that hold a value, in the order in which a document has them.
    """

    new: str
    inputs: Mapping[str, str] | None = None
    fixed: Mapping[str, Any] | None = None
    outputs: Mapping[int, int] | None = None
    widgets: tuple[str, ...] = ()

    @property
    def is_renaming(self) -> bool:
        """Whether only the name of the type differs."""
        return self.inputs is None and self.outputs is None

    def renamed(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The inputs of the new node from those of the old one."""
        if self.inputs is None:
            return dict(values)
        moved = {new: values[old] for new, old in self.inputs.items() if old in values}
        return {**moved, **(self.fixed or {})}


Replacements = Mapping[str, Replacement]
"""Old node type -> what stands in for it."""


def in_prompt(prompt: Prompt, found: Replacements) -> tuple[Prompt, tuple[str, ...]]:
    """The prompt with these node types replaced, and notes on it."""
    replaced = {i: found[n["class_type"]] for i, n in prompt.items() if n["class_type"] in found}
    if not replaced:
        return prompt, ()

    def value(one: Any) -> Any:
        source = replaced.get(str(one[0])) if is_link(one) else None
        slots = source.outputs if source else None
        return one if slots is None else [one[0], slots.get(one[1], one[1])]

    result: dict[str, Mapping[str, Any]] = {}
    for node_id, node in prompt.items():
        inputs, kind = node["inputs"], node["class_type"]
        if node_id in replaced:
            inputs, kind = replaced[node_id].renamed(inputs), replaced[node_id].new
        linked = {name: value(one) for name, one in inputs.items()}
        result[node_id] = {**node, "class_type": kind, "inputs": linked}
    titles = {i: (prompt[i].get("_meta") or {}).get("title") for i in replaced}
    return result, tuple(
        _note(node_label(i, str(titles[i] or ""), prompt[i]["class_type"]), one)
        for i, one in replaced.items()
    )


def in_document(
    document: Mapping[str, Any], found: Replacements, schemas: NodeSchemas
) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """The editor document with these node types replaced, in its subgraphs too, and the notes."""
    notes: list[str] = []
    types = {one.new: node_types.read(schemas[one.new]) for one in found.values()}

    def graph(raw: Mapping[str, Any]) -> Mapping[str, Any]:
        nodes = raw.get("nodes")
        if isinstance(nodes, list) and any(_replacement(n, found) for n in nodes):
            raw = _replaced(raw, nodes, found, types, notes)
        definitions = raw.get("definitions")
        inner = definitions.get("subgraphs") if isinstance(definitions, dict) else None
        if not isinstance(inner, list):
            return raw
        changed = [graph(one) if isinstance(one, dict) else one for one in inner]
        return {**raw, "definitions": {**raw["definitions"], "subgraphs": changed}}

    return graph(document), tuple(dict.fromkeys(notes))


def _replacement(raw: Any, found: Replacements) -> Replacement | None:
    return found.get(str(raw.get("type"))) if isinstance(raw, dict) else None


def _replaced(
    graph: Mapping[str, Any],
    nodes: list[Any],
    found: Replacements,
    types: Mapping[str, node_types.NodeType],
    notes: list[str],
) -> Mapping[str, Any]:
    links = _Links(graph)
    result = []
    for raw in nodes:
        one = _replacement(raw, found)
        if one is not None:
            label = node_label(str(raw.get("id")), str(raw.get("title") or ""), str(raw["type"]))
            notes.append(_note(label, one))
            raw = _renamed(raw, one) if one.is_renaming else _rebuilt(raw, one, types, links)
        result.append(raw)
    return {**graph, "nodes": result, "links": links.changed()}


def _renamed(raw: Raw, one: Replacement) -> Raw:
    properties = raw.get("properties")
    properties = properties if isinstance(properties, dict) else {}
    return {**raw, "type": one.new, "properties": {**properties, "Node name for S&R": one.new}}


def _rebuilt(
    raw: Raw, one: Replacement, types: Mapping[str, node_types.NodeType], links: _Links
) -> Raw:
    """The node with the sockets, outputs and values of its new type, and the links that it had."""
    from comfyui_pipeline.workflow.convert import node_document

    sockets = [s for s in raw.get("inputs") or () if isinstance(s, dict)]
    linked = {str(s.get("name")): s["link"] for s in sockets if type(s.get("link")) is int}
    values: Raw = {**_values(raw, sockets, one), **{n: ["", 0] for n in linked}}
    node = {"class_type": one.new, "inputs": one.renamed(values)}
    new = node_document.new_node(raw.get("id", 0), node, types[one.new])
    sources = {socket: (one.inputs or {}).get(socket, socket) for socket in node["inputs"]}
    kept = set()
    for position, socket in enumerate(new["inputs"]):
        link = linked.get(sources.get(socket["name"], ""))
        if link is not None:
            socket["link"] = link
            links.move_target(link, position)
            kept.add(link)
    links.drop(set(linked.values()) - kept)
    for slot, output in enumerate(raw.get("outputs") or ()):
        to = (one.outputs or {}).get(slot, slot)
        ids = output.get("links") if isinstance(output, dict) else None
        if isinstance(ids, list) and to < len(new["outputs"]):
            new["outputs"][to]["links"] = [*(new["outputs"][to]["links"] or ()), *ids]
            links.move_origins(ids, to)
    names = ("inputs", "outputs", "widgets_values")
    return {**_renamed(raw, one), **{name: new[name] for name in names}}


def _values(raw: Raw, sockets: list[Any], one: Replacement) -> Raw:
    """The values of the old node by name: the file has a list, whose order the server may give."""
    values = raw.get("widgets_values")
    if isinstance(values, dict):
        return values
    with_widget = [str(s.get("name")) for s in sockets if isinstance(s.get("widget"), dict)]
    plain = {str(s.get("name")) for s in sockets} - set(with_widget)
    mapped = [old for old in (one.inputs or {}).values() if old not in plain]
    names = one.widgets or with_widget or mapped
    return dict(zip(names, values, strict=False)) if isinstance(values, list) else {}


class _Links:
    """The links of a graph, as lists or as objects, of which some get other slots."""

    def __init__(self, graph: Mapping[str, Any]) -> None:
        self._raw = graph.get("links") or []
        self._targets: dict[int, int] = {}
        self._origins: dict[int, int] = {}
        self._dropped: set[int] = set()

    def move_target(self, link: int, slot: int) -> None:
        self._targets[link] = slot

    def move_origins(self, links: list[Any], slot: int) -> None:
        self._origins.update((link, slot) for link in links if type(link) is int)

    def drop(self, links: Collection[int]) -> None:
        self._dropped.update(links)

    def changed(self) -> list[Any]:
        return [self._moved(raw) for raw in self._raw if _link_id(raw) not in self._dropped]

    def _moved(self, raw: Any) -> Any:
        number = _link_id(raw)
        if isinstance(raw, dict):
            origin = self._origins.get(number, raw.get("origin_slot"))
            return {
                **raw,
                "origin_slot": origin,
                "target_slot": self._targets.get(number, raw.get("target_slot")),
            }
        if not isinstance(raw, list) or len(raw) < 5:
            return raw
        slots = [self._origins.get(number, raw[2]), raw[3], self._targets.get(number, raw[4])]
        return [*raw[:2], *slots, *raw[5:]]


def _link_id(raw: Any) -> int:
    number = (
        raw.get("id") if isinstance(raw, dict) else raw[0] if isinstance(raw, list) and raw else 0
    )
    return number if type(number) is int else 0


def _note(label: str, one: Replacement) -> str:
    return (
        f"Node {label}: this server no longer has its node type and names {one.new} as the one that "
        "replaces it, which was used."
    )
