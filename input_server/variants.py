"""Smaller and lighter copies of what is asked for, made once and kept for a while.

Pictures by ``?w=``, ``?h=``, ``?fmt=`` and ``?q=`` (Pillow), texts by gzip. The original is never
touched. Pillow is imported when the first picture is made.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .content import headers_of, is_text
from .opened import OpenFile, open_file
from .paths import Missing
from .whole import write_whole

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS: Mapping[str, tuple[str, str, str]] = {
    "webp": ("WEBP", "image/webp", ".webp"),
    "jpeg": ("JPEG", "image/jpeg", ".jpg"),
    "jpg": ("JPEG", "image/jpeg", ".jpg"),
    "png": ("PNG", "image/png", ".png"),
    "avif": ("AVIF", "image/avif", ".avif"),
}
"""What is asked for -> Pillow's name, type, ending."""
READERS = {
    "image/png": "PNG",
    "image/jpeg": "JPEG",
    "image/webp": "WEBP",
    "image/gif": "GIF",
    "image/bmp": "BMP",
    "image/tiff": "TIFF",
    "image/avif": "AVIF",
}
MOST_PIXELS = 64_000_000
MOST_BYTES = 64 * 2**20
MOST_MADE_PIXELS = 16_777_216
"""Of a copy: an encoder takes up to 50 bytes for each."""
LONGEST_SIDE = 8192
SMALL_SIDE = 480
AUTO = {"WEBP": (72, 84), "JPEG": (74, 86), "AVIF": (50, 62)}
"""Quality of ``q=auto``: for thumbnails, and for pictures that are looked at."""
AT_ONCE = 2
"""Pictures made at the same time; the rest wait."""
ORIENTATION, SIDEWAYS = 0x0112, 5
"""The EXIF tag, and the first of its values that swap width and height (EXIF 2.3, 4.6.4)."""
LEAST_TEXT, MOST_TEXT = 1024, 16 * 2**20


class Unmakeable(Exception):
    """What is asked for cannot be made of this file; the text says why."""

    def __init__(self, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.status = status


class Unmade(Exception):
    """A copy is not there yet, and whoever asked does not want to wait until it is made."""


@dataclass(frozen=True, slots=True)
class Wish:
    """A copy that is asked for: at most so many pixels, in a format (None: one that fits), of a
    quality (None: auto). ``lighter``: a quality was asked for, so it need not be lossless.
    ``wrong``: why it cannot be understood.
    """

    width: int | None = None
    height: int | None = None
    form: str | None = None
    quality: int | None = None
    lighter: bool = False
    wrong: str = ""

    @property
    def only_lighter(self) -> bool:
        """Whether the file itself would do as well, where no copy is as good and smaller."""
        return self.lighter and (self.width, self.height, self.form) == (None, None, None)


def wish_of(query: Mapping[str, str]) -> Wish | None:
    """What a query asks for; None for the file as it is. ``quality`` is ``q`` by another name."""
    if not query.keys() & {"w", "h", "fmt", "q", "quality"}:
        return None
    quality = query.get("q", query.get("quality", "auto")).lower()
    form = query.get("fmt", "").lower() or None
    width, height = _side(query.get("w", "")), _side(query.get("h", ""))
    if form is not None and form not in FORMATS:
        return Wish(wrong="fmt has to be webp, jpeg, png or avif.")
    if 0 in (width, height):
        return Wish(wrong=f"w and h have to be from 1 to {LONGEST_SIDE}.")
    if quality != "auto" and not (
        quality.isascii() and quality.isdigit() and 1 <= int(quality[:4]) <= 100
    ):
        return Wish(wrong="q has to be from 1 to 100, or auto.")
    lighter = bool(query.keys() & {"q", "quality"})
    return Wish(width, height, form, None if quality == "auto" else int(quality), lighter)


def _side(text: str) -> int | None:
    """Pixels, None for no limit, 0 for what is no length."""
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 6):
        return 0
    return int(text) if int(text) <= LONGEST_SIDE else 0


