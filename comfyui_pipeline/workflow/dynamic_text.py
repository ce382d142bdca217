"""What the editor does to texts when it makes a prompt: choices, comments, names and dates.

``{a|b}`` and comments: frontend 1.58.1, formatUtil.ts, processDynamicPrompt. ``%date:…%`` and
``%Node.widget%``: searchAndReplace.ts.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from datetime import datetime

COMMENT = re.compile(r"/\*.*?\*/|(?<!:)//[^\n\r\u2028\u2029]*", re.DOTALL)
"""``//`` after a colon is part of an address and stays."""
ESCAPED = re.compile(r"\\([{}|])")
PATTERN = re.compile(r"%([^%]+)%")
DATE_PART = re.compile(r"d{1,2}|M{1,2}|yyyy|yy|h{1,2}|m{1,2}|s{1,2}")
UNFIT_FOR_FILES = re.compile(r'[/?<>\\:*|"\x00-\x1f\x7f]')


def choose(text: str, rng: random.Random, drawn: list[str]) -> str:
    """Remove comments and replace each ``{a|b}`` by one of its options; adds those to ``drawn``."""
    return _chosen(COMMENT.sub("", text), rng, drawn)


def _chosen(text: str, rng: random.Random, drawn: list[str]) -> str:
    made, place = [], 0
    while place < len(text):
        letter = text[place]
        if letter == "\\":
            made.append(text[place : place + 2])
            place += 2
        elif letter == "{":
            options, place = _options(text, place + 1)
            option = rng.choice(options) if len(options) > 1 else options[0]
            if len(options) > 1:
                drawn.append(option)
            made.append(_chosen(COMMENT.sub("", option), rng, drawn))
        else:
            made.append(letter)
            place += 1
    return ESCAPED.sub(r"\1", "".join(made))


def _options(text: str, place: int) -> tuple[list[str], int]:
    """The options of a block that began just before ``place``, and where it ends."""
    options: list[str] = []
    start, depth = place, 0
    while place < len(text):
        letter = text[place]
        if letter == "\\":
            place += 1
        elif letter == "{":
            depth += 1
        elif letter == "}":
            if depth == 0:
                return [*options, text[start:place]], place + 1
            depth -= 1
        elif letter == "|" and depth == 0:
            options.append(text[start:place])
            start = place + 1
        place += 1
    return [*options, text[start:place]], place


def fill_in(text: str, value_of: Callable[[str, str], object], now: datetime) -> str:
    """Replace ``%date:FORMAT%`` and ``%Node.widget%``; what is neither stays for the server.

    ``value_of(node, widget)`` gives a widget's value, or raises KeyError.
    """

    def replaced(match: re.Match[str]) -> str:
        parts = match.group(1).split(".")
        if len(parts) != 2:
            form = parts[0]
            return date(form[5:], now) if form.startswith("date:") else match.group()
        try:
            value = value_of(*parts)
        except KeyError:
            return match.group()
        shown = "" if value is None else _as_text(value)
        return UNFIT_FOR_FILES.sub("_", shown)

    return PATTERN.sub(replaced, text)


def date(form: str, now: datetime) -> str:
    """``yyyy-MM-dd hh:mm:ss`` and parts of it, in the editor's own notation."""
    numbers = {"d": now.day, "M": now.month, "h": now.hour, "m": now.minute, "s": now.second}

    def part(match: re.Match[str]) -> str:
        told = match.group()
        if told[0] == "y":
            return f"{now.year:04}"[-len(told) :]
        return str(numbers[told[0]]).rjust(len(told), "0")

    return DATE_PART.sub(part, form)


def _as_text(value: object) -> str:
    """As JavaScript writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
