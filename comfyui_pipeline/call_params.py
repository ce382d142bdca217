"""``params``: new values for inputs of nodes, in the forms in which callers give them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from comfyui_pipeline.bounded import json_text
from comfyui_pipeline.call_document import MAX_SHOWN, check_value, type_name
from comfyui_pipeline.errors import CallError
from input_server.light_dataclasses import dataclass
from input_server.parse_values import parse_boolean

PARAMS_FORM = '[{"node_title": "Positive Prompt", "inputs": {"text": "a red fox"}}]'
MAX_ENTRIES = 10_000
ID_KEYS = ("node_id", "id", "nodeid", "nodeId", "node")
TITLE_KEYS = ("node_title", "title", "nodetitle", "nodeTitle", "node_name")
INPUT_KEYS = ("inputs", "values", "widgets", "set", "params")
NAME_KEYS = ("input", "input_name", "field", "widget", "param", "key")
MODE_KEYS = ("mode", "bypass", "bypassed", "enabled", "enable", "disabled", "mute", "muted")
ACTIVE, MUTED, BYPASSED = 0, 2, 4
"""Modes of nodes in the editor."""
MODES = {
    **dict.fromkeys(("0", "always", "active", "enabled"), ACTIVE),
    **dict.fromkeys(("2", "mute", "muted", "never"), MUTED),
    **dict.fromkeys(("4", "bypass", "bypassed", "disabled"), BYPASSED),
}
MAX_NAME = 200
"""Characters of a node and an input in ``2.width=64``."""


@dataclass(frozen=True)
class Param:
    """One entry of ``params``: new values for inputs of one node, or of ``all`` nodes of its title.

    ``mode``: the editor's mode that the node gets, if any. ``mode_input``: the key of ``inputs`` that
    says so, if an input of the node may have that name.
    """

    inputs: Mapping[str, Any]
    node_id: str | None = None
    node_title: str | None = None
    all: bool = False
    mode: int | None = None
    mode_input: str = ""


def of_node(node: str, value: Mapping[str, Any]) -> Param:
    """An entry for the node of an id or a title, with its inputs: ``{"steps": 20, "bypass": true}``."""
    inner = value.get("inputs")
    inputs = inner if isinstance(inner, dict) else value
    mode_input, mode = mode_in(inputs)
    if inputs is inner and mode is None:
        mode = mode_in(value)[1]
    if is_node_id(node):
        return Param(inputs, node_id=node, mode=mode, mode_input=mode_input)
    return Param(inputs, node_title=node, mode=mode, mode_input=mode_input)


def is_node_id(text: str) -> bool:
    """Whether a text is the id of a node: ``12``, or ``12:3`` inside a subgraph."""
    parts = text.split(":") if len(text) <= MAX_NAME else []
    return bool(parts) and all(part.isascii() and part.isdigit() for part in parts)


def split_dotted(key: str) -> tuple[str, str] | None:
    """``2.width`` and ``2.inputs.width`` -> node id and input; None for any other key."""
    node, dot, name = key.partition(".")
    head, inner, rest = name.partition(".")
    if inner and head in ("input", "inputs", "widget", "widgets"):
        name = rest
    return (node, name) if dot and name and is_node_id(node) else None


def read_params(value: Any, key: str) -> tuple[Param, ...]:
    """The entries of a list, an object or their JSON. Raises CallError."""
    if isinstance(value, str):
        value = _from_text(value, key)
    if value is None:
        return ()
    if isinstance(value, dict):
        value = [value] if is_entry(value) else _by_node(value)
    if not isinstance(value, list):
        raise CallError(
            f'"{key}" is {type_name(value)}, not a list.', f"It looks like {PARAMS_FORM}"
        )
    if len(value) > MAX_ENTRIES:
        raise CallError(
            f'"{key}" has {len(value)} entries; at most {MAX_ENTRIES} are allowed.', "Give fewer."
        )
    return tuple(_param(item, place, key) for place, item in enumerate(value, start=1))


def _from_text(text: str, key: str) -> Any:
    if not text.strip():
        return None
    from comfyui_pipeline.loose_json import read_loosely

    try:
        value = read_loosely(text)
    except json_text.InvalidJson as invalid:
        raise CallError(
            f'"{key}" is a string, not a JSON list; it {invalid}.', f"It looks like {PARAMS_FORM}"
        ) from None
    check_value(key, value)
    return value


def is_entry(value: Mapping[str, Any]) -> bool:
    """Whether an object is one entry, which names its node."""
    return any(
        not isinstance(value.get(key), (dict, list, type(None))) for key in (*ID_KEYS, *TITLE_KEYS)
    )


def _by_node(value: Mapping[str, Any]) -> list[Any]:
    """``{"3": {"steps": 20}, "Sampler": {"inputs": {"cfg": 5}}}`` as a list of entries."""
    entries: list[Any] = []
    for name, item in value.items():
        if isinstance(item, dict):
            naming = "node_id" if is_node_id(name) else "node_title"
            inner = item.get("inputs") if isinstance(item.get("inputs"), dict) else item
            entries.append({naming: name, "inputs": inner})
        else:
            entries.append({name: item})
    return entries


def _param(item: Any, place: int, key: str) -> Param:
    def invalid(what: str) -> CallError:
        return CallError(f'Entry {place} of "{key}" {what}.', f"It looks like {PARAMS_FORM}")

    if isinstance(item, str) and (assigned := read_assignment(item)):
        item = {"node": assigned[0], "inputs": {assigned[1]: assigned[2]}}
    if not isinstance(item, dict):
        raise invalid(f"is {type_name(item)}, not an object")
    node_id, title = _first(item, ID_KEYS), _first(item, TITLE_KEYS)
    if node_id in (None, "") and title in (None, ""):
        raise invalid("names no node: it needs node_title or node_id")
    for name, value in (("node_id", node_id), ("node_title", title)):
        if isinstance(value, (bool, float, list, dict)):
            raise invalid(f"has {type_name(value)} as {name}")
    node_id = None if node_id in (None, "") else str(node_id).strip()
    title = None if title in (None, "") else str(title)
    if node_id and "node_id" not in item and not is_node_id(node_id) and title is None:
        node_id, title = None, node_id
    inputs, is_object = _inputs(item)
    mode_input, mode = mode_in(inputs)
    if is_object and mode is None:
        mode = mode_in(item)[1]
    if not inputs and mode is None:
        raise invalid('has no "inputs": an object of input names and new values')
    return Param(inputs, node_id, title, _flag(item.get("all"), invalid), mode, mode_input)


def _inputs(item: Mapping[str, Any]) -> tuple[Mapping[str, Any], bool]:
    """The inputs that an entry sets, and whether they are an object of their own: else they are one
    with its value, or the other keys of the entry.
    """
    for key in INPUT_KEYS:
        if isinstance(item.get(key), dict):
            return item[key], True
    name = _first(item, NAME_KEYS)
    if isinstance(name, str) and "value" in item:
        return {name: item["value"]}, True
    known = {*ID_KEYS, *TITLE_KEYS, *INPUT_KEYS, "all", "class_type", "_meta"}
    return {key: value for key, value in item.items() if key not in known}, False


def mode_in(item: Mapping[str, Any]) -> tuple[str, int | None]:
    """The key and the editor's mode of ``bypass: true``, ``mode: 4``, ``enabled: false``."""
    for key in MODE_KEYS:
        value = item.get(key)
        if value is None or isinstance(value, (dict, list)):
            continue
        word = str(value).strip().lower()
        if key == "mode":
            if word in MODES:
                return key, MODES[word]
            continue
        chosen = parse_boolean(word) if word else None
        if chosen is None:
            continue
        if key in ("enabled", "enable"):
            return key, ACTIVE if chosen else BYPASSED
        return key, (MUTED if key.startswith("mute") else BYPASSED) if chosen else ACTIVE
    return "", None


def _flag(value: Any, invalid: Any) -> bool:
    chosen = parse_boolean(str(value).strip()) if value not in (None, "") else False
    if chosen is None:
        raise invalid(f"has {str(value)[:MAX_SHOWN]!r}; it must be true or false")
    return chosen


def _first(item: Mapping[str, Any], keys: tuple[str, ...]) -> Any:
    return next((item[key] for key in keys if key in item), None)


def read_assignment(text: str) -> tuple[str, str, str] | None:
    """``2.width=64`` -> node, input and value; the node is "" in ``width=64``; None for other text."""
    name, equals, value = text.partition("=")
    name, value = name.strip().strip("\"'"), value.strip()
    if not equals or not name or len(name) > MAX_NAME or "\n" in name:
        return None
    if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
        value = value[1:-1]
    node, dot, rest = name.rpartition(".")
    if dotted := split_dotted(name):
        return *dotted, value
    node = node.removesuffix(".inputs").removesuffix(".widgets")
    return (node, rest, value) if dot else ("", name, value)
