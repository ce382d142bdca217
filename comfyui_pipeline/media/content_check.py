"""Whether what arrived under a name is of that name's kind, and what it is in words."""

from __future__ import annotations

from pathlib import PurePath

from .file_types import Kind


def _endings(names: str) -> frozenset[str]:
    return frozenset(names.split())


IMAGES = _endings("png apng jpg jpeg jpe jfif webp gif bmp tif tiff avif heic heif psd exr")
"""Endings of images that ``kinds.recognise`` knows by their bytes."""
FILMS_AND_SOUNDS = _endings("mp4 m4v mov webm mkv avi ogv wav mp3 flac ogg oga opus m4a aac")
MODELS = _endings("glb fbx")
PAGES = _endings("html htm xhtml xml svg txt md json")
"""Endings of files that may hold markup."""
TEXTS = PAGES | _endings("csv tsv log srt vtt yaml yml obj mtl ply stl gltf")
"""Endings of files that may be empty: a text without a word in it is one."""


def mismatch(name: str, kind: Kind, size: int) -> str:
    """What was received in the place of what ``name`` says; "" where that fits. ``size`` in bytes.

    A file of a kind that is not recognised counts as what its name says, unless it is an image's:
    those are recognised.
    """
    ending = PurePath(name).suffix.lower().removeprefix(".")
    if size == 0:
        return "" if ending in TEXTS else "0 bytes"
    if kind.format == "html" and ending not in PAGES:
        return "an HTML page"
    if ending in IMAGES and kind.kind != "image":
        return words(kind, size)
    if ending in FILMS_AND_SOUNDS | MODELS and (kind.kind == "text" or kind.format == "gzip"):
        return words(kind, size)
    return ""


def words(kind: Kind, size: int) -> str:
    """A file's kind for a reader: ``JSON``, ``a video (mp4)``, ``12 bytes of no known format``."""
    if size == 0:
        return "0 bytes"
    if kind.kind == "text":
        return {"html": "an HTML page", "json": "JSON", "svg": "an SVG drawing"}.get(
            kind.format, "a text"
        )
    if kind.format == "unknown":
        amount = f"{size} bytes" if size < 1024 else f"{size // 1024} KB"
        return f"{amount} of no known format"
    known = {"image": "a picture", "video": "a video", "audio": "a sound", "3d": "a 3D file"}
    return f"{known.get(kind.kind, 'a file')} ({kind.format})"
