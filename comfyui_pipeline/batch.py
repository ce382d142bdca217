"""Several calls in one: side by side, an answer for each."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from comfyui_pipeline.errors import ToolError
from comfyui_pipeline.tool_call import ToolCall

SIDE_BY_SIDE = 4
PICTURES_TOGETHER = 1024 * 1024
"""Bytes of all pictures inside one answer."""


def batch(
    parts: Sequence[ToolCall], perform: Callable[[ToolCall], Mapping[str, Any]]
) -> dict[str, Any]:
    """Perform every part; a part that fails does not stop the others.

    Raises ToolError when all of them fail.
    """

    def one(part: ToolCall) -> Mapping[str, Any] | ToolError:
        try:
            return perform(part)
        except ToolError as error:
            return error
        except Exception as error:
            traceback.print_exc(file=sys.stderr)
            return ToolError(f"An unforeseen fault inside the tool ({type(error).__name__}).")

    with ThreadPoolExecutor(min(SIDE_BY_SIDE, len(parts))) as pool:
        told = list(pool.map(one, parts))
    failed = [answer for answer in told if isinstance(answer, ToolError)]
    if len(failed) == len(told):
        raise ToolError(" ".join(f"Part {n}: {error}" for n, error in enumerate(failed, start=1)))
    return {"content": _content(told), "parts": [_fields(answer) for answer in told]}


def _content(told: Sequence[Mapping[str, Any] | ToolError]) -> list[dict[str, Any]]:
    """A text that numbers the parts, then the pictures of all as far as they fit."""
    texts, pictures, left = [], [], PICTURES_TOGETHER
    for number, answer in enumerate(told, start=1):
        if isinstance(answer, ToolError):
            texts.append(f"Part {number} FAILED: {answer}")
            continue
        for piece in answer["content"]:
            if piece["type"] == "text":
                texts.append(f"Part {number}: {piece['text']}")
            elif (size := len(piece["image_url"]["url"])) <= left:
                pictures.append(piece)
                left -= size
    if failures := sum(isinstance(answer, ToolError) for answer in told):
        texts.insert(0, f"{failures} of {len(told)} parts FAILED.")
    return [{"type": "text", "text": "\n\n".join(texts)}, *pictures]


def _fields(answer: Mapping[str, Any] | ToolError) -> dict[str, Any]:
    if isinstance(answer, ToolError):
        return {"status": "error", "error": str(answer)}
    return {"status": "success", **{k: v for k, v in answer.items() if k != "content"}}
