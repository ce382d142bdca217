"""The one place that keeps an answer small, whatever nodes, servers and callers put into it.

Text for the AI and fields for programs stay below ``MOST`` bytes of UTF-8 together; pictures
(``image_url`` parts) have limits of their own. Encoded files in texts are replaced by a note. All
functions take time in proportion to their input. Runs on older Pythons than the rest, as ``answer``.
"""

from __future__ import annotations

import base64
import json
import math
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

MAX_RESPONSE_BYTES = 20_000
"""Bytes of an answer without its pictures."""
MOST_TEXT = 12_000
"""Bytes of its text; fields get what is left."""
MAX_ERROR_BYTES = 6_000
MAX_VALUE_CHARS = 1_000
"""Characters of one string among the fields, unless it names a file."""
MOST_DEPTH = 12
KEPT = ("path", "url", "file", "prompt_id", "sha256")
"""Fields that are of no use when they are cut."""
SHORTEST = 512
"""Characters in the alphabet of base64 that count as an encoded file when they stand in one piece."""
SHORTEST_URI = 100
"""Characters behind the comma of a data: URI that is not base64."""

_RUN = re.compile(r"[A-Za-z0-9+/_\-\\]+={0,2}")  # a backslash: JSON inside JSON writes \/
_LINES = re.compile(
    r"^(?:[ \t>]{0,8}[A-Za-z0-9+/_\-]{60,90}[ \t]{0,4}\r?\n){4,}[ \t>]{0,8}[A-Za-z0-9+/_\-]*={0,2}",
    re.MULTILINE,
)
"""Base64 in lines (RFC 2045, 6.8)."""
_URI = re.compile(
    r"(?<!\w)data:[\w.+\-/\\]{0,100}(?:;[\w.+\-]{1,40}(?:=[\w.+\-\"]{0,80})?){0,6},", re.IGNORECASE
)
"""RFC 2397."""
_URI_END = re.compile(r"""[\s"'<>)\]}|]""")


def _span_of_base64(text: str, begin: int) -> int:
    """Where base64 that begins here ends, with the lines that follow it."""
    run = _RUN.match(text, begin)
    end = run.end() if run else begin
    following = end + (2 if text.startswith("\r\n", end) else 1)
    if text[end : end + 1] in ("\r", "\n") and (lines := _LINES.match(text, following)):
        return lines.end()
    return end


def encoded_parts(text: str) -> Iterator[tuple[int, int]]:
    """Where ``data:`` URIs and long base64 stand in a text: begin and end, in order, never overlapping."""
    at = 0
    for begin, end in sorted([*_uris(text), *_base64(text)]):
        if begin >= at:
            yield begin, end
            at = end


def _uris(text: str) -> Iterator[tuple[int, int]]:
    for match in _URI.finditer(text):
        body = match.end()
        if ";base64" in match.group().lower():
            yield match.start(), _span_of_base64(text, body)
        elif "/" in match.group():
            found = _URI_END.search(text, body)
            end = found.start() if found else len(text)
            if end - body >= SHORTEST_URI:
                yield match.start(), end


def _base64(text: str) -> Iterator[tuple[int, int]]:
    for match in _RUN.finditer(text):
        begin, end = match.span()
        long = end - begin >= SHORTEST and not _is_uniform(match.group())
        if long and not _in_address(text, begin):
            yield begin, _span_of_base64(text, begin)
    for match in _LINES.finditer(text):
        yield match.span()


def _in_address(text: str, at: int) -> bool:
    """Whether a place lies in the path of a URL."""
    words = text[max(0, at - 300) : at].split()
    return (
        bool(words) and not text[at - 1].isspace() and "://" in words[-1] and "?" not in words[-1]
    )


def _is_uniform(run: str) -> bool:
    """A rule of dashes or one letter again and again is no file."""
    return len(set(run)) < 8


def decoded(part: str) -> bytes | None:
    """The bytes behind a ``data:`` URI or base64 text; None when it is not valid base64."""
    head, comma, body = part.partition(",") if part[:5].lower() == "data:" else ("", "", part)
    if comma and ";base64" not in head.lower():
        return None
    letters = re.sub(r"[\s>\\=]+", "", body).replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(letters + "=" * (-len(letters) % 4), validate=True)
    except ValueError:
        return None


def without_encoded_files(text: str, note: Callable[[str], str] | None = None) -> str:
    """The text with each encoded file replaced by ``note`` of it (default: how long it was)."""
    if len(text) < 64:
        return text
    pieces, at = [], 0
    for begin, end in encoded_parts(text):
        part = text[begin:end]
        pieces += [text[at:begin], note(part) if note else _note(part)]
        at = end
    return "".join([*pieces, text[at:]]) if pieces else text


def _note(part: str) -> str:
    kind = "data: URI" if part[:5].lower() == "data:" else "base64"
    return f"({kind} of {max(1, len(part) // 1024)} KB left out)"


def size(value: Any) -> int:
    """Bytes of a value as it goes into the answer."""
    return len(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))


def cut(text: str, most: int, end: str = "…") -> str:
    """At most ``most`` bytes of JSON of a text: its beginning, and ``end`` where something is missing."""
    if len(text) <= most // 6 or size(text) - 2 <= most:
        return text
    room = most - (size(end) - 2)
    low, high = 0, min(len(text), most)
    while low < high:  # the longest beginning that fits
        middle = (low + high + 1) // 2
        low, high = (middle, high) if size(text[:middle]) - 2 <= room else (low, middle - 1)
    return text[:low].rstrip() + end


