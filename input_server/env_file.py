"""Read ``config.env``, the file of settings of both programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

CONFIG_FILE = "config.env"


def read_env_file(folder: Path) -> dict[str, str]:
    """Return the settings in the ``config.env`` of a folder; {} without one. Raises ConfigError.

    ``$`` has no meaning in values, so that keys and Windows paths need no escaping.
    """
    path = folder / CONFIG_FILE
    try:
        text = path.read_text("utf-8-sig")
    except FileNotFoundError:
        return {}
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not UTF-8. Save it as UTF-8 text.") from None
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read: {error.strerror}. Check its permissions."
        ) from None
    import io

    from dotenv import dotenv_values

    values = dotenv_values(stream=io.StringIO(text), interpolate=False)
    return {name: value for name, value in values.items() if value}
