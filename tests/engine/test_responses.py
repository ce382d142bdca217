"""Parsing of responses of any shape."""

from __future__ import annotations

import json
from typing import Any

import pytest

from comfyui_pipeline.engine import responses
from comfyui_pipeline.engine.comfyui import ComfyUI
from comfyui_pipeline.errors import ServerUnreachable

ODD: list[Any] = [
    [],
    None,
    7,
    "x" * 2**20,
    float("nan"),
    {},
    {"queue_running": {}, "queue_pending": []},
    {"queue_running": [], "queue_pending": None},
    {"queue_running": [7], "queue_pending": []},
    {"queue_running": [[1]], "queue_pending": []},
    {"queue_running": [[None, "id"]], "queue_pending": []},
    {"queue_running": [[float("nan"), "id"]], "queue_pending": []},
    {"queue_running": [[True, "id"]], "queue_pending": []},
    {"queue_running": [[1, {}]], "queue_pending": []},
    {"queue_running": [[1, "x" * 201]], "queue_pending": []},
]


@pytest.mark.parametrize("document", ODD, ids=lambda document: repr(document)[:40])
def test_a_queue_of_another_shape_is_not_from_comfyui(
    engine: ComfyUI, fake: Any, document: Any
) -> None:
    fake.script.broken = {"/queue": (200, json.dumps(document).encode())}
    with pytest.raises(ServerUnreachable, match="is not ComfyUI"):
        engine.queue_state()
    with pytest.raises(ServerUnreachable, match="is not ComfyUI"):
        engine.state("x")


def test_an_id_of_200_characters_and_a_fractional_number_are_accepted(
    engine: ComfyUI, fake: Any
) -> None:
    fake.script.queue = {"queue_running": [], "queue_pending": [[2.5, "x" * 200], [-1, "first"]]}
    assert [entry.prompt_id for entry in engine.queue_state().pending] == ["first", "x" * 200]


@pytest.mark.parametrize("document", [[], {"devices": []}, {"system": 1}, 7])
def test_system_stats_of_another_shape_are_not_from_comfyui(
    engine: ComfyUI, fake: Any, document: Any
) -> None:
    fake.script.broken = {"/system_stats": (200, document)}
    with pytest.raises(ServerUnreachable, match="is not ComfyUI"):
        engine.system()


def test_system_stats_have_finite_numbers_and_truncated_texts(engine: ComfyUI, fake: Any) -> None:
    system = {"os": "x" * 2**20, "ram_total": float("nan"), "ram_free": 10**400 // 10**300}
    device = {"name": "gpu", "vram_free": float("inf"), "vram_total": 3, "deep": [[]]}
    fake.script.broken = {"/system_stats": (200, {"system": system, "devices": [device, 7]})}
    stats = engine.system()
    assert stats["system"] == {"os": "x" * 300, "ram_free": 10**100}
    assert stats["devices"] == [{"name": "gpu", "vram_total": 3}, {}]


@pytest.mark.parametrize("document", [{}, [1], [None], "x", [["a"]]])
def test_model_names_of_another_shape_are_not_from_comfyui(
    engine: ComfyUI, fake: Any, document: Any
) -> None:
    fake.script.broken = {"/models": (200, document), "/embeddings": (200, document)}
    with pytest.raises(ServerUnreachable, match="is not ComfyUI"):
        engine.models("loras")
    with pytest.raises(ServerUnreachable, match="is not ComfyUI"):
        engine.embeddings()


@pytest.mark.parametrize(
    ("entry", "name", "folder", "kind"),
    [
        ("mesh/a 1.glb", "a 1.glb", "mesh", "output"),
        ("preview.obj [temp]", "preview.obj", "", "temp"),
        ([["a.ply"], {"camera": 1}, None], "a.ply", "", "output"),
    ],
)
def test_a_path_of_a_3d_file_is_parsed_as_a_file(
    entry: Any, name: str, folder: str, kind: str
) -> None:
    (found,) = responses.node_outputs("9", {"result": entry})
    assert (found.filename, found.subfolder, found.folder_type) == (name, folder, kind)


@pytest.mark.parametrize(
    "entry", ["words", "see a.glb: it is good\nor not", "/etc/a.glb", "a.glb [x]"]
)
def test_a_text_that_contains_a_file_name_stays_a_text(entry: str) -> None:
    (found,) = responses.node_outputs("9", {"text": [entry]})
    assert (found.filename, found.text) == ("", entry)


@pytest.mark.parametrize(
    ("ui", "texts"),
    [
        ({"value": [42]}, ["42"]),
        ({"value": [3.5]}, ["3.5"]),
        ({"ok": [True]}, ["true"]),
        ({"bboxes": [[1, 2, 3, 4]]}, ["[1, 2, 3, 4]"]),
        ({"bboxes": [{"x": 1}, {"x": 2}]}, ['[{"x": 1}, {"x": 2}]']),
        ({"score": [0.9], "ok": [False]}, ["score: 0.9", "ok: false"]),
        ({"text": ["words"], "bboxes": [{"x": 1}]}, ["words", '{"x": 1}']),
        ({"images": [{"filename": "a.png"}], "animated": [True], "fps": [8]}, [None]),
        ({"images": [{"source": "websocket", "type": "output"}]}, []),
        ({"value": [None], "text": [""]}, []),
    ],
)
def test_numbers_booleans_and_boxes_are_results(ui: Any, texts: list[str | None]) -> None:
    assert [output.text for output in responses.node_outputs("9", ui)] == texts


@pytest.mark.parametrize(
    ("events", "seconds"),
    [
        ([("execution_start", 1000), ("execution_cached", 1200), ("execution_success", 3500)], 2.5),
        ([("execution_start", 1000), ("execution_error", 1500)], 0.5),
        ([("execution_success", 3500)], None),
        ([("execution_start", None), ("execution_success", None)], None),
    ],
)
def test_the_run_time_is_that_between_the_events(events: Any, seconds: float | None) -> None:
    messages = [[name, {"timestamp": moment}] for name, moment in events]
    document = {"x": {"outputs": {}, "status": {"messages": messages}}}
    entry = responses.history(document, "x")
    assert entry is not None
    assert entry.seconds == seconds
