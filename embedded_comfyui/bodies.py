"""Request bodies: JSON with limits, and errors in the format of ComfyUI."""

from __future__ import annotations

import json
import math
from typing import Any

MAX_NESTING = 200
"""Levels of lists and objects; responses that repeat a prompt are serialised and copied recursively."""
MAX_DIGITS = 1000

Reason = dict[str, Any]


class BadRequest(Exception):
    """An invalid body; the response is 400 with ``error``."""

    def __init__(self, kind: str, message: str, details: str = "") -> None:
        super().__init__(message)
        self.error = error(kind, message, details)


def error(kind: str, message: str, details: str = "", **extra: Any) -> Reason:
    """An error in the format of ComfyUI's execution.py."""
    return {"type": kind, "message": message, "details": details, "extra_info": extra}


def read_object(text: str) -> dict[str, Any]:
    """Parse a JSON object. Raises BadRequest for anything else."""
    body = _read(text)
    if not isinstance(body, dict):
        raise BadRequest("invalid_json", "The body must be a JSON object")
    return body


def _read(text: str) -> Any:
    try:
        body = json.loads(text, parse_int=_integer)
    except RecursionError:
        raise BadRequest("invalid_json", "The body is nested too deeply") from None
    except ValueError as problem:
        raise BadRequest("invalid_json", "The body is not JSON", str(problem)[:200]) from None
    if _is_deeper_than(body, MAX_NESTING):
        raise BadRequest("invalid_json", "The body is nested too deeply")
    return body


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"a number has {len(digits)} digits")
    return int(digits)


def _is_deeper_than(value: Any, levels: int) -> bool:
    containers = [value] if isinstance(value, (dict, list)) else []
    for _ in range(levels):
        containers = [
            item
            for holder in containers
            for item in (holder.values() if isinstance(holder, dict) else holder)
            if isinstance(item, (dict, list))
        ]
        if not containers:
            return False
    return bool(containers)


def number(body: dict[str, Any], key: str) -> float:
    """``body[key]`` as a number. Raises BadRequest for anything else, and for NaN."""
    try:
        value = float(body[key])
    except (TypeError, ValueError, OverflowError):
        value = math.nan
    if math.isnan(value):
        raise BadRequest("invalid_request", f"{key} must be a number")
    return value


def of_type(body: dict[str, Any], key: str, kind: type, name: str) -> Any:
    """``body[key]``, None if it is absent or null. Raises BadRequest for another type."""
    value = body.get(key)
    if value is not None and not isinstance(value, kind):
        raise BadRequest("invalid_request", f"{key} must be {name}")
    return value
