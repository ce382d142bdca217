"""File types by content: every signature, and content that is too ambiguous."""

from __future__ import annotations

import io
import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfyui_pipeline.media import file_types
from comfyui_pipeline.media.file_types import detect_bytes
from input_server.content_type import detect_type, head_bytes
from input_server.file_signatures import HEAD_BYTES, SIGNATURES, detect_mime

FTYP = b"\0\0\0\x18ftyp"
EBML = b"\x1a\x45\xdf\xa3"


def bmp(header: int, size: int = 26) -> bytes:
    return (b"BM" + bytes(12) + struct.pack("<I", header)).ljust(size, b"\0")


ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
ASF_VIDEO = bytes.fromhex("c0ef19bc4d5bcf11a8fd00805f5c442b")

SIGNS: dict[bytes, tuple[str, str, str, str]] = {
    b"\x89PNG\r\n\x1a\n": ("image", "png", ".png", "image/png"),
    b"\xff\xd8\xff\xe0": ("image", "jpeg", ".jpg", "image/jpeg"),
    b"GIF87a": ("image", "gif", ".gif", "image/gif"),
    b"GIF89a": ("image", "gif", ".gif", "image/gif"),
    b"II*\0": ("image", "tiff", ".tiff", "image/tiff"),
    b"MM\0*": ("image", "tiff", ".tiff", "image/tiff"),
    b"\x76\x2f\x31\x01": ("image", "exr", ".exr", "image/x-exr"),
    b"8BPS": ("image", "psd", ".psd", "image/vnd.adobe.photoshop"),
    b"RIFF1234WEBP": ("image", "webp", ".webp", "image/webp"),
    bmp(40): ("image", "bmp", ".bmp", "image/bmp"),
    bmp(12): ("image", "bmp", ".bmp", "image/bmp"),
    bmp(124): ("image", "bmp", ".bmp", "image/bmp"),
    FTYP + b"avif": ("image", "avif", ".avif", "image/avif"),
    FTYP + b"avis": ("image", "avif", ".avif", "image/avif"),
    FTYP + b"heic": ("image", "heic", ".heic", "image/heic"),
    FTYP + b"heix": ("image", "heic", ".heic", "image/heic"),
    FTYP + b"mif1": ("image", "heic", ".heic", "image/heic"),
    FTYP + b"miaf": ("image", "heic", ".heic", "image/heic"),
    b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf": ("image", "avif", ".avif", "image/avif"),
    b"\0\0\0\x18ftypmiaf\0\0\0\0miafavif": ("image", "avif", ".avif", "image/avif"),
    b"\0\0\0\x18ftypMiHE\0\0\0\0miafheix": ("image", "heic", ".heic", "image/heic"),
    b"\0\0\0\x18ftypmp42\0\0\0\0heicmif1\0\0\1\0meta": ("image", "heic", ".heic", "image/heic"),
    FTYP + b"M4A ": ("audio", "m4a", ".m4a", "audio/mp4"),
    FTYP + b"M4B ": ("audio", "m4a", ".m4a", "audio/mp4"),
    FTYP + b"qt  ": ("video", "mov", ".mov", "video/quicktime"),
    FTYP + b"isom": ("video", "mp4", ".mp4", "video/mp4"),
    EBML + b"\x42\x82\x84webm": ("video", "webm", ".webm", "video/webm"),
    EBML + b"\x42\x82\x88matroska": ("video", "matroska", ".mkv", "video/x-matroska"),
    b"RIFF1234AVI ": ("video", "avi", ".avi", "video/x-msvideo"),
    b"RIFF1234WAVE": ("audio", "wav", ".wav", "audio/wav"),
    b"RF641234WAVE": ("audio", "wav", ".wav", "audio/wav"),
    b"FORM1234AIFFCOMM": ("audio", "aiff", ".aiff", "audio/aiff"),
    b"FORM1234AIFCFVER": ("audio", "aiff", ".aiff", "audio/aiff"),
    b"caff\0\1\0\0desc": ("audio", "caf", ".caf", "audio/x-caf"),
    b".snd\0\0\0\x18": ("audio", "au", ".au", "audio/basic"),
    b"\x0b\x77\x3b\x9e\x14\x40": ("audio", "ac3", ".ac3", "audio/ac3"),
    ASF + bytes(40): ("audio", "wma", ".wma", "audio/x-ms-wma"),
    ASF + bytes(40) + ASF_VIDEO: ("video", "wmv", ".wmv", "video/x-ms-wmv"),
    (b"\x47\x40\0\x10" + bytes(184)) * 3: ("video", "mpeg-ts", ".ts", "video/mp2t"),
    b"OggS" + bytes(24) + b"\x01vorbis": ("audio", "ogg", ".ogg", "audio/ogg"),
    b"OggS" + bytes(24) + b"\x80theora": ("video", "ogg", ".ogv", "video/ogg"),
    b"fLaC": ("audio", "flac", ".flac", "audio/flac"),
    b"ID3\x04": ("audio", "mp3", ".mp3", "audio/mpeg"),
    b"\xff\xfb\x90\x00": ("audio", "mp3", ".mp3", "audio/mpeg"),
    b"\xff\xfa\x90\x00": ("audio", "mp3", ".mp3", "audio/mpeg"),
    b"\xff\xf3\x90\x00": ("audio", "mp3", ".mp3", "audio/mpeg"),
    b"\xff\xf2\x90\x00": ("audio", "mp3", ".mp3", "audio/mpeg"),
    b"\xff\xf1\x50\x80": ("audio", "aac", ".aac", "audio/aac"),
    b"\xff\xf9\x50\x80": ("audio", "aac", ".aac", "audio/aac"),
    b"glTF\2\0\0\0": ("3d", "glb", ".glb", "model/gltf-binary"),
    b"ply\nformat": ("3d", "ply", ".ply", "application/octet-stream"),
    b"ply\r\nformat": ("3d", "ply", ".ply", "application/octet-stream"),
    b"Kaydara FBX Binary  \0": ("3d", "fbx", ".fbx", "application/octet-stream"),
    b"solid a\nfacet normal 0 0 1": ("3d", "stl", ".stl", "model/stl"),
    b'{"asset": {"version": "2.0"}}': ("3d", "gltf", ".gltf", "model/gltf+json"),
    b"%PDF-1.7": ("file", "pdf", ".pdf", "application/pdf"),
    b"PK\x03\x04": ("file", "zip", ".zip", "application/zip"),
    b"<!DOCTYPE html><p>": ("text", "html", ".html", "text/html"),
    b"\xef\xbb\xbf \r\n<HTML>": ("text", "html", ".html", "text/html"),
    b"<head>": ("text", "html", ".html", "text/html"),
    b"<body>": ("text", "html", ".html", "text/html"),
    b"<?xml version='1.0'?><html>": ("text", "html", ".html", "text/html"),
    b"<!-- log in --><!doctype html>": ("text", "html", ".html", "text/html"),
    "中文说明：提示词".encode("gbk"): ("text", "plain", ".txt", "text/plain; charset=gb18030"),
    "猫 cat".encode("utf-16"): ("text", "plain", ".txt", "text/plain; charset=utf-16"),
    b"<svg xmlns='x'/>": ("text", "svg", ".svg", "image/svg+xml"),
    b"<?xml version='1.0'?>\n<svg/>": ("text", "svg", ".svg", "image/svg+xml"),
    b'{"a": 1}': ("text", "json", ".json", "application/json"),
    b" [1, 2]": ("text", "json", ".json", "application/json"),
    b'{"asset": {"name": "x"}}': ("text", "json", ".json", "application/json"),
    b'{"asset": "version"}': ("text", "json", ".json", "application/json"),
    b"{not json": ("text", "plain", ".txt", "text/plain"),
    b"some words": ("text", "plain", ".txt", "text/plain"),
    b"words of <svg": ("text", "plain", ".txt", "text/plain"),
    b"solid ground": ("text", "plain", ".txt", "text/plain"),
    b"a facet normal one": ("text", "plain", ".txt", "text/plain"),
    b"\x1b[31mred\t\r\n\x0c": ("text", "plain", ".txt", "text/plain"),
}
UNKNOWN = {
    "nothing": b"",
    "zeros": bytes(40),
    "text with a zero byte": b"some\0words",
    "no UTF-8": b"caf\xe9 au lait",
    "cut in the middle of a letter": "猫".encode()[:2],
    "RIFF of another form": b"RIFF\0\0\0\0XXXX",
    "a bitmap's letters, and a header of no known length": bmp(41),
    "a bitmap that ends before its size": bmp(40, 25),
    "an MP3 frame that is cut off": b"\xff\xfb\x90",
    "another mark where an MP3 frame has its own": b"\xff\xf4\x90\x00",
}


