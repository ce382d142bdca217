"""Tell the encoding of a text from its bytes. Imports nothing."""

from __future__ import annotations

SAMPLE_BYTES = 64 * 1024
"""Bytes from the beginning of a text that are examined."""
_MIN_LETTERS = 3
"""Letters that are not ASCII; fewer may be GBK by chance."""


def charset(sample: bytes) -> str:
    """Return the encoding of a text as HTTP names it; "" where it cannot be told.

    ``sample``: its first ``SAMPLE_BYTES``; the last letter of a longer text may be cut.
    """
    if sample.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    if _decoded(sample, "utf-8") is not None:
        return _utf_16_of_ascii(sample) or "utf-8"
    if b"\0" in sample:
        return ""
    return "gb18030" if _is_chinese(_decoded(sample, "gb18030") or "") else ""


def _decoded(sample: bytes, encoding: str) -> str | None:
    room = 4 if len(sample) >= SAMPLE_BYTES else 1
    for cut in range(room):
        try:
            return sample[: len(sample) - cut].decode(encoding)
        except UnicodeDecodeError:
            continue
    return None


def _utf_16_of_ascii(sample: bytes) -> str:
    """The byte order of ASCII in UTF-16 without a byte order mark; "" for anything else."""
    first, second = sample[::2], sample[1::2]
    if len(sample) < 2 or any(first) == any(second):
        return ""
    return "utf-16le" if all(first) else "utf-16be" if all(second) else ""


def _is_chinese(text: str) -> bool:
    """Whether nearly all letters are of the usual set: other encodings decode to rare ones."""
    letters = [letter for letter in text if letter > "\x7f"]
    usual = len("".join(letters).encode("gb2312", "ignore")) // 2
    return len(letters) >= _MIN_LETTERS and usual >= 0.9 * len(letters)
