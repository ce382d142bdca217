"""Arguments as an AI writes them (all strings, extra keys, lists inside strings) -> a ToolCall."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from comfyui_pipeline.bounded import json_text, numbers
from comfyui_pipeline.errors import CallError
from comfyui_pipeline.process.stdin import EXAMPLE_CALL
from input_server.light_dataclasses import dataclass, field
from input_server.text_values import parse_boolean, parse_count

COMMANDS = ("run", "submit", "status", "result", "cancel", "queue", "describe", "info")
LATER = ("status", "result", "cancel")
"""Commands about a run that an earlier call queued."""
INFO = (
    "workflows",
    "checkpoints",
    "loras",
    "vaes",
    "controlnets",
    "upscalers",
    "samplers",
    "schedulers",
    "embeddings",
    "queue",
    "system",
)
MAX_MEGABYTES = 32
MAX_PARTS = 16
MAX_LISTED = 10_000
"""Entries of ``params``, ``loras`` and ``images`` in one call."""
NUMBERED = re.compile(r"(command|workflow|workflow_json|info)([1-9][0-9]{0,3})")
"""Keys of which a numbered one makes the call a batch."""
MAX_SEED = 2**64 - 1
MAX_SIDE = 16384
SHOWN = 40
"""Characters of a wrong value that an error repeats."""
DOUBTED = 100
"""Unknown keys that are compared with the known ones; each comparison takes about a millisecond."""

TEXTS = ("prompt", "negative_prompt", "sampler", "scheduler", "checkpoint", "vae", "image", "mask")
"""Short arguments that are strings; an empty negative prompt has a meaning."""
WHOLE = MappingProxyType(
    {
        "steps": (1, 10_000),
        "width": (1, MAX_SIDE),
        "height": (1, MAX_SIDE),
        "batch_size": (1, 4096),
    }
)
NUMBERS = MappingProxyType(
    {"cfg": (0.0, 1000.0), "denoise": (0.0, 1.0), "strength": (-100.0, 100.0)}
)
LISTS = ("images", "loras")
RETURNED = ("none", "full", "preview")
SWITCHES = ("strict", "all", "previews")
KNOWN = frozenset(
    [
        "command",
        "workflow",
        "workflow_json",
        "params",
        "seed",
        "info",
        "detail",
        "max_side",
        "return_image",
        "showbase64",
        "prompt_id",
        "wait",
        "on_timeout",
        "lora_nodes",
        *TEXTS,
        *WHOLE,
        *NUMBERS,
        *LISTS,
        *SWITCHES,
    ]
)
"""Every other key belongs to the host (``maid``, ``tool_password``…) or to the workflow's own titles."""


@dataclass(frozen=True, slots=True)
class Param:
    """One entry of ``params``: new values for the inputs of one node, or of ``all`` of its title."""

    inputs: Mapping[str, Any]
    node_id: str | None = None
    node_title: str | None = None
    all: bool = False


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call, typed and checked.

    ``short`` holds the short arguments that were given (``prompt``, ``steps``, ``images``…),
    ``extras`` the plain values under keys that are not ours.
    """

    command: str
    info: str = ""
    workflow: str = ""
    workflow_json: Any = None
    params: tuple[Param, ...] = ()
    shortcuts: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None
    strict: bool = False
    add_loras: bool = False
    full: bool = False
    max_side: int | None = None
    prompt_id: str = ""
    wait: float = 0.0  # seconds that `result` may wait for the end
    cancel_on_timeout: bool = False  # cancel what has not ended at the call's own limit
    previews: bool = False  # mere previews too, beside saved results
    return_image: str = ""  # none | preview | full; empty: as the settings say
    extras: Mapping[str, Any] = field(default_factory=dict)
    parts: tuple[ToolCall, ...] = ()  # of a batch: command1, workflow1, prompt1, command2…
    likely_typos: Mapping[str, str] = field(default_factory=dict)  # key -> what was probably meant

    @property
    def needs_packages(self) -> bool:
        """Whether the command talks to a server; a list of workflows needs only the disk."""
        if self.parts:
            return any(part.needs_packages for part in self.parts)
        return not (self.command == "info" and self.info == "workflows")


def parse(raw: bytes) -> ToolCall:
    """Read one call. Raises CallError naming the key at fault and showing a correct call."""
    document = _document(raw)
    numbers = sorted({int(m[2]) for key in document if (m := NUMBERED.fullmatch(key))})
    if numbers:
        return _batch(document, numbers)
    return _one_call(document)


def _batch(document: Mapping[str, Any], numbers: list[int]) -> ToolCall:
    """The hosts' way of several calls in one; keys without a number count for all of them."""
    if len(numbers) > MAX_PARTS:
        raise _wrong(f"The call has {len(numbers)} parts; at most {MAX_PARTS} are taken.")
    shared = {key: value for key, value in document.items() if not key[-1:].isdecimal()}
    parts = []
    for number in numbers:
        own = {
            key.removesuffix(str(number)): value
            for key, value in document.items()
            if key.endswith(str(number)) and not key.removesuffix(str(number))[-1:].isdecimal()
        }
        try:
            parts.append(_one_call({**shared, **own}))
        except CallError as error:
            raise CallError(f"Part {number}: {error.message}", error.hint) from None
    return ToolCall("batch", parts=tuple(parts))


