"""The JSON object of a call: parsed from bytes, with values that every later stage can handle."""

from __future__ import annotations

from typing import Any

from comfyui_pipeline.bounded import json_text
from comfyui_pipeline.call_text import FILE_CALL, decode, lost_key, read_json
from comfyui_pipeline.errors import CallError
from comfyui_pipeline.process.stdin import EXAMPLE_CALL, MAX_CALL_BYTES

MAX_SHOWN = 40
"""Characters of an invalid value that an error repeats."""


def read_document(raw: bytes) -> tuple[dict[str, Any], str]:
    """Parse the bytes of a call into an object; return it, and what the caller should know about
    their encoding ("" for nothing). Raises CallError.
    """
    if len(raw) > MAX_CALL_BYTES:
        raise invalid_call(
            f"The call is larger than {MAX_CALL_BYTES >> 20} MB.",
            "Give large images as a URL or a file path, not inside the JSON.",
        )
    try:
        text, note = decode(raw)
    except UnicodeDecodeError as error:
        what = "UTF-16" if error.encoding.startswith("utf-16") else "UTF-8"
        raise invalid_call(f"The call is not {what} (byte {error.start}).", FILE_CALL) from None
    text = text.strip()
    if not text.strip("\0 \t\r\n"):
        raise invalid_call("Nothing arrived on stdin.")
    try:
        document = read_json(text)
    except json_text.InvalidJson as invalid:
        raise invalid_call(f"The call {invalid}.") from None
    if not isinstance(document, dict):
        raise invalid_call(f"A call is one JSON object, not {type_name(document)}.")
    if key := lost_key(raw, document):
        raise invalid_call(
            f'"{key[:MAX_SHOWN]}" is only question marks: the shell has replaced its characters, as '
            "PowerShell 5.1 does.",
            FILE_CALL,
        )
    return document, note


def check_value(key: str, value: Any) -> None:
    """Reject what no file system, socket or model accepts: NUL, lone surrogates, NaN, at any depth.

    A workflow may hold NaN where nothing reads it; it is checked for that before it is queued.
    """
    shown = key[:MAX_SHOWN].encode("utf-8", "replace").decode()
    waiting = [key, value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            _check_text(shown, item)
        elif isinstance(item, dict):
            waiting.extend(item)
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)
    if key != "workflow_json" and (found := json_text.non_finite(value)) is not None:
        what = found if found == "NaN" else f"{found}, or a number with too many digits"
        raise invalid_call(
            f'"{shown}" contains {what}, which no input accepts.', "Give a plain number."
        )


def _check_text(key: str, text: str) -> None:
    if "\0" in text:
        raise invalid_call(f'"{key}" contains a NUL character.', "Remove it.")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise invalid_call(
            f'"{key}" contains a lone surrogate (half a character).', "Remove it."
        ) from None


def type_name(value: Any) -> str:
    """How an error names the type of a JSON value."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "true or false"}
    return names.get(type(value), "a number" if value is not None else "null")


def invalid_call(what: str, hint: str = "", example: str = EXAMPLE_CALL) -> CallError:
    """A CallError that ends with a correct call."""
    return CallError(what, f"{hint} A correct call: {example}".strip())
