"""Signatures at the beginning of files, by which content is recognised. Imports nothing."""

from __future__ import annotations

HEAD_BYTES = 512
"""Bytes that are enough for every signature here and for the brands of ISO media files."""
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
    (8, b"AIFF", "audio/aiff"),
    (8, b"AIFC", "audio/aiff"),
    (0, b"caff", "audio/x-caf"),
    (0, b".snd", "audio/basic"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "audio/x-ms-wma"),
    (0, b"fLaC", "audio/flac"),
    (0, b"OggS", "audio/ogg"),
    (0, b"ID3", "audio/mpeg"),
    (0, b"glTF", "model/gltf-binary"),
    (0, b"%PDF-", "application/pdf"),
)
"""Offset, bytes, MIME type; the first that matches counts. Of formats that share a signature the usual
one is named: ``video/webm`` includes Matroska, ``audio/x-ms-wma`` Windows Media video."""
_FORMS = {
    b"WEBP": (b"RIFF",),
    b"WAVE": (b"RIFF", b"RF64", b"BW64"),
    b"AIFF": (b"FORM",),
    b"AIFC": (b"FORM",),
}
"""What a file begins with if it has such a form at offset 8."""
_BRANDS = (
    ("image/avif", (b"avif", b"avis")),
    ("image/heic", (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs")),
    ("image/heif", (b"mif1", b"msf1", b"mif2", b"miaf", b"MiHB", b"MiHA", b"MiHE", b"MiPr")),
)
"""Brands of images; one among the compatible brands is enough (ISO/IEC 23008-12, 10.2)."""
_FILM_BRANDS = (b"isom", b"iso2", b"iso4", b"iso5", b"iso6", b"mp41", b"mp42", b"M4V ", b"avc1")
_OGG_VIDEOS = (b"\x80theora", b"OVP80", b"BBCD\0", b"\1video\0\0\0")
"""How the first packet of a video in an Ogg file begins: Theora, VP8, Dirac, OGM."""
_TS_PACKET = 188
"""Bytes of a packet of an MPEG transport stream, each of which begins with 0x47 (ISO/IEC 13818-1)."""


def detect_mime(head: bytes) -> str | None:
    """Return the MIME type of a file from its first ``HEAD_BYTES``; None for no known signature."""
    for offset, signature, mime in SIGNATURES:
        if head.startswith(signature, offset) and head.startswith(_FORMS.get(signature, b"")):
            return _by_brands(head) or mime if mime in ("video/mp4", "image/heif") else mime
    return "video/mp2t" if _is_transport_stream(head) else None


def is_ogg_video(head: bytes) -> bool:
    """Return whether one of the streams that begin in an Ogg file is a video (RFC 3533, 6)."""
    return head.startswith(b"OggS") and any(video in head for video in _OGG_VIDEOS)


def _by_brands(head: bytes) -> str | None:
    """The type of an image whose first brand does not say how it is coded.

    A file that calls itself a film first is an image if it describes items instead of tracks.
    """
    end = min(int.from_bytes(head[:4], "big"), HEAD_BYTES)
    if head[8:12] in _FILM_BRANDS and head[end + 4 : end + 8] != b"meta":
        return None
    brands = {head[at : at + 4] for at in range(8, end, 4)}
    return next((mime for mime, own in _BRANDS if not brands.isdisjoint(own)), None)


def _is_transport_stream(head: bytes) -> bool:
    """Three packets with valid flags, and bytes that no text has."""
    starts = range(0, 3 * _TS_PACKET, _TS_PACKET)
    return (
        len(head) > starts[-1] + 3
        and all(head[at] == 0x47 and head[at + 3] & 0x30 for at in starts)
        and min(head) < 9
    )
