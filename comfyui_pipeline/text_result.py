"""The simplest ``result``: one text. Separate from ``report``, which imports all that a job needs."""

from __future__ import annotations

from typing import Any


def text_result(text: str, **fields: Any) -> dict[str, Any]:
    """Return the host's ``result``: ``content`` with one text for the AI, ``fields`` for programs."""
    return {"content": [{"type": "text", "text": text}], **fields}
