"""How much memory it takes to decode an image, by what its header says. Nothing is imported or read.

The pixels of a file say little: a grey image of 16 bits is widened to 32 before it is shown, a moving
image has many frames, and a file of a kilobyte may claim gigabytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

STORED: Mapping[str, int] = MappingProxyType(
    {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16L": 2, "I;16B": 2, "I;16N": 2}
)
"""Bytes of one pixel by Pillow's mode (libImaging/Storage.c); ``WIDEST`` in every other mode."""
WIDEST = 4
CONVERTING = 4
"""Bytes of one pixel of the one copy that is made when an image is converted or turned."""
WIDENING = 9
"""The same of the copies through which more than 8 bits become 8."""
DECODING: Mapping[str, int] = MappingProxyType(
    {"JPEG": 6, "WEBP": 14, "AVIF": 12, "HEIF": 12, "GIF": 9, "TIFF": 4}
)
"""Bytes of one pixel that a decoder holds beside the image, by Pillow's name of the format, measured
with Pillow 12 (``JPEG``: a progressive one without subsampling; others need nothing)."""


def decoded_bytes(width: int, height: int, mode: str = "RGBA", frames: int = 1) -> int:
    """Bytes of all frames of an image once they are decoded, by Pillow's ``mode``.

    The frames of a moving image count as ``RGBA``: that is what a reader makes of a palette.
    """
    pixel = WIDEST if frames > 1 else STORED.get(mode, WIDEST)
    return max(0, width) * max(0, height) * pixel * max(1, frames)


def peak_bytes(width: int, height: int, mode: str = "RGBA", form: str = "") -> int:
    """Bytes that are held at once while one frame is decoded and turned into 8-bit pixels.

    ``form``: Pillow's name of the format, "" where it does not matter. Scaling down adds little.
    """
    widening = WIDENING if mode.startswith(("I", "F")) else CONVERTING
    beside = max(widening, DECODING.get(form, 0))
    return max(0, width) * max(0, height) * (STORED.get(mode, WIDEST) + beside)


def needed_bytes(
    width: int, height: int, mode: str = "RGBA", frames: int = 1, form: str = ""
) -> int:
    """What a limit is compared with: all frames decoded, or the peak of one where that is more."""
    return max(decoded_bytes(width, height, mode, frames), peak_bytes(width, height, mode, form))