def bounded_error(text: str, remains: str = "") -> str:
    """An error for the answer: its beginning and its end, without encoded files.

    ``remains``: what the call has queued and stored, which stays in full as far as possible.
    """
    return f"{_shortened(text)} {cut(remains, MOST_TEXT)}".strip()


def _shortened(text: str) -> str:
    text = without_encoded_files(text[: 64 * MAX_RESPONSE_BYTES])
    if size(text) <= MAX_ERROR_BYTES:
        return text
    kept = cut(text, MAX_ERROR_BYTES * 2 // 3, "")
    rest = cut(text[: -MAX_ERROR_BYTES // 2 - 1 : -1], MAX_ERROR_BYTES // 4, "")[::-1]
    return f"{kept} … ({len(text)} characters in all) … {rest}"


def bounded(
    result: Mapping[str, Any],
    save: Callable[[bytes], str] | None = None,
    most: int = MAX_RESPONSE_BYTES,
) -> dict[str, Any]:
    """The result within ``most`` bytes beside its pictures.

    What does not fit is cut: texts at their end, lists and maps behind their first entries; then
    ``truncated`` names the fields, and ``save`` is given all fields as JSON and says where they are
    kept (``all_fields``). ``save`` may fail.
    """
    pictures = [part for part in result.get("content", ()) if part.get("type") != "text"]
    text = "\n".join(p["text"] for p in result.get("content", ()) if p.get("type") == "text")
    fields = {name: _clean(value) for name, value in result.items() if name != "content"}
    clean = without_encoded_files(text)
    whole = {"content": [{"type": "text", "text": clean}], **fields}
    if size(whole) <= most:
        return {**fields, "content": [{"type": "text", "text": clean}, *pictures]}
    kept = _saved(save, _without_urls(fields if "outputs" in fields else {"text": clean, **fields}))
    end = f"… (cut; all of it: {kept})" if kept else "… (cut)"
    shown = cut(clean, most * MOST_TEXT // MAX_RESPONSE_BYTES, end)
    content = [{"type": "text", "text": shown}]
    room = most - size({"content": content, "truncated": MOST_NAMES, "all_fields": kept})
    small, truncated = _shrunk_fields(fields, room)
    extra: dict[str, Any] = {"truncated": truncated, "all_fields": kept} if truncated else {}
    return {**small, **extra, "content": [*content, *pictures]}


MOST_NAMES = ["a field's name"] * 10
"""Room for the names of cut fields."""


def _saved(save: Callable[[bytes], str] | None, fields: Mapping[str, Any]) -> str:
    if save is None:
        return ""
    try:
        kept = save(json.dumps(fields, ensure_ascii=False, indent=1).encode("utf-8", "replace"))
    except Exception:  # the answer matters more than its long form
        return ""
    return kept if len(kept) <= MAX_VALUE_CHARS // 2 else ""


def _without_urls(value: Any) -> Any:
    """Fields as they may lie in a file: addresses hold a key."""
    if isinstance(value, dict):
        return {name: _without_urls(item) for name, item in value.items() if name != "url"}
    return [_without_urls(item) for item in value] if isinstance(value, list) else value


def _clean(value: Any, depth: int = 0) -> Any:
    """Only what JSON has, without encoded files: no NaN, no odd types, no endless nesting."""
    if isinstance(value, str):
        return without_encoded_files(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if value.bit_length() <= 256 else "a number of more than 256 bits"
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if depth >= MOST_DEPTH:
        return "…"
    if isinstance(value, dict):
        return {
            str(name): item if name in KEPT and isinstance(item, str) else _clean(item, depth + 1)
            for name, item in value.items()
        }
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_clean(item, depth + 1) for item in value]
    return str(value)


def _shrunk_fields(fields: Mapping[str, Any], room: int) -> tuple[dict[str, Any], list[str]]:
    """The smallest fields first, so that a long one takes no room from the others."""
    order = sorted(fields, key=lambda name: size(fields[name]))
    kept: dict[str, Any] = {}
    truncated = []
    for place, name in enumerate(order):
        cost = size(name) + 4
        share = (room - cost) // (len(order) - place)
        value = fields[name] if size(fields[name]) <= share else _shrunk(fields[name], share)
        if value is not fields[name]:
            truncated.append(cut(str(name), 16))
        if value is None and fields[name] is not None:
            continue  # not even an empty one fits
        kept[name] = value
        room -= cost + size(value)
    return {name: kept[name] for name in fields if name in kept}, truncated[: len(MOST_NAMES)]


def _shrunk(value: Any, room: int) -> Any:
    """The beginning of a value within ``room`` bytes; None where nothing of it fits."""
    if size(value) <= room:
        return value
    if isinstance(value, str):
        return cut(value, min(room - 2, MAX_VALUE_CHARS)) if room > 8 else None
    if isinstance(value, dict):
        return _shrunk_map(value, room)
    if isinstance(value, list):
        return _shrunk_list(value, room)
    return None


def _shrunk_list(values: list[Any], room: int) -> list[Any] | None:
    kept: list[Any] = []
    room -= 2
    for value in values:
        small = value if size(value) + 2 <= room else (None if kept else _shrunk(value, room - 2))
        if small is None:
            break
        kept.append(small)
        room -= size(small) + 2
    return kept if room >= 0 else None


def _shrunk_map(values: dict[str, Any], room: int) -> dict[str, Any] | None:
    kept: dict[str, Any] = {}
    room -= 2
    for name, value in values.items():
        cost = size(name) + 4
        small = value
        if cost + size(value) > room:
            small = None if name in KEPT else _shrunk(value, min(room - cost, MAX_VALUE_CHARS))
        if small is None:
            continue
        kept[name] = small
        room -= cost + size(small)
        if room < 16:
            break
    return kept if room >= 0 else None
