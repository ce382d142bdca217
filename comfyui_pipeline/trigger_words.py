"""The words that a LoRA reacts to, as the header of its file says."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from comfyui_pipeline.bounded.numbers import finite
from comfyui_pipeline.engine.protocol import Engine, Prompt
from comfyui_pipeline.errors import EngineError
from comfyui_pipeline.process.parallel import run_parallel
from comfyui_pipeline.workflow import roles
from comfyui_pipeline.workflow.graph import Graph, Target

MAX_FILES = 60
"""LoRAs whose headers are read for one list."""
MAX_LORAS = 10
"""LoRAs of one prompt whose headers are read."""
MAX_WORDS = 5
MAX_LENGTH = 100
PARALLEL = 8
PHRASE = "modelspec.trigger_phrase"
"""Set by the author (Stability AI ModelSpec 1.0)."""
TAGS = "ss_tag_frequency"
"""Folder of the training images -> tag -> images that have it (kohya-ss sd-scripts)."""
SHARE = 0.95
"""Of the most frequent tag's count, for tags that nearly every image has."""


def of_files(engine: Engine, names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The trigger words of each of the first files that has any."""

    def read(name: str) -> tuple[str, ...]:
        try:
            return of_header(engine.metadata("loras", name))
        except EngineError:  # the list of names matters more
            return ()

    chosen = list(names[:MAX_FILES])
    found = run_parallel(read, chosen, PARALLEL)
    return {name: words for name, words in zip(chosen, found, strict=True) if words}


def unused(engine: Engine, graph: Graph, prompt: Prompt) -> list[str]:
    """A sentence for each LoRA of the prompt none of whose trigger words is in its positive texts."""
    names = dict.fromkeys(
        str(value) for target in roles.lora_loaders(graph) if (value := _value(prompt, target))
    )
    texts = [_value(prompt, target) for target in roles.texts(graph, "positive")]
    said = _folded(" ".join(text for text in texts if isinstance(text, str)))
    if not names or not said.strip():
        return []
    return [
        f"None of the trigger words of the LoRA {name} is in the prompt: {', '.join(words)}."
        for name, words in of_files(engine, list(names)[:MAX_LORAS]).items()
        if not any(_folded(word) in said for word in words)
    ]


def _value(prompt: Prompt, target: Target) -> object:
    value = prompt.get(target.node.id, {}).get("inputs", {}).get(target.name)
    return value if isinstance(value, str) else None


def _folded(text: str) -> str:
    return text.casefold().replace("_", " ").replace("\\", "")


def of_header(metadata: Mapping[str, str]) -> tuple[str, ...]:
    """What the author says; else the tags that nearly all training images have."""
    phrase = metadata.get(PHRASE, "")
    if phrase.strip():
        return tuple(w.strip()[:MAX_LENGTH] for w in phrase.split(",") if w.strip())[:MAX_WORDS]
    try:
        folders = json.loads(metadata.get(TAGS, "{}"))
    except (ValueError, RecursionError):
        return ()
    counts: dict[str, float] = {}
    for tags in folders.values() if isinstance(folders, dict) else ():
        for tag, count in tags.items() if isinstance(tags, dict) else ():
            counts[tag.strip()] = counts.get(tag.strip(), 0) + (finite(count) or 0)
    most = max(counts.values(), default=0)
    usual = [tag for tag, count in counts.items() if tag and count and count >= SHARE * most]
    return tuple(tag[:MAX_LENGTH] for tag in sorted(usual, key=lambda t: -counts[t]))[:MAX_WORDS]
