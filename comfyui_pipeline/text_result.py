"""The simplest ``result``: one text. Apart from ``report``, which imports all that a job's result needs."""

from __future__ import annotations

from typing import Any


def text_result(text: str, **fields: Any) -> dict[str, Any]:
    """Return a ``result`` of one text and the same facts as fields."""
    return {"content": [{"type": "text", "text": text}], **fields}
