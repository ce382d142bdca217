"""A prompt as a graph: nodes with the inputs and outputs of their types, and the links between them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from comfyui_pipeline.workflow import branches
from comfyui_pipeline.workflow import schema as node_types
from comfyui_pipeline.workflow.links import is_link
from comfyui_pipeline.workflow.node_label import node_label
from comfyui_pipeline.workflow.schema import WILDCARDS, InputSpec, NodeSchemas
from input_server.light_dataclasses import dataclass, field

__all__ = [
    "WILDCARDS",
    "Graph",
    "InputSpec",
    "Node",
    "NodeSchemas",
    "Target",
    "build",
    "is_link",
    "new_id",
]

PREFERRED_INPUTS = ("value", "text", "prompt", "string", "string_a", "text_a", "text1", "a")
"""Preferred input names when several inputs of a node could be the source of its output."""

INSTRUCTIONS = ("system", "instruction", "系统")
"""Words in the titles of texts that precede the user's prompt."""


@dataclass(frozen=True, slots=True)
class Node:
    """One node of the prompt, with the inputs (``specs``) and outputs of its type."""

    id: str
    class_type: str
    title: str
    inputs: Mapping[str, Any]
    specs: Mapping[str, InputSpec]
    outputs: tuple[str, ...]
    output_names: tuple[str, ...]
    is_output_node: bool

    @property
    def label(self) -> str:
        """How messages name this node: ``6 "Positive Prompt" (CLIPTextEncode)``."""
        return node_label(self.id, self.title, self.class_type)


@dataclass(frozen=True, slots=True)
class Target:
    """One input of one node: what an argument changes."""

    node: Node
    name: str

    @property
    def spec(self) -> InputSpec | None:
        return self.node.specs.get(self.name)


