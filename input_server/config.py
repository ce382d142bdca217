"""What is served, and under which key: the host's settings, the environment, ``config.env``."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from input_server.mounts import ConfigError, Mount, parse_mounts

PACKAGE = Path(__file__).resolve().parent
DEFAULT_PORT = 5005
SERVER_OUTPUT_ALIAS = "comfyui"


@dataclass(frozen=True, slots=True)
class Config:
    """Checked settings. The key is in no repr."""

    mounts: tuple[Mount, ...]
    key: str = field(repr=False)
    port: int = DEFAULT_PORT
    debug: bool = False


def read(given: Mapping[str, Any], base: Path | None = None) -> Config:
    """``given`` wins over the environment, and that over ``config.env`` (here, then one above).

    ``COMFYUI_ACCESS_KEY`` falls back to ``FILE_SERVER_ACCESS_KEY``. Raises ConfigError.
    """
    told = {key: str(value) for key, value in given.items() if value is not None}
    sources = (told, dict(os.environ), _file(PACKAGE), _file(PACKAGE.parent))

    def value(key: str) -> str:
        return next((s[key].strip() for s in sources if s.get(key, "").strip()), "")

    key = value("COMFYUI_ACCESS_KEY") or value("FILE_SERVER_ACCESS_KEY")
    if not key:
        raise ConfigError(
            "No access key is set. Put a long COMFYUI_ACCESS_KEY or FILE_SERVER_ACCESS_KEY into "
            "config.env; without one everybody could read the files."
        )
    project = PACKAGE.parent
    output = value("COMFYUI_OUTPUT_DIR")
    default = f"output:{Path(output).expanduser() if output else project / 'output'}"
    mounts = parse_mounts(value("COMFYUI_MOUNTS") or default, base or project)
    return Config(
        mounts=_with_server_output(mounts, value("COMFYUI_SERVER_OUTPUT_DIR")),
        key=key,
        port=_port(value("FILE_SERVER_PORT")),
        debug=value("DebugMode").lower() in ("true", "1", "yes"),
    )


def _with_server_output(mounts: tuple[Mount, ...], folder: str) -> tuple[Mount, ...]:
    """ComfyUI's own output folder, where results are not copied, under an alias of its own."""
    path = Path(folder).expanduser()
    held = any(path.is_relative_to(mount.folder) for mount in mounts)
    if not folder or held or any(mount.alias == SERVER_OUTPUT_ALIAS for mount in mounts):
        return mounts
    return (*mounts, Mount(SERVER_OUTPUT_ALIAS, path))


def _file(folder: Path) -> dict[str, str]:
    path = folder / "config.env"
    try:
        text = path.read_text("utf-8-sig")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError):
        raise ConfigError(f"{path} cannot be read as UTF-8 text.") from None
    from dotenv import dotenv_values

    read = dotenv_values(stream=io.StringIO(text), interpolate=False)
    return {key: value for key, value in read.items() if value}


def _port(value: str) -> int:
    if not value:
        return DEFAULT_PORT
    if not (value.isascii() and value.isdigit() and 0 < int(value[:6]) < 65536):
        raise ConfigError(f"FILE_SERVER_PORT is {value!r}. It has to be a number from 1 to 65535.")
    return int(value)
