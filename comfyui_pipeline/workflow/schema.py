"""Node types as ``/object_info`` describes them: the only reader of that JSON.

``required`` and ``optional`` hold ``name: [type, options]`` per input; a combo is written as
``[[choices…], options]`` or ``["COMBO", {"options": [choices…]}]``. ``COMFY_DYNAMICCOMBO_V3`` and
``COMFY_AUTOGROW_V3`` are described in ComfyUI's comfy_api/latest/_io.py.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from input_server.light_dataclasses import dataclass, replace

NodeSchemas = Mapping[str, Mapping[str, Any]]
"""``/object_info`` as the server sends it: node type -> description."""

FileKind = Literal["image", "animation", "video", "audio", "file"]
UPLOADS: Sequence[tuple[str, FileKind]] = (
    ("image_upload", "image"),
    ("animated_image_upload", "animation"),
    ("video_upload", "video"),
    ("audio_upload", "audio"),
)
COMBO = "COMBO"
DYNAMIC_COMBO = "COMFY_DYNAMICCOMBO_V3"
AUTOGROW = "COMFY_AUTOGROW_V3"
MATCH_TYPE = "COMFY_MATCHTYPE_V3"
WILDCARDS = ("*", MATCH_TYPE)
MAX_GROWN = 100
"""Inputs of one autogrow group (Autogrow._MaxNames)."""
ANY_TYPE = frozenset({"", "*", "0"})
"""Slot types that connect to every type (LiteGraph.isValidConnection)."""


@dataclass(frozen=True, slots=True)
class InputSpec:
    """One input of a node type. ``type`` is COMBO for both spellings of a list of choices.

    ``options``: the other options of the input (``min``, ``default``, ``multiline``, …).
    ``branches``: of a dynamic combo, the inputs that each choice adds, without its prefix.
    ``autogrow``: the template of an input that is repeated as often as needed.
    """

    name: str
    type: str
    options: Mapping[str, Any]
    choices: tuple[Any, ...] = ()
    required: bool = True
    branches: tuple[tuple[Any, tuple[InputSpec, ...]], ...] = ()
    autogrow: Autogrow | None = None

    @property
    def takes_file(self) -> bool:
        """Whether the value names a file in the server's input folder (``image_upload`` etc.)."""
        return self.file_kind is not None

    @property
    def file_kind(self) -> FileKind | None:
        """The kind of file it accepts, by its upload flag; ``file`` for an unknown flag."""
        for flag, kind in UPLOADS:
            if self.options.get(flag):
                return kind
        return "file" if any(k.endswith("_upload") and v for k, v in self.options.items()) else None

    @property
    def allowed_types(self) -> str:
        """The slot type of an input whose type follows what is linked to it (match type)."""
        return str(_mapping(self.options.get("template")).get("allowed_types") or "*")

    def branch(self, choice: Any) -> tuple[InputSpec, ...]:
        """The inputs that ``choice`` of a dynamic combo adds, under their full names."""
        inputs = next((inputs for key, inputs in self.branches if key == choice), ())
        return tuple(spec.named(f"{self.name}.{spec.name}") for spec in inputs)

    def named(self, name: str) -> InputSpec:
        """The same input under another name."""
        return replace(self, name=name)


@dataclass(frozen=True, slots=True)
class Autogrow:
    """How an autogrow input expands: ``inputs`` once for each of ``names``, or numbered.

    ``minimum`` and ``maximum``: how many repetitions a node has. ``prefix``: name before the number.
    """

    inputs: tuple[InputSpec, ...]
    names: tuple[str, ...]
    prefix: str
    minimum: int
    maximum: int


@dataclass(frozen=True, slots=True)
class NodeType:
    """A node type: inputs in the order of the schema (required first), outputs by slot.

    ``editor_order``: the same inputs in the order in which the editor lays them out.
    ``outputs``: types; an output that is a list of choices is that list written as text.
    """

    display_name: str
    inputs: tuple[InputSpec, ...]
    editor_order: tuple[InputSpec, ...]
    outputs: tuple[str, ...]
    output_names: tuple[str, ...]
    is_output_node: bool

    @property
    def has_fixed_inputs(self) -> bool:
        """Whether every node of this type has the same inputs."""
        return not any(spec.type in (AUTOGROW, DYNAMIC_COMBO) for spec in self.inputs)

    def inputs_of(self, values: Mapping[str, Any]) -> Iterator[InputSpec]:
        """The inputs of a node that holds ``values``: chosen branches and grown inputs expanded."""
        return _expanded(self.inputs, values)

    def growable(self, values: Mapping[str, Any]) -> Iterator[InputSpec]:
        """The inputs that a node which holds ``values`` can still grow."""
        return _growable(self.inputs, values)


UNKNOWN = NodeType("", (), (), (), (), False)
"""Used for a node type that the server does not have."""


def read(schema: Mapping[str, Any]) -> NodeType:
    """Read the entry of one node type. Parts of the wrong kind count as absent."""
    required, optional = _groups(schema.get("input"))
    order = _mapping(schema.get("input_order"))
    name = schema.get("display_name")
    return NodeType(
        display_name=name if isinstance(name, str) else "",
        inputs=(*required, *optional),
        editor_order=(
            *_in_order(required, order.get("required")),
            *_in_order(optional, order.get("optional")),
        ),
        outputs=tuple(str(kind) for kind in _list(schema.get("output"))),
        output_names=tuple(str(label) for label in _list(schema.get("output_name"))),
        is_output_node=bool(schema.get("output_node")),
    )