def _one_call(document: Mapping[str, Any]) -> ToolCall:
    given = {key: value for key, value in document.items() if key in KNOWN and value is not None}
    for key, value in given.items():
        _check(key, value)
    command, info = _command(given)
    if command == "info":
        return ToolCall(command, info=info)
    if command == "queue":
        return ToolCall("info", info="queue")
    if command in LATER:
        return _later(command, given)
    workflow = _text(given, "workflow")
    inline = _json_value(given, "workflow_json")
    if not workflow and inline is None:
        raise _wrong('"workflow" is missing: the name of a file in workflows/.', LIST_HINT)
    if workflow and inline is not None:
        raise _wrong('"workflow" and "workflow_json" are both given.', "Give only one.")
    every = _switch(given, "all")
    return ToolCall(
        command,
        workflow=workflow or "",
        workflow_json=inline,
        params=_params(given.get("params"), every),
        shortcuts=_short(given),
        seed=_seed(given),
        strict=_switch(given, "strict"),
        add_loras=_one(given, "lora_nodes", ("add", "keep")) == "add",
        cancel_on_timeout=_one(given, "on_timeout", ("cancel", "keep")) == "cancel",
        previews=_switch(given, "previews"),
        return_image=_return_image(given),
        max_side=_whole(given, "max_side", 16, MAX_SIDE),
        full=_one(given, "detail", ("full", "short")) == "full",
        extras={
            key: value
            for key, value in document.items()
            if key not in KNOWN and isinstance(value, (str, int, float))
        },
        likely_typos=_doubts(document),
    )


def _later(command: str, given: Mapping[str, Any]) -> ToolCall:
    prompt_id = _text(given, "prompt_id")
    if not prompt_id:
        raise CallError(
            '"prompt_id" is missing: the id that the run\'s answer gave.',
            f'A correct call: {{"command": "{command}", "prompt_id": "…"}}',
        )
    wait = _number(given, "wait", 0, 86_400) or 0.0
    return ToolCall(
        command,
        prompt_id=prompt_id,
        wait=wait,
        previews=_switch(given, "previews"),
        return_image=_return_image(given),
    )


def _short(given: Mapping[str, Any]) -> dict[str, Any]:
    """The short arguments, each of its own type; what was not given is absent."""
    read: dict[str, Any] = {key: _text(given, key, empty=key == "negative_prompt") for key in TEXTS}
    read |= {key: _whole(given, key, low, high) for key, (low, high) in WHOLE.items()}
    read |= {key: _number(given, key, low, high) for key, (low, high) in NUMBERS.items()}
    read |= {key: _list(given, key) for key in LISTS}
    if read["image"] is not None and read["images"] is not None:
        raise _wrong('"image" and "images" are both given.', "Give only one.")
    return {key: value for key, value in read.items() if value is not None}


def _switch(given: Mapping[str, Any], key: str) -> bool:
    value = given.get(key, False)
    word = str(value).strip().lower()
    chosen = parse_boolean(word) if word else False
    if chosen is not None:
        return chosen
    raise _wrong(f'"{key}" is {word[:SHOWN]!r}; it has to be true or false.')


def _one(given: Mapping[str, Any], key: str, choices: tuple[str, ...]) -> str:
    """One word out of a few; the last is the default."""
    word = (_text(given, key) or choices[-1]).lower()
    if word not in choices:
        raise _wrong(f'"{key}" is {word[:SHOWN]!r}.', _one_of(choices))
    return word


