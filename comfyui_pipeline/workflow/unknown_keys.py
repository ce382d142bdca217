"""Keys of a call that are no argument: inputs and nodes of the workflow by name, files, or reported."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from comfyui_pipeline.argument_keys import fold
from comfyui_pipeline.bounded.numbers import parse_number
from comfyui_pipeline.errors import PatchError
from comfyui_pipeline.workflow import image_roles, roles
from comfyui_pipeline.workflow.changes import Origin, Planner, ambiguous
from comfyui_pipeline.workflow.graph import PREFERRED_INPUTS, Graph, Node, Target, is_link
from comfyui_pipeline.workflow.running import running
from comfyui_pipeline.workflow.schema import FileKind
from input_server.light_dataclasses import dataclass

MAX_LISTED = 12
MAX_SHOWN = 80
MAX_COMPARED = 100
"""Keys that are compared with the known ones; each comparison takes about a millisecond."""
MAX_REPORTED = 50
MAX_SAME = 1000
"""Inputs of the same name that are looked at."""
EDITABLE = frozenset({"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", "COMFY_DYNAMICCOMBO_V3"})
EXTENSIONS: Mapping[FileKind, frozenset[str]] = {
    "image": frozenset(
        ["png", "jpg", "jpeg", "webp", "gif", "bmp", "tif", "tiff", "avif", "heic", "jfif"]
    ),
    "video": frozenset(["mp4", "webm", "mov", "mkv", "avi", "m4v", "ogv"]),
    "audio": frozenset(["mp3", "wav", "flac", "ogg", "m4a", "aac", "opus", "oga"]),
}
BORDER = ("left", "top", "right", "bottom")
MARKED = re.compile(r"(https?://|file://|data:|base64://|!\[)\S", re.IGNORECASE)
EXTENSION = re.compile(r"[^\n]{1,250}\.([A-Za-z0-9]{2,5})")


def place(
    planner: Planner,
    keys: Sequence[str],
    values: Mapping[str, Any],
    *,
    own_names: Mapping[str, str] = MappingProxyType({}),
    elsewhere: Collection[str] = (),
) -> None:
    """Apply each key to what it names in the workflow, or report it. Raises PatchError.

    In a part of a batch ``own_names`` has the keys with the part's number and the same without it, of
    which one suffices; ``elsewhere`` the keys of other parts, which report them.
    """
    problems: list[PatchError] = []
    if not keys:
        return
    nodes = _names(planner.graph)
    unplaced: list[str] = []
    for key in keys:
        try:
            if values[key] is not None and not _place(planner, nodes, key, values[key]):
                unplaced.append(key)
        except PatchError as error:
            problems.append(error)
    _clear_other_sides(planner)
    used = planner.used_keys
    satisfied = {key for pair in own_names.items() if used.intersection(pair) for key in pair}
    silent = {*satisfied, *own_names.values(), *elsewhere}
    unplaced = [key for key in unplaced if key not in silent]
    if several := _several_calls(unplaced):
        problems.append(several)
    _report(planner, nodes, unplaced)
    if problems:
        raise together(problems)


def place_by_name(planner: Planner, key: str, value: Any) -> bool:
    """Set the input, node or file input that a key names; whether there is one."""
    if value is None or (
        file_kind(value) and not planner.unset(_of_kind(planner, file_kind(value)))
    ):
        return False
    return _place(planner, _names(planner.graph), key, value)


def together(problems: Sequence[PatchError]) -> PatchError:
    """One error for all mistakes of a call, with the code of the first."""
    if len(problems) == 1:
        return problems[0]
    hints = list(dict.fromkeys(error.hint for error in problems if error.hint))
    texts = [f"{error.message} {error.hint}".strip() for error in problems]
    if len(hints) == 1:
        texts = [error.message for error in problems]
    text = " ".join(dict.fromkeys(texts))
    return PatchError(text, hints[0] if len(hints) == 1 else "", code=problems[0].code)


@dataclass(frozen=True, slots=True)
class _Names:
    """The running nodes, their editable inputs by folded name, and the nodes by id, title and type."""

    nodes: Sequence[Node]
    inputs: Mapping[str, Sequence[Target]]
    by_id: Mapping[str, Node]
    by_title: Mapping[str, Sequence[Node]]
    by_type: Mapping[str, Sequence[Node]]


def _names(graph: Graph) -> _Names:
    nodes = running(graph)
    folded: dict[str, str] = {}
    inputs: dict[str, list[Target]] = {}
    titles: dict[str, list[Node]] = {}
    types: dict[str, list[Node]] = {}
    for node in nodes:
        titles.setdefault(fold(node.title[:MAX_SHOWN]), []).append(node)
        types.setdefault(fold(node.class_type), []).append(node)
        for spec in node.specs.values():
            if spec.type in EDITABLE:
                word = folded.get(spec.name) or folded.setdefault(spec.name, fold(spec.name))
                inputs.setdefault(word, []).append(Target(node, spec.name))
    return _Names(nodes, inputs, {node.id: node for node in nodes}, titles, types)


def _place(planner: Planner, nodes: _Names, key: str, value: Any) -> bool:
    """Apply one key; whether something takes it."""
    word = fold(key) if len(key) <= MAX_SHOWN else ""
    if not word:
        return False
    if isinstance(value, dict):
        return _place_object(planner, nodes, key, word, value)
    if word in nodes.inputs:
        targets = _inputs_named(planner, nodes.inputs[word], key)
        if len(targets) > 1 and len({_shown(planner, t) for t in targets}) > 1:
            raise ambiguous(key, targets, MAX_LISTED)
        if targets:
            _set(planner, targets, key, value)
            return True
    node = _node_named(nodes, key, word)
    if node is not None and (target := _main_input(node)) is not None:
        _set(planner, [target], key, value)
        return True
    if planner.strict:
        return False
    return _place_by_last_word(planner, nodes, key, word, value) or _place_file(planner, key, value)


def _place_by_last_word(planner: Planner, nodes: _Names, key: str, word: str, value: Any) -> bool:
    """``mode`` -> ``blend_mode``, if it is the only such input and the value is one that it takes."""
    found = [
        target
        for name, named in nodes.inputs.items()
        if name.endswith(word) and name != word
        for target in named[:MAX_SAME]
        if fold(target.name.rpartition("_")[2]) == word and not is_link(planner.value(target))
    ]
    if len(found) != 1 or not _is_usual(found[0], value):
        return False
    _set(planner, found, key, value)
    planner.guesses.append(f'"{key}" → {found[0].name} of node {found[0].node.label}')
    return True


def _is_usual(target: Target, value: Any) -> bool:
    """Whether a value is one of the input's choices, or a number in its range."""
    spec = target.spec
    if spec is None:
        return False
    if spec.type == "COMBO":
        known = {fold(choice) for choice in spec.choices if isinstance(choice, str)}
        return not spec.takes_file and isinstance(value, str) and fold(value) in known
    number = parse_number(value) if isinstance(value, str) else value
    if spec.type not in ("INT", "FLOAT") or not isinstance(number, (int, float)):
        return False
    low, high = spec.options.get("min", number), spec.options.get("max", number)
    return bool(low <= number <= high)


