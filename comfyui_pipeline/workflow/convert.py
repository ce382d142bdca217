"""A workflow as the editor saves it -> a prompt, equal to what the editor itself would send.

The rules are those of frontend 1.58.1 (executionUtil.ts, ExecutableNodeDTO.ts): every link is
followed through reroutes, bypassed nodes and the borders of subgraphs to the node that really feeds
it, or to a widget's value. Where the editor itself is wrong, the better answer is given and noted:
values saved in another version's order, links to nothing, instances muted as a whole.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from comfyui_pipeline.errors import WorkflowError
from comfyui_pipeline.workflow import dynamic_text, editor, ui_format
from comfyui_pipeline.workflow.editor import Editor, LiveGraph, LiveNode
from comfyui_pipeline.workflow.ui_format import BYPASSED, INLET_NODE, MUTED, Link
from comfyui_pipeline.workflow.widgets import BROWSER_WIDGETS, NO_VALUE, Socket, Widget

PREFIX_INPUT = "filename_prefix"
ANY = frozenset({"", "*", "0"})


@dataclass(frozen=True, slots=True)
class Converted:
    """A prompt, what was put right on the way, and the nodes whose class the server lacks."""

    prompt: Mapping[str, Mapping[str, Any]]
    notes: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Shown:
    """A widget of a subgraph's instance, at the end of a link that led out of the subgraph."""

    widget: Widget


@dataclass(frozen=True, slots=True)
class Scope:
    """One graph in one place: the root, or the inside of one instance of a subgraph."""

    graph: LiveGraph
    prefix: str = ""
    host: LiveNode | None = None
    outer: Scope | None = None

    def inside(self, host: LiveNode) -> Scope:
        if host.inner is None:
            raise ValueError(f"{host.id} is no instance of a subgraph")
        return Scope(host.inner, f"{self.prefix}{host.id}:", host, self)


@dataclass(slots=True)
class Run:
    """One conversion under way."""

    editor: Editor
    rng: random.Random
    now: datetime
    notes: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    browser: dict[str, str] = field(default_factory=dict)  # node id -> why only a browser can do it
    shared: dict[str, tuple[LiveGraph, LiveNode]] = field(default_factory=dict)


def convert(
    document: Mapping[str, Any],
    schemas: Mapping[str, Mapping[str, Any]],
    *,
    seed: int = 0,
    now: datetime | None = None,
) -> Converted:
    """Convert a parsed file of the editor's format (see ``ui_format.is_ui_format``).

    ``schemas``: ``/object_info`` of at least its classes. ``seed`` decides random choices in texts,
    ``now`` the dates in file names (default: this moment, local). Raises WorkflowError naming the
    node and the reason for what cannot be converted.
    """
    loaded = editor.load(ui_format.read(document), schemas)
    run = Run(loaded, random.Random(seed), now or datetime.now(), list(loaded.notes))
    run.shared = _setters(loaded)
    prompt: dict[str, dict[str, Any]] = {}
    _emit(run, Scope(loaded.root), prompt)
    if not prompt:
        raise WorkflowError("No node of this workflow is active, so there is nothing to run.")
    for node_id, why in run.browser.items():
        if _is_used(node_id, prompt):
            raise WorkflowError(why, "Replace it by a node that loads a file, or mute it.")
        run.notes.append(f"{why} Nothing uses it, so it was left empty.")
    return Converted(prompt, tuple(dict.fromkeys(run.notes)), tuple(run.unknown))


def _emit(run: Run, scope: Scope, prompt: dict[str, dict[str, Any]]) -> None:
    for node in scope.graph.nodes.values():
        if node.ui.mode in (MUTED, BYPASSED):
            continue
        if node.inner is not None:
            _emit(run, scope.inside(node), prompt)
        elif node.virtual or _is_relay(run, node):
            continue
        elif node.schema is None and _stands_alone(scope.graph, node):
            run.notes.append(f"Node {scope.prefix}{node.ui.label} is linked to nothing: left out.")
        else:
            prompt[scope.prefix + node.id] = _prompt_node(run, scope, node)


