"""What chat programs put around the source of a file: Markdown, HTML, labels, other prefixes."""

from __future__ import annotations

from urllib.parse import quote

MAX_WRAPPED = 20_000
"""Characters; a longer value is content, of which only the beginning is looked at."""
QUOTES = {'"': '"', "'": "'", "`": "`", "<": ">", "“": "”", "「": "」", "《": "》"}
PREFIXES = ("base64://", "base64:", "attachment://", "attachment:", "@")
SOURCES = ("http://", "https://", "file:", "data:")


def bare_source(value: str) -> str:
    """The source without what is written around it.

    ``![cat](https://x/a.png "title")``, ``<img src="…">``, ``[附加图片: file:///a.png]``,
    ``base64://…``; in URLs ``&amp;`` is ``&`` and a space is ``%20``.
    """
    value = _unquoted(value.strip())
    if len(value) <= MAX_WRAPPED or value[:2] in ("![", "[") or value[:4].lower() == "<img":
        value = _unquoted(_inside(value).strip())
    lowered = value[:16].lower()
    for prefix in PREFIXES:
        if lowered.startswith(prefix) and len(value) > len(prefix):
            value = value[len(prefix) :].strip()
            lowered = value[:16].lower()
    if lowered.startswith("base64,"):
        value = value[7:]
    if lowered.startswith(("http://", "https://")):
        value = value.replace("&amp;", "&")
        if " " in value or not value.isascii():
            value = "".join(c if c.isascii() and c != " " else quote(c) for c in value)
    return value


def _unquoted(value: str) -> str:
    end = QUOTES.get(value[:1])
    inner = value[1:-1].strip()
    if end and value.endswith(end) and inner and end not in inner and inner[:3] != "img":
        return inner
    return value


def _inside(value: str) -> str:
    """The target of a Markdown image or link, of an ``<img>``, or of a label in brackets."""
    if value[:4].lower() == "<img":
        _, _, rest = value.partition("src=")
        mark = rest[:1] if rest[:1] in ("'", '"') else ""
        return rest[1:].partition(mark)[0] if mark else rest.split(">")[0].split(" ")[0]
    if not value.startswith(("![", "[")):
        return value
    _, found, rest = value.partition("](")
    if found and ")" in rest:
        target = rest.rpartition(")")[0]
        return _without_title(target)
    if value.startswith("[") and value.endswith("]"):
        text = value[1:-1]
        for marker in (": ", "：", ":"):
            _, found, rest = text.partition(marker)
            if found and rest.strip()[:8].lower().startswith(SOURCES):
                return rest
        return value
    return value


def _without_title(target: str) -> str:
    """``url "title"`` -> ``url``."""
    target = target.strip()
    for mark in (' "', " '"):
        url, found, title = target.partition(mark)
        if found and title.endswith(mark[1]):
            return url.strip().strip("<>")
    return target.strip("<>")
