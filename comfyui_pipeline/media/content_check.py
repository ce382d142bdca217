"""Compare a received file's content with what its name says."""

from __future__ import annotations

from pathlib import PurePath

from .file_types import Kind, describe_kind


def _extensions(names: str) -> frozenset[str]:
    return frozenset(names.split())


IMAGES = _extensions("png apng jpg jpeg jpe jfif webp gif bmp tif tiff avif heic heif psd exr")
"""Extensions of images that ``file_types.detect`` recognises."""
VIDEO_AND_AUDIO = _extensions("mp4 m4v mov webm mkv avi ogv wav mp3 flac ogg oga opus m4a aac")
MODELS = _extensions("glb fbx")
MARKUP = _extensions("html htm xhtml xml svg txt md json")
"""Extensions of files that may contain HTML."""
TEXTS = MARKUP | _extensions("csv tsv log srt vtt yaml yml obj mtl ply stl gltf")
"""Extensions of files that may be empty."""


def mismatch(name: str, kind: Kind, size: int) -> str:
    """Return what was received instead of the file that ``name`` says, "" when it fits.

    ``size`` in bytes. Content of an unknown format fits every name except that of an image.
    """
    extension = PurePath(name).suffix.lower().removeprefix(".")
    if size == 0:
        return "" if extension in TEXTS else "0 bytes"
    if kind.format == "html" and extension not in MARKUP:
        return describe_kind(kind)
    if extension in IMAGES and kind.kind != "image":
        return describe_kind(kind, size)
    if extension in VIDEO_AND_AUDIO | MODELS and (kind.kind == "text" or kind.format == "gzip"):
        return describe_kind(kind, size)
    return ""
