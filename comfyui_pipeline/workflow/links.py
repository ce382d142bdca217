"""Links between the nodes of a prompt."""

from __future__ import annotations

from typing import Any


def is_link(value: Any) -> bool:
    """Whether a value is ``[node id, output slot]``, as in ComfyUI's ``execution.py``."""
    return (
        isinstance(value, list)
        and len(value) == 2
        and isinstance(value[0], (str, int))
        and not isinstance(value[0], bool)
        and isinstance(value[1], int)
    )
