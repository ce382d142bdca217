"""Conditional requests (RFC 9110, section 13): entity tags and dates. Header names in lower case."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta, timezone

MAX_TAGS_CHARACTERS = 8192
"""A longer list of entity tags matches nothing."""
TAG = re.compile(r'[ \t,]*(W/)?("[\x21\x23-\x7e\x80-\xff]*")[ \t]*(?=,|$)')
"""An entity tag in a list (RFC 9110, 8.8.3). Headers are decoded as Latin-1."""
DAY = "(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
MONTH = "(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
MONTHS = MONTH.strip("()").split("|")
CLOCK = r"([0-9]{2}):([0-9]{2}):([0-9]{2})"
IMF_FIXDATE = re.compile(rf"{DAY}, ([0-9]{{2}}) {MONTH} ([0-9]{{4}}) {CLOCK} GMT")
RFC850_DATE = re.compile(rf"{DAY}[a-z]{{3,6}}, ([0-9]{{2}})-{MONTH}-([0-9]{{2}}) {CLOCK} GMT")
ASCTIME_DATE = re.compile(rf"{DAY} {MONTH} ([0-9]{{2}}| [0-9]) {CLOCK} ([0-9]{{4}})")


def check_preconditions(headers: Mapping[str, str], etag: str, modified: datetime) -> int:
    """Return 412, 304, or 200 to go on, evaluated in the order of RFC 9110, 13.2.2.

    ``etag``: the file's strong tag. If-Match compares strongly, If-None-Match weakly.
    """
    if "if-match" in headers:
        if not _lists(headers["if-match"], etag, weak=False):
            return 412
    elif (since := parse_date(headers.get("if-unmodified-since"))) and modified > since:
        return 412
    if "if-none-match" in headers:
        return 304 if _lists(headers["if-none-match"], etag, weak=True) else 200
    if (since := parse_date(headers.get("if-modified-since"))) and modified <= since:
        return 304
    return 200


def if_range_holds(condition: str, etag: str, modified: datetime) -> bool:
    """Evaluate an If-Range header (RFC 9110, 13.1.5): the same strong tag, or the same date.

    A date is a strong validator only from one second after the change on (8.8.2.2).
    """
    text = condition.strip(" \t")
    if text == etag:
        return True
    now = datetime.fromtimestamp(time.time(), timezone.utc)
    return parse_date(text) == modified and modified + timedelta(seconds=1) <= now


def _lists(field: str, etag: str, *, weak: bool) -> bool:
    """Return whether a list of entity tags has this one. Weak tags match only if ``weak``."""
    if field.strip(" \t") == "*":
        return True
    return any(tag == etag and (weak or not mark) for mark, tag in _tags(field))


def _tags(field: str) -> Iterator[tuple[str, str]]:
    """Yield ``W/`` or "" and the tag, for each in a list (RFC 9110, 5.6.1), up to a syntax error."""
    at = 0 if len(field) <= MAX_TAGS_CHARACTERS else len(field)
    while found := TAG.match(field, at):
        yield found[1] or "", found[2]
        at = found.end()


def parse_date(value: str | None) -> datetime | None:
    """Parse an HTTP date in any of the three formats of RFC 9110, 5.6.7. None if it is invalid."""
    if not value:
        return None
    text = value.strip(" \t")
    if found := IMF_FIXDATE.fullmatch(text):
        day, month, year, *clock = found.groups()
    elif found := RFC850_DATE.fullmatch(text):
        day, month, year, *clock = found.groups()
        year = _four_digit_year(year)
    elif found := ASCTIME_DATE.fullmatch(text):
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
    return moment.replace(tzinfo=timezone.utc) if second <= 60 else None  # 60: leap second


def _four_digit_year(two_digits: str) -> str:
    """Complete a two-digit year; never more than 50 years in the future (RFC 9110, 5.6.7)."""
    now = time.gmtime().tm_year
    year = now // 100 * 100 + int(two_digits)
    return str(year - 100 if year > now + 50 else year)
