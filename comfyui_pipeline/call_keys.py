"""The keys of one call -> arguments: by name or alias, as items of lists, or unknown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from comfyui_pipeline import argument_keys, arguments
from comfyui_pipeline.argument_values import as_list
from comfyui_pipeline.arguments import BY_NAME, Argument
from comfyui_pipeline.call_document import check_value, invalid_call
from comfyui_pipeline.call_wrappers import Unwrapped
from comfyui_pipeline.commands import COMMANDS
from comfyui_pipeline.errors import CallError
from comfyui_pipeline.info import QUESTIONS
from input_server.light_dataclasses import dataclass, field


@dataclass(slots=True)
class Keys:
    """What the keys of a call mean."""

    given: dict[str, Any] = field(default_factory=dict)
    spelled: dict[str, str] = field(default_factory=dict)  # every argument -> its key
    items: dict[str, dict[int, tuple[str, Any]]] = field(default_factory=dict)
    item_keys: dict[str, tuple[str, ...]] = field(default_factory=dict)
    extras: dict[str, Any] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)
    deferred: dict[str, CallError] = field(default_factory=dict)
    problems: list[CallError] = field(default_factory=list)

    def key(self, name: str) -> str:
        """How the caller wrote an argument."""
        return self.spelled.get(name, name)

    def wrong(self, argument: Argument, error: CallError) -> None:
        """Note a wrong value: that of an alias may belong to a parameter of the workflow's author."""
        key = self.key(argument.name)
        if key == argument.name and not argument.common_word:
            self.problems.append(error)
        else:
            self.deferred[key] = error


def collect(unwrapped: Unwrapped, command: str) -> Keys:
    """Our keys by their names in the table; null is the same as absent."""
    keys = Keys()
    for key, value in unwrapped.values.items():
        argument, number = argument_keys.find(key, command)
        if (
            argument is not None
            and argument.kind in FLAT
            and (inputs := _node_inputs(argument, key, value))
        ):
            argument, value = None, inputs  # {"Sampler": {"steps": 20}} names a node
        if argument is not None and argument.kind in (arguments.COMMAND, arguments.QUESTION):
            argument = argument if is_word_of(argument, key, value) else None
        if argument is None or key != argument.name or argument.common_word:
            keys.extras[key] = value
        if argument is None:
            if value is not None:
                check_value(key, value)
                keys.unknown.append(key)
        elif value is not None:
            _add(keys, argument, key, value, number)
    for name, items in keys.items.items():
        _join_items(keys, name, items)
    return keys


FLAT = (arguments.TEXT, arguments.INTEGER, arguments.NUMBER)


def _node_inputs(argument: Argument, key: str, value: Any) -> Any:
    """The object in the value of an argument that takes none, if it is no text for a model."""
    if not argument.role or not _is_object(value):
        return None
    is_text = argument.role in ("positive_text", "negative_text")
    if is_text and (isinstance(value, str) or key == argument.name):
        return None
    try:
        value = as_list(value, argument.name)
    except CallError:
        return None
    return value if isinstance(value, dict) else None


def is_word_of(argument: Argument, key: str, value: Any) -> bool:
    """Whether a key means the command or the question: an alias only with a known word."""
    if key == argument.name:
        return True
    known = COMMANDS if argument.kind == arguments.COMMAND else QUESTIONS
    return isinstance(value, str) and value.strip().lower() in known


def _add(keys: Keys, argument: Argument, key: str, value: Any, number: int | None) -> None:
    check_value(argument.name if key == argument.name else key, value)
    argument, value = _routed(argument, key, value)
    if number is not None:
        keys.items.setdefault(argument.name, {}).setdefault(number, (key, value))
        return
    name = argument.name
    if name not in keys.given:
        keys.given[name], keys.spelled[name] = value, key
        return
    other = keys.spelled[name]
    if keys.given[name] == value:
        return
    error = invalid_call(f'"{other}" and "{key}" are both given.', "Give only one.")
    if key == name:  # the argument's own name counts; the alias may be a parameter's
        keys.given[name], keys.spelled[name], key = value, key, other
    keys.deferred[key] = error


def _routed(argument: Argument, key: str, value: Any) -> tuple[Argument, Any]:
    """The argument that a value makes of a key: an object as ``workflow``, a list as ``image``."""
    if argument.name == "workflow" and _is_object(value):
        return BY_NAME["workflow_json"], value
    if argument.name == "frames" and argument_keys.fold(key) == "length" and _is_time(value):
        return BY_NAME["duration"], value
    if argument.name == "image":
        listed = as_list(value, key) if isinstance(value, str) else value
        if isinstance(listed, list) and len(listed) > 1:
            return BY_NAME["images"], listed
    return argument, value


def _is_object(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, str) and value.lstrip()[:1] == "{")


MAX_LENGTH_IN_SECONDS = 16
"""A plain ``length`` up to this is a time, above it a number of frames."""


def _is_time(value: Any) -> bool:
    """Whether ``length`` is given in seconds: with a unit, or as a small number."""
    text = str(value).strip()
    return not text.isdigit() or (len(text) < 3 and int(text) <= MAX_LENGTH_IN_SECONDS)


def _join_items(keys: Keys, name: str, items: Mapping[int, tuple[str, Any]]) -> None:
    """Make one list of numbered keys, after ``image`` or ``images`` without a number."""
    single = "image" if name == "images" else ""
    found: list[tuple[str, Any]] = []
    for other in (single, name):
        if other in keys.given:
            key, value = keys.spelled.pop(other), keys.given.pop(other)
            listed = as_list(value, key) if isinstance(value, str) else value
            found += [(key, v) for v in (listed if isinstance(listed, list) else [listed])]
    found += [items[number] for number in sorted(items)]
    chosen = single if single and len(found) == 1 else name
    if not chosen:
        chosen = name
    keys.given[chosen] = found[0][1] if chosen == single else [value for _, value in found]
    keys.spelled[chosen] = ", ".join(key for key, _ in found)
    keys.item_keys[chosen] = tuple(key for key, _ in found)
