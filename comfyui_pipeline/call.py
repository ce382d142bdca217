"""The host's JSON -> a ``ToolCall``: typed, in range, with every key accounted for.

Hosts write all values as strings, add keys of their own, and put lists and objects into strings.
What each key means is in ``arguments.py`` and ``argument_keys.py``, how its value is read in
``argument_values.py``; here a call is divided into parts, and its keys are collected.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from typing import Any

from comfyui_pipeline import argument_keys, argument_values, arguments, batch_keys, call_keys
from comfyui_pipeline.argument_values import one_of
from comfyui_pipeline.arguments import BY_NAME, Argument, role_of
from comfyui_pipeline.call_document import MAX_SHOWN, check_value, invalid_call, read_document
from comfyui_pipeline.call_keys import Keys
from comfyui_pipeline.call_params import Param
from comfyui_pipeline.call_wrappers import unwrap
from comfyui_pipeline.commands import COMMANDS
from comfyui_pipeline.errors import CallError
from comfyui_pipeline.info import QUESTIONS
from comfyui_pipeline.info import question as info_question
from input_server.light_dataclasses import dataclass, field, replace

__all__ = ["READERS", "Param", "ToolCall", "parse", "read"]

WORDS_OF: Mapping[str, Container[str]] = {"command": COMMANDS, "info": QUESTIONS}
"""Key -> the words that its value may be without further reading."""
MAX_PARTS = 16
EMPTY: tuple[Any, ...] = ("", [], {})
"""Values of keys that hosts send though the caller said nothing."""
MAX_IGNORED_SHOWN = 5
"""Keys without effect that the error about a missing argument names."""
MAX_TYPOS_CHECKED = 100
"""Unknown keys that are compared with the known ones; each comparison takes about a millisecond."""
MISSING_HINTS = {
    "workflow": '{"info": "workflows"} lists them.',
    "info": f"Use one of: {', '.join(QUESTIONS)}.",
}


@dataclass(frozen=True)
class ToolCall:
    """One call. The rows of ``arguments.ARGUMENTS`` name the fields that their values go to."""

    command: str
    info: str = ""  # topics, separated by commas
    workflow: str = ""
    command_word: str = ""  # an unknown command that may be the name of the workflow
    workflow_json: Any = None
    params: tuple[Param, ...] = ()
    shortcuts: Mapping[str, Any] = field(
        default_factory=dict
    )  # arguments that a role places: prompt, steps, images…
    seed: int | None = None  # None: choose one at random
    strict: bool = False
    all_titled: bool = False
    add_loras: bool = True
    full: bool = False
    max_side: int | None = None
    prompt_id: str = ""
    job_id: str = ""  # the caller's own name for a job
    wait: float | None = None  # seconds to wait for the job's end
    timeout: float | None = None  # the same, under the other usual name
    dry_run: bool = False
    background: bool = False  # the caller wants to be answered before the job has ended
    only_outputs: tuple[str, ...] = ()  # titles, ids or types of the output nodes to run
    bypass: tuple[str, ...] = ()  # names of nodes and groups, as for ``enable`` and ``mute``
    enable: tuple[str, ...] = ()
    mute: tuple[str, ...] = ()
    filename_prefix: str = ""
    folder: str = ""
    image_format: str = ""
    quality: int | None = None
    strip_metadata: bool | None = None
    webhook_url: str = ""
    cancel_on_timeout: bool = False
    previews: bool | None = None
    return_image: str = ""  # empty: as the settings say
    spelled: Mapping[str, str] = field(
        default_factory=dict
    )  # argument -> its key as the caller wrote it, where that differs
    item_keys: Mapping[str, tuple[str, ...]] = field(
        default_factory=dict
    )  # argument that is a list -> the numbered key of each item
    extras: Mapping[str, Any] = field(
        default_factory=dict
    )  # raw values by key as written: aliases of arguments, and keys that are not ours
    unknown: tuple[str, ...] = ()  # keys of ``extras`` that are no argument under any name
    deferred: Mapping[str, CallError] = field(
        default_factory=dict
    )  # key as written -> why its value is invalid, unless the workflow's author named the key
    problems: tuple[CallError, ...] = ()  # mistakes in values, which do not hide the workflow
    ignored: Mapping[str, str] = field(
        default_factory=dict
    )  # key without effect -> a warning about it
    parts: tuple[ToolCall, ...] = ()  # of a batch
    own_names: Mapping[str, str] = field(
        default_factory=dict
    )  # in a part of a batch: key of ``unknown`` with the part's number -> the same without it
    elsewhere: frozenset[str] = frozenset()  # keys of ``unknown`` with the number of another part

    @property
    def needs_server(self) -> bool:
        """Whether the call talks to ComfyUI; a list of workflows reads only the disk."""
        if self.parts:
            return any(part.needs_server for part in self.parts)
        topics = self.info.split(",")
        return self.command != "info" or any(
            q is None or q.needs_server for q in map(info_question, topics)
        )


def parse(raw: bytes) -> ToolCall:
    """Read one call. Raises CallError naming the keys at fault and showing a correct call."""
    call = read(raw)
    for number, part in enumerate(call.parts or (call,), start=1):
        if part.problems:
            raise together(part.problems, f"Part {number}: " if call.parts else "")
    return call


def read(raw: bytes) -> ToolCall:
    """Read one call; mistakes that do not prevent finding its workflow are its ``problems``.

    Raises CallError for other mistakes.
    """
    document, note = read_document(raw)
    numbers, separators = batch_keys.numbers_of(document)
    call = _batch(document, numbers, separators) if numbers else _one_call(document)
    return _with_note(call, note) if note else call


def _with_note(call: ToolCall, note: str) -> ToolCall:
    """The call with a note about all of it, in the first of several parts."""
    if call.parts:
        return replace(call, parts=(_with_note(call.parts[0], note), *call.parts[1:]))
    return replace(call, ignored={**call.ignored, "": note})


def together(errors: Sequence[CallError], before: str = "") -> CallError:
    """One error for all; a correct call is shown once."""
    if len(errors) == 1 and not before:
        return errors[0]
    hints = list(dict.fromkeys(error.hint for error in errors if error.hint))
    return CallError(before + " ".join(error.message for error in errors), " ".join(hints))


# -- batches ---------------------------------------------------------------------------------------


def _batch(document: Mapping[str, Any], numbers: Sequence[int], separators: set[str]) -> ToolCall:
    """Several calls in one, as the hosts write them: ``workflow1``, ``prompt1``, ``workflow2``…"""
    if len(numbers) > MAX_PARTS:
        raise invalid_call(f"The call has {len(numbers)} parts; at most {MAX_PARTS} are allowed.")
    parts = []
    for number in numbers:
        try:
            part = _one_call(batch_keys.part_of(document, number, numbers, separators), numbers)
            parts.append(_with_numbers(part, number, numbers))
        except CallError as error:
            raise CallError(f"Part {number}: {error.message}", error.hint) from None
    return ToolCall("batch", parts=tuple(_without_used_elsewhere(document, parts)))


def _with_numbers(part: ToolCall, number: int, numbers: Sequence[int]) -> ToolCall:
    """The part with what the numbers at the end of its unknown keys may mean."""
    own = {
        key: stem
        for key in part.unknown
        if key.endswith(str(number)) and (stem := key.removesuffix(str(number))) in part.unknown
    }
    others = tuple(str(other) for other in numbers if other != number)
    elsewhere = frozenset(key for key in part.unknown if key.endswith(others) and key not in own)
    return replace(part, own_names=own, elsewhere=elsewhere)


def _without_used_elsewhere(
    document: Mapping[str, Any], parts: Sequence[ToolCall]
) -> Iterator[ToolCall]:
    """The parts; a key that they share is reported only if it has no effect in any of them."""
    for part in parts:
        ignored = {
            key: text
            for key, text in part.ignored.items()
            if key not in document or all(key in other.ignored for other in parts)
        }
        yield replace(part, ignored=ignored)


# -- one call --------------------------------------------------------------------------------------


def _one_call(document: Mapping[str, Any], numbers: Sequence[int] = ()) -> ToolCall:
    """``numbers``: those of the parts, when this is one of a batch."""
    unwrapped = unwrap(document)
    expanded, command_word = _expanded(unwrapped.values)
    unwrapped = replace(unwrapped, values=dict(expanded))
    command = _command(unwrapped.values)
    keys = call_keys.collect(unwrapped, command)
    ignored = {**unwrapped.ignored, **_ignored(keys, command, numbers)}
    if question := COMMANDS[command].question:
        return ToolCall("info", info=question, ignored=ignored)
    values = _values(keys, command)
    _check_excluded(keys, values)
    _check_required(command, values, keys, ignored)
    fields = {BY_NAME[name].field: value for name, value in values.items() if BY_NAME[name].field}
    if unwrapped.params:
        fields["params"] = (*fields.get("params", ()), *unwrapped.params)
    call = ToolCall(
        **{**fields, "command": command, "command_word": command_word},
        shortcuts={name: value for name, value in values.items() if not BY_NAME[name].field},
        spelled={name: key for name, key in keys.spelled.items() if key != name},
        item_keys=keys.item_keys,
        extras=keys.extras,
        unknown=tuple(keys.unknown),
        deferred=keys.deferred,
        problems=(*unwrapped.problems, *keys.problems),
        ignored=ignored,
    )
    return _as_submitted(call)


def _expanded(values: Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
    """The call with the command and topics that its words stand for; see ``command_names``."""
    for key, value in values.items():
        known = WORDS_OF.get(key.lower())
        if known is not None and not (isinstance(value, str) and value in known):
            from comfyui_pipeline.command_names import expanded

            return expanded(values)
    return values, ""


def _as_submitted(call: ToolCall) -> ToolCall:
    """``wait: false`` and ``async: true`` in ``run`` mean ``submit``, which has no limits of time."""
    wait = call.wait
    if wait is True:
        wait = 86_400.0 if call.command == "result" else None
    later = call.background or wait is False
    command = "submit" if later and call.command == "run" and not call.dry_run else call.command
    call = replace(call, command=command, wait=None if wait is False else wait)
    limits = {"wait": call.wait, "timeout": call.timeout, "on_timeout": call.cancel_on_timeout}
    if command != "submit" or call.dry_run or not any(limits.values()):
        return call
    keys = [call.spelled.get(name, name) for name, value in limits.items() if value]
    vain = {key: f'"{key}" has no effect here: "submit" does not wait for the job.' for key in keys}
    return replace(call, ignored={**call.ignored, **vain})


def _values(keys: Keys, command: str) -> dict[str, Any]:
    """The arguments of a command with their values; wrong ones are noted in ``keys``."""
    values = {}
    for argument in arguments.ARGUMENTS:
        if command not in argument.commands or argument.name not in keys.given:
            continue
        try:
            value = READERS[argument.kind](
                keys.given[argument.name], argument, keys.key(argument.name)
            )
        except CallError as error:
            if command not in arguments.WORKFLOW:
                raise
            keys.wrong(argument, error)
            continue
        if value is not None:
            values[argument.name] = value
    return values


def _check_excluded(keys: Keys, values: dict[str, Any]) -> None:
    """Note two arguments of which only one can be used, and keep the more precise one."""
    for name in list(values):
        other = BY_NAME[name].excludes
        if other not in values:
            continue
        one, two = keys.key(other), keys.key(name)
        error = invalid_call(f'"{one}" and "{two}" are both given.', "Give only one.")
        keys.wrong(BY_NAME[other if one != other else name], error)
        del values[other]


def _check_required(
    command: str, values: Mapping[str, Any], keys: Keys, ignored: Mapping[str, str]
) -> None:
    """Raise for a required argument that is missing, together with what is wrong in others.

    ``ignored``: key without effect -> the sentence about it; the argument may be misspelled.
    """
    replaced = {BY_NAME[name].excludes for name in values}
    if command in arguments.JOB and "job_id" in values:
        return
    for argument in arguments.ARGUMENTS:
        name = argument.name
        needed = argument.required and command in argument.commands
        if name == "workflow" and command in arguments.RUN and any(map(role_of, values)):
            continue  # chosen by the other arguments
        if needed and name not in values and name not in replaced:
            said = "".join(f" {text}" for text in list(ignored.values())[:MAX_IGNORED_SHOWN])
            what = f'"{name}" is missing: {argument.english}.{said}'
            missing = invalid_call(what, MISSING_HINTS.get(name, ""), COMMANDS[command].example)
            unread = any(BY_NAME[given].excludes == name for given in keys.given)
            raise together([*keys.problems, *([] if unread and keys.problems else [missing])])


def _ignored(keys: Keys, command: str, numbers: Sequence[int]) -> dict[str, str]:
    """Warnings about keys that are probably misspelled, and arguments of other commands."""
    found = {
        keys.key(name): f'"{keys.key(name)}" has no effect with the command "{command}".'
        for name, value in keys.given.items()
        if command not in BY_NAME[name].commands and value not in EMPTY
    }
    unknown = [
        key
        for key in keys.unknown
        if batch_keys.split(key)[2] not in numbers and keys.extras[key] not in EMPTY
    ]
    for place, key in enumerate(unknown):
        near = argument_keys.nearest(key, command) if place < MAX_TYPOS_CHECKED else ""
        shown = key[:MAX_SHOWN]
        if near:
            found[key] = f'"{shown}" was ignored; did you mean "{near}"?'
        elif command not in arguments.RUN:  # there it may name a part of the workflow
            found[key] = f'"{shown}" is no argument of "{command}" and was ignored.'
    return found


def _read_question(value: Any, argument: Argument, key: str) -> str | None:
    question = (argument_values.read_text(value, argument, key) or "").lower()
    if question and any(info_question(topic) is None for topic in question.split(",")):
        raise invalid_call(
            f'"{key}" is {question[:MAX_SHOWN]!r}.', one_of(QUESTIONS), COMMANDS["info"].example
        )
    return question or None


READERS: Mapping[str, Callable[[Any, Argument, str], Any]] = {
    **argument_values.READERS,
    arguments.QUESTION: _read_question,
}
"""Kind of an argument -> the function that reads its value; None means as if it were absent."""


def _command(values: Mapping[str, Any]) -> str:
    """The command of a call: as given, ``info`` where a question is given, else ``run``."""
    given: dict[str, Any] = {}
    for key, value in values.items():
        argument, _ = argument_keys.find(key)
        if argument is None or value in (None, ""):
            continue
        if argument.name in ("command", "info") and call_keys.is_word_of(argument, key, value):
            given.setdefault(argument.name, value)
    check_value("command", given.get("command"))
    default = "info" if "info" in given else "run"
    command = READERS[arguments.COMMAND](
        given.get("command", default), BY_NAME["command"], "command"
    )
    command = (command or default).lower()
    if command not in COMMANDS:
        raise invalid_call(f"Unknown command {command[:MAX_SHOWN]!r}.", one_of(COMMANDS))
    return str(command)
