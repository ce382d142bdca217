"""Convert an editor document to the prompt that the editor itself would queue.

Follows frontend 1.58.1 (executionUtil.ts, ExecutableNodeDTO.ts). Where the editor itself is wrong
the better result is returned with a note: values saved in the order of another version, dead links,
muted subgraph instances.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from comfyui_pipeline.bounded import json_text
from comfyui_pipeline.errors import WorkflowError
from comfyui_pipeline.workflow import schema as node_types
from comfyui_pipeline.workflow.convert import dynamic_text, loading
from comfyui_pipeline.workflow.convert.document import BYPASSED, MUTED, read_document
from comfyui_pipeline.workflow.convert.links import LinkResolver, PromotedWidget, Scope
from comfyui_pipeline.workflow.convert.loaded_graph import LoadedDocument, LoadedGraph, LoadedNode
from comfyui_pipeline.workflow.convert.virtual_nodes import (
    find_setters,
    is_reroute,
    is_set_or_get,
    passes_on,
)
from comfyui_pipeline.workflow.convert.widgets import BROWSER_WIDGETS, NO_VALUE, SEED_NAMES, Widget
from comfyui_pipeline.workflow.files import MAX_NODES
from comfyui_pipeline.workflow.schema import NodeSchemas
from comfyui_pipeline.workflow.switches import Chosen, Parts
from input_server.light_dataclasses import dataclass, field, replace

PREFIX_INPUT = "filename_prefix"
MAX_ID_CHARACTERS = 64 * 2**20
"""Of all node ids of one prompt. An id inside subgraphs contains those of all instances around it."""
MAX_SEED = 2**53 - 1
DRAWN = (-3, -2, -1)
"""Seeds that an extension replaces when a workflow is queued: one less, one more, a random one."""
MAX_IMPORTANT = 20
LISTED_CHOICES = 12
LISTED_CHARACTERS = 60


@dataclass(frozen=True, slots=True)
class Converted:
    """A prompt, notes on what was repaired or chosen at random, and nodes of unknown types.

    ``important``: what of the file has no place on this server, which may change the result.
    ``passing``: types of nodes that only pass a value on, which exist only in the editor.
    ``places``: id in the prompt -> the node and where it is; ``links``: follows the document's links;
    ``now``: the time that the dates in file names are of. ``write_back.py`` needs these. ``root``: the
    document as loaded; ``chosen``: the nodes that the call switches; ``drawn``: whether the seed has
    chosen anything in texts.
    """

    prompt: Mapping[str, Mapping[str, Any]]
    notes: tuple[str, ...]
    unknown: tuple[str, ...]
    places: Mapping[str, tuple[Scope, LoadedNode]] = field(compare=False, repr=False)
    links: LinkResolver = field(compare=False, repr=False)
    now: datetime = field(compare=False)
    root: Scope = field(compare=False, repr=False)
    important: tuple[str, ...] = ()
    passing: frozenset[str] = frozenset()
    chosen: Chosen = Chosen()
    drawn: bool = False

    @property
    def parts(self) -> Parts:
        """All nodes and groups of the document, with the modes that it saves."""
        from comfyui_pipeline.workflow.convert import parts

        return parts.read(self.root)


def convert(
    document: Mapping[str, Any],
    schemas: NodeSchemas,
    *,
    seed: int = 0,
    now: datetime | None = None,
    choose: Callable[[Parts], Chosen] | None = None,
) -> Converted:
    """Convert a parsed editor document (see ``files.is_editor_document``).

    ``schemas``: ``/object_info`` of at least its node types. ``seed`` decides random choices in
    texts, ``now`` the dates in file names (default: the current local time). ``choose``: finds the
    nodes that the call switches. Raises WorkflowError naming the node and the reason if the document
    cannot be converted.
    """
    saved = read_document(document)
    types = {name: node_types.read(schemas[name]) for name in saved.class_types() & schemas.keys()}
    loaded = loading.load(saved, types)
    notes = list(loaded.notes)
    important: list[str] = []
    root = Scope(loaded.root)
    chosen = _chosen(root, choose)
    links = LinkResolver(find_setters(loaded.graphs), important, chosen.modes)
    rng, now = random.Random(seed), now or datetime.now()
    conversion = _Conversion(loaded, root, links, rng, now, notes, important)
    prompt = conversion.prompt()
    if not prompt and chosen.modes:
        raise WorkflowError(
            f"Nothing is left to run: {', '.join(chosen.said)}.", "Bypass or mute fewer nodes."
        )
    if not prompt:
        raise WorkflowError(
            "No node of this workflow is active, so there is nothing to run.",
            "Unmute the nodes that should run, and save the workflow again.",
        )
    conversion.check_browser_nodes(prompt)
    if chosen.modes:
        from comfyui_pipeline.workflow.convert import parts

        found = tuple(parts.broken(prompt, conversion.places, links))
        chosen = replace(chosen, broken=found)
    return Converted(
        prompt,
        tuple(dict.fromkeys(notes)),
        tuple(conversion.unknown),
        conversion.places,
        links,
        conversion.now,
        root,
        _listed(tuple(dict.fromkeys(important))),
        frozenset(conversion.passing),
        chosen,
        conversion.drawn,
    )


def _chosen(root: Scope, choose: Callable[[Parts], Chosen] | None) -> Chosen:
    if choose is None:
        return Chosen()
    from comfyui_pipeline.workflow.convert import parts

    return choose(parts.read(root))


@dataclass(slots=True)
class _Conversion:
    """The conversion of one document.

    ``browser_nodes``: node id -> why only a browser can fill its inputs.
    """

    document: LoadedDocument
    root: Scope
    links: LinkResolver
    rng: random.Random
    now: datetime
    notes: list[str]
    important: list[str]
    unknown: list[str] = field(default_factory=list)
    passing: set[str] = field(default_factory=set)
    drawn: bool = False
    browser_nodes: dict[str, str] = field(default_factory=dict)
    places: dict[str, tuple[Scope, LoadedNode]] = field(default_factory=dict)
    _origins: dict[int, frozenset[str]] = field(default_factory=dict)
    _named: tuple[dict[str, LoadedNode], dict[str, LoadedNode]] | None = None

    def prompt(self) -> dict[str, dict[str, Any]]:
        """Every active node of the root and, at the place of each instance, of its subgraph."""
        prompt: dict[str, dict[str, Any]] = {}
        stack = [(self.root, iter(self.root.graph.nodes.values()))]
        visited = characters = 0
        while stack:
            scope, nodes = stack[-1]
            node = next(nodes, None)
            if node is None:
                stack.pop()
                continue
            visited += 1
            characters += len(scope.prefix) + len(node.id)
            if visited > MAX_NODES or characters > MAX_ID_CHARACTERS:
                raise WorkflowError(
                    f"With all subgraphs expanded this workflow has more than {MAX_NODES} nodes, "
                    "or node ids that are too long to be sent.",
                    "Nest fewer subgraphs.",
                )
            if self.links.mode(scope, node) in (MUTED, BYPASSED):
                continue
            if node.subgraph is not None:
                inside = scope.inside(node)
                stack.append((inside, iter(inside.graph.nodes.values())))
            elif passes_on(node) or is_set_or_get(node, self.links.setters):
                self.passing.add(node.ui.type)
                if passes_on(node) and not is_reroute(node):
                    self.notes.append(
                        f"Node {scope.label(node)} exists only in the editor, as far as the file shows: "
                        "what it receives was passed on unchanged."
                    )
            elif not node.virtual:
                self._add(scope, node, prompt)
        return prompt

    def check_browser_nodes(self, prompt: Mapping[str, Mapping[str, Any]]) -> None:
        """Raise WorkflowError if another node uses one that only a browser can fill."""
        values = [value for node in prompt.values() for value in node["inputs"].values()]
        used = {value[0] for value in values if isinstance(value, list) and value}
        for node_id, why in self.browser_nodes.items():
            if node_id in used:
                raise WorkflowError(why, "Replace it with a node that loads a file, or mute it.")
            self.notes.append(f"{why} No other node uses it, so the input was left empty.")

    def _add(self, scope: Scope, node: LoadedNode, prompt: dict[str, dict[str, Any]]) -> None:
        if node.type is None:
            if self._is_unconnected(scope.graph, node):
                self.notes.append(f"Node {scope.label(node)} has no links and was left out.")
                return
            self.unknown.append(scope.label(node))
        self.important += node.unplaced
        self.places[scope.prefix + node.id] = (scope, node)
        prompt[scope.prefix + node.id] = {
            "inputs": self._inputs(scope, node),
            "class_type": node.ui.type,
            "_meta": {"title": node.title},
        }

    def _is_unconnected(self, graph: LoadedGraph, node: LoadedNode) -> bool:
        """Whether a node of unknown type has no links: extensions add such nodes to the editor."""
        if any(socket.link is not None for socket in node.sockets):
            return False
        if id(graph) not in self._origins:
            self._origins[id(graph)] = frozenset(link.origin for link in graph.links.values())
        return node.id not in self._origins[id(graph)]

    def _inputs(self, scope: Scope, node: LoadedNode) -> dict[str, Any]:
        inputs: dict[str, Any] = {}
        for widget in node.widgets:
            if widget.sent and widget.name:
                value = self._widget_value(scope, node, widget)
                if value is not NO_VALUE:
                    inputs[widget.name] = value
        for slot, socket in enumerate(node.sockets):
            source = self.links.source(scope, node, slot)
            if isinstance(source, PromotedWidget):
                value = self._promoted_value(scope, node, source.widget)
                if value is not NO_VALUE:
                    inputs[socket.name] = value
            elif source is not None:
                inputs[socket.name] = list(source)
        return inputs

    # -- values ------------------------------------------------------------------------------------

    def _widget_value(self, scope: Scope, node: LoadedNode, widget: Widget) -> Any:
        value = widget.value
        if widget.type in BROWSER_WIDGETS:
            self.browser_nodes[scope.prefix + node.id] = (
                f"Node {scope.label(node)} needs a browser for its input {widget.name!r} "
                f"({widget.type})."
            )
        if isinstance(value, str) and widget.options.get("dynamicPrompts") is True:
            value = self._with_random_choices(scope, node, value)
        elif isinstance(value, str) and widget.name == PREFIX_INPUT and "%" in value:
            value = dynamic_text.replace_patterns(value, self._value_by_name, self.now)
        elif _is_drawn(widget):
            value = self._drawn_seed(scope, node, widget)
        if widget.type == "CURVE" and value is not None:
            return {"__type__": "CURVE", "__value__": value}
        return _wrapped(value)

    def _promoted_value(self, scope: Scope, node: LoadedNode, widget: Widget) -> Any:
        """Like the value of the inner widget, except that a JSON text holds no random choices."""
        value = widget.value
        if isinstance(value, str) and widget.options.get("dynamicPrompts") is True:
            return value if _is_json(value) else self._with_random_choices(scope, node, value)
        if _is_drawn(widget):
            return self._drawn_seed(scope, node, widget)
        return _wrapped(value)

    def _drawn_seed(self, scope: Scope, node: LoadedNode, widget: Widget) -> int:
        seed = self.rng.randint(0, min(widget.options.get("max", MAX_SEED), MAX_SEED))
        self.notes.append(
            f"Node {scope.label(node)}: its {widget.name} {widget.value} stands for a number that is "
            f"drawn for each run: {seed}."
        )
        return seed

    def _with_random_choices(self, scope: Scope, node: LoadedNode, text: str) -> str:
        chosen: list[str] = []
        try:
            result = dynamic_text.choose(text, self.rng, chosen)
        except dynamic_text.TooDeep:
            raise WorkflowError(
                f"Node {scope.label(node)}: the choices {{a|b}} in its text are nested too deeply.",
                "Nest fewer of them.",
            ) from None
        if chosen:
            self.drawn = True
            listed = ", ".join(repr(one[:LISTED_CHARACTERS]) for one in chosen[:LISTED_CHOICES])
            count = len(chosen) - LISTED_CHOICES
            more = f" and {count} more" if count > 0 else ""
            self.notes.append(f"Node {scope.label(node)}: chosen at random: {listed}{more}.")
        return result

    def _value_by_name(self, name: str, widget_name: str) -> Any:
        """The widget value for ``%name.widget%``, by search name, then by title.

        Raises KeyError if there is no such node or widget.
        """
        if self._named is None:
            by_search, by_title = dict[str, LoadedNode](), dict[str, LoadedNode]()
            for node in self.document.all_nodes():
                if isinstance(search := _search_name(node), str):
                    by_search.setdefault(search, node)
                by_title.setdefault(node.title, node)
            self._named = by_search, by_title
        by_search, by_title = self._named
        found = by_search.get(name) or by_title.get(name)
        widget = found.widget(widget_name) if found is not None else None
        if widget is None:
            raise KeyError(name)
        return widget.value


def _listed(sentences: tuple[str, ...]) -> tuple[str, ...]:
    """The first of them, and how many others there are."""
    others = len(sentences) - MAX_IMPORTANT
    more = (f"{others} more nodes have values or links without a place.",) if others > 0 else ()
    return sentences[:MAX_IMPORTANT] + more


def _is_drawn(widget: Widget) -> bool:
    """Whether the editor draws a number for this seed: -1, of a type that has more negative ones.

    Where -1 is the lowest, it is for the server to read.
    """
    low = widget.options.get("min")
    if widget.type != "INT" or widget.name not in SEED_NAMES or not isinstance(low, int):
        return False
    return low < DRAWN[0] and widget.value in DRAWN and not isinstance(widget.value, bool)


def _search_name(node: LoadedNode) -> Any:
    """The name of a node in ``%name.widget%``; its type if the file has none and it saves nothing."""
    name = node.ui.properties.get("Node name for S&R")
    saves = node.type is None or node.widget(PREFIX_INPUT) is not None
    return node.ui.type if name is None and not saves else name


def _is_json(text: str) -> bool:
    try:
        return isinstance(json_text.read(text), (dict, list))
    except json_text.InvalidJson:
        return False


def _wrapped(value: Any) -> Any:
    """Wrap a list, which the server would take for a link (frontend: executionUtil.ts)."""
    return {"__value__": value} if isinstance(value, list) else value
