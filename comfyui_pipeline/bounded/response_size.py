"""Keep a result small, whatever nodes, servers and callers put into it.

Text for the AI and fields for programs are limited together; images (``image_url`` parts) have
limits of their own. Encoded files in texts are replaced by a note.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from comfyui_pipeline.bounded.encoded_files import without_encoded_files
from comfyui_pipeline.bounded.truncate import (
    MAX_RESPONSE_BYTES,
    MAX_TEXT_BYTES,
    json_size,
    truncate,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MAX_FIELD_CHARS = 1_000
"""Characters of one string among the fields, unless it identifies a file."""
MAX_DEPTH = 12
UNCUT_FIELDS = ("path", "url", "file", "prompt_id", "sha256")
"""Fields that are useless when truncated: they are left out instead."""
TRUNCATED_NAMES = ["a field's name"] * 10
"""Room for the names of truncated fields."""


def bound_response(
    result: Mapping[str, Any],
    save: Callable[[bytes], str] | None = None,
    max_bytes: int = MAX_RESPONSE_BYTES,
) -> dict[str, Any]:
    """Return the result within ``max_bytes``, not counting images.

    If it is too large, texts are truncated, and lists and objects lose their last entries. Then
    ``truncated`` names these fields and ``all_fields`` is where ``save`` has stored all of them as
    JSON. ``save`` may raise.
    """
    images = [part for part in result.get("content", ()) if part.get("type") != "text"]
    text = "\n".join(p["text"] for p in result.get("content", ()) if p.get("type") == "text")
    fields = {name: _clean(value) for name, value in result.items() if name != "content"}
    clean = without_encoded_files(text)
    if json_size({"content": [_text(clean)], **fields}) <= max_bytes:
        return {**fields, "content": [_text(clean), *images]}
    saved = _save(save, _without_urls(fields if "outputs" in fields else {"text": clean, **fields}))
    end = f"… (truncated; complete: {saved})" if saved else "… (truncated)"
    content = [_text(truncate(clean, max_bytes * MAX_TEXT_BYTES // MAX_RESPONSE_BYTES, end))]
    used = json_size({"content": content, "truncated": TRUNCATED_NAMES, "all_fields": saved})
    small, truncated = _shrink_fields(fields, max_bytes - used)
    extra: dict[str, Any] = {"truncated": truncated, "all_fields": saved} if truncated else {}
    return {**small, **extra, "content": [*content, *images]}


def _text(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}


def _save(save: Callable[[bytes], str] | None, fields: Mapping[str, Any]) -> str:
    if save is None:
        return ""
    try:
        place = save(json.dumps(fields, ensure_ascii=False, indent=1).encode("utf-8", "replace"))
    except Exception:  # the truncated response is still useful
        return ""
    return place if len(place) <= MAX_FIELD_CHARS // 2 else ""


def _without_urls(value: Any) -> Any:
    """Fields for a file: without URLs, as these contain a key."""
    if isinstance(value, dict):
        return {name: _without_urls(item) for name, item in value.items() if name != "url"}
    return [_without_urls(item) for item in value] if isinstance(value, list) else value


def _clean(value: Any, depth: int = 0) -> Any:
    """Return the value with JSON types only, without NaN, encoded files and deep nesting."""
    if isinstance(value, str):
        return without_encoded_files(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if value.bit_length() <= 256 else "a number of more than 256 bits"
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if depth >= MAX_DEPTH:
        return "…"
    if isinstance(value, dict):
        return {
            str(name): item
            if name in UNCUT_FIELDS and isinstance(item, str)
            else _clean(item, depth + 1)
            for name, item in value.items()
        }
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_clean(item, depth + 1) for item in value]
    return str(value)


def _shrink_fields(fields: Mapping[str, Any], room: int) -> tuple[dict[str, Any], list[str]]:
    """Return the fields within ``room`` bytes, and the names of those that were truncated.

    The smallest fields come first, so that a long one takes no room from the others.
    """
    order = sorted(fields, key=lambda name: json_size(fields[name]))
    kept: dict[str, Any] = {}
    truncated = []
    for place, name in enumerate(order):
        cost = json_size(name) + 4
        share = (room - cost) // (len(order) - place)
        value = fields[name] if json_size(fields[name]) <= share else _shrink(fields[name], share)
        if value is not fields[name]:
            truncated.append(truncate(str(name), 16))
        if value is None and fields[name] is not None:
            continue  # not even an empty one fits
        kept[name] = value
        room -= cost + json_size(value)
    small = {name: kept[name] for name in fields if name in kept}
    return small, truncated[: len(TRUNCATED_NAMES)]


def _shrink(value: Any, room: int) -> Any:
    """Return the beginning of a value within ``room`` bytes; None if nothing of it fits."""
    if json_size(value) <= room:
        return value
    if isinstance(value, str):
        return truncate(value, min(room - 2, MAX_FIELD_CHARS)) if room > 8 else None
    if isinstance(value, dict):
        return _shrink_object(value, room)
    if isinstance(value, list):
        return _shrink_list(value, room)
    return None


def _shrink_list(values: list[Any], room: int) -> list[Any] | None:
    kept: list[Any] = []
    room -= 2
    for value in values:
        fits = json_size(value) + 2 <= room
        small = value if fits else (None if kept else _shrink(value, room - 2))
        if small is None:
            break
        kept.append(small)
        room -= json_size(small) + 2
    return kept if room >= 0 else None


def _shrink_object(values: dict[str, Any], room: int) -> dict[str, Any] | None:
    kept: dict[str, Any] = {}
    room -= 2
    for name, value in values.items():
        cost = json_size(name) + 4
        small = value
        if cost + json_size(value) > room:
            uncut = name in UNCUT_FIELDS
            small = None if uncut else _shrink(value, min(room - cost, MAX_FIELD_CHARS))
        if small is None:
            continue
        kept[name] = small
        room -= cost + json_size(small)
        if room < 16:
            break
    return kept if room >= 0 else None
