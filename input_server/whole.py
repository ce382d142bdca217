"""Files that appear whole: written beside and then named."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def write_whole(file: Path, content: bytes) -> None:
    """Write a file in one step for everybody who looks. Raises OSError."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f".{file.name}.{secrets.token_hex(6)}")
    try:
        part.write_bytes(content)
        os.replace(part, file)  # noqa: PTH105 - atomic on POSIX and Windows alike
    finally:
        part.unlink(missing_ok=True)
