"""The host's JSON -> a ``ToolCall``: typed, in range, with every key accounted for.

Hosts write all values as strings, add keys of their own, and put lists and objects into strings.
What each key means is in ``arguments.py``; this module only reads values of each kind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from comfyui_pipeline import arguments
from comfyui_pipeline.arguments import Argument
from comfyui_pipeline.bounded import json_text, numbers
from comfyui_pipeline.call_document import (
    MAX_SHOWN,
    check_value,
    invalid_call,
    read_document,
    type_name,
)
from comfyui_pipeline.commands import COMMANDS
from comfyui_pipeline.errors import CallError
from comfyui_pipeline.info import QUESTIONS
from input_server.light_dataclasses import dataclass, field
from input_server.parse_values import parse_boolean, parse_count

MAX_PARTS = 16
MAX_LISTED = 10_000
"""Entries of ``params``, ``loras`` and ``images`` in one call."""
MAX_TYPOS_CHECKED = 100
"""Unknown keys that are compared with the known ones; each comparison takes about a millisecond."""
BATCH_KEYS = frozenset({"command", "workflow", "workflow_json", "info"})
"""One of these with a number (``workflow1``) makes the call a batch."""
MISSING_HINTS = {
    "workflow": '{"info": "workflows"} lists them.',
    "info": f"Use one of: {', '.join(QUESTIONS)}.",
}
PARAMS_FORM = '[{"node_title": "Positive Prompt", "inputs": {"text": "a red fox"}}]'
WIDE_DIGITS = str.maketrans("０１２３４５６７８９．－", "0123456789.-")
"""Full-width digits, as Chinese and Japanese input methods write numbers."""


@dataclass(frozen=True)
class Param:
    """One entry of ``params``: new values for inputs of one node, or of ``all`` nodes of its title."""

    inputs: Mapping[str, Any]
    node_id: str | None = None
    node_title: str | None = None
    all: bool = False
    mode: int | None = None


@dataclass(frozen=True)
class ToolCall:
    """One call. The rows of ``arguments.ARGUMENTS`` name the fields that their values go to."""

    command: str
    info: str = ""
    workflow: str = ""
    workflow_json: Any = None
    params: tuple[Param, ...] = ()
    shortcuts: Mapping[str, Any] = field(
        default_factory=dict
    )  # arguments that a role places: prompt, steps, images…
    seed: int | None = None  # None: choose one at random
    strict: bool = False
    all_titled: bool = False
    add_loras: bool = False
    full: bool = False
    max_side: int | None = None
    prompt_id: str = ""
    job_id: str = ""  # the caller's own name for a job
    wait: float | None = None  # seconds to wait for the job's end
    timeout: float | None = None  # the same, under the other usual name
    dry_run: bool = False
    only_outputs: tuple[str, ...] = ()  # titles, ids or types of the output nodes to run
    filename_prefix: str = ""
    folder: str = ""
    image_format: str = ""
    quality: int | None = None
    strip_metadata: bool = False
    webhook_url: str = ""
    cancel_on_timeout: bool = False
    previews: bool = False
    return_image: str = ""  # empty: as the settings say
    spelled: Mapping[str, str] = field(
        default_factory=dict
    )  # argument -> its key as the caller wrote it, where that differs
    extras: Mapping[str, Any] = field(
        default_factory=dict
    )  # raw values by key as written: aliases of arguments, and keys that are not ours
    unknown: tuple[str, ...] = ()  # keys of ``extras`` that are no argument under any name
    deferred: Mapping[str, CallError] = field(
        default_factory=dict
    )  # alias as written -> why its value is invalid, unless the workflow's author named the key
    ignored: Mapping[str, str] = field(
        default_factory=dict
    )  # key without effect -> a warning about it
    parts: tuple[ToolCall, ...] = ()  # of a batch

    @property
    def needs_server(self) -> bool:
        """Whether the call talks to ComfyUI; a list of workflows reads only the disk."""
        if self.parts:
            return any(part.needs_server for part in self.parts)
        return self.command != "info" or QUESTIONS[self.info].needs_server


def parse(raw: bytes) -> ToolCall:
    """Read one call. Raises CallError naming the key at fault and showing a correct call."""
    document = read_document(raw)
    split = [_split(key) for key in document]
    numbers = sorted({number for name, number in split if number and name in BATCH_KEYS})
    if numbers:
        return _batch(document, numbers)
    return _one_call(document)


# -- batches ---------------------------------------------------------------------------------------


def _batch(document: Mapping[str, Any], numbers: Sequence[int]) -> ToolCall:
    """Several calls in one, as the hosts write them: ``workflow1``, ``prompt1``, ``workflow2``…"""
    if len(numbers) > MAX_PARTS:
        raise invalid_call(f"The call has {len(numbers)} parts; at most {MAX_PARTS} are allowed.")
    parts = []
    for number in numbers:
        try:
            parts.append(_one_call(_part(document, number, numbers), numbers))
        except CallError as error:
            raise CallError(f"Part {number}: {error.message}", error.hint) from None
    return ToolCall("batch", parts=tuple(parts))


def _part(document: Mapping[str, Any], number: int, numbers: Sequence[int]) -> dict[str, Any]:
    """The keys of one part. Those with its number replace shared ones of the same name.

    ``prompt1`` is part 1's prompt and nothing else, because ``prompt`` is an argument. In a key that
    is not ours the number may belong to the name, as workflow authors choose names like ``$lora_1``:
    ``lora_1`` is shared under that name, and part 1's own value for it is ``lora_11``.
    """
    shared: dict[str, Any] = {}
    own: dict[str, Any] = {}
    for key, value in document.items():
        name, number_of_key = _split(key)
        if name in arguments.NAMES and number_of_key in numbers:
            if number_of_key == number:
                own[name] = value
            continue
        shared[key] = value
        if key.endswith(str(number)) and (stem := key.removesuffix(str(number))):
            own.setdefault(stem, value)
    return {**shared, **own}


def _split(key: str) -> tuple[str, int]:
    """``prompt12`` -> ``("prompt", 12)``; number 0 for a key that does not end in 1 to 9999."""
    name = key.rstrip("0123456789")
    digits = key[len(name) :]
    if not digits or digits[0] == "0" or len(digits) > 4:
        return key, 0
    return name, int(digits)


# -- one call --------------------------------------------------------------------------------------


def _one_call(document: Mapping[str, Any], numbers: Sequence[int] = ()) -> ToolCall:
    """``numbers``: those of the parts, when this is one of a batch."""
    given = _known(document)
    for key, value in given.items():
        check_value(key, value)
    command = _command(given)
    if question := COMMANDS[command].question:
        return ToolCall("info", info=question)
    values = {
        argument.name: value
        for argument in arguments.ARGUMENTS
        if command in argument.commands
        and argument.name in given
        and (value := READERS[argument.kind](given, argument)) is not None
    }
    _check_required(command, values)
    fields = {}
    for name, value in values.items():
        fields[arguments.BY_NAME[name].field or name] = value
    shortcuts = {name: fields.pop(name) for name in values if not arguments.BY_NAME[name].field}
    fields["command"] = command
    if command in arguments.WORKFLOW:
        fields["extras"] = _extras(document)
        fields["ignored"] = _ignored(document, given, command, numbers)
    return ToolCall(shortcuts=shortcuts, **fields)


def _known(document: Mapping[str, Any]) -> dict[str, Any]:
    """Our keys by their names in the table; null is the same as absent."""
    given: dict[str, Any] = {}
    spelled: dict[str, str] = {}
    for key, value in document.items():
        name = arguments.NAMES.get(key)
        if name is None or value is None:
            continue
        if name in given:
            raise invalid_call(f'"{spelled[name]}" and "{key}" are both given.', "Give only one.")
        given[name], spelled[name] = value, key
    return given


def _check_required(command: str, values: Mapping[str, Any]) -> None:
    """Raise for a required argument that is missing, and for two that exclude each other."""
    replaced = {}
    for name in values:
        other = arguments.BY_NAME[name].excludes
        if other in values:
            raise invalid_call(f'"{other}" and "{name}" are both given.', "Give only one.")
        replaced[other] = name
    for argument in arguments.ARGUMENTS:
        name = argument.name
        needed = argument.required and command in argument.commands
        if needed and name not in values and name not in replaced:
            what = f'"{name}" is missing: {argument.english}.'
            raise invalid_call(what, MISSING_HINTS.get(name, ""), COMMANDS[command].example)


def _extras(document: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: value
        for key, value in document.items()
        if key not in arguments.NAMES and isinstance(value, (str, int, float))
    }


def _ignored(
    document: Mapping[str, Any], given: Mapping[str, Any], command: str, numbers: Sequence[int]
) -> dict[str, str]:
    """Warnings about keys that are probably misspelled, and arguments of other commands."""
    found = {
        name: f'"{name}" has no effect with the command "{command}".'
        for name in given
        if command not in arguments.BY_NAME[name].commands
    }
    unknown = [
        key
        for key in document
        if key not in arguments.NAMES and len(key) <= MAX_SHOWN and _split(key)[1] not in numbers
    ]
    if not unknown:
        return found
    from difflib import get_close_matches

    for key in unknown[:MAX_TYPOS_CHECKED]:
        near = get_close_matches(key.lower(), list(arguments.NAMES), 1, 0.85)
        if near:
            found[key] = f'"{key}" was ignored; did you mean "{near[0]}"?'
    return found


# -- values of each kind ---------------------------------------------------------------------------


def _read_text(given: Mapping[str, Any], argument: Argument) -> str | None:
    return _text(given, argument.name, empty=argument.keeps_empty)


def _text(given: Mapping[str, Any], key: str, *, empty: bool = False) -> str | None:
    """A string without outer spaces; None for an empty one unless ``empty`` allows it."""
    value = given.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise invalid_call(f'"{key}" is {type_name(value)}; it must be a string.')
    text = str(value).strip()
    return text if text or empty else None


def _read_integer(given: Mapping[str, Any], argument: Argument) -> int | None:
    text = _text(given, argument.name)
    if text is None:
        return None
    number = parse_integer(text)
    low, high = int(argument.low or 0), int(argument.high or arguments.MAX_SEED)
    if number is None or not low <= number <= high:
        raise invalid_call(
            f'"{argument.name}" is {text[:MAX_SHOWN]!r}; it must be an integer from {low} to {high}.'
        )
    return number


def _read_number(given: Mapping[str, Any], argument: Argument) -> float | None:
    text = _text(given, argument.name)
    if text is None:
        return None
    number = numbers.parse_number(_ascii_digits(text))
    low, high = argument.low, argument.high
    if number is None or (low is not None and number < low) or (high is not None and number > high):
        between = "" if low is None or high is None else f" from {low:g} to {high:g}"
        raise invalid_call(
            f'"{argument.name}" is {text[:MAX_SHOWN]!r}; it must be a number{between}.'
        )
    return number


def _read_seed(given: Mapping[str, Any], argument: Argument) -> int | None:
    """A given seed; None for a random one: absent, -1 or ``random``."""
    text = _text(given, argument.name)
    if text is None or text.lower() == "random" or parse_integer(text) == -1:
        return None
    return _read_integer(given, argument)


def _read_switch(given: Mapping[str, Any], argument: Argument) -> bool | str:
    chosen = _switch(given, argument.name)
    return argument.switch_values[chosen] if argument.switch_values else chosen


def _switch(given: Mapping[str, Any], key: str) -> bool:
    word = str(given.get(key, False)).strip().lower()
    chosen = parse_boolean(word) if word else False
    if chosen is not None:
        return chosen
    raise invalid_call(f'"{key}" is {word[:MAX_SHOWN]!r}; it must be true or false.')


def _read_choice(given: Mapping[str, Any], argument: Argument) -> bool | str:
    word = (_text(given, argument.name) or argument.choices[-1]).lower()
    if word not in argument.choices:
        raise invalid_call(f'"{argument.name}" is {word[:MAX_SHOWN]!r}.', _one_of(argument.choices))
    return word == argument.true_choice if argument.true_choice else word


def _read_list(given: Mapping[str, Any], argument: Argument) -> tuple[str, ...] | None:
    """Strings in a list, in a JSON list inside a string, or separated by lines or commas."""
    value = given.get(argument.name)
    if isinstance(value, str) and value.lstrip()[:1] == "[":
        value = _read_json(given, argument)
    if value is None:
        return None
    if isinstance(value, str):
        value = value.split("\n" if "data:" in value or "\n" in value.strip() else ",")
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise invalid_call(
            f'"{argument.name}" is {type_name(value)}; it must be a list of strings.'
        )
    items = tuple(item.strip() for item in value if item.strip())
    _check_count(argument.name, items)
    return items or None


def _read_json(given: Mapping[str, Any], argument: Argument) -> Any:
    """A value that may be written as JSON inside a string."""
    value = given.get(argument.name)
    if not isinstance(value, str):
        return value
    if not value.strip():
        return None
    try:
        read = json_text.read(value)
    except json_text.InvalidJson as invalid:
        raise CallError(
            f'"{argument.name}" is a string that {invalid}.', "Give the object itself, or its JSON."
        ) from None
    check_value(argument.name, read)
    return read


def _read_params(given: Mapping[str, Any], argument: Argument) -> tuple[Param, ...]:
    value = given.get(argument.name)
    if isinstance(value, str):
        if not value.strip():
            return ()
        try:
            value = json_text.read(value)
        except json_text.InvalidJson as invalid:
            raise CallError(
                f'"params" is a string, not a JSON list; it {invalid}.',
                f"It looks like {PARAMS_FORM}",
            ) from None
        check_value("params", value)
    if value is None:
        return ()
    if not isinstance(value, list):
        raise CallError(
            f'"params" is {type_name(value)}, not a list.', f"It looks like {PARAMS_FORM}"
        )
    _check_count("params", value)
    return tuple(_param(item, place) for place, item in enumerate(value, start=1))


def _param(item: Any, place: int) -> Param:
    def invalid(what: str) -> CallError:
        return CallError(f'Entry {place} of "params" {what}.', f"It looks like {PARAMS_FORM}")

    if not isinstance(item, dict):
        raise invalid(f"is {type_name(item)}, not an object")
    node_id, title = item.get("node_id"), item.get("node_title")
    if node_id in (None, "") and title in (None, ""):
        raise invalid("names no node: it needs node_title or node_id")
    for name, value in (("node_id", node_id), ("node_title", title)):
        if isinstance(value, (bool, float, list, dict)):
            raise invalid(f"has {type_name(value)} as {name}")
    inputs = item.get("inputs")
    if not isinstance(inputs, dict) or not inputs:
        raise invalid('has no "inputs": an object of input names and new values')
    return Param(
        inputs,
        node_id=None if node_id in (None, "") else str(node_id).strip(),
        node_title=None if title in (None, "") else str(title),
        all=_switch(item, "all"),
    )


def _command(given: Mapping[str, Any]) -> str:
    """The command of a call: as given, ``info`` where a question is given, else ``run``."""
    default = "info" if _text(given, "info") else "run"
    command = (_text(given, "command") or default).lower()
    if command not in COMMANDS:
        raise invalid_call(f"Unknown command {command[:MAX_SHOWN]!r}.", _one_of(COMMANDS))
    return command


def _read_command(given: Mapping[str, Any], _argument: Argument) -> str:
    return _command(given)


def _read_question(given: Mapping[str, Any], argument: Argument) -> str | None:
    question = (_text(given, argument.name) or "").lower()
    if question and question not in QUESTIONS:
        raise invalid_call(
            f'"info" is {question[:MAX_SHOWN]!r}.', _one_of(QUESTIONS), COMMANDS["info"].example
        )
    return question or None


READERS: Mapping[str, Callable[[Mapping[str, Any], Argument], Any]] = {
    arguments.TEXT: _read_text,
    arguments.INTEGER: _read_integer,
    arguments.NUMBER: _read_number,
    arguments.SWITCH: _read_switch,
    arguments.CHOICE: _read_choice,
    arguments.LIST: _read_list,
    arguments.SEED: _read_seed,
    arguments.JSON: _read_json,
    arguments.PARAMS: _read_params,
    arguments.COMMAND: _read_command,
    arguments.QUESTION: _read_question,
}
"""Kind of an argument -> the function that reads its value; None means as if it were absent."""


def _ascii_digits(text: str) -> str:
    return text.translate(WIDE_DIGITS) if len(text) <= numbers.MAX_DIGITS else text


def parse_integer(text: str) -> int | None:
    """``"512"`` and ``"512.0"`` -> 512, ``"-1"`` -> -1; None for anything else, or beyond a seed."""
    head, _, tail = _ascii_digits(text).partition(".")
    if tail.strip("0") or head[1:2] in ("+", "-"):
        return None
    number = parse_count(head.lstrip("+-"), at_most=arguments.MAX_SEED)
    return -number if number is not None and head.startswith("-") else number


def _check_count(key: str, items: Sequence[Any]) -> None:
    if len(items) > MAX_LISTED:
        raise invalid_call(f'"{key}" has {len(items)} entries; at most {MAX_LISTED} are allowed.')


def _one_of(names: Iterable[str]) -> str:
    return f"Use one of: {', '.join(names)}."
