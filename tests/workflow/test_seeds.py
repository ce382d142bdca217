"""Seeds at nodes of different ranges, and seeds as integers up to 2**64 - 1."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from comfyui_pipeline import call, change_texts
from comfyui_pipeline.workflow import seeds
from comfyui_pipeline.workflow.schema import InputSpec
from tests.workflow import offline_calls
from tests.workflow.offline_calls import node

LIMITS = {"Seed64": 2**64 - 1, "Seed32": 2**32 - 1, "Seed500": 500}


class Server(offline_calls.StubServer):
    """A server whose seed nodes have three limits."""

    def schemas(self, names: Any) -> dict[str, Any]:
        known = super().schemas(names)
        for name in LIMITS.keys() & set(names):
            options = {"default": 1, "min": 1 if name == "Seed500" else 0, "max": LIMITS[name]}
            required = {"image": ["IMAGE"], "seed": ["INT", options]}
            known[name] = {"input": {"required": required}, "output": ["IMAGE"]}
        return known


def prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *kinds: str, **arguments: Any) -> Any:
    monkeypatch.setattr(offline_calls, "StubServer", Server)
    flow = {"1": node("EmptyImage", width=8, height=8, batch_size=1, color=1)}
    for number, kind in enumerate(kinds, start=2):
        flow[str(number)] = node(kind, image=[str(number - 1), 0], seed=5)
    last = str(len(kinds) + 1)
    flow["9"] = node("SaveImage", images=[last, 0], filename_prefix="x")
    chosen = offline_calls.settings_in(tmp_path)
    return offline_calls.prepare_call({"workflow_json": flow, **arguments}, chosen)


def seeds_of(ready: Any) -> list[int]:
    return [n["inputs"]["seed"] for n in ready.job.prompt.values() if "seed" in n["inputs"]]


@pytest.mark.parametrize("given", ["0", "501", "4294967296", "18446744073709551615"])
def test_each_node_gets_a_given_seed_within_its_range(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    ready = prepared(tmp_path, monkeypatch, "Seed64", "Seed32", "Seed500", seed=given)
    first, second, third = seeds_of(ready)
    assert first == int(given)
    assert second == int(given) % 2**32
    assert 1 <= third <= 500
    assert any("(Seed500) takes seeds from 1 to 500" in note for note in ready.notes)


@pytest.mark.parametrize("kinds", [("Seed64", "Seed32"), ("Seed32", "Seed500"), ("Seed500",)])
@pytest.mark.parametrize("number", range(5))
def test_the_seed_that_the_answer_shows_gives_the_same_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kinds: tuple[str, ...], number: int
) -> None:
    first = prepared(tmp_path, monkeypatch, *kinds)
    sentence = change_texts.seed_sentence(first.seeds, first.seed_origin)
    shown = max(seeds_of(first))
    assert str(shown) in sentence
    again = prepared(tmp_path, monkeypatch, *kinds, seed=str(shown))
    assert seeds_of(again) == seeds_of(first)


def test_the_seed_of_several_ranges_to_pass_is_named() -> None:
    sentence = change_texts.seed_sentence({"3": 7000000000, "4": 5}, "random")
    assert 'pass "seed": "7000000000"' in sentence


@pytest.mark.parametrize("kind", ["INT", "FLOAT"])
def test_limits_that_are_no_integers_do_not_matter(kind: str) -> None:
    assert seeds.fitting(InputSpec("seed", kind, {"max": 1.8446744073709552e19}), 2**64 - 1)
    assert seeds.fitting(None, 3) == 3
    assert seeds.drawn([], 3) == 3


@pytest.mark.parametrize(
    "written", [2**64 - 1, str(2**64 - 1), "18446744073709552000", 1.8446744073709552e19]
)
def test_the_largest_seed_is_taken_also_as_javascript_rounds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: Any
) -> None:
    text = json.dumps({"workflow": "x", "seed": written})
    assert call.parse(text.encode()).seed == 2**64 - 1
    assert seeds_of(prepared(tmp_path, monkeypatch, "Seed64", seed=written)) == [2**64 - 1]
