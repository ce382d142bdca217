"""What clients send: JSON read within bounds, and errors in the shape that ComfyUI gives them."""

from __future__ import annotations

import json
import math
from typing import Any

MAX_NESTING = 200
"""Levels of lists and objects. Every answer that repeats a prompt has to be written and copied."""
MAX_DIGITS = 1000

Reason = dict[str, Any]


class BadRequest(Exception):
    """A body that cannot be used; answered with 400 and ``error``."""

    def __init__(self, kind: str, message: str, details: str = "") -> None:
        super().__init__(message)
        self.error = error(kind, message, details)


def error(kind: str, message: str, details: str = "", **extra: Any) -> Reason:
    """An error as ComfyUI's execution.py writes it."""
    return {"type": kind, "message": message, "details": details, "extra_info": extra}


def read_object(text: str) -> dict[str, Any]:
    """A JSON object. Raises BadRequest saying what was sent instead."""
    body = _read(text)
    if not isinstance(body, dict):
        raise BadRequest("invalid_json", "The body has to be a JSON object")
    return body


def _read(text: str) -> Any:
    try:
        body = json.loads(text, parse_int=_whole)
    except RecursionError:
        raise BadRequest("invalid_json", "The body is nested too deeply") from None
    except ValueError as problem:
        raise BadRequest("invalid_json", "The body is not JSON", str(problem)[:200]) from None
    if _is_deeper_than(body, MAX_NESTING):
        raise BadRequest("invalid_json", "The body is nested too deeply")
    return body


def _whole(digits: str) -> int:
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
    """The place in the queue. Raises BadRequest for what cannot be put in order."""
    try:
        value = float(body[key])
    except (TypeError, ValueError, OverflowError):
        value = math.nan
    if math.isnan(value):
        raise BadRequest("invalid_request", f"{key} has to be a number")
    return value


def of_type(body: dict[str, Any], key: str, kind: type, name: str) -> Any:
    """``body[key]``, None when it is absent or null. Raises BadRequest for another type."""
    value = body.get(key)
    if value is not None and not isinstance(value, kind):
        raise BadRequest("invalid_request", f"{key} has to be {name}")
    return value
