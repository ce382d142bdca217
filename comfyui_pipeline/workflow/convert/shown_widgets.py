"""Where the value of each widget that a document shows goes in its prompt."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from comfyui_pipeline.workflow.convert.links import PromotedWidget, Scope
from comfyui_pipeline.workflow.convert.loaded_graph import LoadedNode
from comfyui_pipeline.workflow.convert.primitives import is_primitive
from comfyui_pipeline.workflow.convert.prompt import Converted

Place = tuple[str, str, str]
"""Node id and input in the prompt, and the label that the author gave to the widget."""


def read(converted: Converted) -> Mapping[tuple[str, str], Place]:
    """(node, widget) -> its place. A node is named by its id in the prompt, by that of the document, and
    by ``<subgraph>:<id>``; a widget of a subgraph or primitive node by what that one calls it. What
    names several places is left out.
    """
    found: dict[tuple[str, str], Place] = {}
    inner: dict[tuple[str, str], Place | None] = {}
    for node_id, (scope, node) in converted.places.items():
        for slot, socket in enumerate(node.sockets):
            place = (node_id, socket.name, _label(node.ui.raw, socket.name))
            found.setdefault((node_id, socket.name), place)
            for holder, name, label in _shown_by(converted, scope, node, slot):
                found.setdefault((holder, name), (*place[:2], label))
            for alias in _aliases(scope, node):
                key = (alias, socket.name)
                inner[key] = None if key in inner else place
    return {key: place for key, place in inner.items() if place is not None} | found


def _shown_by(
    converted: Converted, scope: Scope, node: LoadedNode, slot: int
) -> Iterator[tuple[str, str, str]]:
    """The subgraph or primitive node whose widget gives an input its value: id, widget and label."""
    socket = node.sockets[slot]
    if socket.link is None:
        return
    source = converted.links.source(scope, node, slot)
    if isinstance(source, PromotedWidget):
        name, outer = source.widget.name, scope
        while outer.instance is not source.instance and outer.outer is not None:
            outer = outer.outer
        definition = source.instance.subgraph
        label = _label(source.instance.ui.raw, name)
        label = label or (_label(definition.raw, name) if definition else "")
        yield outer.prefix[:-1], name, label
        return
    way = converted.links.way(scope, node, slot) if source is None else []
    if way and is_primitive(origin := way[-1].node):
        label = origin.ui.title if origin.ui.title != origin.ui.type else ""
        where = way[-1].scope
        for ident in (where.prefix + origin.id, *_aliases(where, origin)):
            for name in ("value", socket.name):
                yield ident, name, label


def _aliases(scope: Scope, node: LoadedNode) -> Iterator[str]:
    """Other names of a node inside a subgraph."""
    if scope.instance is None:
        return
    ids = dict.fromkeys([node.id, str(node.ui.raw.get("id", node.id))])
    yield from ids
    for ident in ids:
        yield f"{scope.graph.raw.get('id')}:{ident}"


def _label(raw: Mapping[str, Any], name: str) -> str:
    """What the author calls an input, where that is not its name."""
    slots = raw.get("inputs")
    for slot in slots if isinstance(slots, list) else ():
        if isinstance(slot, dict) and slot.get("name") == name:
            label = slot.get("label")
            return label if isinstance(label, str) and label != name else ""
    return ""
