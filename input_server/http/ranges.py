"""Range requests (RFC 9110, section 14). Header names in lower case."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from ..parse_values import parse_count
from .conditions import if_range_holds

MAX_RANGE_CHARACTERS = 200
"""A longer Range header is ignored (CVE-2025-62727)."""
MAX_RANGES = 8

ByteRange = tuple[int, int]
"""First byte and number of bytes."""


class RangeNotSatisfiable(Exception):
    """The file has none of the requested ranges."""


def parse_range(
    headers: Mapping[str, str], size: int, etag: str, modified: datetime
) -> tuple[ByteRange, ...] | None:
    """Return the ranges that a GET requests of a file of ``size`` bytes; None for the complete file.

    The complete file is also sent for an invalid Range header, as 14.2 allows, and when several
    ranges together are longer than the file. Raises RangeNotSatisfiable.
    """
    unit, _, listed = headers.get("range", "").strip(" \t").partition("=")
    if unit.lower() != "bytes" or len(listed) > MAX_RANGE_CHARACTERS:
        return None
    if "if-range" in headers and not if_range_holds(headers["if-range"], etag, modified):
        return None
    parts = [part.strip(" \t") for part in listed.split(",")]
    if len(parts) > MAX_RANGES:
        return None
    try:
        found = [span for part in parts if (span := _parse_part(part, size)) is not None]
    except ValueError:
        return None
    if not found:
        raise RangeNotSatisfiable
    if len(found) > 1 and sum(length for _, length in found) > size:
        return None
    return tuple(found)


def _parse_part(part: str, size: int) -> ByteRange | None:
    """Parse one range. None if it is beyond the file. Raises ValueError for a syntax error."""
    first, dash, last = part.partition("-")
    begin, end = parse_count(first, clamp=True), parse_count(last, clamp=True)
    if not dash or (first and begin is None) or (last and end is None):
        raise ValueError(part)
    if begin is None:
        if end is None:
            raise ValueError(part)
        return (size - min(end, size), min(end, size)) if end and size else None
    if end is not None and end < begin:
        raise ValueError(part)
    stop = size - 1 if end is None else min(end, size - 1)
    return (begin, stop - begin + 1) if begin < size else None
