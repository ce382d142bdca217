"""What several files of tests here begin with."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.input_server.gallery_harness import GalleryHarness


@pytest.fixture
def shown(tmp_path: Path) -> GalleryHarness:
    (tmp_path / "m").mkdir()
    return GalleryHarness(tmp_path / "m", cache=tmp_path / "cache")
