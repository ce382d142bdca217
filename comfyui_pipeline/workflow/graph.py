"""A read-only view of a prompt beside its schema: nodes, links, and the roles that they show.

Roles come from links, input names and types in ``/object_info``; no node class is known by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

NodeSchemas = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class InputSpec:
    """What a class says of one input. ``type`` is COMBO for both spellings of a list of choices."""

    name: str
    type: str
    options: Mapping[str, Any]
    choices: tuple[Any, ...] = ()
    required: bool = True

    @property
    def takes_file(self) -> bool:
        """Whether the value names a file in the server's input folder (``image_upload`` and kin)."""
        return any(key.endswith("_upload") and flag for key, flag in self.options.items())


@dataclass(frozen=True, slots=True)
class Node:
    """One node of the prompt, with what its class says of it."""

    id: str
    class_type: str
    title: str
    inputs: Mapping[str, Any]
    specs: Mapping[str, InputSpec]
    outputs: tuple[str, ...]
    output_names: tuple[str, ...]
    saves: bool

    @property
    def label(self) -> str:
        """How people are told of this node: ``6 "Positive Prompt" (CLIPTextEncode)``."""
        title = f' "{self.title}"' if self.title and self.title != self.class_type else ""
        return f"{self.id}{title} ({self.class_type})"


@dataclass(frozen=True, slots=True)
class Target:
    """One input of one node: where a value goes."""

    node: Node
    name: str

    @property
    def spec(self) -> InputSpec | None:
        return self.node.specs.get(self.name)


@dataclass(frozen=True, slots=True)
class Graph:
    """All nodes of a prompt by id."""

    nodes: Mapping[str, Node]

    def link(self, value: Any) -> tuple[Node, int] | None:
        """The node and the output slot that an input's value points to; None for a plain value."""
        if not is_link(value):
            return None
        node = self.nodes.get(str(value[0]))
        return None if node is None else (node, int(value[1]))

    def source(self, target: Target, kinds: tuple[str, ...]) -> Target | None:
        """The plain value behind an input: itself, or what feeds it through links.

        Follows a link to the one plain input of type ``kinds`` on the node that feeds it (or
        further up); None when there is no such single one.
        """
        for _ in self.nodes:
            value = target.node.inputs.get(target.name)
            if not is_link(value):
                return target
            linked = self.link(value)
            if linked is None:
                return None
            above = [Target(linked[0], s.name) for s in linked[0].specs.values() if s.type in kinds]
            if len(above) != 1:
                return None
            target = above[0]
        return None


def is_link(value: Any) -> bool:
    """Whether a value is ``[node id, output slot]``, as in ComfyUI's ``execution.py``."""
    return (
        isinstance(value, list)
        and len(value) == 2
        and isinstance(value[0], (str, int))
        and not isinstance(value[0], bool)
        and isinstance(value[1], int)
    )


def build(prompt: Mapping[str, Mapping[str, Any]], schemas: NodeSchemas) -> Graph:
    """The view of ``prompt``; a class without a schema shows its inputs without types."""
    return Graph({node_id: _node(node_id, node, schemas) for node_id, node in prompt.items()})


def _node(node_id: str, node: Mapping[str, Any], schemas: NodeSchemas) -> Node:
    schema = schemas.get(node["class_type"], {})
    title = node.get("_meta", {}).get("title")
    return Node(
        id=node_id,
        class_type=node["class_type"],
        title=title if isinstance(title, str) else "",
        inputs=node["inputs"],
        specs={spec.name: spec for spec in _specs(schema)},
        outputs=tuple(str(kind) for kind in schema.get("output") or ()),
        output_names=tuple(str(name) for name in schema.get("output_name") or ()),
        saves=bool(schema.get("output_node")),
    )


def _specs(schema: Mapping[str, Any]) -> Iterator[InputSpec]:
    for group in ("required", "optional"):
        for name, told in (schema.get("input", {}).get(group) or {}).items():
            kind = told[0] if isinstance(told, (list, tuple)) and told else "*"
            options = told[1] if isinstance(told, (list, tuple)) and len(told) > 1 else {}
            options = options if isinstance(options, dict) else {}
            listed = kind if isinstance(kind, list) else options.get("options")
            combo = isinstance(kind, list) or kind == "COMBO"
            yield InputSpec(
                name=name,
                type="COMBO" if combo else str(kind),
                options=options,
                choices=tuple(listed or ()) if combo else (),
                required=group == "required",
            )
