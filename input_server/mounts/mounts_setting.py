"""``COMFYUI_MOUNTS``."""

from __future__ import annotations

from pathlib import Path

from ..errors import ConfigError
from ..expand_path import expand_path
from ..mount_names import is_alias
from .mount import Mount


def parse_mounts(text: str, base: Path) -> tuple[Mount, ...]:
    r"""Parse ``alias:folder;alias:folder``. The first colon splits, so ``pics:D:\pics`` works.

    A relative folder starts at ``base``; it may not exist yet. Raises ConfigError.
    """
    mounts: dict[str, Mount] = {}
    for entry in filter(None, (part.strip() for part in text.split(";"))):
        alias, colon, folder = (part.strip() for part in entry.partition(":"))
        if not colon or not folder or not is_alias(alias):
            raise ConfigError(
                f"COMFYUI_MOUNTS: invalid entry {entry!r}. Use alias:folder, with an alias of letters, "
                "digits, - and _; separate several by ;"
            )
        if alias in mounts:
            raise ConfigError(
                f"COMFYUI_MOUNTS has the alias {alias!r} twice. Give each folder a different alias."
            )
        mounts[alias] = Mount(alias, expand_path(folder, base, "COMFYUI_MOUNTS"))
    if not mounts:
        raise ConfigError("COMFYUI_MOUNTS has no mounts. Use alias:folder;alias:folder.")
    return tuple(mounts.values())
