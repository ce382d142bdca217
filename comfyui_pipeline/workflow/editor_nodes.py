"""Nodes that exist only in the editor: notes, bookmarks, switches of groups. The server never has them.

There is no list of such types, which come with the JavaScript of extensions. The editor gives each
node of a server's type the name of that type ("Node name for S&R") or of its pack; a document in
which other nodes have these shows that a node without them is none of the server's.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from comfyui_pipeline.workflow.graph import is_link
from comfyui_pipeline.workflow.node_label import node_label
from comfyui_pipeline.workflow.schema import NodeSchemas

REROUTE = "Reroute"
PRIMITIVE = "PrimitiveNode"
VIRTUAL_TYPES = frozenset({REROUTE, PRIMITIVE, "Note", "MarkdownNote"})
"""The types of the editor itself, without extensions."""
TYPE_NAME = "Node name for S&R"
PACK_NAMES = ("cnr_id", "aux_id")
Prompt = Mapping[str, Mapping[str, Any]]


def names_type(properties: Any) -> bool:
    """Whether a node's properties show that its type came from a server."""
    return isinstance(properties, dict) and any(
        isinstance(properties.get(name), str) for name in (TYPE_NAME, *PACK_NAMES)
    )


def types_of(nodes: Iterable[tuple[str, Any]]) -> frozenset[str]:
    """Of ``(type, properties)``: the types that exist only in the editor, as far as these show."""
    seen: dict[str, bool] = {}
    for kind, properties in nodes:
        seen[kind] = seen.get(kind, False) or names_type(properties)
    return frozenset(kind for kind, named in seen.items() if not named and any(seen.values()))


def without(
    prompt: Prompt, schemas: NodeSchemas, editor_types: Collection[str]
) -> tuple[Prompt, tuple[str, ...]]:
    """The prompt without nodes of unknown types that nothing needs, and notes on it.

    Such a node is of one of ``editor_types``, or has no links at all, and no node that stays uses it.
    Nothing is left out where no output node would stay: one of these may be it.
    """
    unknown = {i for i, node in prompt.items() if node["class_type"] not in schemas}
    known = {node["class_type"] for node in prompt.values()} & schemas.keys()
    if not unknown or not any(schemas[kind].get("output_node") for kind in known):
        return prompt, ()
    sources = {i: _sources(node) for i, node in prompt.items()}
    may_go = {
        i
        for i in unknown
        if prompt[i]["class_type"] in editor_types or not sources[i] & prompt.keys()
    }
    stack = [i for i in prompt if i not in may_go]
    needed = set(stack)
    while stack:
        for source in sources[stack.pop()] & prompt.keys() - needed:
            needed.add(source)
            stack.append(source)
    gone = [i for i in prompt if i not in needed]
    if not gone:
        return prompt, ()
    notes = tuple(
        f"Node {label(i, prompt[i])} was left out: the server does not have its type, and no node "
        "that runs uses it."
        for i in gone
    )
    return {i: node for i, node in prompt.items() if i in needed}, notes


def _sources(node: Mapping[str, Any]) -> set[str]:
    return {str(value[0]) for value in node["inputs"].values() if is_link(value)}


def label(node_id: str, node: Mapping[str, Any]) -> str:
    """How messages name a node of a prompt."""
    title = (node.get("_meta") or {}).get("title")
    return node_label(node_id, title if isinstance(title, str) else "", node["class_type"])
