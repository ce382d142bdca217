<<<<<<< HEAD
"""The result of a command that returns text only."""
=======
"""The simplest ``result``: one text. Apart from ``report``, which imports all that a job's result needs."""
>>>>>>> restructure

from __future__ import annotations

from typing import Any


def text_result(text: str, **fields: Any) -> dict[str, Any]:
<<<<<<< HEAD
    """The host's ``result``: ``content`` with one text for the AI, and ``fields`` for programs."""
=======
    """Return a ``result`` of one text and the same facts as fields."""
>>>>>>> restructure
    return {"content": [{"type": "text", "text": text}], **fields}
