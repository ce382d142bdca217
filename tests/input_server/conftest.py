"""What several files of tests here begin with."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.input_server.looked_at import Shown


@pytest.fixture
def shown(tmp_path: Path) -> Shown:
    (tmp_path / "m").mkdir()
    return Shown(tmp_path / "m", cache=tmp_path / "cache")