@pytest.mark.parametrize("content", SIGNS, ids=lambda content: repr(content[:24]))
def test_each_signature_has_its_type(content: bytes) -> None:
    found = file_types.detect_bytes(content)
    assert (found.kind, found.format, found.extension, found.mime) == SIGNS[content]


@pytest.mark.parametrize(("offset", "signature", "mime"), SIGNATURES, ids=repr)
def test_file_server_and_pipeline_agree_on_every_signature(
    offset: int, signature: bytes, mime: str
) -> None:
    start = b"" if offset != 8 else b"FORM" if signature[:3] == b"AIF" else b"RIFF"
    doctype = b"\x42\x82\x84webm"  # the DocType distinguishes WebM from Matroska
    content = start.ljust(offset, b"\0") + signature + doctype
    head = content[:HEAD_BYTES]
    assert detect_mime(head) == mime, "an earlier row of the table is more general"
    assert offset + len(signature) <= HEAD_BYTES
    found = file_types.detect_bytes(content)
    assert detect_type(f"a{found.extension}", head) == found.mime
    assert detect_type("a.unknown", head) == mime


@pytest.mark.parametrize(
    "text", [b"the new WAVE of music", b"an old  WEBP", b"G" * 400 + b"!", b"an old  AIFF"]
)
def test_a_text_with_the_name_of_a_riff_form_is_a_text(text: bytes) -> None:
    assert file_types.detect_bytes(text).format == "plain"
    assert detect_type("a.txt", text[:HEAD_BYTES]) == "text/plain; charset=utf-8"