@dataclass(frozen=True, slots=True)
class Graph:
    """All nodes of a prompt by id. Resolved links are cached, because chains share their parts."""

    nodes: Mapping[str, Node]
    _sources: dict[tuple[str, str, tuple[str, ...]], Target | None] = field(
        default_factory=dict, repr=False, compare=False
    )
    _used: dict[str, set[int]] = field(default_factory=dict, repr=False, compare=False)
    _consumers: dict[str, list[tuple[Node, str, int]]] = field(
        default_factory=dict, repr=False, compare=False
    )
    unused: dict[str, frozenset[str]] = field(default_factory=dict, repr=False, compare=False)
    """The inputs that switches leave out, kept by ``branches.unused_inputs``."""
    running: list[Graph] = field(default_factory=list, repr=False, compare=False)
    """The part that runs, kept by ``running.part_that_runs``."""

    def link(self, value: Any) -> tuple[Node, int] | None:
        """The node and output slot that a value links to; None for a plain value or a dead link."""
        if not is_link(value):
            return None
        node = self.nodes.get(str(value[0]))
        return None if node is None else (node, int(value[1]))

    def source(self, target: Target, kinds: tuple[str, ...]) -> Target | None:
        """The input that holds the plain value which reaches ``target``: itself, or one upstream.

        Follows links to the input of a type in ``kinds`` on each source node, through switches and
        nodes that pass any type on. None when several inputs qualify, or for a circular link.
        """
        passed: dict[tuple[str, str, tuple[str, ...]], None] = {}
        found: Target | None = target
        while found is not None:
            key = (found.node.id, found.name, kinds)
            if key in self._sources or key in passed:
                found = self._sources.get(key)  # a circular link has no source
                break
            passed[key] = None
            value = found.node.inputs.get(found.name)
            linked = self.link(value)
            if linked is None:
                found = None if is_link(value) else found
                break
            name = self._passed_on(linked[0], kinds)
            found = None if name is None else Target(linked[0], name)
        self._sources.update(dict.fromkeys(passed, found))
        return found

    def used_outputs(self, node: Node) -> set[int]:
        """The output slots of a node that other nodes link to."""
        if not self._used:
            self._used[""] = set()
            for other in self.nodes.values():
                for value in other.inputs.values():
                    if is_link(value):
                        self._used.setdefault(str(value[0]), set()).add(int(value[1]))
        return self._used.get(node.id, set())

    def consumers(self, node: Node) -> list[tuple[Node, str, int]]:
        """Every node and input that is linked to a node, with the slot of the output it takes."""
        if not self._consumers:
            self._consumers[""] = []
            for other in self.nodes.values():
                for name, value in other.inputs.items():
                    if is_link(value):
                        found = self._consumers.setdefault(str(value[0]), [])
                        found.append((other, name, int(value[1])))
        return self._consumers.get(node.id, [])

    def _passed_on(self, node: Node, kinds: tuple[str, ...]) -> str | None:
        """The name of the input that a node's output of these types derives from."""
        unused = branches.unused_inputs(self, node)
        given = [s for s in node.specs.values() if s.name in node.inputs and s.name not in unused]
        typed = [spec.name for spec in given if spec.type in kinds]
        if len(typed) == 1:
            return typed[0]
        if typed:
            linked = [name for name in typed if is_link(node.inputs[name])]
            users = [name for name in linked if not self._is_instruction(node.inputs[name])]
            if len(users) == 1:
                return users[0]
            return next((name for name in PREFERRED_INPUTS if name in typed), None)
        passing = [spec.name for spec in given if spec.type in WILDCARDS]
        passing += [
            n
            for n in node.inputs
            if n not in node.specs and n not in unused and is_link(node.inputs[n])
        ]
        return passing[0] if len(passing) == 1 else None

    def _is_instruction(self, value: Any) -> bool:
        """Whether a link comes from a text that its title calls one for a model, as system prompts."""
        linked = self.link(value)
        title = linked[0].title.lower() if linked else ""
        return any(word in title for word in INSTRUCTIONS)

    def value_at(self, node: Node, name: str, kinds: tuple[str, ...]) -> Any:
        """The plain value that reaches an input of a node; None when it cannot be determined."""
        return self.value(Target(node, name), kinds)

    def value(self, target: Target, kinds: tuple[str, ...]) -> Any:
        """The plain value that reaches an input; None when it cannot be determined."""
        source = self.source(target, kinds)
        return None if source is None else source.node.inputs.get(source.name)


def new_id(prompt: Mapping[str, Any]) -> str:
    """An id for one more node."""
    number = len(prompt) + 1
    while str(number) in prompt:
        number += 1
    return str(number)


def build(prompt: Mapping[str, Mapping[str, Any]], schemas: NodeSchemas) -> Graph:
    """The graph of ``prompt``; a node whose type has no schema has untyped inputs and no outputs."""
    types = {
        kind: node_types.read(schemas[kind]) if kind in schemas else node_types.UNKNOWN
        for kind in {node["class_type"] for node in prompt.values()}
    }
    fixed = {
        kind: {spec.name: spec for spec in found.inputs}
        for kind, found in types.items()
        if found.has_fixed_inputs
    }
    return Graph(
        {
            node_id: _node(node_id, node, types[node["class_type"]], fixed.get(node["class_type"]))
            for node_id, node in prompt.items()
        }
    )


def _node(
    node_id: str,
    node: Mapping[str, Any],
    found: node_types.NodeType,
    fixed: Mapping[str, InputSpec] | None,
) -> Node:
    """``fixed``: the inputs of a type whose nodes all have the same ones, shared by its nodes."""
    title = node.get("_meta", {}).get("title")
    return Node(
        id=node_id,
        class_type=node["class_type"],
        title=title if isinstance(title, str) else "",
        inputs=node["inputs"],
        specs=fixed or {spec.name: spec for spec in found.inputs_of(node["inputs"])},
        outputs=found.outputs,
        output_names=found.output_names,
        is_output_node=found.is_output_node,
    )
