"""Recognise a file by its own bytes, and check pictures before they travel on.

Names and ``Content-Type`` headers are never asked: both come from strangers. Pillow is imported
inside the functions that need it, because a call without pictures must not pay for it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..errors import MediaError

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_PIXELS = 50_000_000
"""Largest input picture: width x height x frames."""

MAX_PICTURE_BYTES = 50 * 2**20
MAX_FILE_BYTES = 200 * 2**20
"""Largest input of any other kind: video, sound, 3D."""

_HEAD = 64 * 1024  # bytes that are enough to recognise anything below
_MAX_JSON = 2**20  # larger texts are not parsed to find out whether they are JSON

MAX_BYTES = {
    "image": MAX_PICTURE_BYTES,
    "video": MAX_FILE_BYTES,
    "audio": MAX_FILE_BYTES,
    "file": MAX_FILE_BYTES,
}
"""Largest input by what is wanted."""

KindName = Literal["image", "video", "audio", "text", "file"]


@dataclass(frozen=True, slots=True)
class Kind:
    """What a file is. Sizes in pixels; ``None`` where they are unknown or have no meaning.

    ``extension`` begins with a dot and is empty for an unknown file.
    """

    kind: KindName
    format: str
    extension: str
    mime: str
    width: int | None = None
    height: int | None = None
    frames: int | None = None


_UNKNOWN = Kind("file", "unknown", "", "application/octet-stream")

_PNG = Kind("image", "png", ".png", "image/png")
_JPEG = Kind("image", "jpeg", ".jpg", "image/jpeg")
_GIF = Kind("image", "gif", ".gif", "image/gif")
_WEBP = Kind("image", "webp", ".webp", "image/webp")
_BMP = Kind("image", "bmp", ".bmp", "image/bmp")
_TIFF = Kind("image", "tiff", ".tiff", "image/tiff")
_HTML = Kind("text", "html", ".html", "text/html")

_MP4 = Kind("video", "mp4", ".mp4", "video/mp4")
_WEBM = Kind("video", "webm", ".webm", "video/webm")
_MP3 = Kind("audio", "mp3", ".mp3", "audio/mpeg")

_PREFIXES: tuple[tuple[bytes, Kind], ...] = (
    (b"\x89PNG\r\n\x1a\n", _PNG),
    (b"\xff\xd8\xff", _JPEG),
    (b"GIF87a", _GIF),
    (b"GIF89a", _GIF),
    (b"II*\0", _TIFF),
    (b"MM\0*", _TIFF),
    (b"fLaC", Kind("audio", "flac", ".flac", "audio/flac")),
    (b"ID3", _MP3),
    (b"glTF", Kind("file", "glb", ".glb", "model/gltf-binary")),
    (b"%PDF-", Kind("file", "pdf", ".pdf", "application/pdf")),
    (b"PK\x03\x04", Kind("file", "zip", ".zip", "application/zip")),
    (b"\xff\xf1", Kind("audio", "aac", ".aac", "audio/aac")),
    (b"\xff\xf9", Kind("audio", "aac", ".aac", "audio/aac")),
)

_RIFF: dict[bytes, Kind] = {
    b"WEBP": _WEBP,
    b"WAVE": Kind("audio", "wav", ".wav", "audio/wav"),
    b"AVI ": Kind("video", "avi", ".avi", "video/x-msvideo"),
}

_HEIC = Kind("image", "heic", ".heic", "image/heic")
_AVIF = Kind("image", "avif", ".avif", "image/avif")
_M4A = Kind("audio", "m4a", ".m4a", "audio/mp4")
_ISO_BRANDS: dict[bytes, Kind] = {
    b"avif": _AVIF,
    b"avis": _AVIF,
    b"heic": _HEIC,
    b"heix": _HEIC,
    b"mif1": _HEIC,
    b"M4A ": _M4A,
    b"M4B ": _M4A,
    b"qt  ": Kind("video", "mov", ".mov", "video/quicktime"),
}

_TAKEN = "PNG, JPEG, WebP, GIF, BMP and TIFF"
_PILLOW_FORMATS = {
    "png": "PNG",
    "jpeg": "JPEG",
    "webp": "WEBP",
    "gif": "GIF",
    "bmp": "BMP",
    "tiff": "TIFF",
}
_SIZED_BY_PILLOW = {**_PILLOW_FORMATS, "avif": "AVIF"}


def look(content: bytes | Path) -> Kind:
    """What this file is, by its bytes; for pictures with their size and number of frames.

    Never raises for content it does not know (kind ``file``, format ``unknown``); a ``Path``
    that cannot be read raises ``OSError``.
    """
    if isinstance(content, Path):
        with content.open("rb") as file:
            head = file.read(_HEAD)
        whole = content.stat().st_size <= len(head)
    else:
        head = content[:_HEAD]
        whole = len(content) <= len(head)
    kind = _by_magic(head) or _by_text(head, content, whole)
    if kind.format in _SIZED_BY_PILLOW:
        return _with_size(kind, content)
    return kind


def is_picture(content: bytes) -> bool:
    """Whether the bytes begin like one of the picture formats that are taken as input."""
    kind = _by_magic(content[:_HEAD])
    return kind is not None and kind.format in _PILLOW_FORMATS


def is_web_page(content: bytes) -> bool:
    """Whether the bytes begin like an HTML page."""
    return _looks_like_html(content[:_HEAD])


def check_picture(content: bytes, what: str) -> Kind:
    """Decode an input picture wholly, so that a broken one is told here and not by a node.

    ``what`` names the picture in errors (see ``source.describe``). Raises MediaError for an empty,
    truncated, oversized (``MAX_PICTURE_BYTES``, ``MAX_PIXELS``) or unknown file. The size in
    pixels is read from the header and judged before anything is decoded.
    """
    if not content:
        raise MediaError(f"{what} is empty.", f"Give a picture: {_TAKEN} are taken.")
    if len(content) > MAX_PICTURE_BYTES:
        raise MediaError(
            f"{what} has {len(content) / 2**20:.0f} MB.",
            f"Pictures of at most {MAX_PICTURE_BYTES // 2**20} MB are taken.",
        )
    kind = _by_magic(content[:_HEAD]) or _by_text(content[:_HEAD], content, whole=False)
    if kind.format not in _PILLOW_FORMATS:
        raise MediaError(f"{what} {_not_a_picture(kind)}.", f"{_TAKEN} are taken.")
    return _decode(content, kind, what)


def check(content: bytes, what: str, wanted: Wanted) -> Kind:
    """Look at an input file of the wanted kind; only pictures are decoded.

    Raises MediaError for an empty file, a web page, or a file of another kind.
    """
    if wanted == "image":
        return check_picture(content, what)
    if not content:
        raise MediaError(f"{what} is empty.", "Give a file with content.")
    kind = look(content)
    if kind.format == "html":
        raise MediaError(f"{what} is a web page, not {_NAMES[wanted]}.", "Give the file's address.")
    taken = {"video": ("video",), "audio": ("audio", "video"), "file": ("file", "text", "image")}
    if kind.kind not in taken[wanted] and kind.format != "unknown":
        raise MediaError(f"{what} is {_a(kind)}, and {_NAMES[wanted]} is wanted.", "Give another.")
    if kind.format == "unknown" and wanted != "file":
        raise MediaError(
            f"{what} is in no known format, and {_NAMES[wanted]} is wanted.", "Check the address."
        )
    return kind


Wanted = Literal["image", "video", "audio", "file"]
_NAMES = {"video": "a video", "audio": "a sound", "file": "a file"}


def _a(kind: Kind) -> str:
    return {"image": "a picture", "video": "a video", "audio": "a sound"}.get(kind.kind, "a text")


def as_png(content: bytes, what: str) -> bytes | None:
    """A picture in a format that servers do not read (AVIF, and HEIC where its reader is
    installed) as PNG; None for every other file, or when no reader is here.
    """
    kind = _by_magic(content[:_HEAD])
    if kind is None or kind.format not in ("avif", "heic"):
        return None
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(BytesIO(content)) as image:
            _refuse_giant(replace(kind, width=image.width, height=image.height), what)
            shown = ImageOps.exif_transpose(image)
            buffer = BytesIO()
            mode = "RGBA" if "A" in shown.getbands() else "RGB"
            shown.convert(mode).save(buffer, "PNG", compress_level=1)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError):
        return None
    return buffer.getvalue()


def shrunk(content: bytes, max_side: int) -> bytes:
    """The picture with no side longer than ``max_side`` pixels, as PNG; unchanged when it is small.

    Turned as its EXIF says, since the copy carries none.
    """
    from PIL import Image, ImageOps

    with Image.open(BytesIO(content)) as image:
        if max(image.size) <= max_side or int(getattr(image, "n_frames", 1)) > 1:
            return content
        shown = ImageOps.exif_transpose(image)
        shown.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
        buffer = BytesIO()
        mode = "RGBA" if "A" in shown.getbands() or "transparency" in shown.info else "RGB"
        shown.convert(mode).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _not_a_picture(kind: Kind) -> str:
    if kind.format == "html":
        return "is a web page, not a picture"
    if kind.kind == "image":
        return f"is a picture in {kind.format.upper()} format, which is not taken"
    if kind.kind == "text":
        return f"is a text ({kind.format}), not a picture"
    if kind.format == "unknown":
        return "is not a picture in a known format"
    return f"is {kind.format.upper()} ({kind.kind}), not a picture"


def _by_magic(head: bytes) -> Kind | None:
    for prefix, kind in _PREFIXES:
        if head.startswith(prefix):
            return kind
    if head[:4] == b"RIFF":
        return _RIFF.get(head[8:12])
    if head[4:8] == b"ftyp":
        return _ISO_BRANDS.get(head[8:12], _MP4)
    if head[:4] == b"\x1a\x45\xdf\xa3":
        matroska = Kind("video", "matroska", ".mkv", "video/x-matroska")
        return _WEBM if b"webm" in head[:64] else matroska
    if head[:4] == b"OggS":
        video = b"\x80theora" in head[:128]
        ogg = Kind("audio", "ogg", ".ogg", "audio/ogg")
        return Kind("video", "ogg", ".ogv", "video/ogg") if video else ogg
    if _is_bmp(head):
        return _BMP
    if len(head) > 3 and head[0] == 0xFF and head[1] in (0xFB, 0xFA, 0xF3, 0xF2):
        return _MP3
    return None


def _is_bmp(head: bytes) -> bool:
    """Two letters are too weak a sign: the header's length must be one of the known ones too."""
    known = (12, 16, 40, 52, 56, 64, 108, 124)
    return len(head) >= 26 and head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in known


