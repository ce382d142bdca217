"""The memory that the images of one call may take while they are decoded."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

DEFAULT_MB = 384
"""The process then stays below 500 MB; an RGB image of 50 megapixels fits."""
SETTING = "COMFYUI_IMAGE_MEMORY_MB"


class ImageMemory:
    """Memory shared by the threads of a call; a thread waits until there is enough. ``limit`` in bytes."""

    def __init__(self, limit: int = DEFAULT_MB * 2**20) -> None:
        self.limit = limit
        self._left = limit
        self._changed = threading.Condition()

    def fits(self, needed: int) -> bool:
        """Return whether an image that needs so many bytes may be decoded at all."""
        return needed <= self.limit

    @contextmanager
    def use(self, needed: int) -> Iterator[None]:
        """Reserve so many bytes, at most ``limit``, for the ``with`` block."""
        needed = max(0, min(needed, self.limit))
        with self._changed:
            self._changed.wait_for(lambda: self._left >= needed)
            self._left -= needed
        try:
            yield
        finally:
            with self._changed:
                self._left += needed
                self._changed.notify_all()

    def refusal(self, needed: int) -> str:
        """Return why an image is not decoded, as the second half of a sentence."""
        return f"decoding it takes {-(-needed // 2**20)} MB, and {SETTING} is {self.limit // 2**20}"
