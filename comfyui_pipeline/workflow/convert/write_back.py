"""The editor document of a job: what the call changed in the prompt is written back into it.

Values go into the widgets that they came from: those of a node, of a subgraph instance that shows
them, of a primitive node. Links and nodes that a call adds or takes away are changed too. A document
in which the changes have no place, such as two instances of one subgraph that differ inside, is
replaced by one made of the prompt. Either is converted again: it has to give the prompt that runs.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any

from comfyui_pipeline.errors import WorkflowError
from comfyui_pipeline.workflow import schema as node_types
from comfyui_pipeline.workflow.convert import dynamic_text, node_document, subgraphs
from comfyui_pipeline.workflow.convert.document import MUTED, SUBGRAPH_INPUT
from comfyui_pipeline.workflow.convert.edited_document import EditedDocument
from comfyui_pipeline.workflow.convert.links import PromotedWidget, Scope
from comfyui_pipeline.workflow.convert.loaded_graph import LoadedNode
from comfyui_pipeline.workflow.convert.primitives import is_primitive
from comfyui_pipeline.workflow.convert.prompt import Converted, convert
from comfyui_pipeline.workflow.convert.widgets import NO_VALUE, Layout
from comfyui_pipeline.workflow.graph import is_link
from comfyui_pipeline.workflow.schema import NodeSchemas
from input_server.light_dataclasses import dataclass, field

Prompt = Mapping[str, Mapping[str, Any]]
ABSENT: Any = object()


@dataclass(frozen=True, slots=True)
class Written:
    """A document, and the ids that nodes added by the call have in it: id in the prompt -> new id."""

    document: Mapping[str, Any]
    renamed: Mapping[str, str]


class _NoPlace(Exception):
    """A change that the document cannot show."""


def written(
    document: Mapping[str, Any],
    schemas: NodeSchemas,
    prompt: Prompt,
    converted: Converted | None = None,
) -> Written:
    """The document that converts to ``prompt``.

    ``converted``: the conversion of ``document``, if there is one. The nodes that the call switched in
    it have their new modes in the result.
    """
    try:
        converted = converted or convert(document, schemas)
        if converted.chosen.modes:
            document = _with_modes(document, converted)
            converted = convert(document, schemas, now=converted.now)
        result = _Writing(EditedDocument(document), converted, prompt, schemas).result()
        again = convert(result.document, schemas, now=converted.now)
        if is_same(again.prompt, renamed(prompt, result.renamed), schemas):
            return result
    except (WorkflowError, _NoPlace):
        pass
    return Written(node_document.from_prompt(prompt, schemas), {})


def renamed(prompt: Prompt, names: Mapping[str, str]) -> Prompt:
    """The prompt with other ids for some nodes."""
    if all(old == new for old, new in names.items()):
        return prompt

    def value(one: Any) -> Any:
        return [names.get(str(one[0]), one[0]), one[1]] if is_link(one) else one

    return {
        names.get(node_id, node_id): {
            **node,
            "inputs": {name: value(one) for name, one in node["inputs"].items()},
        }
        for node_id, node in prompt.items()
    }


def is_same(converted: Prompt, prompt: Prompt, schemas: NodeSchemas) -> bool:
    """Whether the editor would run ``prompt``: nodes that lead to no output may be there too."""
    for node_id, node in prompt.items():
        other = converted.get(node_id, {})
        if other.get("class_type") != node["class_type"]:
            return False
        known = _known_inputs(schemas.get(node["class_type"], {}))
        if _sent(other["inputs"], known) != _sent(node["inputs"], known):
            return False
    outputs = {k for k, schema in schemas.items() if schema.get("output_node")}
    return all(i in prompt for i, n in converted.items() if n["class_type"] in outputs)


def _known_inputs(schema: Mapping[str, Any]) -> set[str]:
    groups = schema.get("input")
    groups = groups.values() if isinstance(groups, dict) else ()
    return {name for group in groups if isinstance(group, dict) for name in group}


def _sent(inputs: Mapping[str, Any], known: set[str]) -> dict[str, Any]:
    """The inputs that the server reads: the editor adds some of its own."""
    return {n: v for n, v in inputs.items() if n in known or "." in n or is_link(v)}


def _with_modes(document: Mapping[str, Any], converted: Converted) -> Mapping[str, Any]:
    """The document with the modes that the call gives to nodes. A node that has several of them, in
    instances of one subgraph, is found when the result is converted again.
    """
    edited = EditedDocument(document)
    for node_id, mode in converted.chosen.modes.items():
        node = _node_at(converted.root, node_id)
        raw = edited.node(node) if node is not None else None
        if raw is None:
            raise _NoPlace
        raw["mode"] = mode
    return edited.document


def _node_at(scope: Scope, node_id: str) -> LoadedNode | None:
    """The node of an id, which begins with those of the subgraph nodes around it."""
    *around, last = node_id.split(":")
    for ident in around:
        instance = scope.graph.nodes.get(ident)
        if instance is None or instance.subgraph is None:
            return None
        scope = scope.inside(instance)
    return scope.graph.nodes.get(last)


@dataclass(slots=True)
class _Writing:
    """Writing one prompt into one document.

    ``values``: the plain values of nodes to be written, by ``id()`` of the node; ``added``: nodes that
    the document lacks: id in the prompt -> where they are put, and as what.
    """

    edited: EditedDocument
    converted: Converted
    prompt: Prompt
    schemas: NodeSchemas
    values: dict[int, tuple[LoadedNode, dict[str, Any]]] = field(default_factory=dict)
    added: dict[str, tuple[Scope, dict[str, Any]]] = field(default_factory=dict)
    groups: dict[int, LoadedNode] = field(default_factory=dict)

    def result(self) -> Written:
        places = self.converted.places
        names = {node_id: self._add(node_id) for node_id in self.prompt if node_id not in places}
        for node_id, node in self.prompt.items():
            if node_id in places:
                self._write_node(*places[node_id], node["inputs"], self._before(node_id))
            else:
                self._link_added(node_id, node["inputs"])
        for node_id, (_, loaded) in places.items():
            raw = self.edited.node(loaded)
            if node_id not in self.prompt and loaded.type and loaded.type.is_output_node and raw:
                raw["mode"] = MUTED
        for loaded, inputs in self.values.values():
            self._write_values(loaded, inputs)
        for instance in self.groups.values():
            self._write_group(instance)
        return Written(self.edited.document, names)

    def _before(self, node_id: str) -> Mapping[str, Any]:
        inputs: Mapping[str, Any] = self.converted.prompt[node_id]["inputs"]
        return inputs

    # -- inputs of the document's own nodes --------------------------------------------------------

    def _write_node(
        self, scope: Scope, node: LoadedNode, after: Mapping[str, Any], before: Mapping[str, Any]
    ) -> None:
        for name in dict.fromkeys([*after, *before]):
            new, old = after.get(name, ABSENT), before.get(name, ABSENT)
            slot = next((i for i, s in enumerate(node.sockets) if s.name == name), None)
            if is_link(new):
                if new != old:
                    self._relink(scope, node, name, new)
            elif new is ABSENT:
                if slot is not None and is_link(old):
                    self._unlink(scope, node, slot)
            elif new != old or type(new) is not type(old) or _is_random(node, name, new):
                self._write_value(scope, node, slot, name, new)

    def _write_value(
        self, scope: Scope, node: LoadedNode, slot: int | None, name: str, value: Any
    ) -> None:
        socket = node.sockets[slot] if slot is not None else None
        if socket is not None and slot is not None and socket.link is not None:
            source = self.converted.links.source(scope, node, slot)
            if isinstance(source, PromotedWidget):
                self._keep(source.instance, source.widget.name, value)
                return
            link = scope.graph.links.get(socket.link)
            origin = scope.graph.nodes.get(link.origin) if link else None
            if origin is not None and is_primitive(origin):
                saved = node_document.saved_value(socket.widget, value) if socket.widget else value
                self._keep(origin, "value", saved)
            elif source is not None:
                self._unlink(scope, node, slot)
        self._keep(node, name, value)
        if not node.ui.raw and scope.instance is not None:
            self.groups[id(scope.instance)] = scope.instance

    def _keep(self, node: LoadedNode, name: str, value: Any) -> None:
        self.values.setdefault(id(node), (node, {}))[1][name] = value

    def _write_values(self, node: LoadedNode, inputs: Mapping[str, Any]) -> None:
        raw = self.edited.node(node)
        if node.subgraph is not None:
            for name, value in inputs.items():
                widget = node.widget(name)
                if widget is not None:
                    widget.value = node_document.saved_value(widget, value)
        if raw is None:
            node_document.filled(node.layout, inputs)  # a node inside a group
        elif is_primitive(node):
            old = raw.get("widgets_values")
            rest = old[1:] if isinstance(old, list) else []
            raw["widgets_values"] = [inputs["value"], *rest]
        elif node.subgraph is not None:
            raw["widgets_values"] = _instance_values(node)
            raw["properties"] = subgraphs.without_quarantined(node.ui.properties, inputs)
        elif isinstance(node.ui.values, Mapping):
            raw["widgets_values"] = {**node.ui.values, **inputs}
        else:
            raw["widgets_values"] = _node_values(node, inputs)

    def _write_group(self, instance: LoadedNode) -> None:
        raw = self.edited.node(instance)
        if raw is None or instance.subgraph is None:
            raise _NoPlace
        held = [w.value for w in subgraphs.group_widgets(instance.subgraph)]
        raw["widgets_values"] = [None if value is NO_VALUE else value for value in held]

    # -- links -------------------------------------------------------------------------------------

    def _unlink(self, scope: Scope, node: LoadedNode, slot: int) -> None:
        self.edited.unlink(scope.graph, node, node.sockets[slot])

    def _relink(self, scope: Scope, node: LoadedNode, name: str, link: Sequence[Any]) -> None:
        """Link an input of a node to another output, outside of its subgraph where that one is."""
        origin_scope, origin = self._origin(str(link[0]))
        while scope is not origin_scope:
            socket = next((s for s in node.sockets if s.name == name), None)
            arriving = scope.graph.links.get(socket.link) if socket and socket.link else None
            instance, outer = scope.instance, scope.outer
            if arriving is None or arriving.origin != SUBGRAPH_INPUT:
                raise _NoPlace
            if instance is None or outer is None:
                raise _NoPlace
            name = instance.sockets[arriving.origin_slot].name
            scope, node = outer, instance
        raw = self.edited.node(node)
        if raw is None:
            raise _NoPlace
        self.edited.link(scope.graph, origin, link[1], raw, self._socket(node, name))

    def _socket(self, node: LoadedNode, name: str) -> tuple[str, str, bool]:
        found = next((s for s in node.sockets if s.name == name), None)
        return name, found.type if found else "*", bool(found and found.widget)

    def _origin(self, node_id: str) -> tuple[Scope, dict[str, Any]]:
        if node_id in self.added:
            return self.added[node_id]
        if node_id not in self.converted.places:
            raise _NoPlace
        scope, node = self.converted.places[node_id]
        raw = self.edited.node(node)
        if raw is None:
            raise _NoPlace
        return scope, raw

    # -- nodes that the call added -----------------------------------------------------------------

    def _add(self, node_id: str) -> str:
        """Put a node of the prompt into the document. Returns its id in the prompt from now on."""
        node = self.prompt[node_id]
        scope = self._scope_of(node_id)
        number = self.edited.new_id(scope.graph, node_id)
        kind = node_types.read(self.schemas.get(node["class_type"], {}))
        raw = node_document.new_node(number, node, kind)
        self.edited.add_node(scope.graph, raw)
        self.added[node_id] = (scope, raw)
        return f"{scope.prefix}{number}"

    def _scope_of(self, node_id: str) -> Scope:
        """Where the sources of an added node are; else where it is used."""
        places, ways = self.converted.places, [self.prompt[node_id]["inputs"].values()]
        near = [str(v[0]) for v in ways[0] if is_link(v)]
        near += [
            other
            for other, node in self.prompt.items()
            if any(is_link(v) and str(v[0]) == node_id for v in node["inputs"].values())
        ]
        for other in near:
            if other in self.added:
                return self.added[other][0]
            if other in places:
                return places[other][0]
        scope = next(iter(places.values()))[0]
        while scope.outer is not None:
            scope = scope.outer
        return scope

    def _link_added(self, node_id: str, inputs: Mapping[str, Any]) -> None:
        scope, raw = self.added[node_id]
        for name, value in inputs.items():
            if is_link(value):
                origin_scope, origin = self._origin(str(value[0]))
                if origin_scope is not scope:
                    raise _NoPlace
                self.edited.link(scope.graph, origin, value[1], raw, (name, "*", False))


def _is_random(node: LoadedNode, name: str, value: Any) -> bool:
    """Whether the value was drawn from choices in the text of a widget, and would be drawn again."""
    widget = node.widget(name)
    text = widget.value if widget is not None else None
    if widget is None or not isinstance(text, str) or "{" not in text:
        return False
    if widget.options.get("dynamicPrompts") is not True:
        return False
    drawn: list[str] = []
    dynamic_text.choose(text, random.Random(0), drawn)
    return bool(drawn)


def _node_values(node: LoadedNode, inputs: Mapping[str, Any]) -> list[Any]:
    """The values of a node in the order of its widgets, with those that only its file knows."""
    old = node.ui.values if isinstance(node.ui.values, Sequence) else ()
    before = [widget.value for widget in node.widgets]
    layout = Layout(list(node.sockets), [copy(widget) for widget in node.widgets])
    values = node_document.values_of(node_document.filled(layout, inputs))
    in_order = all(one is not ABSENT and one == old[i] for i, one in enumerate(before[: len(old)]))
    return [*values, *old[len(before) :]] if in_order else values


def _instance_values(instance: LoadedNode) -> list[Any]:
    """The values that a subgraph instance saves, by position: of its inputs, or as its file lists."""
    old = list(instance.ui.values) if isinstance(instance.ui.values, Sequence) else []
    if instance.listed:
        positions = {number: position for position, number in instance.listed.items()}
        values = old + [None] * (max(positions) + 1 - len(old))
        for number, position in positions.items():
            widget = instance.sockets[position].widget
            if widget is not None and widget.value is not NO_VALUE:
                values[number] = widget.value
        return values
    held = subgraphs.saved_widgets(instance)
    values = [
        (old[i] if i < len(old) else None) if widget is None else widget.value
        for i, widget in enumerate(held)
    ]
    return [None if value is NO_VALUE else value for value in values]
