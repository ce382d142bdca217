"""Conditions and parts of a file (RFC 9110, sections 13 and 14). Header names are in lower case."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta, timezone

from ..text_values import parse_count

LONGEST_RANGE = 200
"""Characters of a Range header; a longer one means the whole file (CVE-2025-62727)."""
LONGEST_TAGS = 8192
"""Characters of a list of entity tags; a longer one names none."""
MOST_PARTS = 8
TAG = re.compile(r'[ \t,]*(W/)?("[\x21\x23-\x7e\x80-\xff]*")[ \t]*(?=,|$)')
"""An entity tag in a list (RFC 9110, 8.8.3); headers are read as Latin-1."""
DAY = "(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
MONTH = "(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
MONTHS = MONTH.strip("()").split("|")
CLOCK = r"([0-9]{2}):([0-9]{2}):([0-9]{2})"
FIXDATE = re.compile(rf"{DAY}, ([0-9]{{2}}) {MONTH} ([0-9]{{4}}) {CLOCK} GMT")
RFC850 = re.compile(rf"{DAY}[a-z]{{3,6}}, ([0-9]{{2}})-{MONTH}-([0-9]{{2}}) {CLOCK} GMT")
ASCTIME = re.compile(rf"{DAY} {MONTH} ([0-9]{{2}}| [0-9]) {CLOCK} ([0-9]{{4}})")

ByteRange = tuple[int, int]
"""First byte and number of bytes."""


class RangeNotSatisfiable(Exception):
    """None of the parts that are asked for is there."""


def precondition(headers: Mapping[str, str], etag: str, modified: datetime) -> int:
    """412, 304, or 200 to go on, in the order of RFC 9110, 13.2.2.

    ``etag``: the file's, a strong one. If-Match compares strongly, If-None-Match weakly.
    """
    if "if-match" in headers:
        if not _lists(headers["if-match"], etag, weak=False):
            return 412
    elif (since := date(headers.get("if-unmodified-since"))) and modified > since:
        return 412
    if "if-none-match" in headers:
        return 304 if _lists(headers["if-none-match"], etag, weak=True) else 200
    if (since := date(headers.get("if-modified-since"))) and modified <= since:
        return 304
    return 200


def parse_range(
    headers: Mapping[str, str], size: int, etag: str, modified: datetime
) -> tuple[ByteRange, ...] | None:
    """The parts that a GET asks for; None for the whole file.

    Anything odd means the whole file, as 14.2 allows, and so do parts that together are more than
    it. Raises NotSatisfiable.
    """
    unit, _, listed = headers.get("range", "").strip(" \t").partition("=")
    if unit.lower() != "bytes" or len(listed) > LONGEST_RANGE:
        return None
    if "if-range" in headers and not _is_unchanged(headers["if-range"], etag, modified):
        return None
    parts = [part.strip(" \t") for part in listed.split(",")]
    if len(parts) > MOST_PARTS:
        return None
    try:
        found = [span for part in parts if (span := _span(part, size)) is not None]
    except ValueError:
        return None
    if not found:
        raise RangeNotSatisfiable
    if len(found) > 1 and sum(length for _, length in found) > size:
        return None
    return tuple(found)


def _span(part: str, size: int) -> ByteRange | None:
    """One part of a file of so many bytes, None when it has no such part. Raises ValueError."""
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


def _is_unchanged(condition: str, etag: str, modified: datetime) -> bool:
    """Whether an If-Range holds (13.1.5): by the same strong tag, or by the very same date where
    that is a strong validator, which it is a second after the change (8.8.2.2).
    """
    text = condition.strip(" \t")
    if text == etag:
        return True
    settled = modified + timedelta(seconds=1) <= datetime.fromtimestamp(time.time(), timezone.utc)
    return date(text) == modified and settled


def _lists(field: str, etag: str, *, weak: bool) -> bool:
    """Whether a list of entity tags names this one; a weak tag counts only where ``weak``."""
    if field.strip(" \t") == "*":
        return True
    return any(tag == etag and (weak or not mark) for mark, tag in _tags(field))


def _tags(field: str) -> Iterator[tuple[str, str]]:
    """The tags of a list (5.6.1), each with its ``W/`` or ""; none from where it is no list on."""
    at = 0 if len(field) <= LONGEST_TAGS else len(field)
    while found := TAG.match(field, at):
        yield found[1] or "", found[2]
        at = found.end()


def date(value: str | None) -> datetime | None:
    """An HTTP date in any of the three formats of RFC 9110, 5.6.7; None for anything else."""
    text = (value or "").strip(" \t")
    if found := FIXDATE.fullmatch(text):
        day, month, year, *clock = found.groups()
    elif found := RFC850.fullmatch(text):
        day, month, year, *clock = found.groups()
        year = _full_year(year)
    elif found := ASCTIME.fullmatch(text):
        month, day, *clock, year = found.groups()
    else:
        return None
    hour, minute, second = map(int, clock)
    try:
        moment = datetime(
            int(year), MONTHS.index(month) + 1, int(day), hour, minute, min(second, 59)
        )
    except ValueError:
        return None
    return moment.replace(tzinfo=timezone.utc) if second <= 60 else None


def _full_year(two_digits: str) -> str:
    """The year of a date that names two digits of it: none that is more than 50 years ahead."""
    now = time.gmtime().tm_year
    year = now // 100 * 100 + int(two_digits)
    return str(year - 100 if year > now + 50 else year)
