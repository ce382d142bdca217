"""Word the changes of a job as its caller thinks of them: own keys, roles, and files as given."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any
from urllib.parse import unquote

from comfyui_pipeline.bounded.truncate import shorten
from comfyui_pipeline.media.redact import public_url, shown_value
from comfyui_pipeline.workflow import roles
from comfyui_pipeline.workflow.changes import STAND_IN, Change, Origin
from comfyui_pipeline.workflow.graph import Graph

SHOWN_VALUE = 160
"""Characters of a changed value."""
INLINE = "the file in the call"
MAX_SEEDS = 20
SEED_ORIGINS: Mapping[str, str] = MappingProxyType(
    {
        "": "",
        "given": " (as given)",
        "random": ' (random; pass it as "seed" to get the same result again)',
    }
)
SIDES = ("width", "height")
MAX_NAME = 80
"""A longer value without an extension is not a name but may be the content of a file."""


def sentences(changes: Sequence[Change]) -> list[str]:
    """What the call has changed, without seeds and names of files that only we chose.

    An argument that sets several inputs to the same value is named once.
    """
    strengths, sizes = _lora_strengths(changes), _sizes(changes)
    said: dict[str, None] = {}
    for change in changes:
        if not _is_said(change):
            continue
        if change.part in SIDES and (size := sizes.get(_node_key(change))):
            said[f"{size[0]} = {size[1]}x{size[2]}"] = None
        elif _is_lora(change):
            said.update(dict.fromkeys(_lora(change, strengths)))
        else:
            said.update(dict.fromkeys(_sentences(change)))
    return list(said)


def _node_key(change: Change) -> tuple[str, str]:
    return change.argument, change.target.node.id


def _sizes(changes: Sequence[Change]) -> Mapping[tuple[str, str], tuple[str, Any, Any]]:
    """Argument and node whose both sides it sets -> the key, the width and the height."""
    sides: dict[tuple[str, str], dict[str, Change]] = {}
    for change in changes:
        if change.part in SIDES:
            sides.setdefault(_node_key(change), {})[change.part] = change
    return {
        key: (one["width"].key or one["width"].argument, one["width"].value, one["height"].value)
        for key, one in sides.items()
        if len(one) == 2
    }


def _is_lora(change: Change) -> bool:
    return change.argument == "loras" and change.origin is Origin.ARGUMENT


def _lora_strengths(changes: Sequence[Change]) -> Mapping[str, Sequence[Any]]:
    """Node of a LoRA -> the strengths that the call sets there."""
    found: dict[str, list[Any]] = {}
    for change in changes:
        if _is_lora(change) and not isinstance(change.value, str):
            found.setdefault(change.target.node.id, []).append(change.value)
    return found


def _lora(change: Change, strengths: Mapping[str, Sequence[Any]]) -> Iterator[str]:
    """``lora = "ink.safetensors" at 0.6``, once for its name and strengths."""
    if isinstance(change.value, str):
        at = " and ".join(dict.fromkeys(map(str, strengths.get(change.target.node.id, ()))))
        name = shorten(f'"{change.value}"', SHOWN_VALUE)
        yield f"{change.key or change.argument} = {name}{f' at {at}' if at else ''}"


def fields(change: Change) -> dict[str, Any]:
    """A change for programs. ``argument``, ``key`` and ``part`` only where there is something to say."""
    named = {"argument": change.argument, "key": change.key, "part": change.part}
    return {
        "node_id": change.target.node.id,
        "input": change.target.name,
        "value": change.value,
        "from": change.source,
        **{name: value for name, value in named.items() if value},
    }


def file_name(value: str) -> str:
    """A caller's file without what may be secret or long: its name, or its URL without a query."""
    value = value.strip()
    start = value[:8].lower()
    if start.startswith(("data:", "base64:")):
        return INLINE
    if start.startswith(("http://", "https://")):
        name = unquote(PurePosixPath(public_url(value)).name)
        return shown_value(name) if "." in name else public_url(value)
    name = value.replace("\\", "/").rstrip("/").rpartition("/")[2]
    if len(value) > MAX_NAME and "." not in name:
        return INLINE
    return shown_value(name)


def seed_origin(changes: Sequence[Change]) -> str:
    """Where the seeds of a job come from: ``random``, ``given``, or "" for the workflow."""
    origins = {change.origin for change in changes}
    if Origin.RANDOM_SEED in origins:
        return "random"
    return "given" if Origin.GIVEN_SEED in origins else ""


def seed_sentence(seeds: Mapping[str, Any], origin: str, batch: int = 1) -> str:
    """The seeds by node, and how to get the same images again; ``batch``: images that share a seed."""
    values = set(seeds.values())
    end = SEED_ORIGINS[origin]
    if len(values) == 1:
        shown = str(next(iter(values)))
    else:
        listed = [f"{seed} in node {node}" for node, seed in seeds.items()]
        left = len(listed) - MAX_SEEDS
        shown = ", ".join(listed[:MAX_SEEDS]) + (f", …and {left} more" if left > 0 else "")
        if origin == "random" and all(type(seed) is int for seed in values):
            end = f' (random; pass "seed": "{max(values)}" to get the same result again)'
    text = f"Seed: {shown}{end}."
    if batch > 1:
        text += (
            f" It is the seed of the batch of {batch}: to get one of its images again, pass this seed "
            "with the same batch size; no other seed gives that image alone."
        )
    return text


def batch_of(graph: Graph) -> int:
    """How many images one seed gives: the largest batch size in a workflow that has a seed."""
    sizes = [t.node.inputs.get(t.name) for t in roles.find_targets(graph, "batch_size")]
    return max((size for size in sizes if type(size) is int), default=1)


def _is_said(change: Change) -> bool:
    chosen_by_us = change.origin is Origin.FILE_NAME and change.argument != "filename_prefix"
    follows = change.part in SIDES and change.value == 0
    return not (change.is_seed or chosen_by_us or follows or change.part == STAND_IN)


def _sentences(change: Change) -> Iterator[str]:
    by_params = change.origin is Origin.PARAMS
    name = change.key or change.argument
    if by_params or not name:
        name = f"{change.target.node.label}, {change.target.name}"
    if change.mask is not None and change.argument == "mask":
        yield f"{name} ← {file_name(change.mask)}"
        return
    given = change.value if change.needs_file else change.given
    if given is not None:
        role = name if by_params else change.part or name
        yield f"{role} ← {file_name(given)}"
        if change.mask is not None:
            yield f"mask ← {file_name(change.mask)}"
        return
    if change.part in SIDES:  # the side that follows from the one that the argument gives
        yield f"{change.part} = {change.value}"
        return
    unit = " frames" if change.part == "frames" else ""
    part = f" ({change.part})" if change.part and not unit else ""
    link = " (replaces a link)" if change.replaced_link else ""
    value = change.value
    shown = shorten(f'"{value}"' if isinstance(value, str) else str(value), SHOWN_VALUE)
    yield f"{name}{part} = {shown}{unit}{link}"
