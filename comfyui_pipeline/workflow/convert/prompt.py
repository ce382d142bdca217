"""A workflow as the editor saves it -> a prompt, equal to what the editor itself would send.

The rules are those of frontend 1.58.1 (executionUtil.ts, ExecutableNodeDTO.ts): every link is
followed through reroutes, bypassed nodes and the borders of subgraphs to the node that really feeds
it, or to a widget's value. Where the editor itself is wrong, the better answer is given and noted:
values saved in another version's order, links to nothing, instances muted as a whole.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from comfyui_pipeline.bounded import json_text
from comfyui_pipeline.errors import WorkflowError
from comfyui_pipeline.workflow.convert import document as ui_format
from comfyui_pipeline.workflow.convert import dynamic_text
from comfyui_pipeline.workflow.convert import loaded_graph as editor
from comfyui_pipeline.workflow.convert.document import BYPASSED, INLET_NODE, MUTED, Link
from comfyui_pipeline.workflow.convert.loaded_graph import Editor, LiveGraph, LiveNode
from comfyui_pipeline.workflow.convert.widgets import BROWSER_WIDGETS, NO_VALUE, Socket, Widget
from comfyui_pipeline.workflow.files import MAX_NODES
from input_server.light_dataclasses import dataclass, field

PREFIX_INPUT = "filename_prefix"
ANY = frozenset({"", "*", "0"})
MAX_ID_CHARACTERS = 64 * 2**20
"""All node ids of one prompt. An id inside subgraphs holds those of every instance around it."""
TOLD_CHOICES = 12
TOLD_CHARACTERS = 60


@dataclass(frozen=True, slots=True)
class Converted:
    """A prompt, what was put right on the way, and the nodes whose class the server lacks."""

    prompt: Mapping[str, Mapping[str, Any]]
    notes: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Scope:
    """One graph in one place: the root, or the inside of one instance of a subgraph.

    There is one object for each place, so that scopes are compared by identity.
    """

    graph: LiveGraph
    prefix: str = ""
    host: LiveNode | None = None
    outer: Scope | None = None
    inner: dict[str, Scope] = field(default_factory=dict)

    def inside(self, host: LiveNode) -> Scope:
        if host.inner is None:
            raise ValueError(f"{host.id} is no instance of a subgraph")
        if host.id not in self.inner:
            self.inner[host.id] = Scope(host.inner, f"{self.prefix}{host.id}:", host, self)
        return self.inner[host.id]


class Shown(NamedTuple):
    """A widget of a subgraph's instance, at the end of a link that led out of the subgraph."""

    widget: Widget


End = Shown | tuple[str, int] | None
"""Where a link really comes from: a widget's value, ``(node id, output slot)``, or nothing."""


class Step(NamedTuple):
    """A place on the way along a link: an input of a node, or an output, that is to be followed.

    ``wanted``: the type that the input at the end takes, None while that is the input's own.
    """

    scope: Scope
    node_id: str
    side: str  # input | output
    slot: int
    wanted: str | None

    @property
    def node(self) -> LiveNode:
        return self.scope.graph.nodes[self.node_id]


def _input(scope: Scope, node: LiveNode, slot: int, wanted: str | None = None) -> Step:
    return Step(scope, node.id, "input", slot, wanted)


def _output(scope: Scope, node: LiveNode, slot: int, wanted: str) -> Step:
    return Step(scope, node.id, "output", slot, wanted)


@dataclass(slots=True)
class Run:
    """One conversion under way. The last four fields remember what was found out before."""

    editor: Editor
    rng: random.Random
    now: datetime
    notes: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    browser: dict[str, str] = field(default_factory=dict)  # node id -> why only a browser can do it
    shared: dict[str, tuple[LiveGraph, LiveNode]] = field(default_factory=dict)
    ends: dict[Step, End] = field(default_factory=dict)
    reroutes: dict[tuple[int, str], tuple[LiveNode, int] | None] = field(default_factory=dict)
    origins: dict[int, frozenset[str]] = field(default_factory=dict)
    named: tuple[dict[str, LiveNode], dict[str, LiveNode]] | None = None


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
    used = _used_ids(prompt) if run.browser else frozenset()
    for node_id, why in run.browser.items():
        if node_id in used:
            raise WorkflowError(why, "Replace it by a node that loads a file, or mute it.")
        run.notes.append(f"{why} Nothing uses it, so it was left empty.")
    return Converted(prompt, tuple(dict.fromkeys(run.notes)), tuple(run.unknown))