def _return_image(given: Mapping[str, Any]) -> str:
    """``showbase64`` is what the hosts' other picture tools call it."""
    if "return_image" in given:
        return _one(given, "return_image", RETURNED)
    if "showbase64" in given:
        return "preview" if _switch(given, "showbase64") else "none"
    return ""


def _number(given: Mapping[str, Any], key: str, low: float, high: float) -> float | None:
    text = _text(given, key)
    if text is None:
        return None
    number = numbers.parse_number(_ascii_digits(text))
    if number is None or not low <= number <= high:
        raise _wrong(
            f'"{key}" is {text[:SHOWN]!r}; it has to be a number from {low:g} to {high:g}.'
        )
    return number


def _list(given: Mapping[str, Any], key: str) -> tuple[str, ...] | None:
    """A list of strings, as a list, as that list in a string, or with commas or lines between."""
    value = given.get(key)
    if isinstance(value, str) and value.lstrip()[:1] == "[":
        value = _json_value(given, key)
    if value is None:
        return None
    if isinstance(value, str):
        value = value.split("\n" if "data:" in value or "\n" in value.strip() else ",")
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise _wrong(f'"{key}" is {_kind(value)}; it has to be a list of strings.')
    items = tuple(item.strip() for item in value if item.strip())
    _check_count(key, items)
    return items or None


def _check_count(key: str, items: Iterable[Any]) -> None:
    count = sum(1 for _ in items)
    if count > MAX_LISTED:
        raise _wrong(f'"{key}" has {count} entries; at most {MAX_LISTED} are taken.')


def _json_value(given: Mapping[str, Any], key: str) -> Any:
    """A value that may be written as JSON inside a string."""
    value = given.get(key)
    if not isinstance(value, str):
        return value
    if not value.strip():
        return None
    try:
        read = json_text.read(value)
    except json_text.InvalidJson as bad:
        raise CallError(
            f'"{key}" is a string that {bad}.', "Give the object itself, or exactly its JSON."
        ) from None
    _check(key, read)
    return read


LIST_HINT = '{"info": "workflows"} lists them.'


def _wrong(what: str, hint: str = "") -> CallError:
    return CallError(what, f"{hint} A correct call: {EXAMPLE_CALL}".strip())


def _document(raw: bytes) -> dict[str, Any]:
    if len(raw) > MAX_MEGABYTES * 2**20:
        raise _wrong(
            f"The call is larger than {MAX_MEGABYTES} MB.",
            "Give large pictures as a URL or a file path, not inside the JSON.",
        )
    try:
        text = raw.decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise _wrong(f"The call is not UTF-8 (byte {error.start}).") from None
    if not text.strip("\0 \t\r\n"):
        raise _wrong("Nothing arrived on stdin.")
    try:
        document = json_text.read(text)
    except json_text.InvalidJson as bad:
        raise _wrong(f"The call {bad}.") from None
    if not isinstance(document, dict):
        raise _wrong(f"A call is one JSON object, not {_kind(document)}.")
    return document


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "true or false"}
    return names.get(type(value), "a number" if value is not None else "null")


