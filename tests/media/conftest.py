"""Fixtures of the media tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfyui_pipeline.media.allowed_folders import AllowedFolders
from tests.media.input_folder import png


@pytest.fixture
def places(tmp_path: Path) -> AllowedFolders:
    for name in ("attachments", "allowed", "elsewhere"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "图 a.png").write_bytes(png())
    return AllowedFolders(tmp_path / "attachments", (tmp_path / "allowed",))
