"""The answer: exactly one JSON object, written once, to a descriptor that nothing else holds.

Runs on older Pythons than the rest (see ``stdio``).
"""

from __future__ import annotations

import json
import math
import os
import threading
from typing import TYPE_CHECKING, Any

from comfyui_pipeline.bounded.truncate import bounded_error
from comfyui_pipeline.call_record import CallRecord
from comfyui_pipeline.process.stdin import wait_until_ready

if TYPE_CHECKING:
    from collections.abc import Mapping

    from comfyui_pipeline.errors import ToolError

    Response = Mapping[str, Any]


def success(result: Mapping[str, Any]) -> Response:
    """What the host takes for a call that went well."""
    return {"status": "success", "result": result}


def failure(text: str, code: str) -> Response:
    """The host's form of a failed call: ``text`` for the reader, ``code`` (``errors``) for programs."""
    return {"status": "error", "error": text, "code": code}


class ResponseWriter:
    """Writes the first answer that it is given and drops every later one (thread-safe)."""

    def __init__(self, descriptor: int, *, exit_code: bool) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()
        self._status: int | None = None  # exit status of the answer that was sent
        self.record = CallRecord()
        """What the call has queued and stored: an error names it, whoever gives that error."""
        self.exit_code = exit_code

    def failure(self, error: ToolError) -> Response:
        """The error with what the call has queued and stored, truncated to the size limit."""
        text = str(error)
        return failure(bounded_error(text, self.record.summary(text)), error.code)

    def send(self, envelope: Response) -> int:
        """Write it; gives the exit status of the process. Raises TypeError for what JSON lacks."""
        document = _document(envelope)
        with self._lock:
            if self._status is None:
                self._status = int(self.exit_code and envelope["status"] == "error")
                if not _write_all(self._descriptor, document):
                    self._status = 1
            return self._status


def last_response(document: bytes) -> dict[str, Any] | None:
    """The last answer in what a process printed: other lines may stand before or behind it."""
    for line in reversed(document.splitlines()):
        begin = line.find(b'{"status"')
        try:
            envelope = json.loads(line[begin:]) if begin >= 0 else None
        except (ValueError, RecursionError):
            continue
        if isinstance(envelope, dict) and envelope.get("status") in ("success", "error"):
            return envelope
    return None


def _document(envelope: Response) -> bytes:
    """One line of JSON (RFC 8259: no NaN, no infinity), in UTF-8."""
    try:
        text = json.dumps(envelope, ensure_ascii=False, allow_nan=False)
    except ValueError:
        text = json.dumps(_without_nan(envelope), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "replace") + b"\n"


def _without_nan(value: Any) -> Any:
    """The same value with null for numbers that JSON does not have."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(item) for item in value]
    return value


def _write_all(descriptor: int, document: bytes) -> bool:
    """Write it all, also to a descriptor that does not block; whether that was possible."""
    left = memoryview(document)
    while left:
        try:
            left = left[os.write(descriptor, left) :]
        except BlockingIOError:
            wait_until_ready(descriptor, for_writing=True)
        except OSError:
            return False
    return True
