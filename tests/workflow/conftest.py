"""Schemas as returned by ComfyUI 0.3.64, reduced to what roles and patches read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def schemas() -> Mapping[str, Any]:
    path = PROJECT / "tests" / "data" / "schemas.json"
    return json.loads(path.read_text("utf-8"))