def _place_object(
    planner: Planner, nodes: _Names, key: str, word: str, value: Mapping[str, Any]
) -> bool:
    node = _node_named(nodes, key, word)
    if node is None:
        return False
    inner = value.get("inputs")
    for name, one in (inner if isinstance(inner, dict) else value).items():
        known = [n for n in (*node.specs, *node.inputs) if n == name or fold(n) == fold(name)]
        if not known:
            raise PatchError(
                f"Node {node.label} has no input {name[:MAX_SHOWN]!r}.",
                f"It has: {', '.join(list(dict.fromkeys([*node.specs, *node.inputs]))[:MAX_LISTED])}.",
                code="unknown_input",
            )
        _set(planner, [Target(node, known[0])], key, one)
    return True


def _clear_other_sides(planner: Planner) -> None:
    """Where a call names some sides of a border, those that it does not name get none."""
    named = {
        change.target.node.id: change.target.node
        for change in planner.changes.values()
        if change.origin is Origin.ARGUMENT and change.target.name in BORDER
    }
    for node in named.values():
        sides = [Target(node, name) for name in BORDER]
        if not all(
            t.spec and t.spec.type == "INT" and t.spec.options.get("min") == 0 for t in sides
        ):
            continue
        left = [t for t in planner.unset(sides) if planner.value(t) not in (0, None)]
        for target in left:
            planner.set(target, 0, Origin.ARGUMENT, target.name)
        if left:
            names = " and ".join(target.name for target in left)
            planner.notes.append(f"{names} set to 0: the call names only other sides.")


def _set(planner: Planner, targets: Sequence[Target], key: str, value: Any) -> None:
    for target in planner.unset(targets):
        planner.set(target, value, Origin.ARGUMENT, key)
    planner.used_keys.add(key)


def _inputs_named(planner: Planner, named: Sequence[Target], key: str) -> list[Target]:
    """The inputs of a name, at the source of their values."""
    found: dict[tuple[str, str], Target] = {}
    for target in named[:MAX_SAME]:
        kind = target.spec.type if target.spec else ""
        source = planner.graph.source(target, (kind,))
        if source is not None and (key == target.name or not planner.strict):
            found.setdefault((source.node.id, source.name), source)
    return list(found.values())


def _shown(planner: Planner, target: Target) -> str:
    return repr(planner.value(target))


def _node_named(nodes: _Names, key: str, word: str) -> Node | None:
    """The only node of this id, title or type."""
    if key in nodes.by_id:
        return nodes.by_id[key]
    for names in (nodes.by_title.get(word, ()), nodes.by_type.get(word, ())):
        if len(names) == 1:
            return names[0]
        if names:
            listed = "; ".join(node.label for node in names[:MAX_LISTED])
            raise PatchError(
                f'"{key}" is ambiguous; it names {len(names)} nodes: {listed}.',
                "Use params with node_id.",
                code="ambiguous",
            )
    return None