def types_match(first: str, second: str) -> bool:
    """Whether slots of these types may be linked (LiteGraph.isValidConnection)."""
    if first in ANY_TYPE or second in ANY_TYPE:
        return True
    ones, others = set(first.lower().split(",")), set(second.lower().split(","))
    return not (ones.isdisjoint(others) and ANY_TYPE.isdisjoint(ones | others))


# -- reading ---------------------------------------------------------------------------------------


def _groups(raw: Any) -> tuple[list[InputSpec], list[InputSpec]]:
    """The required and the optional inputs."""
    groups = _mapping(raw)
    required, optional = _mapping(groups.get("required")), _mapping(groups.get("optional"))
    return (
        [_input(name, one, required=True) for name, one in required.items()],
        [_input(name, one, required=False) for name, one in optional.items()],
    )


def _input(name: str, raw: Any, *, required: bool) -> InputSpec:
    kind = raw[0] if isinstance(raw, (list, tuple)) and raw else "*"
    options = _mapping(raw[1]) if isinstance(raw, (list, tuple)) and len(raw) > 1 else {}
    if isinstance(kind, list):
        return InputSpec(name, COMBO, options, tuple(kind), required)
    listed = _list(options.get("options"))
    if kind == DYNAMIC_COMBO:
        branches = tuple(_branches(listed))
        choices = tuple(key for key, _ in branches)
        return InputSpec(name, DYNAMIC_COMBO, options, choices, required, branches)
    if kind == AUTOGROW:
        template = _autogrow(_mapping(options.get("template")))
        return InputSpec(name, AUTOGROW, options, (), required, autogrow=template)
    return InputSpec(name, str(kind), options, tuple(listed) if kind == COMBO else (), required)


def _branches(listed: list[Any]) -> Iterator[tuple[Any, tuple[InputSpec, ...]]]:
    for choice in listed:
        if isinstance(choice, dict):
            required, optional = _groups(choice.get("inputs"))
            yield choice.get("key"), (*required, *optional)


def _autogrow(template: Mapping[str, Any]) -> Autogrow:
    required, optional = _groups(template.get("input"))
    names = tuple(str(name) for name in _list(template.get("names")))
    return Autogrow(
        inputs=(*required, *optional),
        names=names,
        prefix=str(template.get("prefix", "")),
        minimum=_count(template.get("min"), 1),
        maximum=len(names) if names else _count(template.get("max"), 100),
    )


def _count(value: Any, default: int) -> int:
    return int(value) if isinstance(value, (int, float)) and math.isfinite(value) else default


def _in_order(inputs: list[InputSpec], order: Any) -> list[InputSpec]:
    """The inputs that ``input_order`` lists, then the others."""
    by_name = {spec.name: spec for spec in inputs}
    first = [name for name in _list(order) if isinstance(name, str) and name in by_name]
    return [by_name[name] for name in dict.fromkeys([*first, *by_name])]


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else []


def _expanded(specs: Sequence[InputSpec], values: Mapping[str, Any]) -> Iterator[InputSpec]:
    for spec in specs:
        if spec.type == AUTOGROW:
            yield from _grown(spec, values)
        elif spec.type == DYNAMIC_COMBO:
            # the server requires none, and takes any choice
            yield InputSpec(spec.name, COMBO, {}, spec.choices, False, spec.branches)
            chosen = values.get(spec.name)
            if isinstance(chosen, str):
                yield from _expanded(spec.branch(chosen), values)
        else:
            yield spec


def _growable(specs: Sequence[InputSpec], values: Mapping[str, Any]) -> Iterator[InputSpec]:
    for spec in specs:
        if spec.type == DYNAMIC_COMBO and isinstance(chosen := values.get(spec.name), str):
            yield from _growable(spec.branch(chosen), values)
        elif spec.autogrow and spec.autogrow.inputs:
            group = spec.autogrow
            numbered = [f"{group.prefix}{number}" for number in range(group.maximum)]
            for name in group.names or numbered:
                if f"{spec.name}.{name}" not in values:
                    yield replace(group.inputs[0], name=f"{spec.name}.{name}", required=False)


def _grown(group: InputSpec, values: Mapping[str, Any]) -> Iterator[InputSpec]:
    """The inputs ``group.name`` that a node has, each like the first input of the template.

    The server requires the first ones, as many as the group has at least (_expand_schema_for_dynamic).
    """
    grown = group.autogrow
    one = grown.inputs[0] if grown and grown.inputs else InputSpec("", "*", {}, required=False)
    first: Sequence[str] = ()
    if grown and one.required:
        count = max(0, min(grown.minimum, grown.maximum, MAX_GROWN))
        first = grown.names[:count] or [f"{grown.prefix}{number}" for number in range(count)]
    needed = {f"{group.name}.{name}" for name in first}
    for name in values:
        if name.startswith(f"{group.name}."):
            yield InputSpec(name, one.type, one.options, one.choices, required=name in needed)
