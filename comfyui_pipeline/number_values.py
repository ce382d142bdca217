"""Numbers as callers write them: ``128px``, ``50%``, ``2x``, ``1,024``, ``5s``, ``00:05``, ``３秒``.

Imported when a value is no plain number.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from comfyui_pipeline.arguments import Argument
from comfyui_pipeline.bounded import numbers
from comfyui_pipeline.call_document import MAX_SHOWN

_NUMBER = re.compile(r"([+-]?[0-9.]{1,40}(?:e[+-]?[0-9]{1,3})?) ?(\D{0,12})")
_GROUPED = re.compile(r"[+-]?[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]+)?")
_DECIMAL_COMMA = re.compile(r"[+-]?(?:[0-9]{1,9},[0-9]{1,2}|0,[0-9]{1,9})(?=%|[^0-9,.]|$)")
_CLOCK = re.compile(r"(?:([0-9]{1,2}):)?([0-9]{1,3}):([0-9]{1,2}(?:\.[0-9]+)?)")
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)([^0-9.]{0,12})")
UNITS: Mapping[str, float] = {
    **dict.fromkeys(("", "s", "sec", "secs", "second", "seconds", "秒", "秒钟", "秒鐘"), 1.0),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes", "分", "分钟", "分鐘"), 60.0),
    **dict.fromkeys(("h", "hr", "hour", "hours", "小时", "小時"), 3600.0),
    **dict.fromkeys(("ms", "milliseconds", "毫秒"), 0.001),
}
ENGLISH = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
DIGITS = "零一二三四五六七八九"
MAX_WORD = 12
_IDEOGRAPHS = re.compile(
    r"([一二三四五六七八九]?十[一二三四五六七八九]?|[零一二三四五六七八九两兩])"
    r"(?![零一二三四五六七八九十百千万萬])"
)
PIXELS = ("px", "pixel", "pixels", "像素")
COUNTS = ("张", "張", "幅", "步", "个", "個", "帧", "幀", "images", "steps", "frames", "pcs", "图")
PERCENT_OF = frozenset({"denoise", "strength", "lora_strength", "scale", "quality"})
"""Arguments of which ``50%`` means half, or 50 of a hundred."""


def plain(text: str) -> str:
    """The text in ASCII digits and lower case, without quotation marks and thousands separators."""
    if len(text) > numbers.MAX_DIGITS:
        return text
    if not text.isascii():
        import unicodedata

        text = unicodedata.normalize("NFKC", text)
    text = text.strip().strip("\"'`“”").strip().lower()
    if decimal := _DECIMAL_COMMA.match(text):
        return decimal[0].replace(",", ".") + text[decimal.end() :]
    return text.replace(",", "") if _GROUPED.fullmatch(text) else text


def without_unit(text: str, argument: Argument) -> str:
    """``128px`` -> ``128``, ``50%`` of denoise -> ``0.5``, ``2x`` of scale -> ``2``."""
    if argument.name == "scale":
        text = text.removeprefix("x").removeprefix("×").strip()
    text = _in_digits(text) if len(text) <= MAX_WORD else text
    match = _NUMBER.fullmatch(text) if len(text) <= MAX_SHOWN else None
    if match is None or not match[2]:
        return text
    number, unit = match[1], match[2].strip()
    if unit == "%" and argument.name in PERCENT_OF:
        hundredth = 1 if argument.name == "quality" else 100
        share = numbers.parse_number(number)
        return text if share is None else f"{share / hundredth:.10g}"
    known = {"px": PIXELS, "x": ("x", "×", "times", "倍"), "fps": ("fps",)}
    allowed = known.get("fps" if argument.name == "fps" else argument.unit, COUNTS)
    return number if unit in allowed else text


def _in_digits(text: str) -> str:
    """``三张`` -> ``3张``, ``二十`` -> ``20``, ``two`` -> ``2``: numbers below a hundred in words."""
    word = text.rstrip(".")
    if word in ENGLISH:
        return str(ENGLISH.index(word) + 1)
    match = _IDEOGRAPHS.match(text)
    if match is None:
        return text
    tens, ten, ones = match[1].rpartition("十")
    value = (DIGITS.index(tens) if tens else 1) * 10 if ten else 0
    value += DIGITS.index(ones.replace("两", "二").replace("兩", "二")) if ones else 0
    return f"{value}{text[match.end() :]}"


def parse_seconds(text: str) -> float | None:
    """``5``, ``5s``, ``5秒``, ``00:05``, ``1 min 30 s`` -> seconds; None for anything else."""
    text = plain(text).replace(" ", "")
    text = _in_digits(text) if len(text) <= MAX_WORD else text
    if (number := numbers.parse_number(text)) is not None or len(text) > MAX_SHOWN:
        return number
    if clock := _CLOCK.fullmatch(text):
        return int(clock[1] or 0) * 3600 + int(clock[2]) * 60 + float(clock[3])
    parts = _PART.findall(text)
    if not parts or "".join(map("".join, parts)) != text or any(u not in UNITS for _, u in parts):
        return None
    return sum(float(number) * UNITS[unit] for number, unit in parts)
