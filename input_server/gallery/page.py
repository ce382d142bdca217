"""Assemble the gallery page from the files in ``web/``, with a Content-Security-Policy that fits it."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

STYLE = "page.css"
SCRIPTS = (
    *("texts.js", "dom.js", "preferences.js", "format.js"),
    *("list.js", "grid.js", "viewer.js", "main.js"),
)
"""In the order of page.html. They become one inline script, so they share one scope."""
POLICY = (
    "default-src 'none'; img-src 'self' data: blob:; media-src 'self'; connect-src 'self'; "
    "style-src {style}; script-src {script}; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
"""Only the page's own script runs, and it cannot turn text into markup."""


def load_page() -> tuple[str, str]:
    """Return the page as one HTML document, and its Content-Security-Policy."""
    style_link = f'<link rel="stylesheet" href="{STYLE}">'
    script_links = "\n".join(f'<script src="{name}"></script>' for name in SCRIPTS)
    style = f"\n{_read(STYLE)}"
    script = "\n".join(["", *map(_read, SCRIPTS)])
    page = _read("page.html").replace(style_link, f"<style>{style}</style>")
    page = page.replace(script_links, f"<script>{script}</script>")
    return page, POLICY.format(style=_hash_source(style), script=_hash_source(script))


def _read(name: str) -> str:
    """Read as text, with line ends as ``\\n``: browsers hash inline elements after that conversion."""
    return (Path(__file__).parent / "web" / name).read_text("utf-8")


def _hash_source(text: str) -> str:
    """The source expression that allows an inline element (CSP 3, 2.3.1)."""
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
