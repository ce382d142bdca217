"""One seed for nodes whose ranges differ: each gets the seed, or what follows from it in its range."""

from __future__ import annotations

from collections.abc import Sequence

from comfyui_pipeline.workflow.schema import InputSpec

MAX_SEED = 2**64 - 1


def fitting(spec: InputSpec | None, seed: int) -> int:
    """The seed, or the one that stands for it in the range of an input."""
    low, high = _range(spec)
    return seed if low <= seed <= high else low + (seed - low) % (high - low + 1)


def drawn(specs: Sequence[InputSpec | None], seed: int) -> int:
    """A random seed that the input of the largest range takes as it is, so that the answer shows it."""
    ranges = [_range(spec) for spec in specs] or [(0, MAX_SEED)]
    low, high = max(0, *(low for low, _ in ranges)), max(high for _, high in ranges)
    return seed if low <= seed <= high else low + (seed - low) % max(1, high - low + 1)


def _range(spec: InputSpec | None) -> tuple[int, int]:
    """The limits as integers: a float of this size is not exact."""
    options = spec.options if spec is not None else {}
    low, high = options.get("min", 0), options.get("max", MAX_SEED)
    if not isinstance(low, int) or not isinstance(high, int) or low > high:
        return 0, MAX_SEED
    return low, high
