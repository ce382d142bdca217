"""What the queue keeps in its history, and which types the check of a prompt lets through."""

from __future__ import annotations

from typing import Any

import pytest

from embedded_comfyui import queue, validation


@pytest.fixture
def full() -> queue.PromptQueue:
    """A queue in whose history are 0 to 4."""
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
def test_the_history_gives_the_newest_or_those_from_an_offset_on(
    full: queue.PromptQueue, max_items: int | None, offset: int, ids: str
) -> None:
    assert list(full.history(None, max_items, offset)) == list(ids)


def test_what_the_history_gives_is_a_copy(full: queue.PromptQueue) -> None:
    assert full.history("none") == {}
    for given in (full.history("3"), full.history()):
        assert given["3"]["outputs"] == {"n": [3]}
        given["3"]["outputs"]["n"].append("changed")
    assert full.history("3")["3"]["outputs"] == {"n": [3]}


def test_the_history_forgets_some_or_all(full: queue.PromptQueue) -> None:
    full.forget(["1", "3", "unknown"])
    assert list(full.history()) == ["0", "2", "4"]
    full.forget([])
    assert list(full.history()) == ["0", "2", "4"]
    full.forget(None)
    assert full.history() == {}


def test_what_is_deleted_leaves_the_others_in_their_order() -> None:
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
def test_types_that_may_be_linked(received: str, wanted: Any, fits: bool) -> None:
    assert validation._fits(received, wanted) is fits


@pytest.mark.parametrize(
    ("config", "filled"),
    [(["INT"], ["INT", {}]), (["INT", {"min": 1}], ["INT", {"min": 1}]), (["X", {}, 3], ["X", {}])],
)
def test_an_input_without_options_has_none(config: list[Any], filled: list[Any]) -> None:
    assert validation._config(config) == filled


def test_plain_values_are_taken_out_of_their_wrapping_and_converted() -> None:
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
