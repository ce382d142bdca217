"""Conditions and parts of a file (RFC 9110, sections 13 and 14)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime

LONGEST_RANGE = 200
"""Characters of a Range header; a longer one means the whole file (CVE-2025-62727)."""
MOST_PARTS = 8
ONE = re.compile(r"([0-9]{0,40})-([0-9]{0,40})", re.ASCII)

Span = tuple[int, int]
"""First byte and number of bytes."""


class NotSatisfiable(Exception):
    """None of the parts that are asked for is there."""


def precondition(headers: Mapping[str, str], etag: str, modified: datetime) -> int:
    """412, 304, or 200 to go on, in the order of RFC 9110, 13.2.2. Header names in lower case."""
    if "if-match" in headers:
        if not _listed(headers["if-match"], etag, weak=False):
            return 412
    elif (since := date(headers.get("if-unmodified-since"))) and modified > since:
        return 412
    if "if-none-match" in headers:
        return 304 if _listed(headers["if-none-match"], etag, weak=True) else 200
    if (since := date(headers.get("if-modified-since"))) and modified <= since:
        return 304
    return 200


def spans(
    headers: Mapping[str, str], size: int, etag: str, modified: datetime
) -> tuple[Span, ...] | None:
    """The parts that are asked for; None for the whole file.

    Anything odd means the whole file, as 14.2 allows, and so do parts that together are more than
    it. Raises NotSatisfiable.
    """
    asked = headers.get("range", "").strip()
    if not asked.startswith("bytes=") or len(asked) > LONGEST_RANGE:
        return None
    if "if-range" in headers:
        condition = headers["if-range"].strip()
        if condition != etag and date(condition) != modified:
            return None
    parts = [ONE.fullmatch(part.strip()) for part in asked[6:].split(",")]
    if len(parts) > MOST_PARTS:
        return None
    found = []
    for part in parts:
        if part is None or part[0] == "-":
            return None
        if part[1] and part[2] and int(part[2]) < int(part[1]):
            return None
        span = _span(part[1], part[2], size)
        if span is not None:
            found.append(span)
    if not found:
        raise NotSatisfiable
    if len(found) > 1 and sum(length for _, length in found) > size:
        return None
    return tuple(found)


def _span(first: str, last: str, size: int) -> Span | None:
    """One part of a file of so many bytes, None when it has no such part."""
    if not first:
        wanted = min(int(last), size)
        return (size - wanted, wanted) if wanted else None
    begin = int(first)
    end = min(int(last), size - 1) if last else size - 1
    return (begin, end - begin + 1) if begin < size else None


def _listed(field: str, etag: str, *, weak: bool) -> bool:
    """Whether a list of entity tags names this one; a weak tag counts only where ``weak``."""
    if field.strip() == "*":
        return True
    found = re.findall(r'(W/)?("[^"]*")', field)
    return any(tag == etag and (weak or not mark) for mark, tag in found)


def date(value: str | None) -> datetime | None:
    """An HTTP date, None for what is none."""
    try:
        found = parsedate_to_datetime(value) if value else None
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return found if found is None or found.tzinfo else found.replace(tzinfo=timezone.utc)
