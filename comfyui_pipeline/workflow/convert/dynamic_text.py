"""What the editor replaces in texts when it queues a prompt: choices, comments, names and dates.

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
MAX_SCANNED = 2 * 2**20
"""Characters scanned for one text. Each level of nesting is scanned again, as in the editor."""
MAX_PATTERN_CHARACTERS = 4096
"""Of a file name with ``%…%``, and of each value put into it: no file system accepts more."""
ESCAPED = re.compile(r"\\([{}|])")
TO_ESCAPE = re.compile(r"(?<!:)//|/\*|\{|\\[}|]")
PATTERN = re.compile(r"%([^%]+)%")
DATE_PART = re.compile(r"d{1,2}|M{1,2}|yyyy|yy|h{1,2}|m{1,2}|s{1,2}")
INVALID_IN_FILE_NAMES = re.compile(r'[/?<>\\:*|"\x00-\x1f\x7f]')


class TooDeep(ValueError):
    """Choices are nested so deeply that more than MAX_SCANNED characters would be scanned."""


def choose(text: str, rng: random.Random, chosen: list[str]) -> str:
    """Remove comments and replace each ``{a|b}`` by one of its options, appended to ``chosen``.

    Raises TooDeep. Takes time linear in the length of the text and of the chosen options.
    """
    left = MAX_SCANNED
    blocks = [_Block(without_comments(text))]
    while True:
        block = blocks[-1]
        options = block.next_options()
        if options is not None:
            option = rng.choice(options) if len(options) > 1 else options[0]
            if len(options) > 1:
                chosen.append(option)
            left -= len(option)
            if left < 0:
                raise TooDeep
            blocks.append(_Block(without_comments(option)))
            continue
        blocks.pop()
        result = ESCAPED.sub(r"\1", "".join(block.parts))
        if not blocks:
            return result
        left -= len(result)
        blocks[-1].parts.append(result)


@dataclass(slots=True)
class _Block:
    """A text in progress: scanned up to ``position``, with the ``parts`` of the result so far."""

    text: str
    position: int = 0
    parts: list[str] = field(default_factory=list)

    def next_options(self) -> list[str] | None:
        """Scan to the next ``{`` and return the options of that block, None at the end."""
        while found := SPECIAL.search(self.text, self.position):
            at = found.start()
            self.parts.append(self.text[self.position : at])
            if found[0] == "{":
                options, self.position = _options(self.text, at + 1)
                return options
            self.position = at + (2 if found[0] == "\\" else 1)
            self.parts.append(self.text[at : self.position])
        self.parts.append(self.text[self.position :])
        self.position = len(self.text)
        return None


def without_comments(text: str) -> str:
    """The text without ``/* … */`` and ``// …``; an unclosed ``/*`` is not a comment."""
    parts, position, scanned = [], 0, 0
    last_close = text.rfind("*/")
    while found := COMMENT_START.search(text, scanned):
        at = found.start()
        if found[0] == "/*":
            end = text.find("*/", at + 2) + 2 if at + 2 <= last_close else 0
        elif at and text[at - 1] == ":":
            end = 0
        else:
            line = LINE_END.search(text, at)
            end = line.start() if line else len(text)
        if end:
            parts.append(text[position:at])
            position = scanned = end
        else:
            scanned = at + 1
    return "".join([*parts, text[position:]])


def _options(text: str, position: int) -> tuple[list[str], int]:
    """The options of the block whose ``{`` is just before ``position``, and where it ends."""
    options: list[str] = []
    start, depth = position, 0
    while found := SPECIAL.search(text, position):
        at, letter = found.start(), found[0]
        position = at + 1
        if letter == "\\":
            position += 1
        elif letter == "{":
            depth += 1
        elif letter == "}":
            if depth == 0:
                return [*options, text[start:at]], position
            depth -= 1
        elif depth == 0:
            options.append(text[start:at])
            start = position
    return [*options, text[start:]], len(text)


def replace_patterns(text: str, value_of: Callable[[str, str], object], now: datetime) -> str:
    """Replace ``%date:FORMAT%`` and ``%Node.widget%``; other patterns are left to the server.

    ``value_of(node, widget)`` returns a widget's value or raises KeyError. A text longer than
    MAX_PATTERN_CHARACTERS is returned unchanged.
    """
    if len(text) > MAX_PATTERN_CHARACTERS:
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
        shown = "" if value is None else as_javascript_text(value)[:MAX_PATTERN_CHARACTERS]
        return INVALID_IN_FILE_NAMES.sub("_", shown)

    return PATTERN.sub(replaced, text)


def date(form: str, now: datetime) -> str:
    """``now`` in the editor's notation: ``yyyy-MM-dd hh:mm:ss`` and parts of it."""
    numbers = {"d": now.day, "M": now.month, "h": now.hour, "m": now.minute, "s": now.second}

    def part(match: re.Match[str]) -> str:
        letters = match.group()
        if letters[0] == "y":
            return f"{now.year:04}"[-len(letters) :]
        return str(numbers[letters[0]]).rjust(len(letters), "0")

    return DATE_PART.sub(part, form)


def as_javascript_text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def escaped(text: str) -> str:
    """A text of which ``choose`` makes this one: no choices, no comments."""
    return TO_ESCAPE.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    found = match[0]
    return f"/{{{found[1]}}}" if found[0] == "/" else f"\\{found}"
