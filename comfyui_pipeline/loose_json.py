"""JSON as language models write it into strings: in code fences, with typographic quotation marks."""

from __future__ import annotations

import re
from typing import Any

from comfyui_pipeline.bounded import json_text

_FENCE = re.compile(r"```[a-zA-Z0-9]{0,10}")
_TRAILING_COMMA = re.compile(r",(?=\s*[\]}])")
_QUOTES = str.maketrans({"“": '"', "”": '"', "„": '"', "«": '"', "»": '"', "＂": '"'})
_OUTSIDE = str.maketrans({"，": ",", "：": ":", "［": "[", "］": "]", "｛": "{", "｝": "}"})
_STRING = re.compile(r'"(?:[^"\\]|\\.)*(?:"|\\?\Z)', re.DOTALL)
_WORDS = re.compile(r"\b(True|False|None)\b")
_PYTHON = {"True": "true", "False": "false", "None": "null"}
MAX_REPAIRED = 256 * 1024
"""Characters; longer texts are read as they are."""


def read_loosely(text: str) -> Any:
    """Parse JSON; where it is invalid, without what is only a slip of writing. Raises InvalidJson."""
    try:
        return json_text.read(text)
    except json_text.InvalidJson as invalid:
        if len(text) > MAX_REPAIRED:
            raise
        error = invalid
    for repaired in _repairs(text):
        try:
            return json_text.read(repaired)
        except json_text.InvalidJson:
            continue
    raise error


def _repairs(text: str) -> list[str]:
    bare = _without_fence(text)
    found = [bare, _mend(bare), _mend(bare.translate(_QUOTES))]
    if "'" in bare and '"' not in bare and "\\" not in bare:
        found.append(_mend(bare.replace("'", '"')))
    if '\\"' in bare:
        found.append(_mend(bare.replace('\\"', '"')))
    return found


def _without_fence(text: str) -> str:
    text = text.strip()
    begin = _FENCE.match(text)
    if begin is None:
        return text
    body, _, _ = text[begin.end() :].rpartition("```")
    return (body or text[begin.end() :]).strip()


def _mend(text: str) -> str:
    """Without trailing commas, and with JSON's marks and words; strings stay as they are."""
    pieces, at = [], 0
    for string in _STRING.finditer(text):
        pieces += [_mend_outside(text[at : string.start()]), string[0]]
        at = string.end()
    mended = "".join([*pieces, _mend_outside(text[at:])])
    return _drop_commas(mended)


def _mend_outside(text: str) -> str:
    return _WORDS.sub(lambda match: _PYTHON[match[0]], text.translate(_OUTSIDE))


def _drop_commas(text: str) -> str:
    pieces, at = [], 0
    for string in _STRING.finditer(text):
        # a comma may stand directly before a string, never belongs to one
        pieces += [_TRAILING_COMMA.sub("", text[at : string.start()]), string[0]]
        at = string.end()
    return "".join([*pieces, _TRAILING_COMMA.sub("", text[at:])])
