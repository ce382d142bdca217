"""How messages name a node."""

from __future__ import annotations

MAX_CHARACTERS = 80
"""Of an id, a title or a node type; files may hold longer ones."""


def node_label(node_id: str, title: str, class_type: str) -> str:
    """``6 "Positive Prompt" (CLIPTextEncode)``; each part is cut to a readable length."""
    named = f' "{_cut(title)}"' if title and title != class_type else ""
    return f"{_cut(node_id)}{named} ({_cut(class_type)})"


def _cut(text: str) -> str:
    return text if len(text) <= MAX_CHARACTERS else text[:MAX_CHARACTERS] + "…"
