"""Assemble the gallery page from page.html, page.css and page.js, with a policy that fits it."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

STYLE_LINK = '<link rel="stylesheet" href="page.css">'
SCRIPT_LINK = '<script src="page.js"></script>'
POLICY = (
    "default-src 'none'; img-src 'self' data: blob:; media-src 'self'; connect-src 'self'; "
    "style-src {style}; script-src {script}; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
"""Content-Security-Policy: only the page's own script runs, and it cannot turn text into markup."""


def load_page() -> tuple[str, str]:
    """Return the page as one HTML document, and its Content-Security-Policy.

    The files are read as text, with line ends as ``\\n``: browsers hash them after the same conversion.
    """
    html, style, script = (_read(f"page.{suffix}") for suffix in ("html", "css", "js"))
    style, script = f"\n{style}", f"\n{script}"
    page = html.replace(STYLE_LINK, f"<style>{style}</style>")
    page = page.replace(SCRIPT_LINK, f"<script>{script}</script>")
    return page, POLICY.format(style=_source(style), script=_source(script))


def _read(name: str) -> str:
    return Path(__file__).with_name(name).read_text("utf-8")


def _source(text: str) -> str:
    """The hash by which a policy allows an inline element (CSP 3, 2.3.1)."""
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
