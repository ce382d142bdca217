"""Screenshots for the README: an answer in a chat, and the gallery. Needs Chromium and Pillow."""

from __future__ import annotations

import html
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from string import Template

from PIL import Image

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
SECONDS = 60
PAGE = Path(__file__).with_name("chat.html")
REQUEST = "Make this landscape 640 × 400 pixels, please."
IMAGE = re.compile(r"!\[([^\]]*)\]\(([^)\s]+)\)")


def find_chromium() -> str | None:
    """Return the path of Chromium; None if it is not installed."""
    return next(filter(None, map(shutil.which, CHROMIUM)), None)


def take(chromium: str, folder: Path, call: Mapping[str, str], text: str, gallery: str) -> None:
    """Write chat.png and gallery.png into ``folder``; ``text`` is the answer, ``gallery`` a URL."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        page = Path(temporary) / "chat.html"
        page.write_text(chat_page(call, text), "utf-8")
        _screenshot(chromium, page.as_uri(), folder / "chat.png", "720,600", temporary)
        _screenshot(chromium, gallery, folder / "gallery.png", "960,560", temporary)


def chat_page(call: Mapping[str, str], text: str) -> str:
    """Return a page that shows a request, the tool call and its answer as a chat does."""
    shown = {name: value if len(value) < 60 else "landscape.png" for name, value in call.items()}
    lines = "<br>".join(html.escape(f"{name}: {value}") for name, value in shown.items())
    return Template(PAGE.read_text("utf-8")).substitute(
        request=html.escape(REQUEST), call=lines, answer=to_html(text)
    )


def to_html(text: str) -> str:
    """Return the Markdown of an answer (images, list items, lines) as HTML."""
    parts = []
    for line in text.splitlines():
        escaped = IMAGE.sub(r'<img src="\2" alt="\1">', html.escape(line, quote=False))
        item = escaped.removeprefix("- ")
        parts.append(f"<ul><li>{item}</li></ul>" if item != escaped else f"<p>{escaped}</p>")
    return "".join(parts).replace("</ul><ul>", "")


def _screenshot(chromium: str, url: str, file: Path, size: str, profile: str) -> None:
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    options += [f"--user-data-dir={profile}/profile", f"--window-size={size}"]
    options += ["--force-prefers-reduced-motion", "--virtual-time-budget=8000"]
    options += [f"--screenshot={file}"]
    subprocess.run([chromium, *options, url], capture_output=True, timeout=SECONDS, check=True)
    with Image.open(file) as image:
        palette = image.convert("RGB").quantize(128, dither=Image.Dither.NONE)
    palette.save(file, optimize=True)