def _stands_alone(graph: LiveGraph, node: LiveNode) -> bool:
    """Whether an unknown node is part of nothing: the editor's extensions put such ones there."""
    fed = any(socket.link is not None for socket in node.sockets)
    return not fed and all(link.origin != node.id for link in graph.links.values())


def _is_used(node_id: str, prompt: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether any node takes what this one gives."""
    values = [value for node in prompt.values() for value in node["inputs"].values()]
    return any(isinstance(value, list) and value[:1] == [node_id] for value in values)


def _prompt_node(run: Run, scope: Scope, node: LiveNode) -> dict[str, Any]:
    if node.schema is None:
        run.unknown.append(f"{scope.prefix}{node.ui.label}")
    inputs: dict[str, Any] = {}
    for widget in node.widgets:
        if widget.sent and widget.name:
            value = _sent_value(run, scope, node, widget)
            if value is not NO_VALUE:
                inputs[widget.name] = value
    for slot, socket in enumerate(node.sockets):
        found = _resolve_input(run, scope, node, slot, None, set())
        if isinstance(found, Shown):
            value = _shown_value(run, scope, node, found.widget)
            if value is not NO_VALUE:
                inputs[socket.name] = value
        elif found is not None:
            inputs[socket.name] = list(found)
    return {"inputs": inputs, "class_type": node.ui.type, "_meta": {"title": node.title}}


# -- values ----------------------------------------------------------------------------------------


def _sent_value(run: Run, scope: Scope, node: LiveNode, widget: Widget) -> Any:
    value = widget.value
    if widget.type in BROWSER_WIDGETS:
        run.browser[scope.prefix + node.id] = (
            f"Node {scope.prefix}{node.ui.label} takes its input {widget.name!r} from a browser "
            f"({widget.type}), which only the editor can do."
        )
    if isinstance(value, str) and widget.options.get("dynamicPrompts") is True:
        value = _drawn(run, scope, node, value)
    elif isinstance(value, str) and widget.name == PREFIX_INPUT and "%" in value:
        value = dynamic_text.fill_in(value, lambda *names: _value_of(run, *names), run.now)
    if widget.type == "CURVE" and value is not None:
        return {"__type__": "CURVE", "__value__": value}
    return _wrapped(value)


def _shown_value(run: Run, scope: Scope, node: LiveNode, widget: Widget) -> Any:
    """As if the value stood in the inner widget. A text that is JSON as a whole is no choice."""
    value = widget.value
    if isinstance(value, str) and widget.options.get("dynamicPrompts") is True:
        return value if _is_json(value) else _drawn(run, scope, node, value)
    return _wrapped(value)


def _drawn(run: Run, scope: Scope, node: LiveNode, text: str) -> str:
    drawn: list[str] = []
    made = dynamic_text.choose(text, run.rng, drawn)
    if drawn:
        told = ", ".join(repr(option) for option in drawn)
        run.notes.append(f"Node {scope.prefix}{node.ui.label}: drawn at random: {told}.")
    return made


def _is_json(text: str) -> bool:
    try:
        return isinstance(json.loads(text), (dict, list))
    except (ValueError, RecursionError):
        return False


def _wrapped(value: Any) -> Any:
    """A list would be taken for a link (frontend: executionUtil.ts)."""
    return {"__value__": value} if isinstance(value, list) else value


def _value_of(run: Run, name: str, widget_name: str) -> Any:
    """The widget that ``%name.widget%`` means: by the node's search name, else by its title."""
    nodes = [node for node in run.editor.all_nodes() if _search_name(node) == name]
    nodes = nodes or [node for node in run.editor.all_nodes() if node.title == name]
    widget = nodes[0].widget(widget_name) if nodes else None
    if widget is None:
        raise KeyError(name)
    return widget.value


def _search_name(node: LiveNode) -> Any:
    told = node.ui.properties.get("Node name for S&R")
    saves = node.schema is None or node.widget(PREFIX_INPUT) is not None
    return node.ui.type if told is None and not saves else told


# -- links -----------------------------------------------------------------------------------------

End = Shown | tuple[str, int] | None
"""Where a link really comes from: a widget's value, ``(node id, output slot)``, or nothing."""


def _resolve_input(
    run: Run,
    scope: Scope,
    node: LiveNode,
    slot: int,
    wanted: str | None,
    seen: set[tuple[str, str]],
) -> End:
    socket = node.sockets[slot]
    if socket.link is None:
        return None
    _visit(scope, node, f"input {slot}", seen)
    link = scope.graph.links.get(socket.link)
    if link is None:
        _tell_nothing(run, scope, node, socket, f"its link {socket.link} is not in the file")
        return None
    if link.origin == INLET_NODE and scope.host is not None and scope.outer is not None:
        return _resolve_outside(run, scope, node, link, seen)
    origin = scope.graph.nodes.get(link.origin)
    if origin is None:
        why = f"it is linked to node {link.origin}, which is gone"
        _tell_nothing(run, scope, node, socket, why)
        return None
    if not _fits_through_reroutes(scope.graph, origin, link.origin_slot, socket):
        return None
    return _resolve_output(run, scope, origin, link.origin_slot, wanted or socket.type, seen)


def _fits_through_reroutes(graph: LiveGraph, node: LiveNode, slot: int, socket: Socket) -> bool:
    """The editor unlinks what reroutes bring from an output of another type (rerouteNode.ts)."""
    passed: set[str] = set()
    while node.virtual and node.ui.type == editor.REROUTE and node.id not in passed:
        passed.add(node.id)
        arriving = graph.links.get(node.sockets[0].link or -1) if node.sockets else None
        above = graph.nodes.get(arriving.origin) if arriving else None
        if arriving is None or above is None:
            return True
        node, slot = above, arriving.origin_slot
    if not passed or slot >= len(node.outputs):
        return True
    return compatible(node.outputs[slot], socket.type)


def _resolve_outside(
    run: Run, scope: Scope, node: LiveNode, link: Link, seen: set[tuple[str, str]]
) -> End:
    """A link that begins at an input of the subgraph: outside there is a link, or a value."""
    host, outer = scope.host, scope.outer
    if host is None or outer is None or link.origin_slot >= len(host.sockets):
        raise WorkflowError(
            f"Node {scope.prefix}{node.ui.label} is linked to an input that its subgraph "
            f"{scope.graph.name!r} does not have.",
            "Open the workflow in ComfyUI and save it again.",
        )
    socket = host.sockets[link.origin_slot]
    if socket.link is None:
        return None if socket.widget is None else Shown(socket.widget)
    return _resolve_input(run, outer, host, link.origin_slot, None, seen)


def _tell_nothing(run: Run, scope: Scope, node: LiveNode, socket: Socket, why: str) -> None:
    """A link to nothing: told, and only an error where the node cannot do without."""
    label = f"Node {scope.prefix}{node.ui.label}"
    if socket.widget is None and not socket.optional:
        raise WorkflowError(
            f"{label}: its input {socket.name!r} leads nowhere, {why}.",
            "Open the workflow in ComfyUI, link that input and save it again.",
        )
    run.notes.append(f"{label}: the input {socket.name!r} was left unlinked, {why}.")


def _resolve_output(
    run: Run, scope: Scope, node: LiveNode, slot: int, wanted: str, seen: set[tuple[str, str]]
) -> End:
    _visit(scope, node, f"output {slot}", seen)
    if node.ui.mode == MUTED:
        return None
    if node.ui.mode == BYPASSED:
        place = _bypass(node, slot, wanted)
        return None if place is None else _resolve_input(run, scope, node, place, None, seen)
    if node.inner is not None:
        return _resolve_inside(run, scope.inside(node), slot, wanted, seen)
    if node.virtual or _is_relay(run, node):
        return _resolve_relay(run, scope, node, slot, wanted, seen)
    return scope.prefix + node.id, slot


def _resolve_inside(
    run: Run, inside: Scope, slot: int, wanted: str, seen: set[tuple[str, str]]
) -> End:
    """What feeds output ``slot`` of a subgraph, seen from inside it."""
    outlets = inside.graph.outlets
    ids = outlets[slot].links if slot < len(outlets) else ()
    link = next((inside.graph.links[i] for i in ids if i in inside.graph.links), None)
    if link is None:
        return None
    if link.origin == INLET_NODE and inside.host is not None and inside.outer is not None:
        return _resolve_input(run, inside.outer, inside.host, link.origin_slot, wanted, seen)
    origin = inside.graph.nodes.get(link.origin)
    if origin is None:
        return None
    return _resolve_output(run, inside, origin, link.origin_slot, wanted, seen)


def _visit(scope: Scope, node: LiveNode, what: str, seen: set[tuple[str, str]]) -> None:
    here = (f"{scope.prefix}{node.id}", what)
    if here in seen:
        raise WorkflowError(
            f"Node {scope.prefix}{node.ui.label} is linked to itself in a circle that holds no "
            "node which could run.",
            "Open the workflow in ComfyUI and take one of the links out.",
        )
    seen.add(here)


def _bypass(node: LiveNode, slot: int, wanted: str) -> int | None:
    """The input that takes the place of a bypassed node's output (ExecutableNodeDTO.ts)."""
    sockets = node.sockets
    if wanted in ANY:
        return (slot if slot < len(sockets) else 0) if sockets else None
    given = node.outputs[slot] if slot < len(node.outputs) else "*"

    def fits(socket: Socket) -> bool:
        return compatible(socket.type, given) and compatible(socket.type, wanted)

    if slot < len(sockets) and fits(sockets[slot]):
        return slot
    same = [place for place, socket in enumerate(sockets) if socket.type == wanted]
    near = [place for place, socket in enumerate(sockets) if fits(socket)]
    return next(iter(same or near), None)


def compatible(first: str, second: str) -> bool:
    """Whether slots of these types may be linked (LiteGraph.isValidConnection)."""
    if first in ANY or second in ANY:
        return True
    ones, others = first.lower().split(","), second.lower().split(",")
    return any(a == b or a in ANY or b in ANY for a in ones for b in others)


# -- nodes that only pass something on -------------------------------------------------------------


def _is_relay(run: Run, node: LiveNode) -> bool:
    """Whether an unknown node is a setter or getter: two that share a name, one fed, one feeding."""
    return node.schema is None and node.inner is None and _shared_name(node) in run.shared


def _shared_name(node: LiveNode) -> str:
    values = node.ui.values
    first = values[0] if isinstance(values, (list, tuple)) and len(values) == 1 else None
    return first if isinstance(first, str) else ""


def _setters(loaded: Editor) -> dict[str, tuple[LiveGraph, LiveNode]]:
    """By shared name the node that is fed, where another unknown node of that name is not."""
    fed: dict[str, tuple[LiveGraph, LiveNode]] = {}
    asked: set[str] = set()
    for graph in (loaded.root, *loaded.definitions.values()):
        for node in graph.nodes.values():
            name = _shared_name(node)
            if node.schema is None and node.inner is None and not node.virtual and name:
                if any(socket.link is not None for socket in node.sockets):
                    fed.setdefault(name, (graph, node))
                else:
                    asked.add(name)
    return {name: found for name, found in fed.items() if name in asked}


def _resolve_relay(
    run: Run, scope: Scope, node: LiveNode, slot: int, wanted: str, seen: set[tuple[str, str]]
) -> End:
    if node.schema is None and node.ui.type not in editor.VIRTUAL:
        return _resolve_setter(run, scope, node, wanted, seen)
    if slot < len(node.sockets):
        return _resolve_input(run, scope, node, slot, wanted, seen)
    return None


def _resolve_setter(
    run: Run, scope: Scope, node: LiveNode, wanted: str, seen: set[tuple[str, str]]
) -> End:
    graph, setter = run.shared[_shared_name(node)]
    place: Scope | None = scope
    while place is not None and place.graph is not graph:
        place = place.outer
    slot = next((i for i, s in enumerate(setter.sockets) if s.link is not None), None)
    if place is None or slot is None:
        return None
    return _resolve_input(run, place, setter, slot, wanted, seen)
