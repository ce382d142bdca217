"""Objects that other tools put around arguments: ``{"inputs": {"width": 64}}``, ``"set": "2.width=64"``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from comfyui_pipeline import argument_keys
from comfyui_pipeline.argument_keys import fold
from comfyui_pipeline.bounded import json_text
from comfyui_pipeline.call_document import check_value, invalid_call
from comfyui_pipeline.call_params import (
    Param,
    is_entry,
    is_node_id,
    of_node,
    read_assignment,
    read_params,
    split_dotted,
)
from comfyui_pipeline.errors import CallError
from input_server.light_dataclasses import dataclass, field

WRAPPERS = frozenset(
    fold(name)
    for name in (
        "inputs",
        "input",
        "arguments",
        "args",
        "parameters",
        "overrides",
        "override",
        "options",
        "kwargs",
        "settings",
        "config",
        "data",
        "payload",
        "body",
        "extra",
        "extras",
        "values",
        "variables",
        "generation_config",
        "generation_params",
        "extra_body",
        "extra_args",
        "model_params",
        "image_config",
        "参数",
        "參數",
    )
)
"""Keys around arguments, folded: comfy-cli, comfyui-mcp, worker-comfyui, OpenAI, fal, Replicate."""
ASSIGNMENTS = frozenset({"set", "param", "setslot", "override", "overrides", "args", "p"})
"""Keys with ``node.input=value``, folded: comfy-cli, comfy-mcp."""
PARAMS = frozenset({"params"})
MAX_DEPTH = 4
_NEXT_ASSIGNMENT = r"\n|[,;，；][ \t]{0,9}(?=[\w.:]{1,80}=)|[ \t](?=\d{1,9}\.[\w.]{1,80}=)"
"""Where the next ``node.input=value`` begins."""


@dataclass(slots=True)
class Unwrapped:
    """The keys of a call without wrappers, and the ``params`` that were written as keys."""

    values: dict[str, Any] = field(default_factory=dict)
    params: list[Param] = field(default_factory=list)
    ignored: dict[str, str] = field(default_factory=dict)  # key -> why it has no effect
    problems: list[CallError] = field(default_factory=list)


def unwrap(document: Mapping[str, Any]) -> Unwrapped:
    """The keys of a call and of the wrappers in it; those at the top replace those inside."""
    found = Unwrapped()
    inner: list[tuple[str, Any]] = []
    for key, value in document.items():
        if argument_keys.is_host_key(key):
            continue
        if (pairs := _opened(key, value, found)) is not None:
            inner += [(k, v) for pair in pairs for k, v in _flattened(*pair, found, MAX_DEPTH)]
        elif not _is_node_value(key, value, found):
            found.values[key] = value
    outer = {
        argument_keys.meaning(key): key for key, value in found.values.items() if value is not None
    }
    for key, value in inner:
        other = outer.get(argument_keys.meaning(key))
        if other is None:
            if not _is_node_value(key, value, found):
                found.values.setdefault(key, value)
        elif found.values[other] != value:
            found.ignored[key] = f'"{key}" in a wrapper was not used: "{other}" is given too.'
    return found


def _flattened(key: str, value: Any, found: Unwrapped, depth: int) -> Iterator[tuple[str, Any]]:
    pairs = _opened(key, value, found) if depth else None
    if pairs is None:
        yield key, value
        return
    for pair in pairs:
        yield from _flattened(*pair, found, depth - 1)


def _opened(key: str, value: Any, found: Unwrapped) -> list[tuple[str, Any]] | None:
    """What a wrapper contains; None for a key that is none."""
    if not isinstance(value, (dict, list, str)) or not value:
        return None
    folded = fold(key) if len(key) <= argument_keys.MAX_KEY else ""
    if folded not in WRAPPERS and folded not in ASSIGNMENTS and folded not in PARAMS:
        return None
    if folded in PARAMS and isinstance(value, str) and value.lstrip()[:1] not in ("{", "[", "`"):
        return _assigned(value, found)
    if folded in PARAMS and not _is_plain_object(value):
        return None
    if isinstance(value, str):
        value = _read(key, value, found)
    if isinstance(value, (str, list)) and folded in ASSIGNMENTS:
        return _assigned(value, found)
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        if all(is_entry(item) for item in value):
            _add_params(key, value, found)
            return []
        return [pair for item in value for pair in item.items()]
    if not isinstance(value, dict):
        return None
    if is_entry(value) and "inputs" in value:
        _add_params(key, value, found)
        return []
    return list(value.items())


def _is_plain_object(value: Any) -> bool:
    """Whether ``params`` is an object of arguments rather than entries that name nodes."""
    if isinstance(value, str):
        from comfyui_pipeline.loose_json import read_loosely

        try:
            value = read_loosely(value) if value.lstrip()[:1] in ("{", "`") else None
        except json_text.InvalidJson:
            return False
    return isinstance(value, dict) and not is_entry(value)


def _read(key: str, text: str, found: Unwrapped) -> Any:
    """The object or list in a string; the text itself if it looks like neither."""
    if text.lstrip()[:1] not in ("{", "[", "`"):
        return text
    from comfyui_pipeline.loose_json import read_loosely

    try:
        value = read_loosely(text)
        check_value(key, value)
    except json_text.InvalidJson as invalid:
        if text.lstrip().startswith("{"):
            found.problems.append(
                invalid_call(f'"{key}" is a string that {invalid}.', "Give its keys directly.")
            )
            return {}
        return text
    except CallError as error:
        found.problems.append(error)
        return {}
    return value


def _add_params(key: str, value: Any, found: Unwrapped) -> None:
    try:
        found.params += read_params(value, key)
    except CallError as error:
        found.problems.append(error)


def _assigned(value: str | list[Any], found: Unwrapped) -> list[tuple[str, Any]] | None:
    """``2.width=64`` sets an input, ``width=64`` an argument; None if nothing is assigned."""
    lines: list[Any] = value if isinstance(value, list) else re.split(_NEXT_ASSIGNMENT, value)
    read = [read_assignment(line) if isinstance(line, str) else None for line in lines if line]
    if not read or None in read:
        return None
    pairs = []
    for assigned in read:
        node, name, text = assigned or ("", "", "")
        if not node:
            pairs.append((name, text))
        elif is_node_id(node):
            found.params.append(Param({name: text}, node_id=node))
        else:
            found.params.append(Param({name: text}, node_title=node))
    return pairs


def _is_node_value(key: str, value: Any, found: Unwrapped) -> bool:
    """Take ``"2.width": 64``, ``"2": {"width": 64}`` and ``"Upscale": {"bypass": true}`` as ``params``;
    whether it is one of them.
    """
    if len(key) > argument_keys.MAX_KEY:
        return False
    if key[:1].isdigit() and (dotted := split_dotted(key)):
        found.params.append(of_node(dotted[0], {dotted[1]: value}))
        return True
    if not isinstance(value, dict):
        return False
    param = of_node(key, value)
    if not is_node_id(key) and (param.mode is None or argument_keys.find(key)[0] is not None):
        return False
    found.params.append(param)
    return True
