"""The queue and its history, and types in the validation of a prompt."""

from __future__ import annotations

from typing import Any

import pytest

from embedded_comfyui import queue, validation


@pytest.fixture
def finished() -> queue.PromptQueue:
    """A queue with the jobs 0 to 4 in its history."""
    prompts = queue.PromptQueue(lambda: None)
    for number in range(5):
        prompts.done(item(number), {"outputs": {"n": [number]}})
    return prompts


def item(number: int) -> queue.Item:
    return queue.Item(number, number, str(number), {}, {}, ())


@pytest.mark.parametrize(
    ("max_items", "offset", "ids"),
    [
        (None, -1, "01234"),
        (None, 2, "01234"),
        (2, -1, "34"),
        (9, -1, "01234"),
        (2, 0, "01"),
        (2, 3, "34"),
        (2, 4, "4"),
        (2, 5, ""),
        (0, -1, ""),
    ],
)
def test_max_items_and_offset_of_the_history(
    finished: queue.PromptQueue, max_items: int | None, offset: int, ids: str
) -> None:
    assert list(finished.history(None, max_items, offset)) == list(ids)


def test_the_history_returns_copies(finished: queue.PromptQueue) -> None:
    assert finished.history("none") == {}
    for given in (finished.history("3"), finished.history()):
        assert given["3"]["outputs"] == {"n": [3]}
        given["3"]["outputs"]["n"].append("changed")
    assert finished.history("3")["3"]["outputs"] == {"n": [3]}


def test_entries_of_the_history_can_be_deleted(finished: queue.PromptQueue) -> None:
    finished.forget(["1", "3", "unknown"])
    assert list(finished.history()) == ["0", "2", "4"]
    finished.forget([])
    assert list(finished.history()) == ["0", "2", "4"]
    finished.forget(None)
    assert finished.history() == {}


def test_deleting_queued_prompts_preserves_the_order() -> None:
    changes: list[int] = []
    prompts = queue.PromptQueue(lambda: changes.append(1))
    for number in (5, 1, 4, 2, 3):
        prompts.put(item(number))
    prompts.delete(["1", "4"])
    assert len(changes) == 6
    ran = []
    while prompts.remaining():
        taken = prompts.get()
        assert taken is not None
        ran.append(taken.prompt_id)
        prompts.done(taken, {})
    assert ran == ["2", "3", "5"]
    prompts.put(item(7))
    prompts.clear()
    assert prompts.remaining() == 0


@pytest.mark.parametrize(
    ("received", "wanted", "fits"),
    [
        ("IMAGE", "IMAGE", True),
        ("IMAGE", "MASK", False),
        ("*", "MASK", True),
        ("IMAGE", "*", True),
        ("IMAGE,MASK", "MASK,LATENT", True),
        ("IMAGE,MASK", "LATENT,MODEL", False),
        ("IMAGE", ["a", "b"], True),
    ],
)
def test_matching_types_of_links(received: str, wanted: Any, fits: bool) -> None:
    assert validation._fits(received, wanted) is fits


@pytest.mark.parametrize(
    ("config", "filled"),
    [(["INT"], ["INT", {}]), (["INT", {"min": 1}], ["INT", {"min": 1}]), (["X", {}, 3], ["X", {}])],
)
def test_an_input_without_options_gets_empty_ones(config: list[Any], filled: list[Any]) -> None:
    assert validation._config(config) == filled


def test_plain_values_are_unwrapped_and_converted() -> None:
    for given, kind, taken in [
        ({"__value__": ["1", 0]}, "X", ["1", 0]),
        ({"other": 1}, "X", {"other": 1}),
        ("5", "INT", 5),
        ("x", ["x", "y"], "x"),
    ]:
        inputs = {"n": given}
        assert validation._plain(inputs, "n", [kind]) is None
        assert inputs["n"] == taken
    assert validation._plain({"n": "five"}, "n", ["INT"]) is not None
