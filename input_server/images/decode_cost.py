"""Estimate the memory that decoding an image takes, from what its header says. Imports little.

The number of pixels says little: a 16-bit grey image is widened to 32 bits, an animated image has
many frames, and a file of a kilobyte may declare gigabytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

STORED: Mapping[str, int] = MappingProxyType(
    {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16L": 2, "I;16B": 2, "I;16N": 2}
)
"""Bytes per pixel by Pillow's mode (libImaging/Storage.c); ``WIDEST`` in every other mode."""
WIDEST = 4
CONVERTING = 4
"""Bytes per pixel of the copy that converting or rotating an image creates."""
WIDENING = 9
"""Bytes per pixel of the copies that reducing more than 8 bits to 8 creates."""
DECODING: Mapping[str, int] = MappingProxyType(
    {"JPEG": 6, "WEBP": 14, "AVIF": 12, "HEIF": 12, "GIF": 9, "TIFF": 4}
)
"""Bytes per pixel that a decoder holds in addition to the image, by Pillow's name of the format,
measured with Pillow 12 (``JPEG``: progressive without subsampling; others need nothing)."""


def decoded_bytes(width: int, height: int, mode: str = "RGBA", frames: int = 1) -> int:
    """Return the bytes of all frames once decoded. ``mode``: Pillow's.

    Frames of an animated image count as ``RGBA``, because decoders expand their palettes.
    """
    pixel = WIDEST if frames > 1 else STORED.get(mode, WIDEST)
    return max(0, width) * max(0, height) * pixel * max(1, frames)


def peak_bytes(width: int, height: int, mode: str = "RGBA", form: str = "") -> int:
    """Return the bytes held at once while one frame is decoded and converted to 8-bit pixels.

    ``form``: Pillow's name of the format; "" if the decoder needs nothing more. Scaling down adds
    little.
    """
    converting = WIDENING if mode.startswith(("I", "F")) else CONVERTING
    extra = max(converting, DECODING.get(form, 0))
    return max(0, width) * max(0, height) * (STORED.get(mode, WIDEST) + extra)


def needed_bytes(
    width: int, height: int, mode: str = "RGBA", frames: int = 1, form: str = ""
) -> int:
    """Return what a limit is compared with: all frames decoded, or the peak of one if that is more."""
    return max(decoded_bytes(width, height, mode, frames), peak_bytes(width, height, mode, form))