def _emit(run: Run, root: Scope, prompt: dict[str, dict[str, Any]]) -> None:
    """Every active node of the root and, where an instance stands, of its subgraph."""
    waiting = [(root, iter(root.graph.nodes.values()))]
    visited = characters = 0
    while waiting:
        scope, nodes = waiting[-1]
        node = next(nodes, None)
        if node is None:
            waiting.pop()
            continue
        visited += 1
        characters += len(scope.prefix) + len(node.id)
        if visited > MAX_NODES or characters > MAX_ID_CHARACTERS:
            raise WorkflowError(
                f"With every subgraph in its place this workflow has more than {MAX_NODES} nodes, or "
                "ids too long to be sent.",
                "Use fewer subgraphs inside subgraphs.",
            )
        if node.ui.mode in (MUTED, BYPASSED):
            continue
        if node.inner is not None:
            inside = scope.inside(node)
            waiting.append((inside, iter(inside.graph.nodes.values())))
        elif node.virtual or _is_relay(run, node):
            continue
        elif node.schema is None and _stands_alone(run, scope.graph, node):
            run.notes.append(f"Node {scope.prefix}{node.ui.label} is linked to nothing: left out.")
        else:
            prompt[scope.prefix + node.id] = _prompt_node(run, scope, node)


def _stands_alone(run: Run, graph: LiveGraph, node: LiveNode) -> bool:
    """Whether an unknown node is part of nothing: the editor's extensions put such ones there."""
    if any(socket.link is not None for socket in node.sockets):
        return False
    if id(graph) not in run.origins:
        run.origins[id(graph)] = frozenset(link.origin for link in graph.links.values())
    return node.id not in run.origins[id(graph)]


def _used_ids(prompt: Mapping[str, Mapping[str, Any]]) -> frozenset[str]:
    """The nodes whose outputs others take."""
    values = [value for node in prompt.values() for value in node["inputs"].values()]
    return frozenset(value[0] for value in values if isinstance(value, list) and value)


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
        found = _end_of(run, _input(scope, node, slot))
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
        value = dynamic_text.replace_patterns(value, lambda *names: _value_of(run, *names), run.now)
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
    try:
        made = dynamic_text.choose(text, run.rng, drawn)
    except dynamic_text.TooDeep:
        raise WorkflowError(
            f"Node {scope.prefix}{node.ui.label}: its text nests choices {{a|b}} too deeply.",
            "Put fewer of them inside one another.",
        ) from None
    if drawn:
        told = ", ".join(repr(option[:TOLD_CHARACTERS]) for option in drawn[:TOLD_CHOICES])
        more = f" and {len(drawn) - TOLD_CHOICES} more" if len(drawn) > TOLD_CHOICES else ""
        run.notes.append(f"Node {scope.prefix}{node.ui.label}: drawn at random: {told}{more}.")
    return made


def _is_json(text: str) -> bool:
    try:
        return isinstance(json_text.read(text), (dict, list))
    except json_text.InvalidJson:
        return False


def _wrapped(value: Any) -> Any:
    """A list would be taken for a link (frontend: executionUtil.ts)."""
    return {"__value__": value} if isinstance(value, list) else value


def _value_of(run: Run, name: str, widget_name: str) -> Any:
    """The widget that ``%name.widget%`` means: by the node's search name, else by its title."""
    if run.named is None:
        by_search, by_title = dict[str, LiveNode](), dict[str, LiveNode]()
        for node in run.editor.all_nodes():
            if isinstance(told := _search_name(node), str):
                by_search.setdefault(told, node)
            by_title.setdefault(node.title, node)
        run.named = by_search, by_title
    by_search, by_title = run.named
    found = by_search.get(name) or by_title.get(name)
    widget = found.widget(widget_name) if found is not None else None
    if widget is None:
        raise KeyError(name)
    return widget.value


def _search_name(node: LiveNode) -> Any:
    told = node.ui.properties.get("Node name for S&R")
    saves = node.schema is None or node.widget(PREFIX_INPUT) is not None
    return node.ui.type if told is None and not saves else told


# -- links -----------------------------------------------------------------------------------------


def _end_of(run: Run, start: Step) -> End:
    """Follow a link to its end, one step after the other."""
    path: list[Step] = []
    seen: set[tuple[Scope, str, str, int]] = set()
    step: Step | End = start
    while isinstance(step, Step):
        if step in run.ends:
            step = run.ends[step]
            break
        path.append(step)
        if step.side == "output":
            _visit(step, seen)
            step = _before_output(run, step)
        else:
            step = _before_input(run, step, seen)
    for passed in path:
        run.ends[passed] = step
    return step


def _before_input(run: Run, step: Step, seen: set[tuple[Scope, str, str, int]]) -> Step | End:
    scope, node, socket = step.scope, step.node, step.node.sockets[step.slot]
    if socket.link is None:
        return None
    _visit(step, seen)
    link = scope.graph.links.get(socket.link)
    if link is None:
        _tell_nothing(run, scope, node, socket, f"its link {socket.link} is not in the file")
        return None
    if link.origin == INLET_NODE and scope.host is not None and scope.outer is not None:
        return _outside(scope, node, link)
    origin = scope.graph.nodes.get(link.origin)
    if origin is None:
        why = f"it is linked to node {link.origin[:80]}, which is gone"
        _tell_nothing(run, scope, node, socket, why)
        return None
    if not _fits_through_reroutes(run, scope.graph, origin, socket):
        return None
    return _output(scope, origin, link.origin_slot, step.wanted or socket.type)


