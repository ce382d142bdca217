"""The lines of a ``config.env``: settings, or what is wrong with a line and how to write it.

Hosts read the same file with dotenv for Node or Python. These skip lines that they do not understand,
end a value at ``#``, unescape inside quotes and continue an open quote in the next lines, each in its
own way. So a line is accepted only if all of them read what is written there; ``#`` is
accepted in settings that only the plugin reads.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .light_dataclasses import dataclass
from .settings_table import SETTINGS
from .value_mistakes import value_mistake

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from .settings_table import Setting

_SETTING = re.compile(r"(?:export\s+)?([A-Za-z_][\w.-]*)[ \t]*=(.*)", re.ASCII)
_COMMAND = r"(?ia)(set|setx|\$env:|let|const|var)\s*\"?([A-Za-z_]\w*)[\s=]"
_NO_EQUALS = r"(?a)[\"']?([A-Za-z_][\w.-]*)[\"']?\s*(:|：|＝|$)"
_COMMENT = r"(?i)//|;|＃|--|rem\b"
_CONTROL = frozenset(chr(code) for code in (*range(9), *range(11, 32), 127, 0x2028, 0x2029))
_IN_DOUBLE_QUOTES = r"\\[\\'\"abfnrtv]|\\$"
_IN_SINGLE_QUOTES = r"\\[\\']|\\$"
"""What python-dotenv unescapes in a value in these quotes; at the end, it escapes the quote."""
DEBUG_MODE = "DebugMode"
"""Hosts write it in different cases."""
OWN_PREFIXES = ("COMFYUI_", "INPUT_SERVER_", "FILE_SERVER_")
HOST_NAMES = frozenset(
    {"PROJECT_BASE_PATH", "SERVER_PORT", "IMAGESERVER_IMAGE_KEY", "IMAGESERVER_FILE_KEY"}
)
"""Variables of hosts, which may stand in the file."""


class _Mistake(ValueError):
    """What is wrong with a line, and how to write it."""


@dataclass(frozen=True, slots=True)
class _Line:
    number: int
    name: str
    value: str


@dataclass(frozen=True, slots=True)
class _Reading:
    """A value, and what is wrong with how it is written."""

    value: str
    problem: str = ""
    needs_quotes: bool = False
    needs_no_quotes: bool = False


def read_lines(
    text: str, table: Mapping[str, Setting], others: Collection[str] = ()
) -> tuple[dict[str, str], list[tuple[int, str]]]:
    """Return the settings that are not empty, and the mistakes with the numbers of their lines.

    ``others``: names which are known, but whose values are not looked at.
    """
    lines: list[_Line] = []
    mistakes: list[tuple[int, str]] = []
    for number, line in enumerate(text.replace("\r\n", "\n").replace("\r", "\n").split("\n"), 1):
        written = line.strip()
        if not written or written[0] == "#":
            continue
        try:
            lines.append(_Line(number, *_read_line(written, table)))
        except _Mistake as mistake:
            mistakes.append((number, str(mistake)))
    known = {*table, *others, *HOST_NAMES}
    mistakes += _unknown(lines, known)
    mistakes += _contradictions(lines, table)
    return {line.name: line.value for line in lines if line.value}, sorted(mistakes)


def _read_line(line: str, table: Mapping[str, Setting]) -> tuple[str, str]:
    setting = _SETTING.fullmatch(line)
    if setting is None:
        raise _Mistake(_not_understood(line))
    name, written = setting.groups()
    name = DEBUG_MODE if name.lower() == DEBUG_MODE.lower() else name
    row = table.get(name)
    if not _CONTROL.isdisjoint(written):
        raise _Mistake(f"{name} contains a control character. Type the value again.")
    reading = _read_value(written, row)
    problem = reading.problem + _cure(name, reading, row)
    problem = problem or (value_mistake(row, reading.value) if row else "")
    if problem:
        raise _Mistake(f"{name} {problem}")
    return name, reading.value


def _not_understood(line: str) -> str:
    if command := re.match(_COMMAND, line):
        word = command[1].lower()
        return f"`{word}` is for command lines. Write {command[2]}=value without it."
    if re.match(_COMMENT, line):
        return "is not a setting. A comment begins with #."
    if no_equals := re.match(_NO_EQUALS, line):
        instead = f", with = instead of {no_equals[2]}" if no_equals[2] else ""
        return f"{no_equals[1]} is not set by this line. Write {no_equals[1]}=value{instead}."
    return "is not a setting. Write NAME=value on one line, or # before a comment."


def _read_value(written: str, row: Setting | None) -> _Reading:
    value = written.strip()
    if not value or re.match(r"#(\s|$)", value) or (value[0] == "#" and written[0] != "#"):
        return _Reading("")  # all of it is a comment
    if value[0] in "'\"`":
        return _quoted(value)
    value = re.split(r"\s#", value, maxsplit=1)[0].rstrip()
    if "#" in value and row and row.name in SETTINGS:  # the plugin restores those of its own
        return _Reading(value, "contains #, where a host ends the value.", needs_quotes=True)
    return _Reading(value)


def _quoted(value: str) -> _Reading:
    quote = value[0]
    inside, closing, behind = value[1:].partition(quote)
    if quote == "`":
        return _Reading("", "is in `, which not every program takes for quotes. Use ' instead.")
    if not closing:
        return _Reading(
            "",
            f"has no closing {quote}, so the following lines would belong to its value. "
            "Write the value on one line, with both quotes or without any.",
        )
    if _has_escape(quote, inside):
        whole = inside if _is_rest(behind) else ""
        return _Reading(
            whole, "has a backslash in quotes, where it changes what follows.", needs_no_quotes=True
        )
    if not _is_rest(behind):
        return _Reading("", f"has text behind its closing {quote}. Remove it, or the quotes.")
    return _Reading(inside)


def _has_escape(quote: str, inside: str) -> bool:
    if quote == '"':
        return re.search(_IN_DOUBLE_QUOTES, inside) is not None
    return re.search(_IN_SINGLE_QUOTES, inside) is not None


def _is_rest(text: str) -> bool:
    return not text.strip() or text.strip()[0] == "#"


def _cure(name: str, reading: _Reading, row: Setting | None) -> str:
    """How to write a value whose quotes have to change; one that may be secret is not shown."""
    if not (reading.needs_quotes or reading.needs_no_quotes):
        return ""
    value = reading.value
    if row is None or row.secret or not value:
        return " Put it in '…'." if reading.needs_quotes else " Write it without the quotes."
    for text in (value, value.rstrip("\\"), value.replace("\\", "/")):
        for quote in ("", "'", '"'):
            written = f"{quote}{text}{quote}"
            if _read_value(written, row) == _Reading(text):
                return f" Write {name}={written}"
    return " Use a value without quotes, # and \\."


def _unknown(lines: Iterable[_Line], known: Collection[str]) -> list[tuple[int, str]]:
    found = []
    for line in lines:
        nearest = _nearest(line.name, known) if line.value and line.name not in known else ""
        if nearest:
            mistake = f"there is no setting {line.name}. Did you mean {nearest}?"
            found.append((line.number, mistake))
    return found


def _nearest(name: str, known: Collection[str]) -> str:
    """Return the setting that a name was probably meant to be; "" if it may be something else."""
    from difflib import get_close_matches

    folded = {_fold(one): one for one in known}
    cutoff = 0.75 if name.upper().startswith(OWN_PREFIXES) else 0.9
    near = get_close_matches(_fold(name), folded, 1, cutoff)
    return folded[near[0]] if near else ""


def _fold(name: str) -> str:
    return re.sub(r"[_.-]", "", name).upper()


def _contradictions(lines: Iterable[_Line], table: Mapping[str, Setting]) -> list[tuple[int, str]]:
    """Settings that are written twice, unless the first is only the default of a copied example."""
    found: list[tuple[int, str]] = []
    before: dict[str, _Line] = {}
    for line in lines:
        first = before.get(line.name)
        before[line.name] = line
        if first is None or first.value in ("", line.value):
            continue
        row = table.get(line.name)
        if row is None or first.value != row.default:
            found.append(
                (
                    line.number,
                    f"{line.name} is set on line {first.number} too, to another value. Remove one of "
                    "the two lines.",
                )
            )
    return found
