"""The cache of node schemas on disk: expiry, one file per server, and what is requested again."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import pytest

from comfyui_pipeline.engine import schema_cache
from comfyui_pipeline.engine.schema_cache import SchemaCache, file_for


class Server:
    """Records the requested names; ``missing`` are node types that it does not have."""

    def __init__(self, *missing: str) -> None:
        self.requested: list[set[str]] = []
        self.missing = missing

    def schemas(self, names: Collection[str]) -> Mapping[str, Any]:
        self.requested.append(set(names))
        return {name: {"n": len(self.requested)} for name in names if name not in self.missing}


def write_cache(file: Path, **ages: float) -> None:
    """Write a cache file with the age of each schema in seconds."""
    entries = {n: {"at": time.time() - age, "schema": {"n": n}} for n, age in ages.items()}
    file.write_text(json.dumps(entries), "utf-8")


def test_only_schemas_not_yet_cached_are_requested(tmp_path: Path) -> None:
    server, file = Server("Missing"), tmp_path / "new" / "folder" / "classes.json"
    cache = SchemaCache(file, server.schemas)
    assert cache.get(["A", "Missing"]) == schema_cache.KnownSchemas({"A": {"n": 1}}, frozenset())
    second = SchemaCache(file, server.schemas).get(["A", "B"])
    assert second == schema_cache.KnownSchemas({"A": {"n": 1}, "B": {"n": 2}}, frozenset({"A"}))
    assert server.requested == [{"A", "Missing"}, {"B"}]
    assert [path.name for path in file.parent.iterdir()] == ["classes.json"]


@pytest.mark.parametrize(
    ("age", "cached"), [(0, True), (90, True), (121, False), (1e6, False), (-60, False)]
)
def test_a_schema_is_cached_for_two_minutes(tmp_path: Path, age: float, cached: bool) -> None:
    server, file = Server(), tmp_path / "classes.json"
    write_cache(file, A=age)
    assert schema_cache.MAX_AGE_SECONDS == 120
    known = SchemaCache(file, server.schemas).get(["A"])
    assert known.from_cache == ({"A"} if cached else set())
    assert known.schemas == {"A": {"n": "A"} if cached else {"n": 1}}


def test_refresh_requests_the_given_schemas_and_preserves_the_others(tmp_path: Path) -> None:
    server, file = Server("Missing"), tmp_path / "classes.json"
    write_cache(file, A=5, B=5, Missing=5)
    cache = SchemaCache(file, server.schemas)
    assert cache.refresh(["A", "Missing"]) == {"A": {"n": 1}}
    assert set(json.loads(file.read_bytes())) == {"A", "B"}
    assert cache.get(["A", "B"]).schemas == {"A": {"n": 1}, "B": {"n": "B"}}


def test_new_schemas_are_added_and_expired_ones_removed(tmp_path: Path) -> None:
    file = tmp_path / "classes.json"
    write_cache(file, A=5, Old=500)
    SchemaCache(file, Server().schemas).get(["B"])
    assert set(json.loads(file.read_bytes())) == {"A", "B"}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no JSON",
        b"[1]",
        b'{"A": 5}',
        b'{"A": {"at": "x", "schema": {}}}',
        b'{"A": {"schema": {}}}',
        b'{"A": {"at": 9e99, "schema": {}}}',
        b"[" * 100_000,
        b"\xff",
    ],
)
def test_a_damaged_cache_file_is_ignored(tmp_path: Path, content: bytes) -> None:
    server, file = Server(), tmp_path / "classes.json"
    file.write_bytes(content)
    assert SchemaCache(file, server.schemas).get(["A"]).schemas == {"A": {"n": 1}}
    assert SchemaCache(file, server.schemas).get(["A"]).from_cache == {"A"}


def test_an_invalid_cache_entry_is_requested_again(tmp_path: Path) -> None:
    server, file = Server(), tmp_path / "classes.json"
    file.write_text(json.dumps({"A": {"at": time.time(), "schema": [1]}}), "utf-8")
    assert SchemaCache(file, server.schemas).get(["A"]).schemas == {"A": {"n": 1}}


def test_a_cache_file_over_the_size_limit_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "classes.json"
    write_cache(file, A=5)
    assert schema_cache.MAX_BYTES == 32 * 2**20
    for limit, cached in ((file.stat().st_size, True), (file.stat().st_size - 1, False)):
        monkeypatch.setattr(schema_cache, "MAX_BYTES", limit)
        assert bool(SchemaCache(file, Server().schemas).get(["A"]).from_cache) is cached


def test_without_a_usable_cache_file_every_schema_is_requested(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for place in (None, tmp_path / "file" / "classes.json"):
        server = Server()
        cache = SchemaCache(place, server.schemas)
        assert cache.get(["A"]).schemas == {"A": {"n": 1}}
        assert cache.get(["A"]).from_cache == frozenset()
        assert cache.refresh(["A"]) == {"A": {"n": 3}}


def test_each_server_url_has_its_own_cache_file(tmp_path: Path) -> None:
    one, two = (file_for(tmp_path, url) for url in ("http://a:8188", "http://me:s3cret@b"))
    assert one != two
    assert one == file_for(tmp_path, "http://a:8188")
    assert "s3cret" not in str(two)


@pytest.mark.parametrize(("age", "cached"), [(0, True), (119.9, True), (120, False), (-1, False)])
def test_a_schema_expires_at_exactly_two_minutes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, age: float, cached: bool
) -> None:
    requested: list[set[str]] = []
    now = [10_000.0]
    monkeypatch.setattr(schema_cache.time, "time", lambda: now[0])

    def request(names: Any) -> dict[str, Any]:
        requested.append(set(names))
        return {name: {"input": {}} for name in names}

    cache = SchemaCache(tmp_path / "classes.json", request)
    cache.get({"A"})
    now[0] += age
    known = cache.get({"A", "B"})
    assert requested[1] == ({"B"} if cached else {"A", "B"})
    assert known.from_cache == ({"A"} if cached else set())
    cache.refresh({"A"})
    assert requested[2] == {"A"}


def test_a_cache_file_that_is_too_large_or_invalid_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "classes.json"
    cache = SchemaCache(file, lambda names: {name: {} for name in names})
    entry = json.dumps({"A": {"at": time.time(), "schema": {"x": 1}}}).encode()
    for text, cached in [
        (entry.ljust(32 * 2**20), True),
        (entry.ljust(32 * 2**20 + 1), False),
        (b"[" * 99_999, False),
        (b'{"A": 1}', False),
    ]:
        file.write_bytes(text)
        assert ("A" in cache.get({"A"}).from_cache) is cached
