"""Typed access to settings: each is parsed as its row in the table of settings says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import ConfigError
from .expand_path import expand_path
from .parse_values import parse_boolean, parse_count
from .settings_table import BOOLEAN, INTEGER, NUMBER
from .value_mistakes import value_mistake

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from .settings_table import Setting


class SettingsValues:
    """Values by name out of several sources, of which earlier ones win.

    A blank value counts as absent, and so does 0 where it has no meaning: admin panels of hosts save
    these for what was not filled in. The default of the table then applies. A method that parses
    raises ConfigError for an invalid value.
    """

    def __init__(self, table: Mapping[str, Setting], sources: Sequence[Mapping[str, str]]) -> None:
        self._table = table
        self._sources = sources

    def given(self, name: str) -> str:
        """Return the value as it was set, without surrounding spaces; "" if it is not set.

        Raises ConfigError for one that is certainly not meant as it is written.
        """
        row = self._table[name]
        for source in self._sources:
            value = source.get(name, "").strip()
            if _is_unset(row, value):
                continue
            if mistake := value_mistake(row, value):
                raise ConfigError(f"The setting {name} {mistake}")
            return value
        return ""

    def text(self, name: str) -> str:
        """Return the value or its default."""
        return self.given(name) or self._table[name].default

    def secret(self, name: str) -> str:
        """Return a key or password."""
        value = self.text(name)
        if value.startswith("#") or " #" in value:
            raise ConfigError(
                f"The setting {name} is a comment, not a key. Put the comment on a line of its own in "
                "config.env, and choose a long key."
            )
        return value

    def integer(self, name: str) -> int:
        """Return an integer within the range of the table."""
        row, text = self._table[name], self.text(name)
        number = parse_count(text, at_most=int(row.high))
        if number is None or number < row.low:
            raise self.invalid(name, f"an integer from {row.low:g} to {row.high:g}")
        return number

    def number(self, name: str, *, high: float | None = None, reason: str = "") -> float:
        """Return a number within the range of the table; ``high`` is another upper limit and
        ``reason`` explains it in the error.
        """
        row = self._table[name]
        high = row.high if high is None else high
        try:
            number = float(self.text(name))
        except ValueError:
            number = float("nan")
        if not row.low <= number <= high:
            unit = f" of {row.unit}" if row.unit else ""
            raise self.invalid(name, f"a number{unit} from {row.low:g} to {high:g}{reason}")
        return number

    def boolean(self, name: str) -> bool:
        """Return whether the value is one of the words for true."""
        chosen = parse_boolean(self.text(name))
        if chosen is None:
            raise self.invalid(name, "true or false")
        return chosen

    def choice(self, name: str) -> str:
        """Return one of the words of the table, in lower case."""
        word = self.text(name).lower()
        if word not in self._table[name].choices:
            raise self.invalid(name, f"one of {', '.join(self._table[name].choices)}")
        return word

    def items(self, name: str) -> list[str]:
        """Return the parts of a list separated by ``;``."""
        return [part.strip() for part in self.text(name).split(";") if part.strip()]

    def path(self, name: str, base: Path) -> Path | None:
        """Return a path that starts at ``base`` if it is relative; None if it is not set."""
        text = self.text(name)
        return expand_path(text, base, name) if text else None

    def invalid(self, name: str, expected: str, shown: str | None = None) -> ConfigError:
        """The error for an invalid value; ``shown`` replaces the value (a part of it, or without a
        password). A secret is never shown.
        """
        value = self.text(name) if shown is None else shown
        what = "invalid (its value is secret)" if self._table[name].secret else repr(value)
        return ConfigError(
            f"The setting {name} is {what}. It must be {expected}: correct it in config.env."
        )


def _is_unset(row: Setting, value: str) -> bool:
    if value in ("", "''", '""'):
        return True
    if value == "0":
        return row.type != BOOLEAN and not (row.type in (INTEGER, NUMBER) and row.low <= 0)
    return not row.secret and _is_comment(value)


def _is_comment(value: str) -> bool:
    """Whether a value is a comment: some hosts pass one on that stands in ``KEY=   # words``."""
    return value == "#" or (value[0] == "#" and value[1].isspace())
