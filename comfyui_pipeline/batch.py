"""Several calls in one: side by side, an answer for each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from comfyui_pipeline.arguments import ToolCall
from comfyui_pipeline.bounded.response_size import MAX_FIELD_CHARS
from comfyui_pipeline.bounded.truncate import MAX_ERROR_BYTES, MAX_TEXT_BYTES, truncate
from comfyui_pipeline.call_record import CallRecord
from comfyui_pipeline.errors import BatchFailed, ToolError, unexpected
from comfyui_pipeline.process import threads

MAX_PARALLEL = 4
MAX_IMAGES_BYTES = 1024 * 1024
"""Bytes of all pictures inside one answer."""


def batch(
    parts: Sequence[ToolCall],
    perform: Callable[[ToolCall, CallRecord], Mapping[str, Any]],
    record: CallRecord,
) -> dict[str, Any]:
    """Perform every part; a part that fails does not stop the others.

    Each has a part of ``record``, whose jobs and files its error names. A batch that is stopped cancels
    the jobs of all. Raises BatchFailed when every part fails, with the code of the parts if they agree.
    """
    records = [record.part(f"Part {number}") for number in range(1, len(parts) + 1)]

    def one(part: ToolCall, own: CallRecord) -> Mapping[str, Any] | ToolError:
        try:
            return perform(part, own)
        except ToolError as error:
            return _with_remains(error, own)
        except Exception as error:
            return _with_remains(unexpected(error), own)

    pool = ThreadPoolExecutor(min(MAX_PARALLEL, len(parts)))
    try:
        jobs = [pool.submit(one, part, own) for part, own in zip(parts, records, strict=True)]
        threads.wait_for(jobs)
        told = [job.result() for job in jobs]
    except BaseException:  # nobody waits for the parts that still run
        pool.shutdown(wait=False, cancel_futures=True)
        record.stop()
        raise
    pool.shutdown()
    failed = [answer for answer in told if isinstance(answer, ToolError)]
    if len(failed) == len(told):
        share = MAX_ERROR_BYTES // len(failed) - 20
        texts = [truncate(str(error), share) for error in failed]
        codes = {error.code for error in failed}
        raise BatchFailed(
            " ".join(f"Part {n}: {text}" for n, text in enumerate(texts, start=1)),
            code=codes.pop() if len(codes) == 1 else "",
        )
    return {"content": _content(told), "parts": [_fields(answer) for answer in told]}


def _with_remains(error: ToolError, record: CallRecord) -> ToolError:
    text = str(error)
    return ToolError(text, record.remains(text), code=error.code)


def _content(told: Sequence[Mapping[str, Any] | ToolError]) -> list[dict[str, Any]]:
    """A text that numbers the parts, then the pictures of all as far as they fit."""
    texts, pictures, left = [], [], MAX_IMAGES_BYTES
    share = MAX_TEXT_BYTES // len(told)
    for number, answer in enumerate(told, start=1):
        if isinstance(answer, ToolError):
            texts.append(f"Part {number} FAILED: {truncate(str(answer), share)}")
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
        text = truncate(str(answer), MAX_FIELD_CHARS)
        return {"status": "error", "error": text, "code": answer.code}
    return {"status": "success", **{k: v for k, v in answer.items() if k != "content"}}
