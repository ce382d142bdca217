"""Limits for metadata read from images."""

from __future__ import annotations

from typing import Any

from input_server.images import (
    image_info,
)
from tests.input_server.gallery_harness import GalleryHarness, node, png, prompt


def save_and_read(harness: GalleryHarness, generated: dict[str, Any]) -> Any:
    png(harness.folder / "a.png", generated)
    return harness.json("info?path=a.png")


def test_returned_metadata_is_limited(harness: GalleryHarness) -> None:
    samplers = {
        str(number): node("KSampler", seed=number, positive="x" * 1500 + str(number))
        for number in range(30)
    }
    found = save_and_read(harness, samplers)
    assert found["seeds"] == [str(number) for number in range(16)]
    assert len(found["positive"]) == 20_000
    long_name = prompt(model="m" * 400 + ".safetensors")
    assert [len(name) for name in save_and_read(harness, long_name)["models"]] == [300]
    assert (image_info.MAX_NODES, image_info.MAX_INPUTS) == (5000, 128)


def test_seeds_and_cfg_are_limited_to_plausible_numbers(harness: GalleryHarness) -> None:
    def numbers(**inputs: Any) -> Any:
        return save_and_read(harness, {"1": node("X", **inputs)})

    assert numbers(seed=2**64 - 1)["seeds"] == [str(2**64 - 1)]
    assert numbers(seed=2**64)["seeds"] == []
    assert numbers(seed=True)["seeds"] == []
    assert numbers(cfg=999_999_999)["cfg"] == [999_999_999.0]
    assert numbers(cfg=10**9)["cfg"] == []
    assert numbers(guidance=3.5)["cfg"] == [3.5]
    assert numbers(cfg=7, guidance=3.5)["cfg"] == [7.0]
    assert numbers(noise_seed=4)["seeds"] == ["4"]
    assert numbers(seeds=4)["seeds"] == []
