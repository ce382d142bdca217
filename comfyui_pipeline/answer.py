"""The answer: exactly one JSON object, written once, to a descriptor that nothing else holds."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping
from typing import Any

from comfyui_pipeline import bounds
from comfyui_pipeline.record import Record


class Answer:
    """Writes the first answer that it is given and drops every later one (thread-safe)."""

    def __init__(self, descriptor: int, *, exit_code: bool) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()
        self._sent = False
        self.record = Record()
        """What the call has queued and stored: an error names it, whoever gives that error."""
        self.exit_code = exit_code

    def send(self, result: Mapping[str, Any]) -> int:
        """Write a success; gives the exit status."""
        return self._write({"status": "success", "result": result})

    def send_error(self, text: str) -> int:
        """Write an error, and what remains of the call; gives the exit status."""
        remains = self.record.remains(text)
        return self._write({"status": "error", "error": bounds.error_text(text, remains)})

    def relay(self, document: bytes) -> int:
        """Pass on the JSON object that another Python wrote in our place."""
        try:
            told = json.loads(document)
        except ValueError:
            told = None
        if not isinstance(told, dict) or told.get("status") not in ("success", "error"):
            return self.send_error(
                "The project's own Python ended without an answer. Delete the folder .venv and run "
                "`python3 run.py demo` in the plugin's folder to set it up again."
            )
        return self._write(told)

    def _write(self, envelope: Mapping[str, Any]) -> int:
        status = int(self.exit_code and envelope["status"] == "error")
        document = json.dumps(envelope, ensure_ascii=False, allow_nan=False)
        left = memoryview(document.encode("utf-8", "replace") + b"\n")
        with self._lock:
            if self._sent:
                return status
            self._sent = True
            try:
                while left:
                    left = left[os.write(self._descriptor, left) :]
            except OSError:
                return 1
        return status
