"""File names that Windows reserves for devices, in every folder and with any extension."""

from __future__ import annotations

_DEVICES = frozenset(
    ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$", "CLOCK$"]
    + [f"{port}{digit}" for port in ("COM", "LPT") for digit in "0123456789¹²³"]
)


def is_device_name(name: str, *, streams: bool = True) -> bool:
    """Whether Windows opens a device for this file name: ``con``, ``NUL.txt``, ``COM¹ .x``.

    ``streams``: also for ``aux:a``, where the colon begins the name of a stream (NTFS).
    """
    stem = name.split(".", 1)[0]
    if streams:
        stem = stem.split(":", 1)[0]
    return stem.strip().upper() in _DEVICES
