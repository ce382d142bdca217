"""Cache-Control of mounts, and the limits of their settings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from input_server.errors import ConfigError
from input_server.mounts.mount import CleanRules, Mount
from input_server.mounts.mounts_file import mount_to_json, parse_mount


def test_cache_control_of_a_mount() -> None:
    assert Mount("a", Path()).cache_control == "public, max-age=3600"
    assert Mount("a", Path(), 60, public=False).cache_control == "private, max-age=60"
    assert Mount("a", Path(), 0).cache_control == "no-cache"


def test_numbers_in_mounts_json_are_at_least_zero(tmp_path: Path) -> None:
    base = {"alias": "a", "folder": "x"}
    for name in ("cache_seconds", "quota_mb"):
        assert getattr(parse_mount({**base, name: 0}, tmp_path / "f"), name) == 0
        with pytest.raises(ConfigError, match="at least 0"):
            parse_mount({**base, name: -1}, tmp_path / "f")
    for rule in ("older_than_days", "total_mb", "most_files", "keep_newest"):
        found = parse_mount({**base, "clean": {rule: 0}}, tmp_path / "f")
        assert getattr(found.clean, rule) == 0
        with pytest.raises(ConfigError, match="at least 0"):
            parse_mount({**base, "clean": {rule: -1}}, tmp_path / "f")
    assert mount_to_json(parse_mount(base, tmp_path / "f"))["folder"] == str(tmp_path / "x")
    assert CleanRules() == CleanRules(None, None, None, 0)
    assert json.dumps(mount_to_json(Mount("a", Path("x"), 3600))) == '{"alias": "a", "folder": "x"}'
