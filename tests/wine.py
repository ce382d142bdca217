"""Whether the tests run under Wine, whose own faults some of them would show."""

from __future__ import annotations

import sys

import pytest


def _is_wine() -> bool:
    if sys.platform != "win32":
        return False
    import ctypes

    return hasattr(ctypes.windll.ntdll, "wine_get_version")


IS_WINE = _is_wine()


def not_under_wine(fault: str) -> pytest.MarkDecorator:
    """Skip a test under Wine. ``fault``: what Wine does that Windows does not."""
    return pytest.mark.skipif(IS_WINE, reason=f"Wine: {fault}")
