"""A read-only view of a prompt beside its schema: nodes, links, and the roles that they show.

Roles come from links, input names and types in ``/object_info``; no node class is known by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

NodeSchemas = Mapping[str, Mapping[str, Any]]

FileKind = Literal["image", "animation", "video", "audio", "file"]
UPLOADS: Sequence[tuple[str, FileKind]] = (
    ("image_upload", "image"),
    ("animated_image_upload", "animation"),
    ("video_upload", "video"),
    ("audio_upload", "audio"),
)
PLAINEST = ("value", "text", "prompt", "string", "string_a", "text_a", "text1", "a")
"""Of several texts or numbers of one node, the input that its output is most plainly made of."""
WILDCARDS = ("*", "COMFY_MATCHTYPE_V3")
DYNAMIC = "COMFY_DYNAMICCOMBO_V3"
GROWING = "COMFY_AUTOGROW_V3"


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
        return self.file_kind is not None

    @property
    def file_kind(self) -> FileKind | None:
        """What kind of file it takes, by its upload flag (see ``media.kinds.Wanted``)."""
        for flag, kind in UPLOADS:
            if self.options.get(flag):
                return kind
        return "file" if any(k.endswith("_upload") and v for k, v in self.options.items()) else None


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

        Follows a link to the input of type ``kinds`` on the node that feeds it, through switches
        and other nodes that pass any type on; None when no such input is the obvious one.
        """
        for _ in range(len(self.nodes) + 1):
            linked = self.link(target.node.inputs.get(target.name))
            if linked is None:
                dead = is_link(target.node.inputs.get(target.name))
                return None if dead else target
            name = self._fed_by(linked[0], kinds)
            if name is None:
                return None
            target = Target(linked[0], name)
        return None

    def _fed_by(self, node: Node, kinds: tuple[str, ...]) -> str | None:
        """The input that a node's output of these types is made of."""
        given = [spec for spec in node.specs.values() if spec.name in node.inputs]
        typed = [spec.name for spec in given if spec.type in kinds]
        if len(typed) == 1:
            return typed[0]
        if typed:
            linked = [name for name in typed if is_link(node.inputs[name])]
            if len(linked) == 1:
                return linked[0]
            return next((name for name in PLAINEST if name in typed), None)
        passing = [spec.name for spec in given if spec.type in WILDCARDS]
        if len(passing) > 1:
            switches = [spec.name for spec in given if spec.type == "BOOLEAN"]
            chosen = self.value(Target(node, switches[0]), ("BOOLEAN",)) if switches else None
            passing = [name for name in passing if str(chosen).lower() in name.lower()]
        return passing[0] if len(passing) == 1 else None

    def value(self, target: Target, kinds: tuple[str, ...]) -> Any:
        """The plain value that reaches an input, None when there is no obvious one."""
        source = self.source(target, kinds)
        return None if source is None else source.node.inputs.get(source.name)


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
        specs={spec.name: spec for spec in _specs(schema, node["inputs"])},
        outputs=tuple(str(kind) for kind in schema.get("output") or ()),
        output_names=tuple(str(name) for name in schema.get("output_name") or ()),
        saves=bool(schema.get("output_node")),
    )


def _specs(schema: Mapping[str, Any], inputs: Mapping[str, Any]) -> Iterator[InputSpec]:
    yield from _group_specs(schema.get("input") or {}, inputs, "")


def _group_specs(
    groups: Mapping[str, Any], inputs: Mapping[str, Any], prefix: str
) -> Iterator[InputSpec]:
    for group in ("required", "optional"):
        for name, told in (groups.get(group) or {}).items():
            spec = _spec(prefix + name, told, required=group == "required")
            if spec.type == GROWING:
                yield from _members(spec, inputs)
            elif spec.type == DYNAMIC:
                yield from _dynamic(spec, inputs)
            else:
                yield spec


def _spec(name: str, told: Any, *, required: bool) -> InputSpec:
    kind = told[0] if isinstance(told, (list, tuple)) and told else "*"
    options = told[1] if isinstance(told, (list, tuple)) and len(told) > 1 else {}
    options = options if isinstance(options, dict) else {}
    choices = kind if isinstance(kind, list) else options.get("options")
    combo = isinstance(kind, list) or kind == "COMBO"
    return InputSpec(
        name=name,
        type="COMBO" if combo else str(kind),
        options=options,
        choices=tuple(choices or ()) if combo else (),
        required=required,
    )


def _dynamic(spec: InputSpec, inputs: Mapping[str, Any]) -> Iterator[InputSpec]:
    """A combo whose choice decides which further inputs there are, named ``combo.input``."""
    ways = {way.get("key"): way for way in spec.options.get("options") or ()}
    yield InputSpec(spec.name, "COMBO", {}, tuple(ways), spec.required)
    chosen = inputs.get(spec.name)
    if isinstance(chosen, str) and chosen in ways:
        yield from _group_specs(ways[chosen].get("inputs") or {}, inputs, f"{spec.name}.")


def _members(spec: InputSpec, inputs: Mapping[str, Any]) -> Iterator[InputSpec]:
    """The members of a growing group that this node has: ``group.name``."""
    groups = (spec.options.get("template") or {}).get("input") or {}
    told = next(
        iter({**(groups.get("required") or {}), **(groups.get("optional") or {})}.values()), ["*"]
    )
    for name in inputs:
        if name.startswith(f"{spec.name}."):
            yield _spec(name, told, required=False)
