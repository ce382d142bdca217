"""What the editor does to texts when it makes a prompt: choices, comments, names and dates.

``{a|b}`` and comments: frontend 1.58.1, formatUtil.ts, processDynamicPrompt. ``%date:…%`` and
``%Node.widget%``: searchAndReplace.ts.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from datetime import datetime

from input_server.light_dataclasses import dataclass, field

COMMENT_START = re.compile(r"/[*/]")
LINE_END = re.compile(r"[\n\r\u2028\u2029]")
SPECIAL = re.compile(r"[\\{}|]")
BUDGET = 2 * 2**20
"""Characters looked at for one text. Each level of nesting looks at its part again, as the editor does."""
LONGEST_PATTERN = 4096
"""Characters of a file name with ``%…%``, and of each value put into it: no system takes more."""
ESCAPED = re.compile(r"\\([{}|])")
PATTERN = re.compile(r"%([^%]+)%")
DATE_PART = re.compile(r"d{1,2}|M{1,2}|yyyy|yy|h{1,2}|m{1,2}|s{1,2}")
UNFIT_FOR_FILES = re.compile(r'[/?<>\\:*|"\x00-\x1f\x7f]')


class TooDeep(ValueError):
    """Choices lie in one another so often that the text would be read again and again."""


def choose(text: str, rng: random.Random, drawn: list[str]) -> str:
    """Remove comments and replace each ``{a|b}`` by one of its options; adds those to ``drawn``.

    Raises TooDeep. Takes time by the length of the text and of the options that are chosen.
    """
    left = BUDGET
    blocks = [_Block(without_comments(text))]
    while True:
        block = blocks[-1]
        options = block.next_options()
        if options is not None:
            option = rng.choice(options) if len(options) > 1 else options[0]
            if len(options) > 1:
                drawn.append(option)
            left -= len(option)
            if left < 0:
                raise TooDeep
            blocks.append(_Block(without_comments(option)))
            continue
        blocks.pop()
        made = ESCAPED.sub(r"\1", "".join(block.made))
        if not blocks:
            return made
        left -= len(made)
        blocks[-1].made.append(made)


@dataclass(slots=True)
class _Block:
    """A text on its way: read up to ``place``, ``made`` so far."""

    text: str
    place: int = 0
    made: list[str] = field(default_factory=list)

    def next_options(self) -> list[str] | None:
        """Read on to the next ``{``; gives the options of that block, None at the end."""
        while found := SPECIAL.search(self.text, self.place):
            at = found.start()
            self.made.append(self.text[self.place : at])
            if found[0] == "{":
                options, self.place = _options(self.text, at + 1)
                return options
            self.place = at + (2 if found[0] == "\\" else 1)
            self.made.append(self.text[at : self.place])
        self.made.append(self.text[self.place :])
        self.place = len(self.text)
        return None


def without_comments(text: str) -> str:
    """Without ``/* … */`` and ``// …``. A comment that is never closed is none."""
    kept, place, looked = [], 0, 0
    last_close = text.rfind("*/")
    while found := COMMENT_START.search(text, looked):
        at = found.start()
        if found[0] == "/*":
            end = text.find("*/", at + 2) + 2 if at + 2 <= last_close else 0
        elif at and text[at - 1] == ":":
            end = 0
        else:
            line = LINE_END.search(text, at)
            end = line.start() if line else len(text)
        if end:
            kept.append(text[place:at])
            place = looked = end
        else:
            looked = at + 1
    return "".join([*kept, text[place:]])


def _options(text: str, place: int) -> tuple[list[str], int]:
    """The options of a block that began just before ``place``, and where it ends."""
    options: list[str] = []
    start, depth = place, 0
    while found := SPECIAL.search(text, place):
        at, letter = found.start(), found[0]
        place = at + 1
        if letter == "\\":
            place += 1
        elif letter == "{":
            depth += 1
        elif letter == "}":
            if depth == 0:
                return [*options, text[start:at]], place
            depth -= 1
        elif depth == 0:
            options.append(text[start:at])
            start = place
    return [*options, text[start:]], len(text)


def replace_patterns(text: str, value_of: Callable[[str, str], object], now: datetime) -> str:
    """Replace ``%date:FORMAT%`` and ``%Node.widget%``; what is neither stays for the server.

    ``value_of(node, widget)`` gives a widget's value, or raises KeyError. A text longer than any
    file name is left as it is.
    """
    if len(text) > LONGEST_PATTERN:
        return text

    def replaced(match: re.Match[str]) -> str:
        parts = match.group(1).split(".")
        if len(parts) != 2:
            form = parts[0]
            return date(form[5:], now) if form.startswith("date:") else match.group()
        try:
            value = value_of(*parts)
        except KeyError:
            return match.group()
        shown = "" if value is None else _as_text(value)[:LONGEST_PATTERN]
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
