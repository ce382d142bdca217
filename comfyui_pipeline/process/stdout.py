"""Write the response: exactly one JSON object, to a descriptor that nothing else uses.

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
    """The host's form of a successful call."""
    return {"status": "success", "result": result}


def failure(text: str, code: str) -> Response:
    """The host's form of a failed call: ``text`` for the reader, ``code`` (``errors``) for programs."""
    return {"status": "error", "error": text, "code": code}


class ResponseWriter:
    """Writes the first response and ignores further ones (thread-safe)."""

    def __init__(self, descriptor: int, *, exit_code: bool) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()
        self._status: int | None = None  # exit status, once a response was sent
        self.record = CallRecord()
        """What the call has queued and stored; every error names it."""
        self.exit_code = exit_code

    def failure(self, error: ToolError) -> Response:
        """The error with what the call has queued and stored, truncated to the size limit."""
        text = str(error)
        return failure(bounded_error(text, self.record.summary(text)), error.code)

    def send(self, response: Response) -> int:
        """Write the response; return the exit status. Raises TypeError for values that JSON lacks."""
        document = _document(response)
        with self._lock:
            if self._status is None:
                self._status = int(self.exit_code and response["status"] == "error")
                if not _write_all(self._descriptor, document):
                    self._status = 1
            return self._status


def last_response(document: bytes) -> dict[str, Any] | None:
    """Return the last response in the output of a process, which may have other lines around it."""
    for line in reversed(document.splitlines()):
        begin = line.find(b'{"status"')
        try:
            response = json.loads(line[begin:]) if begin >= 0 else None
        except (ValueError, RecursionError):
            continue
        if isinstance(response, dict) and response.get("status") in ("success", "error"):
            return response
    return None


def _document(response: Response) -> bytes:
    """One line of JSON (RFC 8259: no NaN, no infinity), in UTF-8."""
    try:
        text = json.dumps(response, ensure_ascii=False, allow_nan=False)
    except ValueError:
        text = json.dumps(_without_nan(response), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "replace") + b"\n"


def _without_nan(value: Any) -> Any:
    """Return the value with null for NaN and infinities."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(item) for item in value]
    return value


def _write_all(descriptor: int, document: bytes) -> bool:
    """Write everything, also to a non-blocking descriptor; return whether that succeeded."""
    left = memoryview(document)
    while left:
        try:
            left = left[os.write(descriptor, left) :]
        except BlockingIOError:
            wait_until_ready(descriptor, for_writing=True)
        except OSError:
            return False
    return True
