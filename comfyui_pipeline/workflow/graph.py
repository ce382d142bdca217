"""A read-only view of a prompt beside its schema: nodes, links, and the roles that they show.

Roles come from links, input names and types in ``/object_info``; no node class is known by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from input_server.light_dataclasses import dataclass, field

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


MAX_LABEL_CHARACTERS = 80
"""Characters of an id, a title or a class name in a message."""


def label(node_id: str, title: str, class_type: str) -> str:
    """How people are told of a node; each part is cut to a readable length."""
    named = f' "{_cut(title)}"' if title and title != class_type else ""
    return f"{_cut(node_id)}{named} ({_cut(class_type)})"


def _cut(text: str) -> str:
    return text if len(text) <= MAX_LABEL_CHARACTERS else text[:MAX_LABEL_CHARACTERS] + "…"


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
    is_output_node: bool

    @property
    def label(self) -> str:
        """How people are told of this node: ``6 "Positive Prompt" (CLIPTextEncode)``."""
        return label(self.id, self.title, self.class_type)


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
    """All nodes of a prompt by id. What was followed once is remembered, as chains share their parts."""

    nodes: Mapping[str, Node]
    _sources: dict[tuple[str, str, tuple[str, ...]], Target | None] = field(
        default_factory=dict, repr=False, compare=False
    )
    _used: dict[str, set[int]] = field(default_factory=dict, repr=False, compare=False)

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
        passed: dict[tuple[str, str, tuple[str, ...]], None] = {}
        found: Target | None = target
        while found is not None:
            key = (found.node.id, found.name, kinds)
            if key in self._sources or key in passed:
                found = self._sources.get(key)  # a circle has no source
                break
            passed[key] = None
            value = found.node.inputs.get(found.name)
            linked = self.link(value)
            if linked is None:
                found = None if is_link(value) else found
                break
            name = self._fed_by(linked[0], kinds)
            found = None if name is None else Target(linked[0], name)
        self._sources.update(dict.fromkeys(passed, found))
        return found

    def used_outputs(self, node: Node) -> set[int]:
        """The output slots of a node that others take."""
        if not self._used:
            self._used[""] = set()
            for other in self.nodes.values():
                for value in other.inputs.values():
                    if is_link(value):
                        self._used.setdefault(str(value[0]), set()).add(int(value[1]))
        return self._used.get(node.id, set())

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
    fixed: dict[str, Mapping[str, InputSpec]] = {}
    return Graph(
        {node_id: _node(node_id, node, schemas, fixed) for node_id, node in prompt.items()}
    )


def _node(
    node_id: str,
    node: Mapping[str, Any],
    schemas: NodeSchemas,
    fixed: dict[str, Mapping[str, InputSpec]],
) -> Node:
    """``fixed``: the inputs of classes that have the same ones in every node."""
    kind = node["class_type"]
    schema = schemas.get(kind, {})
    specs = fixed.get(kind)
    if specs is None:
        specs = {spec.name: spec for spec in _specs(schema, node["inputs"])}
        if not _depends_on_inputs(schema):
            fixed[kind] = specs
    title = node.get("_meta", {}).get("title")
    return Node(
        id=node_id,
        class_type=node["class_type"],
        title=title if isinstance(title, str) else "",
        inputs=node["inputs"],
        specs=specs,
        outputs=tuple(str(kind) for kind in schema.get("output") or ()),
        output_names=tuple(str(name) for name in schema.get("output_name") or ()),
        is_output_node=bool(schema.get("output_node")),
    )


def _depends_on_inputs(schema: Mapping[str, Any]) -> bool:
    """Whether its inputs are others from node to node: growing groups, combos that bring some."""
    groups = schema.get("input") or {}
    told = [
        told for group in ("required", "optional") for told in (groups.get(group) or {}).values()
    ]
    return any(_spec("", one, required=True).type in (GROWING, DYNAMIC) for one in told)


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
