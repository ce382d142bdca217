"""Signatures at the beginning of files, by which content is recognised. Imports nothing."""

from __future__ import annotations

HEAD_BYTES = 16
"""Bytes that are enough for every signature here."""
SIGNATURES = (
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"GIF87a", "image/gif"),
    (0, b"GIF89a", "image/gif"),
    (8, b"WEBP", "image/webp"),
    (4, b"ftypavif", "image/avif"),
    (4, b"ftypavis", "image/avif"),
    *((4, b"ftyp" + brand, "image/heic") for brand in (b"heic", b"heix", b"heim", b"heis")),
    *((4, b"ftyp" + brand, "image/heif") for brand in (b"mif1", b"msf1", b"hevc", b"hevx")),
    (4, b"ftypqt", "video/quicktime"),
    (4, b"ftypM4A", "audio/mp4"),
    (4, b"ftyp", "video/mp4"),
    (0, b"\x1a\x45\xdf\xa3", "video/webm"),
    (8, b"WAVE", "audio/wav"),
    (0, b"fLaC", "audio/flac"),
    (0, b"OggS", "audio/ogg"),
    (0, b"ID3", "audio/mpeg"),
    (0, b"glTF", "model/gltf-binary"),
    (0, b"%PDF-", "application/pdf"),
)
"""Offset, bytes, MIME type; the first that matches counts. Of formats that share a signature the usual
one is named: ``video/webm`` includes Matroska, ``image/heif`` for any image in such a file."""
_RIFF_OFFSET = 8


def detect_mime(head: bytes) -> str | None:
    """Return the MIME type of a file from its first ``HEAD_BYTES``; None for no known signature."""
    for offset, signature, mime in SIGNATURES:
        if head.startswith(signature, offset) and (
            offset != _RIFF_OFFSET or head.startswith(b"RIFF")
        ):
            return mime
    return None