def _looks_like_html(head: bytes) -> bool:
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:512].lower()
    if start.startswith((b"<?xml", b"<!--")):
        return b"<html" in start or b"<!doctype html" in start
    return start.startswith((b"<!doctype html", b"<html", b"<head", b"<body"))


def _by_text(head: bytes, content: bytes | Path, whole: bool) -> Kind:
    text = _as_text(head, whole)
    if text is None:
        return _UNKNOWN
    if _looks_like_html(head):
        return _HTML
    if "<svg" in text[:1024] and text.lstrip().startswith("<"):
        return Kind("text", "svg", ".svg", "image/svg+xml")
    if text.lstrip()[:1] in ("{", "[") and _is_json(content):
        return Kind("text", "json", ".json", "application/json")
    return Kind("text", "plain", ".txt", "text/plain")


def _as_text(head: bytes, whole: bool) -> str | None:
    """The head as UTF-8 text; None when it is empty or binary. A cut last letter is forgiven."""
    try:
        text = head.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if whole or error.start < len(head) - 3 or error.reason != "unexpected end of data":
            return None
        text = head[: error.start].decode("utf-8-sig")
    if not text or any(letter < " " and letter not in "\t\n\r\f\x1b" for letter in text):
        return None
    return text


def _is_json(content: bytes | Path) -> bool:
    if isinstance(content, Path):
        if content.stat().st_size > _MAX_JSON:
            return False
        content = content.read_bytes()
    if len(content) > _MAX_JSON:
        return False
    try:
        json.loads(content)
    except (ValueError, RecursionError):
        return False
    return True


