"""Placeholders in workflow files, filled with the call's arguments.

Three forms, as the templates of other tools have them: ``{{POSITIVE_PROMPT}}`` (the hosts' template
tool), ``%prompt%`` (chat programs) and ``PARAM_PROMPT``, ``PARAM_INT_STEPS`` (an MCP server). A text
that is only a placeholder becomes the value itself, so that numbers stay numbers; inside a longer
text, the value is inserted as text. Which placeholder stands for which argument is a column of
``arguments.ARGUMENTS``; any other ``{{NAME}}`` and ``PARAM_NAME`` is filled from the key ``name`` of
the call. ``%name%`` has to be one of ``PERCENT_NAMES``, as ComfyUI and its nodes have tokens of that
form themselves.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from comfyui_pipeline.arguments import ARGUMENTS, BY_NAME
from comfyui_pipeline.errors import PatchError
from comfyui_pipeline.workflow import seeds
from comfyui_pipeline.workflow.graph import Graph
from input_server.light_dataclasses import dataclass, field

PLACEHOLDER = r"\{\{\s*([A-Z][A-Z0-9_]*)\s*\}\}"
PARAM = r"PARAM_(?:(?:INT|FLOAT|BOOL|STR|STRING)_)?([A-Z][A-Z0-9_]*)"
PERCENT = r"%([a-z][a-z0-9_]*)%"
INSIDE = r"\{\{\s*([A-Z][A-Z0-9_]*)\s*\}\}|%([a-z][a-z0-9_]*)%"
NUMBERED_IMAGE = re.compile(r"(?:(?:REFERENCE_|INPUT_)?IMAGE(?:_NAME)?)(?:_?([0-9]{1,2}))?")
ARGUMENT_OF: Mapping[str, str] = MappingProxyType(
    {placeholder: row.name for row in ARGUMENTS for placeholder in row.placeholders}
)
PERCENT_NAMES: Mapping[str, str] = MappingProxyType(
    {
        **{placeholder.lower(): name for placeholder, name in ARGUMENT_OF.items()},
        **{row.name: row.name for row in ARGUMENTS if row.is_shortcut},
        "scale": "cfg",
    }
)
"""``%name%`` -> the argument; ``scale`` is the chat programs' name of the guidance scale."""
IN_TEXTS = frozenset({"prompt", "negative_prompt"})
"""Arguments whose ``%name%`` is filled inside a longer text."""
OWN_TOKENS = "filename_prefix"
"""An input in which ComfyUI itself replaces ``%width%`` and others (folder_paths.py)."""
FILE_ROLES = frozenset(
    {"image", "mask", "start_image", "end_image", "control_image", "video", "audio"}
)
OPTIONAL = frozenset(
    {"QUALITY_TAGS"}  # the hosts' template tool fills it from its own settings
    | {
        placeholder
        for row in ARGUMENTS
        if row.optional_placeholder
        for placeholder in row.placeholders
    }
)
"""Placeholders that are empty when the call does not give their argument."""
MAX_FILLED = 32 * 2**20
"""Characters of all filled texts: a repeated placeholder multiplies what it is filled with."""
MAX_LISTED = 20
MAX_SHOWN = 80


@dataclass(frozen=True, slots=True)
class FilePlaceholder:
    """An input that takes a file of the call: ``value`` is what the caller gave for it."""

    node_id: str
    input_name: str
    argument: str
    value: str


