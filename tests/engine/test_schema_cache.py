"""The server's classes on disk: for how long, of which server, and what is asked again."""

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
    """Counts what it is asked for; ``lacks`` are classes that it does not have."""

    def __init__(self, *lacks: str) -> None:
        self.asked: list[set[str]] = []
        self.lacks = lacks

    def schemas(self, names: Collection[str]) -> Mapping[str, Any]:
        self.asked.append(set(names))
        return {name: {"n": len(self.asked)} for name in names if name not in self.lacks}


def written(file: Path, **ages: float) -> None:
    """A cache whose classes were asked for so many seconds ago."""
    entries = {n: {"at": time.time() - age, "schema": {"n": n}} for n, age in ages.items()}
    file.write_text(json.dumps(entries), "utf-8")


def test_only_new_classes_are_asked_for(tmp_path: Path) -> None:
    server, file = Server("Gone"), tmp_path / "new" / "folder" / "classes.json"
    cache = SchemaCache(file, server.schemas)
    assert cache.get(["A", "Gone"]) == schema_cache.KnownSchemas({"A": {"n": 1}}, frozenset())
    second = SchemaCache(file, server.schemas).get(["A", "B"])
    assert second == schema_cache.KnownSchemas({"A": {"n": 1}, "B": {"n": 2}}, frozenset({"A"}))
    assert server.asked == [{"A", "Gone"}, {"B"}]
    assert [path.name for path in file.parent.iterdir()] == ["classes.json"]


@pytest.mark.parametrize(
    ("age", "kept"), [(0, True), (90, True), (121, False), (1e6, False), (-60, False)]
)
def test_a_class_is_remembered_for_two_minutes(tmp_path: Path, age: float, kept: bool) -> None:
    server, file = Server(), tmp_path / "classes.json"
    written(file, A=age)
    assert schema_cache.MAX_AGE_SECONDS == 120
    known = SchemaCache(file, server.schemas).get(["A"])
    assert known.from_cache == ({"A"} if kept else set())
    assert known.schemas == {"A": {"n": "A"} if kept else {"n": 1}}


def test_what_is_renewed_is_asked_for_and_the_rest_stays(tmp_path: Path) -> None:
    server, file = Server("Gone"), tmp_path / "classes.json"
    written(file, A=5, B=5, Gone=5)
    cache = SchemaCache(file, server.schemas)
    assert cache.refresh(["A", "Gone"]) == {"A": {"n": 1}}
    assert set(json.loads(file.read_bytes())) == {"A", "B"}
    assert cache.get(["A", "B"]).schemas == {"A": {"n": 1}, "B": {"n": "B"}}


def test_new_classes_join_those_that_are_there(tmp_path: Path) -> None:
    file = tmp_path / "classes.json"
    written(file, A=5, Old=500)
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
def test_a_damaged_file_is_no_file(tmp_path: Path, content: bytes) -> None:
    server, file = Server(), tmp_path / "classes.json"
    file.write_bytes(content)
    assert SchemaCache(file, server.schemas).get(["A"]).schemas == {"A": {"n": 1}}
    assert SchemaCache(file, server.schemas).get(["A"]).from_cache == {"A"}


def test_an_entry_that_is_no_class_is_asked_for(tmp_path: Path) -> None:
    server, file = Server(), tmp_path / "classes.json"
    file.write_text(json.dumps({"A": {"at": time.time(), "schema": [1]}}), "utf-8")
    assert SchemaCache(file, server.schemas).get(["A"]).schemas == {"A": {"n": 1}}


def test_a_file_beyond_its_size_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "classes.json"
    written(file, A=5)
    assert schema_cache.MAX_BYTES == 32 * 2**20
    for most, kept in ((file.stat().st_size, True), (file.stat().st_size - 1, False)):
        monkeypatch.setattr(schema_cache, "MAX_BYTES", most)
        assert bool(SchemaCache(file, Server().schemas).get(["A"]).from_cache) is kept


def test_without_a_file_or_where_none_can_be_everything_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for place in (None, tmp_path / "file" / "classes.json"):
        server = Server()
        cache = SchemaCache(place, server.schemas)
        assert cache.get(["A"]).schemas == {"A": {"n": 1}}
        assert cache.get(["A"]).from_cache == frozenset()
        assert cache.refresh(["A"]) == {"A": {"n": 3}}


def test_another_address_is_another_server(tmp_path: Path) -> None:
    one, two = (file_for(tmp_path, url) for url in ("http://a:8188", "http://me:s3cret@b"))
    assert one != two
    assert one == file_for(tmp_path, "http://a:8188")
    assert "s3cret" not in str(two)