class Variants:
    """Makes copies and keeps them in a folder of at most so many megabytes; thread-safe.

    ``mode``: the folder's; where another user's server sends the copies, it has to get there.
    """

    def __init__(self, folder: Path, most_mb: int, mode: int = 0o700) -> None:
        self.folder = folder.resolve()
        self._mode = mode
        self._most = most_mb * 2**20
        self._lock = threading.Lock()
        self._making: dict[str, threading.Lock] = {}
        self._slots = threading.BoundedSemaphore(AT_ONCE)
        self._grown = self._most  # what an earlier server left is looked at once
        self.copied: Callable[[str], None] = lambda _how: None
        """Is told "kept" or "made" of every copy."""

    def picture(self, file: OpenFile, name: str, wish: Wish, *, make: bool = True) -> OpenFile:
        """The picture as it is wished for, open; maybe the file itself.

        ``make``: whether to make one that is not there yet, which takes its time. Raises Unmakeable,
        and Unmade.
        """
        if wish.wrong:
            raise Unmakeable(wish.wrong)
        if file.kind not in READERS:
            if wish.only_lighter:
                return file
            raise Unmakeable("Only pictures can be made smaller.")
        form = wish.form or _fitting_form(file.kind, wish)
        pillow, kind, ending = FORMATS[form]
        key = _key(file, "picture", wish.width, wish.height, form, wish.quality)
        try:
            made = self._get(
                key + ending, file, (lambda: self._make(file, pillow, wish)) if make else None
            )
        except Unmakeable:
            if wish.only_lighter:
                return file
            raise
        if not made.size:
            os.close(made.descriptor)
            return file
        headers = {
            **made.headers,
            **headers_of(f"{Path(name).stem}{ending}", kind),
            "Last-Modified": file.headers["Last-Modified"],
            "ETag": f'"{key[:32]}"',
        }
        return replace(
            made, etag=f'"{key[:32]}"', modified=file.modified, headers=headers, kind=kind
        )

    def _make(self, file: OpenFile, form: str, wish: Wish) -> bytes:
        """The copy's bytes; none where the file itself is better, so that this too is kept."""
        with self._slots:
            try:
                content = _made(file, form, wish)
            except Unmakeable:
                if wish.only_lighter:
                    return b""
                raise
        return b"" if wish.only_lighter and len(content) >= file.size else content

    def would_compress(self, file: OpenFile) -> bool:
        """Whether a file is a text that is worth it."""
        return LEAST_TEXT <= file.size <= MOST_TEXT and is_text(file.kind)

    def compressed(self, file: OpenFile, *, make: bool = True) -> OpenFile:
        """A text by gzip, open; ``make`` as with ``picture``. Raises Unmakeable, and Unmade."""
        key = _key(file, "gzip")
        made = self._get(f"{key}.gz", file, (lambda: _gzip(file)) if make else None)
        etag = f'{file.etag[:-1]}-gz"'
        headers = {**file.headers, "ETag": etag}
        return replace(made, etag=etag, modified=file.modified, headers=headers, kind=file.kind)

    def _get(self, name: str, file: OpenFile, make: Callable[[], bytes] | None) -> OpenFile:
        """The kept copy of that name; made first when there is none, by one of those who ask."""
        path = self.folder / name
        with suppress(Missing):
            return self._kept(path)
        if make is None:
            raise Unmade
        with self._alone(name):
            with suppress(Missing):
                return self._kept(path)
            content = make()
            if not file.is_as_seen:
                raise Unmakeable("The file is just being changed; ask again.", 503)
            try:
                self.folder.mkdir(self._mode, parents=True, exist_ok=True)
                write_whole(path, content)
                found = open_file(path, self.folder, name, held=False)
            except (OSError, Missing):
                raise Unmakeable("There is no room for a copy.", 503) from None
            self.copied("made")
            self._make_room(len(content))
            return found

    def _kept(self, path: Path) -> OpenFile:
        found = open_file(path, self.folder, path.name, held=False)
        with suppress(OSError):
            os.utime(path)
        self.copied("kept")
        return found

    @contextmanager
    def _alone(self, name: str) -> Iterator[None]:
        with self._lock:
            lock = self._making.setdefault(name, threading.Lock())
        try:
            with lock:
                yield
        finally:
            with self._lock:
                self._making.pop(name, None)

    def _make_room(self, added: int) -> None:
        """Now and then remove the copies that were not asked for the longest."""
        with self._lock:
            self._grown += added
            if self._grown < self._most // 20:
                return
            self._grown = 0
        known = []
        with suppress(OSError):
            for path in self.folder.iterdir():
                with suppress(OSError):
                    seen = path.stat()
                    known.append((seen.st_mtime, seen.st_size, path))
        total = sum(size for _, size, _ in known)
        for moment, size, path in sorted(known):
            if total <= self._most or moment > time.time() - 5:
                return
            with suppress(OSError):
                path.unlink()
                total -= size


