"""Match patterns against long texts built from their own parts: ``long_texts_for_patterns.py LIST``.

LIST holds a line for each: ``('where', 'pattern', ['search'])``. A pattern that backtracks does not end.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

CHARACTERS = 60_000
COMMON = (
    " ",
    "\t",
    "\n",
    "a",
    "A",
    "9",
    "/",
    "\\",
    ".",
    ":",
    "-",
    "_",
    "=",
    "%",
    "{",
    "$",
    '"',
    "<",
    "a ",
    "9 ",
)


def pieces(pattern: str) -> list[str]:
    """Texts on which the pattern may backtrack: its literal parts, alone and joined."""
    escaped = re.sub(r"\\([^\w\s])", lambda found: chr(0xE000 + ord(found[1])), pattern)
    spelled = re.sub(r"\\[wWdDsSbBAZ]|[\[\](){}|?*+^$.\\]", " ", escaped)
    words = [
        "".join(chr(ord(c) - 0xE000) if "\ue000" <= c <= "\ue0ff" else c for c in word)
        for word in spelled.split()
    ]
    units = [*COMMON, *(word for word in words if word)]
    units += [first + second for first in units[20:28] for second in (" ", "a", "9", ".")]
    return list(dict.fromkeys(units))


def texts(pattern: str) -> Iterator[str]:
    """Each part repeated as the entire text, and after the beginning of a match."""
    units = pieces(pattern)
    for unit in units:
        body = unit * (CHARACTERS // len(unit))
        yield body
        yield body + "\0!"
    for beginning in units[len(COMMON) : len(COMMON) + 4]:
        for unit in (" ", "a", "9"):
            yield beginning + unit * CHARACTERS + "\0!"


def main(listed: Path) -> None:
    for line in listed.read_text("utf-8").splitlines():
        where, pattern, ways = ast.literal_eval(line)
        compiled = re.compile(pattern, re.DOTALL)
        print(where, repr(pattern), flush=True)
        for text in texts(pattern):
            for way in ways:
                if way in ("match", "fullmatch"):
                    getattr(compiled, way)(text)
                else:
                    for _ in compiled.finditer(text):
                        pass
    print("ended")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
