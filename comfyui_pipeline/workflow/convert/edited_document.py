"""A copy of an editor document in which nodes and links are changed; the document itself stays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from comfyui_pipeline.workflow.convert.document import SUBGRAPH_INPUT
from comfyui_pipeline.workflow.convert.loaded_graph import LoadedGraph, LoadedNode
from comfyui_pipeline.workflow.convert.widgets import Socket

Raw = dict[str, Any]


class EditedDocument:
    """``document``: the copy. Nodes and graphs are addressed as they were loaded from the original."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._copies: dict[int, Raw] = {}  # id() of a part of the original -> its copy
        self._links = self._nodes = 0
        self.document = self._copied(document)

    def node(self, node: LoadedNode) -> Raw | None:
        """The node in the copy; None for one inside a group node."""
        return self._copies.get(id(node.ui.raw))

    def graph(self, graph: LoadedGraph) -> Raw:
        return self._copies.get(id(graph.raw), self.document)

    def new_id(self, graph: LoadedGraph, wanted: str) -> int:
        """The id for one more node: ``wanted`` if no node of the document has it."""
        used = {str(n.get("id")) for n in self._copies.values() if "type" in n}
        number = int(wanted) if wanted.isdecimal() and wanted not in used else self._nodes + 1
        self._nodes = max(self._nodes, number)
        for holder in (self.document, self.graph(graph)):
            _raise_count(holder, "last_node_id", "lastNodeId", self._nodes)
        return number

    def add_node(self, graph: LoadedGraph, node: Raw) -> None:
        self.graph(graph).setdefault("nodes", []).append(node)
        self._copies[id(node)] = node

    def unlink(self, graph: LoadedGraph, node: LoadedNode, socket: Socket) -> None:
        """Take the link from a socket."""
        raw, holder = self.node(node), self.graph(graph)
        if raw is None:
            return
        gone = {socket.link}
        for saved in raw["inputs"]:
            if saved.get("name") == socket.name:
                gone.add(saved.get("link"))
                saved["link"] = None
        self._drop_links(holder, gone - {None})

    def link(
        self, graph: LoadedGraph, origin: Raw, slot: int, node: Raw, socket: tuple[str, str, bool]
    ) -> None:
        """Link an output to a socket of a node: its name, its type, and whether it is a widget's."""
        holder = self.graph(graph)
        name, kind, is_widget = socket
        position = next((i for i, s in enumerate(node["inputs"]) if s.get("name") == name), None)
        if position is None:
            position = len(node["inputs"])
            saved: Raw = {"name": name, "type": kind}
            node["inputs"].append(saved | ({"widget": {"name": name}} if is_widget else {}))
        saved = node["inputs"][position]
        self._drop_links(holder, {saved.get("link")} - {None})
        self._links += 1
        saved["link"] = self._links
        outputs = origin["outputs"]
        while len(outputs) <= slot:
            outputs.append({"name": "", "type": "*", "links": None})
        outputs[slot] = {**outputs[slot], "links": [*_ids(outputs[slot], "links"), self._links]}
        parts = [self._links, origin["id"], slot, node["id"], position, kind]
        names = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
        as_list = holder is self.document and not any(isinstance(o, dict) for o in holder["links"])
        if holder.get("version") == 1:
            as_list = False
        holder["links"].append(parts if as_list else dict(zip(names, parts, strict=True)))
        for one in (self.document, holder):
            _raise_count(one, "last_link_id", "lastLinkId", self._links)

    # -- copying -----------------------------------------------------------------------------------

    def _copied(self, graph: Mapping[str, Any]) -> Raw:
        """A graph with copies of what may change; everything else is shared with the original."""
        copied = {**graph, "nodes": [self._copied_node(n) for n in graph.get("nodes") or ()]}
        copied["links"] = list(graph.get("links") or ())
        for link in copied["links"]:
            number = link.get("id") if isinstance(link, dict) else link[0] if link else 0
            self._links = max(self._links, number if isinstance(number, int) else 0)
        for side in ("inputs", "outputs"):
            if isinstance(graph.get(side), list):
                copied[side] = [dict(slot) for slot in graph[side]]
        definitions = graph.get("definitions")
        if isinstance(definitions, dict) and isinstance(definitions.get("subgraphs"), list):
            inner = [self._copied(one) for one in definitions["subgraphs"]]
            copied["definitions"] = {**definitions, "subgraphs": inner}
        self._copies[id(graph)] = copied
        return copied

    def _copied_node(self, node: Mapping[str, Any]) -> Raw:
        copied = dict(node)
        for side in ("inputs", "outputs"):
            copied[side] = [dict(slot) for slot in node.get(side) or ()]
        number = node.get("id")
        self._nodes = max(self._nodes, number if isinstance(number, int) else 0)
        self._copies[id(node)] = copied
        return copied

    def _drop_links(self, holder: Raw, gone: set[Any]) -> None:
        if not gone:
            return
        origins = {_part(link, "origin_id", 1) for link in holder["links"] if _id(link) in gone}
        holder["links"] = [link for link in holder["links"] if _id(link) not in gone]
        for node in holder["nodes"]:
            if node.get("id") in origins:
                for output in node["outputs"]:
                    if kept := [i for i in _ids(output, "links") if i not in gone]:
                        output["links"] = kept
                    elif "links" in output:
                        output["links"] = None
        if SUBGRAPH_INPUT in {str(origin) for origin in origins}:
            for slot in holder.get("inputs") or ():
                slot["linkIds"] = [i for i in _ids(slot, "linkIds") if i not in gone]


def _id(link: Any) -> Any:
    return _part(link, "id", 0)


def _part(link: Any, name: str, position: int) -> Any:
    if isinstance(link, dict):
        return link.get(name)
    return link[position] if isinstance(link, list) and len(link) > position else None


def _ids(slot: Mapping[str, Any], key: str) -> list[Any]:
    found = slot.get(key)
    return list(found) if isinstance(found, list) else []


def _raise_count(holder: Raw, old: str, new: str, number: int) -> None:
    """The document's counters of ids, in the notation of its version."""
    if isinstance(state := holder.get("state"), dict):
        holder["state"] = {**state, new: max(number, int(state.get(new) or 0))}
    elif old in holder:
        holder[old] = max(number, int(holder.get(old) or 0))