def _gzip(file: OpenFile) -> bytes:
    return gzip.compress(file.read(0, file.size), 6, mtime=0)


def _key(file: OpenFile, *parts: object) -> str:
    whole = (file.device, file.inode, file.mtime_ns, file.size, *parts)
    return hashlib.sha256(repr(whole).encode()).hexdigest()


def _fitting_form(kind: str, wish: Wish) -> str:
    """The picture's own format; of a lossless one that is to be lighter WebP, which looks better."""
    form = kind.partition("/")[2]
    if form in ("jpeg", "webp", "avif"):
        return form
    return "webp" if wish.lighter else "png"


def _made(file: OpenFile, form: str, wish: Wish) -> bytes:
    from PIL import Image, ImageOps

    if file.size > MOST_BYTES:
        raise Unmakeable("This picture is too large to be made smaller.", 413)
    try:
        with Image.open(BytesIO(file.read(0, file.size)), formats=(READERS[file.kind],)) as image:
            if image.width * image.height > MOST_PIXELS:
                raise Unmakeable("This picture is too large to be made smaller.", 413)
            if wish.only_lighter and getattr(image, "is_animated", False):
                raise Unmakeable("A moving picture would stand still.")
            _decode_less(image, wish)
            shown = ImageOps.exif_transpose(_in_eight_bits(image))
            shown.thumbnail(
                (wish.width or shown.width, wish.height or shown.height), Image.Resampling.LANCZOS
            )
            if shown.width * shown.height > MOST_MADE_PIXELS:
                raise Unmakeable("This would be too large; ask for a smaller w or h.", 413)
            return _encoded(shown, form, wish.quality)
    except Unmakeable:
        raise
    except Image.DecompressionBombError:
        raise Unmakeable("This picture is too large to be made smaller.", 413) from None
    except Exception:  # Pillow's readers raise almost anything for broken files
        raise Unmakeable("This picture is broken.", 422) from None


def _decode_less(image: Image, wish: Wish) -> None:
    """Let a JPEG be decoded at a fraction of its size, where that is still enough."""
    if image.format != "JPEG":
        return
    limits = (wish.width or image.width, wish.height or image.height)
    if image.getexif().get(ORIENTATION, 1) >= SIDEWAYS:
        limits = (wish.height or image.width, wish.width or image.height)
    share = min(limits[0] / image.width, limits[1] / image.height, 1.0)
    image.draft(None, (int(image.width * share) + 1, int(image.height * share) + 1))


def _in_eight_bits(image: Image) -> Image:
    """A picture of 16 bits with the upper ones; Pillow would take the lower ones and clip."""
    if not image.mode.startswith("I"):
        return image
    return image.convert("I").point(lambda level: level * (1 / 256)).convert("L")


def _encoded(image: Image, form: str, quality: int | None) -> bytes:
    see_through = "A" in image.getbands() or "transparency" in image.info
    options: dict[str, Any] = {}
    if form == "JPEG":
        shown = _on_white(image) if see_through else image.convert("RGB")
        options = {"optimize": True, "progressive": True}
    else:
        shown = image
        if image.mode not in ("RGB", "RGBA", "L"):
            shown = image.convert("RGBA" if see_through else "RGB")
    if form in AUTO:
        small, large = AUTO[form]
        options["quality"] = quality or (small if max(shown.size) <= SMALL_SIDE else large)
    if form == "PNG":
        options["optimize"] = True
        if quality is not None and quality < 100:
            shown = shown.quantize(max(8, quality * 256 // 100))
    options["icc_profile"] = _profile(image, shown)
    buffer = BytesIO()
    shown.info.pop("exif", None)
    shown.save(buffer, form, **options)
    return buffer.getvalue()


def _profile(image: Image, shown: Image) -> bytes | None:
    """The colour profile, where it still fits (ICC.1:2022, 7.2: the colour space is at byte 16)."""
    profile = image.info.get("icc_profile") or b""
    fitting = b"GRAY" if shown.mode == "L" else b"RGB "
    return profile if profile[16:20] == fitting else None


def _on_white(image: Image) -> Image:
    from PIL import Image as Pictures

    layer = image.convert("RGBA")
    ground = Pictures.new("RGBA", layer.size, (255, 255, 255, 255))
    return Pictures.alpha_composite(ground, layer).convert("RGB")