def _fits_through_reroutes(run: Run, graph: LiveGraph, node: LiveNode, socket: Socket) -> bool:
    """The editor unlinks what reroutes bring from an output of another type (rerouteNode.ts)."""
    top = _above_reroutes(run, graph, node)
    if top is None or top[1] >= len(top[0].outputs):
        return True
    return compatible(top[0].outputs[top[1]], socket.type)


def _above_reroutes(run: Run, graph: LiveGraph, node: LiveNode) -> tuple[LiveNode, int] | None:
    """The node and output above a chain of reroutes; None when ``node`` is none, or is not fed."""
    passed: list[tuple[int, str]] = []
    top: tuple[LiveNode, int] | None = None
    while node.virtual and node.ui.type == editor.REROUTE:
        key = (id(graph), node.id)
        if key in run.reroutes:
            top = run.reroutes[key]
            break
        run.reroutes[key] = top  # what a circle comes back to
        passed.append(key)
        arriving = graph.links.get(node.sockets[0].link or -1) if node.sockets else None
        above = graph.nodes.get(arriving.origin) if arriving else None
        if arriving is None or above is None:
            top = None
            break
        node, top = above, (above, arriving.origin_slot)
    for key in passed:
        run.reroutes[key] = top
    return top


def _outside(scope: Scope, node: LiveNode, link: Link) -> Step | End:
    """A link that begins at an input of the subgraph: outside there is a link, or a value."""
    host, outer = scope.host, scope.outer
    if host is None or outer is None or link.origin_slot >= len(host.sockets):
        raise WorkflowError(
            f"Node {scope.prefix}{node.ui.label} is linked to an input that its subgraph "
            f"{scope.graph.name[:80]!r} does not have.",
            "Open the workflow in ComfyUI and save it again.",
        )
    socket = host.sockets[link.origin_slot]
    if socket.link is None:
        return None if socket.widget is None else Shown(socket.widget)
    return _input(outer, host, link.origin_slot)


def _tell_nothing(run: Run, scope: Scope, node: LiveNode, socket: Socket, why: str) -> None:
    """A link to nothing: told, and only an error where the node cannot do without."""
    label = f"Node {scope.prefix}{node.ui.label}"
    if socket.widget is None and not socket.optional:
        raise WorkflowError(
            f"{label}: its input {socket.name!r} leads nowhere, {why}.",
            "Open the workflow in ComfyUI, link that input and save it again.",
        )
    run.notes.append(f"{label}: the input {socket.name!r} was left unlinked, {why}.")


def _before_output(run: Run, step: Step) -> Step | End:
    scope, node, slot, wanted = step.scope, step.node, step.slot, step.wanted or ""
    if node.ui.mode == MUTED:
        return None
    if node.ui.mode == BYPASSED:
        place = _bypass(node, slot, wanted)
        return None if place is None else _input(scope, node, place)
    if node.inner is not None:
        return _before_outlet(scope.inside(node), slot, wanted)
    if node.virtual or _is_relay(run, node):
        return _before_relay(run, scope, node, slot, wanted)
    return scope.prefix + node.id, slot


def _before_outlet(inside: Scope, slot: int, wanted: str) -> Step | End:
    """What feeds output ``slot`` of a subgraph, seen from inside it."""
    outlets = inside.graph.outlets
    ids = outlets[slot].links if slot < len(outlets) else ()
    link = next((inside.graph.links[i] for i in ids if i in inside.graph.links), None)
    if link is None:
        return None
    host, outer = inside.host, inside.outer
    if link.origin == INLET_NODE and host is not None and outer is not None:
        if link.origin_slot >= len(host.sockets):
            return None
        return _input(outer, host, link.origin_slot, wanted)
    origin = inside.graph.nodes.get(link.origin)
    return None if origin is None else _output(inside, origin, link.origin_slot, wanted)


def _visit(step: Step, seen: set[tuple[Scope, str, str, int]]) -> None:
    here = (step.scope, step.node_id, step.side, step.slot)
    if here in seen:
        raise WorkflowError(
            f"Node {step.scope.prefix}{step.node.ui.label} is linked to itself in a circle that holds "
            "no node which could run.",
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
    ones, others = set(first.lower().split(",")), set(second.lower().split(","))
    return not (ones.isdisjoint(others) and ANY.isdisjoint(ones | others))


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


def _before_relay(run: Run, scope: Scope, node: LiveNode, slot: int, wanted: str) -> Step | End:
    if node.schema is None and node.ui.type not in editor.VIRTUAL:
        return _before_getter(run, scope, node, wanted)
    return _input(scope, node, slot, wanted) if slot < len(node.sockets) else None


def _before_getter(run: Run, scope: Scope, node: LiveNode, wanted: str) -> Step | End:
    graph, setter = run.shared[_shared_name(node)]
    place: Scope | None = scope
    while place is not None and place.graph is not graph:
        place = place.outer
    slot = next((i for i, s in enumerate(setter.sockets) if s.link is not None), None)
    if place is None or slot is None:
        return None
    return _input(place, setter, slot, wanted)
