"""Arguments as an AI writes them (all strings, extra keys, lists inside strings) -> a ToolCall."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from comfyui_pipeline.errors import CallError

EXAMPLE = '{"workflow": "text2img_api", "prompt": "a red fox in the snow", "width": "768"}'
COMMANDS = ("run", "info")
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
MAX_SEED = 2**64 - 1
MAX_SIDE = 16384

KNOWN = frozenset(
    [
        "command",
        "workflow",
        "params",
        "prompt",
        "negative_prompt",
        "seed",
        "image",
        "width",
        "height",
        "info",
    ]
)
"""Every other key belongs to the host (``maid``, ``valet``, ``tool_password``…) or to nobody."""


@dataclass(frozen=True, slots=True)
class Param:
    """One entry of ``params``: new values for the inputs of one node."""

    inputs: Mapping[str, Any]
    node_id: str | None = None
    node_title: str | None = None


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call, typed and checked. What the caller did not give is None."""

    command: str
    info: str = ""
    workflow: str = ""
    params: tuple[Param, ...] = ()
    prompt: str | None = None
    negative_prompt: str | None = None
    seed: int | None = None
    image: str | None = None
    width: int | None = None
    height: int | None = None
    doubts: tuple[str, ...] = field(default=())  # keys that look like a slip of the pen

    @property
    def needs_packages(self) -> bool:
        """Whether the command talks to a server; a list of workflows needs only the disk."""
        return not (self.command == "info" and self.info == "workflows")


def parse(raw: bytes) -> ToolCall:
    """Read one call. Raises CallError naming the key at fault and showing a correct call."""
    document = _document(raw)
    given = {key: value for key, value in document.items() if key in KNOWN and value is not None}
    for key, value in given.items():
        _check_text(key, value)
    command, info = _command(given)
    if command == "info":
        return ToolCall(command, info=info)
    workflow = _text(given, "workflow")
    if not workflow:
        raise _wrong('"workflow" is missing: the name of a file in workflows/.', LIST_HINT)
    return ToolCall(
        command,
        workflow=workflow,
        params=_params(given.get("params")),
        prompt=_text(given, "prompt"),
        negative_prompt=_text(given, "negative_prompt", empty=True),
        seed=_seed(given),
        image=_text(given, "image"),
        width=_whole(given, "width", 1, MAX_SIDE),
        height=_whole(given, "height", 1, MAX_SIDE),
        doubts=_doubts(document),
    )


LIST_HINT = '{"info": "workflows"} lists them.'


def _wrong(what: str, hint: str = "") -> CallError:
    return CallError(what, f"{hint} A correct call: {EXAMPLE}".strip())


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
        document = json.loads(text, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise _wrong(f"The call is not JSON: {error.msg} at {where}.") from None
    except RecursionError:
        raise _wrong("The call is nested too deeply.") from None
    except ValueError:
        raise _wrong("The call holds a number with too many digits.") from None
    if not isinstance(document, dict):
        raise _wrong(f"A call is one JSON object, not {_kind(document)}.")
    return document


def _no_constant(name: str) -> Any:
    raise _wrong(f"The call holds {name}, which is not JSON.")


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "true or false"}
    return names.get(type(value), "a number" if value is not None else "null")


def _check_text(key: str, value: Any) -> None:
    """Refuse what no file system, no socket and no model can take."""
    if isinstance(value, str):
        if "\0" in value:
            raise _wrong(f'"{key}" holds a NUL character.', "Remove it.")
        if any("\ud800" <= letter <= "\udfff" for letter in value):
            raise _wrong(f'"{key}" holds half of a character (a lone surrogate).', "Remove it.")
    elif isinstance(value, list):
        for item in value:
            _check_text(key, item)
    elif isinstance(value, dict):
        for name, item in value.items():
            _check_text(key, name)
            _check_text(key, item)


def _command(given: Mapping[str, Any]) -> tuple[str, str]:
    info = (_text(given, "info") or "").lower()
    command = (_text(given, "command") or ("info" if info else "run")).lower()
    if command not in COMMANDS:
        raise _wrong(f'"command" is {command!r}, which this tool does not know.', _one_of(COMMANDS))
    if command == "info" and info not in INFO:
        told = f'"info" is {info!r}.' if info else '"info" is missing.'
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
        raise _wrong(f'"{key}" is {text[:40]!r}; it has to be a whole number from {low} to {high}.')
    return number


def whole_number(text: str) -> int | None:
    """``"512"`` and ``"512.0"`` -> 512; anything else -> None."""
    head, _, tail = text.partition(".")
    if tail.strip("0") or len(head) > 40:
        return None
    try:
        return int(head)
    except ValueError:
        return None


def _seed(given: Mapping[str, Any]) -> int | None:
    """A seed that is kept, or None when it is to be drawn: absent, -1, "random"."""
    text = _text(given, "seed")
    if text is None or text.lower() == "random" or whole_number(text) == -1:
        return None
    return _whole(given, "seed", 0, MAX_SEED)


PARAMS_FORM = '[{"node_title": "Positive Prompt", "inputs": {"text": "a red fox"}}]'


def _params(value: Any) -> tuple[Param, ...]:
    if isinstance(value, str):
        if not value.strip():
            return ()
        try:
            value = json.loads(value, parse_constant=_no_constant)
        except (ValueError, RecursionError):
            raise CallError(
                '"params" is a string that is not a JSON list.', f"It looks like {PARAMS_FORM}"
            ) from None
        _check_text("params", value)
    if value is None:
        return ()
    if not isinstance(value, list):
        raise CallError(f'"params" is {_kind(value)}, not a list.', f"It looks like {PARAMS_FORM}")
    return tuple(_param(item, place) for place, item in enumerate(value, start=1))


def _param(item: Any, place: int) -> Param:
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
    )


def _doubts(document: Mapping[str, Any]) -> tuple[str, ...]:
    """Unknown keys so near to a known one that the caller surely meant that."""
    strange = [key for key in document if key not in KNOWN]
    if not strange:
        return ()
    from difflib import get_close_matches

    near = ((key, get_close_matches(key.lower(), KNOWN, 1, 0.85)) for key in strange)
    return tuple(
        f'"{key[:40]}" was ignored; did you mean "{found[0]}"?' for key, found in near if found
    )
