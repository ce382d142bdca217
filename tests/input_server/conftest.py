"""Fixtures used by several test modules."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.input_server.gallery_harness import GalleryHarness
from tests.input_server.served import Served


@pytest.fixture
def harness(tmp_path: Path) -> GalleryHarness:
    (tmp_path / "m").mkdir()
    return GalleryHarness(tmp_path / "m", cache=tmp_path / "cache")


@pytest.fixture
def make_served(tmp_path: Path) -> Iterator[Callable[..., Served]]:
    created: list[Served] = []

    def make(**settings: str) -> Served:
        created.append(Served(tmp_path, **settings))
        return created[-1]

    yield make
    for one in created:
        one.server.close()
