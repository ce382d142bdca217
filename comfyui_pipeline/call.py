"""The host's JSON -> a ``ToolCall``: typed, in range, with every key accounted for.

Hosts write all values as strings, add keys of their own, and put lists and objects into strings.
What each key means is in ``arguments.py`` and ``argument_keys.py``, how its value is read in
``argument_values.py``; here a call is divided into parts, and its keys are collected.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from typing import Any

from comfyui_pipeline import argument_keys, argument_values, arguments
from comfyui_pipeline.argument_values import as_list, one_of
from comfyui_pipeline.arguments import BY_NAME, Argument, role_of
from comfyui_pipeline.call_document import MAX_SHOWN, check_value, invalid_call, read_document
from comfyui_pipeline.call_params import Param
from comfyui_pipeline.call_wrappers import Unwrapped, unwrap
from comfyui_pipeline.commands import COMMANDS
from comfyui_pipeline.errors import CallError
from comfyui_pipeline.info import QUESTIONS
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
BATCH_KEYS = frozenset({"command", "workflow", "workflow_json", "info"})
"""One of these with a number (``workflow1``) makes the call a batch."""
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
        return self.command != "info" or any(QUESTIONS[topic].needs_server for topic in topics)


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
    document = read_document(raw)
    numbers, separators = _numbers(document)
    if numbers:
        return _batch(document, numbers, separators)
    return _one_call(document)


def together(errors: Sequence[CallError], before: str = "") -> CallError:
    """One error for all; a correct call is shown once."""
    if len(errors) == 1 and not before:
        return errors[0]
    hints = list(dict.fromkeys(error.hint for error in errors if error.hint))
    return CallError(before + " ".join(error.message for error in errors), " ".join(hints))


# -- batches ---------------------------------------------------------------------------------------


def _numbers(document: Mapping[str, Any]) -> tuple[list[int], set[str]]:
    """The numbers of the parts, and what stands before them: ``workflow1`` or ``workflow_1``."""
    found: dict[int, str] = {}
    for key in document:
        name, separator, number = _split(key)
        if number and _batch_key(name):
            found[number] = separator
    if found and 1 not in found and any(_batch_key(key) for key in document):
        found[1] = found[min(found)]  # workflow and workflow2
    return sorted(found), set(found.values())


def _batch_key(key: str) -> bool:
    argument, _ = argument_keys.find(key)
    return argument is not None and argument.name in BATCH_KEYS


def _batch(document: Mapping[str, Any], numbers: Sequence[int], separators: set[str]) -> ToolCall:
    """Several calls in one, as the hosts write them: ``workflow1``, ``prompt1``, ``workflow2``…"""
    if len(numbers) > MAX_PARTS:
        raise invalid_call(f"The call has {len(numbers)} parts; at most {MAX_PARTS} are allowed.")
    parts = []
    for number in numbers:
        try:
            part = _one_call(_part(document, number, numbers, separators), numbers)
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


def _part(
    document: Mapping[str, Any], number: int, numbers: Sequence[int], separators: set[str]
) -> dict[str, Any]:
    """The keys of one part. Those with its number replace shared ones of the same name.

    ``prompt1`` is part 1's prompt and nothing else, because ``prompt`` is an argument. In a key that
    is not ours the number may belong to the name, as workflow authors choose names like ``$lora_1``:
    ``lora_1`` is shared under that name, and part 1's own value for it is ``lora_11``.
    """
    shared: dict[str, Any] = {}
    own: dict[str, Any] = {}
    stems: dict[str, Any] = {}
    for key, value in document.items():
        if owner := _owner(key, numbers, separators):
            if owner[1] == number:
                own[owner[0]] = value
            continue
        shared[key] = value
        if key.endswith(str(number)) and (stem := key.removesuffix(str(number))):
            stems[stem] = value
    replaced = {argument_keys.meaning(name) for name in own}
    kept = {k: value for k, value in shared.items() if argument_keys.meaning(k) not in replaced}
    added = {key: value for key, value in stems.items() if argument_keys.find(key)[0] is None}
    return {**kept, **added, **own}


def _owner(key: str, numbers: Sequence[int], separators: set[str]) -> tuple[str, int] | None:
    """The argument that a key names for one part, and its number; None for a shared key.

    ``image12`` is image 1 of part 2 when there are parts 1 and 2.
    """
    name, separator, number = _split(key)
    if number in numbers and separator in separators and argument_keys.find(name)[0] is not None:
        return name, number
    for number in numbers:
        stem = key.removesuffix(str(number))
        if stem != key and argument_keys.find(stem)[1] is not None:
            return stem, number
    return None


def _split(key: str) -> tuple[str, str, int]:
    """``prompt12`` -> ``("prompt", "", 12)``; number 0 for a key that does not end in 1 to 9999."""
    name = key.rstrip("0123456789")
    digits = key[len(name) :]
    if not digits or digits[0] == "0" or len(digits) > 4:
        return key, "", 0
    stem = name.rstrip("_- ")
    return (stem or name), (name[len(stem) :] if stem else ""), int(digits)


# -- one call --------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Keys:
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


def _one_call(document: Mapping[str, Any], numbers: Sequence[int] = ()) -> ToolCall:
    """``numbers``: those of the parts, when this is one of a batch."""
    unwrapped = unwrap(document)
    expanded, command_word = _expanded(unwrapped.values)
    unwrapped = replace(unwrapped, values=dict(expanded))
    command = _command(unwrapped.values)
    keys = _collect(unwrapped, command)
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


def _collect(unwrapped: Unwrapped, command: str) -> _Keys:
    """Our keys by their names in the table; null is the same as absent."""
    keys = _Keys()
    for key, value in unwrapped.values.items():
        argument, number = argument_keys.find(key, command)
        if (
            argument is not None
            and argument.kind in FLAT
            and (inputs := _node_inputs(argument, key, value))
        ):
            argument, value = None, inputs  # {"Sampler": {"steps": 20}} names a node
        if argument is not None and argument.kind in (arguments.COMMAND, arguments.QUESTION):
            argument = argument if _is_word_of(argument, key, value) else None
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


def _is_word_of(argument: Argument, key: str, value: Any) -> bool:
    """Whether a key means the command or the question: an alias only with a known word."""
    if key == argument.name:
        return True
    known = COMMANDS if argument.kind == arguments.COMMAND else QUESTIONS
    return isinstance(value, str) and value.strip().lower() in known


def _add(keys: _Keys, argument: Argument, key: str, value: Any, number: int | None) -> None:
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


def _join_items(keys: _Keys, name: str, items: Mapping[int, tuple[str, Any]]) -> None:
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


def _values(keys: _Keys, command: str) -> dict[str, Any]:
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


def _check_excluded(keys: _Keys, values: dict[str, Any]) -> None:
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
    command: str, values: Mapping[str, Any], keys: _Keys, ignored: Mapping[str, str]
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


def _ignored(keys: _Keys, command: str, numbers: Sequence[int]) -> dict[str, str]:
    """Warnings about keys that are probably misspelled, and arguments of other commands."""
    found = {
        keys.key(name): f'"{keys.key(name)}" has no effect with the command "{command}".'
        for name, value in keys.given.items()
        if command not in BY_NAME[name].commands and value not in EMPTY
    }
    unknown = [
        key
        for key in keys.unknown
        if _split(key)[2] not in numbers and keys.extras[key] not in EMPTY
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
    if any(topic not in QUESTIONS for topic in question.split(",") if question):
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
        if argument.name in ("command", "info") and _is_word_of(argument, key, value):
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