def _with_size(kind: Kind, content: bytes | Path) -> Kind:
    try:
        with _opened(content, kind) as image:
            return _measured(kind, image)
    except Exception:  # whatever a broken header makes of Pillow: the size stays unknown
        return kind


@contextmanager
def _opened(content: bytes | Path, kind: Kind) -> Iterator[Image]:
    """The picture, its header read, by this format's reader alone."""
    from PIL import Image

    file = BytesIO(content) if isinstance(content, bytes) else content
    with Image.open(file, formats=(_SIZED_BY_PILLOW[kind.format],)) as image:
        yield image


def _measured(kind: Kind, image: Image) -> Kind:
    # A JPEG may carry a second picture for stereo or brightness; what is shown is one frame.
    frames = 1 if kind.format == "jpeg" else int(getattr(image, "n_frames", 1))
    return replace(kind, width=image.width, height=image.height, frames=frames)


def _decode(content: bytes, kind: Kind, what: str) -> Kind:
    from PIL import Image

    try:
        with _opened(content, kind) as image:
            measured = _measured(kind, image)
            _refuse_giant(measured, what)
            for frame in range(measured.frames or 1):
                if frame:
                    image.seek(frame)
                image.load()
    except MediaError:
        raise
    except Image.DecompressionBombError as error:
        raise _giant(what) from error
    except MemoryError as error:
        raise MediaError(f"{what} does not fit into memory.", "Give a smaller picture.") from error
    except Exception as error:  # Pillow's readers raise almost anything for broken files
        raise MediaError(
            f"{what} is a broken or cut-off {kind.format.upper()} picture.",
            "Save or transfer it again.",
        ) from error
    return measured


def _refuse_giant(kind: Kind, what: str) -> None:
    width, height, frames = kind.width or 0, kind.height or 0, kind.frames or 1
    if width * height * frames > MAX_PIXELS:
        size = f"{width} x {height}" + (f" x {frames} frames" if frames > 1 else "")
        raise _giant(f"{what} ({size} pixels)")


def _giant(what: str) -> MediaError:
    return MediaError(
        f"{what} is too large to decode.",
        f"Pictures of at most {MAX_PIXELS // 1_000_000} megapixels in all frames are taken.",
    )
