"""The result of a command that returns text only."""

from __future__ import annotations

from typing import Any


def text_result(text: str, **fields: Any) -> dict[str, Any]:
    """The host's ``result``: ``content`` with one text for the AI, and ``fields`` for programs."""
    return {"content": [{"type": "text", "text": text}], **fields}