@dataclass(frozen=True, slots=True)
class Filled:
    """The nodes with every placeholder filled, and the names of the arguments that were used.

    ``files``: inputs that are left to be set, as their files have to be uploaded first.
    """

    nodes: Mapping[str, Mapping[str, Any]]
    used: frozenset[str]
    files: tuple[FilePlaceholder, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Found:
    """One placeholder: as it is written, its name in capitals, and whether a default may fill it."""

    text: str
    name: str
    argument: str
    has_default: bool

    @property
    def image(self) -> int | None:
        """Which of the call's images it stands for, from 0; None if it is no image."""
        match = NUMBERED_IMAGE.fullmatch(self.name)
        return max(0, int(match[1] or 1) - 1) if match else None

    @property
    def takes_file(self) -> bool:
        row = BY_NAME.get(self.argument)
        return self.image is not None or (row is not None and row.role in FILE_ROLES)


def found_in(value: Any, input_name: str) -> Found | None:
    """The placeholder that a value consists of; None for any other value."""
    if not isinstance(value, str) or not ("{{" in value or "%" in value or "PARAM_" in value):
        return None
    text = value.strip()
    if match := re.fullmatch(PLACEHOLDER, text):
        return Found(text, match[1], _argument_of(match[1]), match[1] in ARGUMENT_OF)
    if match := re.fullmatch(PARAM, text):
        return Found(text, match[1], _argument_of(match[1]), True)
    match = re.fullmatch(PERCENT, text) if input_name != OWN_TOKENS else None
    if match is None:
        return None
    name = match[1]
    if name in PERCENT_NAMES:
        return Found(text, name.upper(), PERCENT_NAMES[name], True)
    return Found(text, name.upper(), "image", True) if _is_reference(name) else None


def fill(
    nodes: Mapping[str, Mapping[str, Any]],
    given: Mapping[str, Any],
    graph: Callable[[], Graph] | None = None,
) -> Filled:
    """Fill the placeholders of a prompt. ``given``: all values of the call by key, ours or not.

    ``graph``: the graph of ``nodes``, for defaults of inputs and for inputs that may stay empty.
    Raises PatchError that names every placeholder without a value.
    """
    filling, filled, notes = _fill(nodes, given, graph)
    if filling.missing:
        needed = ", ".join(
            f'"{argument[:MAX_SHOWN]}" (for {text[:MAX_SHOWN]})'
            for text, argument in list(filling.missing.items())[:MAX_LISTED]
        )
        raise PatchError(f"This workflow is a template and needs {needed}.", "Add it to the call.")
    return Filled(filled, filling.used_arguments(), tuple(filling.files), tuple(notes))


def required(
    nodes: Mapping[str, Mapping[str, Any]],
    given: Mapping[str, Any],
    graph: Callable[[], Graph] | None = None,
) -> dict[str, str]:
    """Placeholder -> the argument without which ``fill`` raises; the other arguments as there."""
    return dict(_fill(nodes, given, graph)[0].missing)


def _fill(
    nodes: Mapping[str, Mapping[str, Any]],
    given: Mapping[str, Any],
    graph: Callable[[], Graph] | None,
) -> tuple[_Filling, Mapping[str, Mapping[str, Any]], list[str]]:
    """What was filled, the filled nodes, and notes."""
    filling = _Filling(given)
    filled: Mapping[str, Mapping[str, Any]] = {
        node_id: {
            **node,
            "inputs": {k: filling.value(v, node_id, k) for k, v in node["inputs"].items()},
        }
        for node_id, node in nodes.items()
    }
    notes: list[str] = []
    if filling.unknown:
        if filling.used or filling.missing or filling.open:
            filling.missing.update(filling.unknown)
        else:
            shown = ", ".join(text[:MAX_SHOWN] for text in list(filling.unknown)[:MAX_LISTED])
            notes.append(f"{shown} in its texts is no argument and was left as it is.")
    if graph is not None and (filling.open or "seed" in filling.used):
        built = graph()
        filled = _with_fitting_seeds(filled, built, nodes)
        filled, more = _without_value(filling, filled, built)
        notes += more
    filling.missing.update((found.text, found.argument) for _, _, found in filling.open)
    return filling, filled, notes


def needed(nodes: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Placeholder as it is written -> the argument that fills it, for a description."""
    found: dict[str, str] = {}
    for node in nodes.values():
        for name, value in node["inputs"].items():
            if (one := found_in(value, name)) is not None:
                found[one.text] = one.argument
            elif isinstance(value, str) and "{{" in value:
                found |= {f"{{{{{n}}}}}": _argument_of(n) for n in re.findall(PLACEHOLDER, value)}
    return found


def with_samples(
    nodes: Mapping[str, Mapping[str, Any]], graph: Graph
) -> Mapping[str, Mapping[str, Any]]:
    """The nodes with a value that its input takes for each placeholder but those of files, so that
    a template can be checked before it is filled.
    """
    return {
        node_id: {
            **node,
            "inputs": {
                name: value
                if (found := found_in(value, name)) is None or found.takes_file
                else _sample(graph, node_id, name)
                for name, value in node["inputs"].items()
            },
        }
        for node_id, node in nodes.items()
    }


def _sample(graph: Graph, node_id: str, name: str) -> Any:
    spec = graph.nodes[node_id].specs.get(name)
    if spec is None:
        return ""
    if spec.type == "COMBO":
        return spec.choices[0] if spec.choices else ""
    fallback = spec.options.get("min", 0) if spec.type in ("INT", "FLOAT") else ""
    return spec.options.get("default", fallback)


def _argument_of(name: str) -> str:
    argument = ARGUMENT_OF.get(name)
    if argument is None:
        match = NUMBERED_IMAGE.fullmatch(name)
        argument = "image" if match and not match[1] else name.lower()
    return argument


def _is_reference(name: str) -> bool:
    return "image" in name and NUMBERED_IMAGE.fullmatch(name.upper()) is not None


@dataclass(slots=True)
class _Filling:
    """The state of filling one prompt.

    ``missing``: placeholder -> the argument that it needs; ``open``: those of which a default or
    leaving out a node may make up for the argument; ``unknown``: ``{{NAME}}`` within texts that names
    no argument, which is a placeholder only where there are others.
    """

    given: Mapping[str, Any]
    used: set[str] = field(default_factory=set)
    missing: dict[str, str] = field(default_factory=dict)
    unknown: dict[str, str] = field(default_factory=dict)
    open: list[tuple[str, str, Found]] = field(default_factory=list)
    files: list[FilePlaceholder] = field(default_factory=list)
    images: set[int] = field(default_factory=set)
    length: int = 0

    def value(self, value: Any, node_id: str, input_name: str) -> Any:
        """An input's value with its placeholders filled."""
        found = found_in(value, input_name)
        if found is not None:
            return self._alone(found, value, node_id, input_name)
        if not isinstance(value, str):
            return value
        if input_name == OWN_TOKENS:
            return re.sub(PLACEHOLDER, self._part, value) if "{{" in value else value
        # both forms at once, so that nothing is replaced in what the caller gave
        return re.sub(INSIDE, self._part, value) if "{{" in value or "%" in value else value

    def used_arguments(self) -> frozenset[str]:
        """The arguments that need no other place. Raises PatchError for images without one."""
        images = self._images()
        if self.images and len(self.images) < len(images):
            raise PatchError(
                f"{len(images)} images were given, but this template takes {len(self.images)}.",
                "Give fewer images.",
            )
        return frozenset(self.used | ({"image", "images"} if self.images else set()))

    def _alone(self, found: Found, value: str, node_id: str, input_name: str) -> Any:
        own = found.name.lower()
        if found.takes_file:
            file = self._file(found)
            if file is None:
                self.open.append((node_id, input_name, found))
            else:
                self.files.append(FilePlaceholder(node_id, input_name, found.argument, file))
            return value
        key = found.argument if found.argument in self.given else own
        if key in self.given:
            self.used.add(key)
            given = self.given[key]
            return ", ".join(given) if isinstance(given, tuple) else given
        if found.name in OPTIONAL:
            return ""
        self.open.append((node_id, input_name, found))
        return value

    def _file(self, found: Found) -> str | None:
        """The file that the call gives for a placeholder."""
        own = self.given.get(found.name.lower())
        if isinstance(own, str) and found.name.lower() not in ("image", "mask"):
            self.used.add(found.name.lower())
            if own in self._images():  # the same key is an item of the call's images
                self.images.add(self._images().index(own))
            return own
        if found.image is None:
            value = self.given.get(found.argument)
            self.used |= {found.argument} if isinstance(value, str) else set()
            return value if isinstance(value, str) else None
        images = self._images()
        if found.image >= len(images):
            return None
        self.images.add(found.image)
        return images[found.image]

    def _images(self) -> tuple[str, ...]:
        images = self.given.get("images")
        if isinstance(images, (list, tuple)) and images:
            return tuple(images)
        image = self.given.get("image")
        return (image,) if isinstance(image, str) else ()

    def _part(self, match: re.Match[str]) -> str:
        if match[0].startswith("{"):
            return self._text(match[1], match[0])
        argument = PERCENT_NAMES.get(match[2] or "")
        return self._text(argument.upper(), match[0]) if argument in IN_TEXTS else match[0]

    def _text(self, name: str, written: str) -> str:
        argument = _argument_of(name)
        value = self.given.get(argument)
        if argument in self.given:
            self.used.add(argument)
        elif name not in OPTIONAL and name not in ARGUMENT_OF:
            self.unknown[written] = argument
            return written
        elif name not in OPTIONAL:
            self.missing[written] = argument
        text = ", ".join(value) if isinstance(value, tuple) else "" if value is None else str(value)
        self.length += len(text)
        if self.length > MAX_FILLED:
            raise PatchError(
                f"The texts of this template would exceed {MAX_FILLED} characters.",
                "Give a shorter text.",
            )
        return text


def _with_fitting_seeds(
    filled: Mapping[str, Mapping[str, Any]], graph: Graph, before: Mapping[str, Mapping[str, Any]]
) -> Mapping[str, Mapping[str, Any]]:
    """The nodes with each seed that filled a placeholder in the range of its input."""
    result = dict(filled)
    for node_id, node in filled.items():
        for name, value in node["inputs"].items():
            found = found_in(before[node_id]["inputs"][name], name)
            if found is not None and found.argument == "seed" and type(value) is int:
                fitting = seeds.fitting(graph.nodes[node_id].specs.get(name), value)
                result[node_id] = {**node, "inputs": {**node["inputs"], name: fitting}}
    return result


def _without_value(
    filling: _Filling, filled: Mapping[str, Mapping[str, Any]], graph: Graph
) -> tuple[Mapping[str, Mapping[str, Any]], list[str]]:
    """Use defaults of inputs, and leave out nodes of files that may be absent.

    What remains in ``filling.open`` has neither.
    """
    from comfyui_pipeline.workflow.optional_inputs import without

    defaults: list[str] = []
    notes: list[str] = []
    remaining: list[tuple[str, str, Found]] = []
    prompt = {node_id: {**node, "inputs": dict(node["inputs"])} for node_id, node in filled.items()}
    for node_id, input_name, found in filling.open:
        default = _default(graph, node_id, input_name, found)
        if found.takes_file and node_id not in prompt:
            continue  # left out together with another one
        if found.takes_file and (left := without(prompt, graph, node_id)) is not None:
            prompt = left
            notes.append(
                f"No file was given for {found.text}, which may be absent: node "
                f"{graph.nodes[node_id].label} was left out."
            )
        elif default is not None:
            prompt[node_id]["inputs"][input_name] = default
            defaults.append(f"{found.argument} = {default}")
        else:
            remaining.append((node_id, input_name, found))
    if defaults:
        shown = ", ".join(dict.fromkeys(defaults))
        notes.append(f"Not given, so the nodes' own defaults are used: {shown}.")
    filling.open = remaining
    return prompt, notes


def _default(graph: Graph, node_id: str, input_name: str, found: Found) -> Any:
    """The default of an input in the server's schema; None if it has none that means something."""
    spec = graph.nodes[node_id].specs.get(input_name)
    if spec is None or not found.has_default or found.takes_file or found.argument == "prompt":
        return None
    default = spec.options.get("default")
    if spec.type == "COMBO":
        return default if default in spec.choices else next(iter(spec.choices), None)
    return default if isinstance(default, (str, int, float)) and default != "" else None
