"""Find the workflow in the JSON that other programs put around it.

``{"input": {"workflow": …}}`` (worker-comfyui), ``{"prompt": …, "extra_data": …}`` (a request), an
entry of ComfyUI's history or queue (``[number, id, prompt, extra]``), ``{"output": …, "workflow": …}``
(the editor's graphToPrompt), JSON in a string, a list of nodes with ids.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from comfyui_pipeline.bounded import json_text
from input_server.light_dataclasses import dataclass

MAX_LEVELS = 8
MAX_VALUES = 10_000
"""Values that are looked at. Wrappers are small; a workflow itself is not entered."""
MAX_LISTED = 8
MAX_SHOWN = 40


@dataclass(frozen=True, slots=True)
class Found:
    """A prompt, an editor document, or both, and notes on what was left out."""

    prompt: Mapping[str, Any] | None
    ui: Mapping[str, Any] | None
    notes: tuple[str, ...] = ()


def find(document: Any) -> Found:
    """The workflow in parsed JSON: the prompt and the document that are nearest to its top."""
    prompts: list[Mapping[str, Any]] = []
    documents: list[Mapping[str, Any]] = []
    for value in _values(document):
        if is_editor_document(value):
            documents.append(value)
        elif has_nodes(value):
            prompts.append(value)
    notes = []
    if len(prompts) > 1:
        notes.append(f"The JSON holds {len(prompts)} workflows; the first was used.")
    prompt = prompts[0] if prompts else None
    if prompt is not None:
        extra = [key for key, node in prompt.items() if not _may_be_node(node)]
        if extra:
            shown = ", ".join(repr(key[:MAX_SHOWN]) for key in extra[:MAX_LISTED])
            notes.append(f"Keys next to the nodes were left out: {shown}.")
            prompt = {key: node for key, node in prompt.items() if key not in extra}
    return Found(prompt, documents[0] if documents else None, tuple(notes))


def is_editor_document(document: Any) -> bool:
    """Whether this is a document of ComfyUI's editor rather than a prompt."""
    return isinstance(document, dict) and isinstance(document.get("nodes"), list)


def has_nodes(value: Any) -> bool:
    return isinstance(value, dict) and any(is_node(node) for node in value.values())


def is_node(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("class_type"), str)


def _may_be_node(value: Any) -> bool:
    """A node, or one that lacks its class: that is an error, not a key to be left out."""
    return is_node(value) or (isinstance(value, dict) and isinstance(value.get("inputs"), dict))


def _values(document: Any) -> Iterator[Any]:
    """The values of a document level by level; what is inside a workflow is not entered, except
    keys next to the nodes of a prompt.
    """
    level, seen = [document], 0
    for _ in range(MAX_LEVELS):
        below: list[Any] = []
        for item in level:
            value = _listed_nodes(_read(item))
            seen += 1
            yield value
            if seen > MAX_VALUES:
                return
            if isinstance(value, dict) and not is_editor_document(value):
                below += [one for one in value.values() if not is_node(one)]
            elif isinstance(value, list):
                below += value
        level = [one for one in below if isinstance(one, (dict, list, str))]
        if not level:
            return


def _read(value: Any) -> Any:
    """The object or list in a string; any other value as it is."""
    for _ in range(2):  # JSON inside JSON
        if not isinstance(value, str) or value.lstrip()[:1] not in ("{", "[", '"'):
            break
        try:
            value = json_text.read(value)
        except json_text.InvalidJson:
            break
    return value


def _listed_nodes(value: Any) -> Any:
    """A list of nodes with their ids as an object."""
    if isinstance(value, list) and value and all(is_node(node) and "id" in node for node in value):
        return {str(node["id"]): node for node in value}
    return value
