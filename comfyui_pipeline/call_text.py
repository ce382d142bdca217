"""The text of a call out of the bytes that a shell sends: its encoding, and quotes around all of it."""

from __future__ import annotations

import re
from typing import Any

from comfyui_pipeline.bounded import json_text
from comfyui_pipeline.process.encoding import utf16_of

FILE_CALL = (
    "Write the call into a file call.json, saved as UTF-8, and run `python3 comfyui_plugin.py < call.json` "
    '(Windows: `py comfyui_plugin.py < call.json`, in PowerShell `cmd /c "py comfyui_plugin.py < '
    'call.json"`).'
)
GBK_NOTE = (
    "The call was not UTF-8 and was read as GBK; if its text is wrong, send it as UTF-8. "
    + FILE_CALL
)
_LOST = re.compile(r"[?\s]+")


def decode(raw: bytes) -> tuple[str, str]:
    """Return the text, and what the caller should know about it. Raises UnicodeDecodeError."""
    if encoding := utf16_of(raw):
        return raw.decode(encoding).removeprefix("\ufeff"), ""
    try:
        return raw.decode("utf-8-sig"), ""
    except UnicodeDecodeError as error:
        try:
            return raw.decode("gb2312"), GBK_NOTE  # GBK has more, but takes Latin-1 for Chinese
        except UnicodeDecodeError:
            raise error from None


def read_json(text: str) -> Any:
    """Parse a call, also one that a shell has passed on with its quotes. Raises InvalidJson."""
    try:
        return _unwrapped(json_text.read(text))
    except json_text.InvalidJson as invalid:
        error = invalid
    for inside in _without_quotes(text):
        try:
            return _unwrapped(json_text.read(inside))
        except json_text.InvalidJson:
            continue
    raise error


def _unwrapped(value: Any) -> Any:
    """The object in a JSON string that holds one; any other value as it is."""
    return json_text.read(value) if isinstance(value, str) and _is_object(value.strip()) else value


def _without_quotes(text: str) -> list[str]:
    """What a text in quotes may have been before a shell: cmd passes on ``'…'``, ``"…"``, ``\\"``."""
    text = text.strip()
    bare = text[1:-1].strip() if text[:1] in ("'", '"') and text[:1] == text[-1:] else text
    found = [bare] if bare != text and (_is_object(bare) or _is_object(bare[1:-1])) else []
    return [*found, bare.replace('\\"', '"')] if re.match(r'\{\s*\\"', bare) else found


def _is_object(text: str) -> bool:
    return text.startswith("{") and text.endswith("}")


def lost_key(raw: bytes, document: dict[str, Any]) -> str:
    """Return the key of a value that is question marks in place of other characters; "" if none is.

    PowerShell 5.1 sends ASCII to programs.
    """
    if not raw.isascii():
        return ""
    texts = (key for key, value in document.items() if isinstance(value, str) and "??" in value)
    return next((key for key in texts if _LOST.fullmatch(document[key])), "")