def _check(key: str, value: Any) -> None:
    """Refuse what no file system, no socket and no model can take, at any depth.

    A whole workflow may hold NaN where nothing reads it; there it is looked for before the run.
    """
    shown = key[:SHOWN].encode("utf-8", "replace").decode()
    waiting = [key, value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            _check_text(shown, one)
        elif isinstance(one, dict):
            waiting.extend(one)
            waiting.extend(one.values())
        elif isinstance(one, list):
            waiting.extend(one)
    if key != "workflow_json" and (odd := json_text.non_finite(value)) is not None:
        told = odd if odd == "NaN" else f"{odd}, or a number with too many digits"
        raise _wrong(f'"{shown}" holds {told}; no input takes that.', "Give a plain number.")


def _check_text(key: str, text: str) -> None:
    if "\0" in text:
        raise _wrong(f'"{key}" holds a NUL character.', "Remove it.")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise _wrong(
            f'"{key}" holds half of a character (a lone surrogate).', "Remove it."
        ) from None


def _command(given: Mapping[str, Any]) -> tuple[str, str]:
    info = (_text(given, "info") or "").lower()
    command = (_text(given, "command") or ("info" if info else "run")).lower()
    if command not in COMMANDS:
        raise _wrong(
            f'"command" is {command[:SHOWN]!r}, which this tool does not know.', _one_of(COMMANDS)
        )
    if command == "info" and info not in INFO:
        told = f'"info" is {info[:SHOWN]!r}.' if info else '"info" is missing.'
        raise CallError(told, f'{_one_of(INFO)} A correct call: {{"info": "workflows"}}')
    return command, info


def _one_of(names: tuple[str, ...]) -> str:
    return f"It is one of: {', '.join(names)}."


def _text(given: Mapping[str, Any], key: str, *, empty: bool = False) -> str | None:
    """A string; an empty one is nothing, except where ``empty`` has a meaning."""
    value = given.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise _wrong(f'"{key}" is {_kind(value)}; it has to be a string.')
    text = str(value).strip()
    return text if text or empty else None


def _whole(given: Mapping[str, Any], key: str, low: int, high: int) -> int | None:
    text = _text(given, key)
    if text is None:
        return None
    number = whole_number(text)
    if number is None or not low <= number <= high:
        raise _wrong(
            f'"{key}" is {text[:SHOWN]!r}; it has to be a whole number from {low} to {high}.'
        )
    return number


WIDE_DIGITS = str.maketrans("０１２３４５６７８９．－", "0123456789.-")
"""As Chinese and Japanese input methods write numbers."""


def _ascii_digits(text: str) -> str:
    return text.translate(WIDE_DIGITS) if len(text) <= numbers.MAX_DIGITS else text


def whole_number(text: str) -> int | None:
    """``"512"`` and ``"512.0"`` -> 512, ``"-1"`` -> -1; None for anything else, or beyond a seed."""
    head, _, tail = _ascii_digits(text).partition(".")
    if tail.strip("0") or head[1:2] in ("+", "-"):
        return None
    number = parse_count(head.lstrip("+-"), at_most=MAX_SEED)
    return -number if number is not None and head.startswith("-") else number


def _seed(given: Mapping[str, Any]) -> int | None:
    """A seed that is kept, or None when it is to be drawn: absent, -1, "random"."""
    text = _text(given, "seed")
    if text is None or text.lower() == "random" or whole_number(text) == -1:
        return None
    return _whole(given, "seed", 0, MAX_SEED)


PARAMS_FORM = '[{"node_title": "Positive Prompt", "inputs": {"text": "a red fox"}}]'


def _params(value: Any, every: bool) -> tuple[Param, ...]:
    if isinstance(value, str):
        if not value.strip():
            return ()
        try:
            value = json_text.read(value)
        except json_text.InvalidJson as bad:
            raise CallError(
                f'"params" is a string, not a JSON list; it {bad}.', f"It looks like {PARAMS_FORM}"
            ) from None
        _check("params", value)
    if value is None:
        return ()
    if not isinstance(value, list):
        raise CallError(f'"params" is {_kind(value)}, not a list.', f"It looks like {PARAMS_FORM}")
    _check_count("params", value)
    return tuple(_param(item, place, every) for place, item in enumerate(value, start=1))


def _param(item: Any, place: int, every: bool) -> Param:
    def wrong(what: str) -> CallError:
        return CallError(f'Entry {place} of "params" {what}.', f"It looks like {PARAMS_FORM}")

    if not isinstance(item, dict):
        raise wrong(f"is {_kind(item)}, not an object")
    node_id, title = item.get("node_id"), item.get("node_title")
    if node_id in (None, "") and title in (None, ""):
        raise wrong("names no node: it needs node_title or node_id")
    for name, value in (("node_id", node_id), ("node_title", title)):
        if isinstance(value, (bool, float, list, dict)):
            raise wrong(f"has {_kind(value)} as {name}")
    inputs = item.get("inputs")
    if not isinstance(inputs, dict) or not inputs:
        raise wrong('has no "inputs": an object of input names and new values')
    return Param(
        inputs,
        node_id=None if node_id in (None, "") else str(node_id).strip(),
        node_title=None if title in (None, "") else str(title),
        all=every or _switch(item, "all"),
    )


def _doubts(document: Mapping[str, Any]) -> dict[str, str]:
    """Unknown keys so near to a known one that the caller surely meant that."""
    strange = [key for key in document if key not in KNOWN and len(key) <= SHOWN][:DOUBTED]
    if not strange:
        return {}
    from difflib import get_close_matches

    near = ((key, get_close_matches(key.lower(), KNOWN, 1, 0.85)) for key in strange)
    return {key: f'"{key}" was ignored; did you mean "{found[0]}"?' for key, found in near if found}