@pytest.mark.parametrize("content", UNKNOWN.values(), ids=UNKNOWN)
def test_content_without_a_signature_is_unknown(content: bytes) -> None:
    found = file_types.detect_bytes(content)
    assert (found.kind, found.format, found.extension) == ("file", "unknown", "")
    assert found.mime == "application/octet-stream"


@given(st.binary(max_size=200))
def test_any_bytes_have_a_kind_and_the_file_is_rewound(content: bytes) -> None:
    file = io.BytesIO(content)
    file.seek(len(content) // 2)
    assert file_types.detect(file).kind in ("image", "video", "audio", "3d", "text", "file")
    assert file.tell() == 0


def test_only_a_long_text_may_be_cut_inside_a_character() -> None:
    head = 64 * 1024
    for before in range(1, 4):
        text = b"a" * (head - before) + "😀".encode() * 5
        assert file_types.detect_bytes(text).format == "plain", before
    assert file_types.detect_bytes(b"a" * (head - 2) + "猫".encode()[:2]).format == "unknown"
    assert file_types.detect_bytes(b"a" * (head - 4) + b"\xff" + b"a" * 9).format == "unknown"


def test_json_is_recognised_up_to_one_megabyte() -> None:
    def document(size: int) -> bytes:
        return json.dumps({"a": "x" * (size - 9)}).encode()

    assert len(document(2**20)) == 2**20
    assert file_types.detect_bytes(document(2**20)).format == "json"
    assert file_types.detect_bytes(document(2**20 + 1)).format == "plain"
    assert file_types.detect_bytes(b"[" * 200_000).format == "plain"


@pytest.mark.parametrize(
    ("content", "known"),
    [
        (b"\x89PNG\r\n\x1a\n", True),
        (b"fLaC", True),
        (b"ID3\x04", True),
        (b"\xff\xfb\x90\x00", False),
        (b"\xff\xf1\x50\x80", False),
        (b"\xff\xf9\x50\x80", False),
        (b"some words", False),
        (b"", False),
    ],
)
def test_signatures_of_two_bytes_are_not_certain(content: bytes, known: bool) -> None:
    assert file_types.is_known(content) is known


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"GIF89a", "an image (gif)"),
        (FTYP + b"isom", "a video (mp4)"),
        (b"fLaC", "an audio file (flac)"),
        (b"ply\n", "a 3D file (ply)"),
        (b"<html>", "a web page"),
        (b"%PDF-", "a file (pdf)"),
        (b"", "data of an unknown format"),
    ],
)
def test_a_kind_is_described(content: bytes, words: str) -> None:
    assert file_types.describe_kind(file_types.detect_bytes(content)) == words


def test_a_web_page_is_recognised_by_its_beginning() -> None:
    assert file_types.is_web_page(b"\n<!DOCTYPE HTML>")
    assert not file_types.is_web_page(b"words, then <html>")
    assert not file_types.is_web_page(b"<?xml?><svg/>")
    assert not file_types.is_web_page(b"<!-- " + b"x" * 600 + b"<html>")


@pytest.mark.parametrize(
    ("content", "form"),
    [
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf", "avif"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "heic"),
        (b"\0\0\0\x14ftypheix\0\0\0\0heix", "heic"),
        (b"\0\0\0\x14ftyphevc\0\0\0\0hevc", "heic"),
        (b"\0\0\0\x14ftypisom\0\0\0\0avif", "mp4"),
        (b"II+\0\x08\0", "tiff"),
        (b"\x1f\x8b\x08\0", "gzip"),
    ],
)
def test_iso_formats_are_detected_by_their_brands(content: bytes, form: str) -> None:
    assert detect_bytes(content).format == form


@pytest.mark.parametrize(
    ("content", "declared"),
    [
        ("猫 cat", "; charset=utf-8"),
        ("", "; charset=utf-8"),
        ("中文说明：提示词".encode("gbk"), "; charset=gb18030"),
        (b"a" + "提示词".encode("gbk") * 20_000, "; charset=gb18030"),
        (b"a" + "猫".encode() * 40_000, "; charset=utf-8"),
        ("猫 cat".encode("utf-16"), "; charset=utf-16"),
        ("a cat".encode("utf-16-be"), "; charset=utf-16be"),
        ("a cat".encode("utf-16-le"), "; charset=utf-16le"),
        (b"caf\xe9 au lait", ""),
        ("こんにちは、世界".encode("shift_jis"), ""),
        (bytes(range(256)), ""),
    ],
)
def test_the_encoding_of_a_text_is_declared_as_it_is(content: str | bytes, declared: str) -> None:
    data = content.encode() if isinstance(content, str) else content
    for name, kind in (("a.txt", "text/plain"), ("a.csv", "text/csv"), ("a.html", "text/html")):
        assert detect_type(name, data[: head_bytes(name)]) == kind + declared
