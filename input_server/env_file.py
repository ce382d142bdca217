"""Read ``config.env``, the file of settings of both programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from .settings_table import Setting

CONFIG_FILE = "config.env"
MAX_REPORTED = 5
"""Mistakes that one error lists."""


def read_env_file(
    folder: Path, table: Mapping[str, Setting], others: Collection[str] = ()
) -> dict[str, str]:
    """Return the settings in the ``config.env`` of a folder; {} without one.

    ``others``: names that may be there too. Values in quotes are read by python-dotenv, which takes
    longer to import than a short call takes; any other value is what is written. Raises ConfigError
    with the number of each line that could mean something else than what is written (see
    ``env_lines``).
    """
    path = folder / CONFIG_FILE
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        return {}
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not UTF-8. Save it as UTF-8 text.") from None
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read: {error.strerror}. Check its permissions."
        ) from None
    from .env_lines import read_lines

    values, mistakes = read_lines(text, table, others)
    if mistakes:
        listed = [f"Line {number}: {mistake}" for number, mistake in mistakes[:MAX_REPORTED]]
        if len(mistakes) > MAX_REPORTED:
            listed.append(f"{len(mistakes) - MAX_REPORTED} more lines are wrong.")
        raise ConfigError(f"{path} cannot be used as it is. {' '.join(listed)}")
    if not values or not _has_quotes(text):
        return values
    from io import StringIO

    from dotenv import dotenv_values

    read = dotenv_values(stream=StringIO(text), interpolate=False)
    return {name: read.get(name) or "" for name in values}


def _has_quotes(text: str) -> bool:
    lines = (line.lstrip() for line in text.splitlines())
    return any(line[:1] != "#" and ("'" in line or '"' in line) for line in lines)
