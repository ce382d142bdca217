"""Sizes as callers write them: ``512x768``, ``portrait``, ``16:9``, ``1080p``, ``2K``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from comfyui_pipeline.bounded import numbers
from input_server.light_dataclasses import dataclass

MAX_SIDE = 16384
MAX_WORD = 60
MAX_READ = 1000
"""Characters: normalization takes quadratic time for combining marks."""
WORDS: Mapping[str, tuple[int, int]] = {
    **dict.fromkeys(("portrait", "vertical", "tall", "upright"), (2, 3)),
    **dict.fromkeys(("竖图", "竖屏", "竖版", "竖向", "竖", "纵向", "竖构图", "人像"), (2, 3)),
    **dict.fromkeys(("豎圖", "豎屏", "豎版", "直式", "直向", "縱向"), (2, 3)),
    **dict.fromkeys(("landscape", "horizontal", "wide"), (3, 2)),
    **dict.fromkeys(("横图", "横屏", "横版", "横向", "横", "横构图"), (3, 2)),
    **dict.fromkeys(("橫圖", "橫屏", "橫版", "橫式", "橫向"), (3, 2)),
    **dict.fromkeys(("square", "方形", "方图", "正方形", "方圖", "正方"), (1, 1)),
    **dict.fromkeys(("widescreen", "宽屏", "寬屏", "宽银幕"), (16, 9)),
    **dict.fromkeys(("手机壁纸", "手機桌布", "phone", "mobile", "story", "reel"), (9, 16)),
}
"""Words for a shape -> a ratio of width and height."""
AREAS: Mapping[str, int] = {"sd": 512 * 512, "hd": 1024 * 1024, "squarehd": 1024 * 1024}
LINES: Mapping[str, tuple[int, int]] = {
    "480p": (854, 480),
    "540p": (960, 540),
    "576p": (1024, 576),
    "720p": (1280, 720),
    "1080p": (1920, 1080),
    "1440p": (2560, 1440),
    "2160p": (3840, 2160),
}
_PAIR = re.compile(
    r"([0-9]{1,5}) ?(?:px|pixels?|像素)?(?:[x×*✕,;/_ ]|by|乘){1,4}([0-9]{1,5}) ?(?:px|pixels?|像素)?"
)
_RATIO = re.compile(
    r"([0-9]{1,5}(?:\.[0-9]{1,4})?) ?(?::|/|x|×|_|-|to|比) ?([0-9]{1,5}(?:\.[0-9]{1,4})?)"
)
_ONE = re.compile(r"([0-9]{1,5}) ?(?:px|pixels?|像素)?")
_AREA = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,3})?) ?(k|mp|megapixels?|m)")


@dataclass(frozen=True, slots=True)
class SizeRequest:
    """A size as far as the caller gives it; all None for the workflow's own (``auto``).

    ``ratio``: of width and height, ``area``: pixels. ``shape``: the ratio is that of a word such as
    ``portrait``, so any size of that shape is right; with both sides, these are a word such as
    ``1080p``, which leaves the shape open where a workflow has choices for it.
    """

    width: int | None = None
    height: int | None = None
    ratio: tuple[float, float] | None = None
    area: int | None = None
    shape: bool = False


def parse_size(value: Any) -> SizeRequest | None:
    """A size from text, ``[512, 768]`` or ``{"width": 512, "height": 768}``; None for anything else."""
    if isinstance(value, dict):
        small = {str(key).lower(): item for key, item in value.items()}
        sides = [_side(small.get(name, small.get(name[0]))) for name in ("width", "height")]
        return SizeRequest(sides[0], sides[1]) if any(sides) else None
    if isinstance(value, (list, tuple)):
        sides = [_side(item) for item in value]
        return SizeRequest(sides[0], sides[1]) if len(sides) == 2 and all(sides) else None
    return None if isinstance(value, bool) else _parse_text(str(value))


def is_number(value: Any) -> bool:
    """Whether a value is a number without a unit."""
    return not isinstance(value, bool) and numbers.parse_number(str(value).strip()) is not None


def _parse_text(value: str) -> SizeRequest | None:
    text = _plain(value)
    if not text or len(text) > MAX_WORD:
        return None
    word = re.sub(r"[\s_\-]+", "", text)
    if word in ("auto", "default", "original", "自动", "默认", "原图", "原尺寸"):
        return SizeRequest()
    if word in WORDS:
        return SizeRequest(ratio=WORDS[word], shape=True)
    if word in LINES:
        return SizeRequest(*LINES[word], shape=True)
    if word in AREAS:
        return SizeRequest(ratio=(1, 1) if word.startswith("square") else None, area=AREAS[word])
    if ratio := _named_ratio(text):
        return SizeRequest(ratio=ratio)
    if match := _AREA.fullmatch(text):
        number = float(match[1])
        area = (number * 1024) ** 2 if match[2] == "k" else number * 1024 * 1024
        return SizeRequest(area=int(area)) if 0 < area <= MAX_SIDE**2 else None
    if match := _PAIR.fullmatch(text):
        width, height = _side(match[1]), _side(match[2])
        if width and height and (width >= 32 or height >= 32):
            return SizeRequest(width, height)
    if ratio := parse_ratio(text):
        return SizeRequest(ratio=ratio)
    match = _ONE.fullmatch(text)
    side = _side(match[1]) if match else None
    return SizeRequest(side, side) if side and side >= 16 else None


def parse_ratio(value: Any) -> tuple[float, float] | None:
    """A ratio: ``16:9``, ``16x9``, ``1.78``, ``landscape``, ``[16, 9]``; None for anything else."""
    if isinstance(value, (list, tuple)) and len(value) == 2:
        value = f"{value[0]}:{value[1]}"
    text = _plain(str(value))
    if not text or len(text) > MAX_WORD or isinstance(value, (bool, dict)):
        return None
    word = re.sub(r"[\s_\-]+", "", text)
    if word in WORDS:
        return WORDS[word]
    if found := _named_ratio(text):
        return found
    if match := _RATIO.fullmatch(text):
        return _checked(float(match[1]), float(match[2]))
    number = numbers.parse_number(text)
    return _checked(number, 1.0) if number else None


def _named_ratio(text: str) -> tuple[float, float] | None:
    """``landscape_16_9``, ``portrait 4:3``: the numbers of the shape, turned to fit its word."""
    head, _, tail = text.replace("_", " ").partition(" ")
    match = _RATIO.fullmatch(tail.strip().replace(" ", ":")) if head in WORDS and tail else None
    if match is None:
        return None
    one, other = float(match[1]), float(match[2])
    upright = WORDS[head][0] < WORDS[head][1]
    wide, tall = (min, max) if upright else (max, min)
    return _checked(wide(one, other), tall(one, other))


def _checked(width: float, height: float) -> tuple[float, float] | None:
    good = width > 0 and height > 0 and 1 / 64 <= width / height <= 64
    return (width, height) if good else None


def _plain(text: str) -> str:
    if len(text) > MAX_READ:
        return ""
    if not text.isascii():
        import unicodedata

        text = unicodedata.normalize("NFKC", text)
    return text.strip().strip("\"'`").strip().lower()


def _side(value: Any) -> int | None:
    text = str(value).strip().lower().removesuffix("px").strip()
    if isinstance(value, bool) or not text.isascii():
        return None
    number = numbers.parse_number(text)
    whole = number is not None and number == int(number) and 1 <= number <= MAX_SIDE
    return int(number) if whole and number is not None else None