def _main_input(node: Node) -> Target | None:
    """What a plain value for a node sets: its file, its only value, or the input of a usual name."""
    free = [
        spec
        for spec in node.specs.values()
        if spec.type in EDITABLE and not is_link(node.inputs.get(spec.name))
    ]
    files = [spec for spec in free if spec.takes_file]
    if len(files) == 1:
        return Target(node, files[0].name)
    if len(free) == 1:
        return Target(node, free[0].name)
    names = {spec.name for spec in free}
    chosen = next((name for name in PREFERRED_INPUTS if name in names), None)
    return Target(node, chosen) if chosen else None


# -- files -----------------------------------------------------------------------------------------


def file_kind(value: Any) -> FileKind | None:
    """The kind of file that a value looks like; None for an ordinary text."""
    if not isinstance(value, str) or not value.strip():
        return None
    text = value.strip()
    if text.startswith("data:"):
        return next((kind for kind in EXTENSIONS if text.startswith(f"data:{kind}/")), "image")
    marked = MARKED.match(text) is not None
    path = re.split(r"[?#]", text, maxsplit=1)[0] if marked else text
    match = EXTENSION.fullmatch(path.rstrip(")"))
    extension = match[1].lower() if match else ""
    kind = next((kind for kind, known in EXTENSIONS.items() if extension in known), None)
    return kind or ("image" if marked else None)


def _place_file(planner: Planner, key: str, value: Any) -> bool:
    """Give a file to the one free input that takes its kind; whether the value is a file."""
    values = value if isinstance(value, list) else [value]
    kinds = [file_kind(item) for item in values]
    if not kinds or None in kinds:
        return False
    kind = kinds[0]
    free = planner.unset(_of_kind(planner, kind))
    if len(free) < len(values) or (len(free) > 1 and len(values) == 1):
        names = ", ".join(dict.fromkeys(_argument_for(planner, t) for t in free))
        hint = (
            f"Its free file inputs are set by: {names}."
            if names
            else f"It has no free {kind} input."
        )
        raise PatchError(
            f'"{key}" is no argument, and this workflow has no one place for its file.', hint
        )
    for target, one in zip(free, values, strict=False):
        name = str(kind) if kind in ("image", "video", "audio") else key
        planner.set(target, one, Origin.ARGUMENT, name, key=key)
    planner.used_keys.add(key)
    planner.guesses.append(f'"{key}" → {kind} of node {free[0].node.label}')
    return True


def _of_kind(planner: Planner, kind: FileKind | None) -> list[Target]:
    graph = planner.graph
    return roles.images(graph) if kind == "image" else roles.files_of(graph, str(kind))


def _argument_for(planner: Planner, target: Target) -> str:
    part = image_roles.part_of(planner.graph, target)
    by_part = {part: name for name, part in image_roles.ARGUMENT_ROLES.items()}
    return by_part.get(part, "image")


# -- reports ---------------------------------------------------------------------------------------


def _several_calls(keys: Sequence[str]) -> PatchError | None:
    """The error for ``prompt1`` and ``prompt2``: several runs, or values for several nodes."""
    from comfyui_pipeline import argument_keys

    numbered: dict[str, list[str]] = {}
    for key in keys[:MAX_COMPARED]:
        stem = key[:MAX_SHOWN].rstrip("0123456789")
        argument = argument_keys.find(stem)[0] if stem != key else None
        if argument is not None and argument.role:
            numbered.setdefault(argument.name, []).append(key)
    name, found = max(numbered.items(), key=lambda item: len(item[1]), default=("", []))
    if len(found) < 2:
        return None
    listed = ", ".join(f'"{key}"' for key in found[:MAX_LISTED])
    return PatchError(
        f'{listed}: this workflow takes one "{name}" in a run.',
        f'For several runs in one call, number the workflows too: "workflow1", "{name}1", '
        f'"workflow2", "{name}2". For several nodes use params.',
    )


def _report(planner: Planner, nodes: _Names, keys: Sequence[str]) -> None:
    """Say which keys have no effect, each with the nearest argument."""
    for place, key in enumerate(keys[:MAX_REPORTED]):
        near = _nearest(nodes, key) if place < MAX_COMPARED else ""
        hint = f' Did you mean "{near}"?' if near else ""
        planner.important.append(f'"{key[:MAX_SHOWN]}" was ignored: it has no effect here.{hint}')
    if len(keys) > MAX_REPORTED:
        planner.important.append(f"{len(keys) - MAX_REPORTED} more keys have no effect.")


def _nearest(nodes: _Names, key: str) -> str:
    from difflib import get_close_matches

    from comfyui_pipeline import argument_keys

    key = key.rstrip("0123456789_") or key
    if near := argument_keys.nearest(key):
        return near
    found = get_close_matches(fold(key), nodes.inputs, 1, 0.8) if len(key) <= MAX_SHOWN else []
    return nodes.inputs[found[0]][0].name if found else ""
