"""A batch: several calls in one, run in parallel, with one response for all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from comfyui_pipeline.bounded.response_size import MAX_FIELD_CHARS
from comfyui_pipeline.bounded.truncate import MAX_ERROR_BYTES, MAX_TEXT_BYTES, truncate
from comfyui_pipeline.call import ToolCall
from comfyui_pipeline.call_record import CallRecord
from comfyui_pipeline.errors import BatchFailed, JobTimeout, ToolError, unexpected
from comfyui_pipeline.process.parallel import run_parallel

MAX_PARALLEL_PARTS = 4
MAX_IMAGES_BYTES = 1024 * 1024
"""Bytes of all images inside one response."""


def batch(
    parts: Sequence[ToolCall],
    perform: Callable[[ToolCall, CallRecord], Mapping[str, Any]],
    record: CallRecord,
) -> dict[str, Any]:
    """Perform every part and return their results; a part that fails does not stop the others.

    Each part has its own part of ``record``, and its error names the jobs and files noted there. When
    the batch is stopped, the jobs of all parts are cancelled. Raises BatchFailed when every part fails,
    with the code of the parts if they agree.
    """
    records = [record.part(f"Part {number}") for number in range(1, len(parts) + 1)]
    try:
        outcomes = run_parallel(
            lambda pair: _outcome(perform, *pair),
            zip(parts, records, strict=True),
            MAX_PARALLEL_PARTS,
        )
    except BaseException:  # the call was stopped: do not wait for the parts that still run
        record.stop()
        raise
    failed = [outcome for outcome in outcomes if isinstance(outcome, ToolError)]
    if len(failed) == len(outcomes):
        raise _all_failed(failed)
    return {"content": _content(outcomes), "parts": [_fields(outcome) for outcome in outcomes]}


def _outcome(
    perform: Callable[[ToolCall, CallRecord], Mapping[str, Any]], part: ToolCall, record: CallRecord
) -> Mapping[str, Any] | ToolError:
    try:
        return perform(part, record)
    except ToolError as error:
        return _with_remains(error, record)
    except Exception as error:
        return _with_remains(unexpected(error), record)


def _with_remains(error: ToolError, record: CallRecord) -> ToolError:
    """The error with the jobs and files of its part."""
    text = str(error)
    kind = JobTimeout if isinstance(error, JobTimeout) else ToolError
    return kind(text, record.summary(text), code=error.code)


def _all_failed(errors: Sequence[ToolError]) -> BatchFailed:
    share = MAX_ERROR_BYTES // len(errors) - 20
    texts = [truncate(str(error), share) for error in errors]
    codes = {error.code for error in errors}
    return BatchFailed(
        " ".join(f"Part {number}: {text}" for number, text in enumerate(texts, start=1)),
        code=codes.pop() if len(codes) == 1 else "",
    )


def _content(outcomes: Sequence[Mapping[str, Any] | ToolError]) -> list[dict[str, Any]]:
    """One text with the texts of all parts, then their images as far as they fit."""
    texts, images, left = [], [], MAX_IMAGES_BYTES
    share = MAX_TEXT_BYTES // len(outcomes)
    for number, outcome in enumerate(outcomes, start=1):
        if isinstance(outcome, ToolError):
            ending = "NOT FINISHED" if isinstance(outcome, JobTimeout) else "FAILED"
            texts.append(f"Part {number} {ending}: {truncate(str(outcome), share)}")
            continue
        for piece in outcome["content"]:
            if piece["type"] == "text":
                texts.append(f"Part {number}: {piece['text']}")
            elif (size := len(piece["image_url"]["url"])) <= left:
                images.append(piece)
                left -= size
    late = sum(isinstance(outcome, JobTimeout) for outcome in outcomes)
    failures = sum(isinstance(outcome, ToolError) for outcome in outcomes) - late
    counts = [
        f"{count} of {len(outcomes)} parts {ending}."
        for count, ending in ((failures, "FAILED"), (late, "NOT FINISHED"))
        if count
    ]
    if counts:
        texts.insert(0, " ".join(counts))
    return [{"type": "text", "text": "\n\n".join(texts)}, *images]


def _fields(outcome: Mapping[str, Any] | ToolError) -> dict[str, Any]:
    if isinstance(outcome, ToolError):
        text = truncate(str(outcome), MAX_FIELD_CHARS)
        return {"status": "error", "error": text, "code": outcome.code}
    return {"status": "success", **{k: v for k, v in outcome.items() if k != "content"}}
