"""How messages name a node."""

from __future__ import annotations

from comfyui_pipeline.bounded.truncate import shorten

MAX_CHARACTERS = 80
"""Of an id, a title or a node type; files may hold longer ones."""


def node_label(node_id: str, title: str, class_type: str) -> str:
    """``6 "Positive Prompt" (CLIPTextEncode)``; each part is cut to a readable length."""
    named = f' "{shorten(title, MAX_CHARACTERS)}"' if title and title != class_type else ""
    return f"{shorten(node_id, MAX_CHARACTERS)}{named} ({shorten(class_type, MAX_CHARACTERS)})"
