"""What a ComfyUI server answers, as values: the one place where its JSON is taken apart.

Each function takes parsed JSON and raises OddShape where ComfyUI would never answer that; parts that
custom nodes fill (schemas, outputs) are taken as far as they make sense.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from comfyui_pipeline.bounded.numbers import finite
from comfyui_pipeline.engine.http import as_list, as_object
from input_server.light_dataclasses import dataclass, field

LONGEST_ID = 200
LONGEST_TEXT = 300


class UnexpectedShape(ValueError):
    """The JSON is not what ComfyUI answers; the text says which part of it."""


@dataclass(frozen=True, slots=True)
class QueueEntry:
    """One run in the queue (execution.py PromptQueue): ``[number, id, prompt, …]``."""

    number: float
    prompt_id: str
    prompt: Any = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Queue:
    """``GET /queue``; ``pending`` in the order in which they will run."""

    running: tuple[QueueEntry, ...]
    pending: tuple[QueueEntry, ...]

    def find(self, prompt_id: str) -> QueueEntry | None:
        """The run of this id, running or pending."""
        runs = (*self.running, *self.pending)
        return next((run for run in runs if run.prompt_id == prompt_id), None)

    def is_running(self, prompt_id: str) -> bool:
        """Whether it is the one that runs."""
        return any(run.prompt_id == prompt_id for run in self.running)

    def ahead_of(self, prompt_id: str) -> int | None:
        """How many runs come before a pending one, None when it is not pending."""
        ids = [run.prompt_id for run in self.pending]
        return ids.index(prompt_id) + len(self.running) if prompt_id in ids else None


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """``GET /history/<id>``: one run that has ended.

    ``messages``: name -> data, of ``execution_success``, ``execution_error`` and the like.
    ``prompt``: what was queued, as in ``Queued``.
    """

    outputs: Mapping[str, Any] = field(default_factory=dict, repr=False)
    status: str = ""
    messages: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    prompt: Any = field(default=None, repr=False)


def queue(document: Any) -> Queue:
    """``GET /queue``."""
    running, pending = (
        tuple(_queued(item, key) for item in _list(document, key))
        for key in ("queue_running", "queue_pending")
    )
    return Queue(running, tuple(sorted(pending, key=lambda run: run.number)))


def _queued(item: Any, key: str) -> QueueEntry:
    if not isinstance(item, list) or len(item) < 2:
        raise UnexpectedShape(f"an entry of {key} is no list")
    number = finite(item[0])
    if number is None or not isinstance(item[1], str) or len(item[1]) > LONGEST_ID:
        raise UnexpectedShape(f"an entry of {key} has no number and id")
    return QueueEntry(number, item[1], item[2] if len(item) > 2 else None)


def history(document: Any, prompt_id: str) -> HistoryEntry | None:
    """The entry of one run; None when there is none."""
    if not isinstance(document, dict):
        raise UnexpectedShape("it is no object")
    entry = document.get(prompt_id)
    if entry is None:
        return None
    if not isinstance(entry, dict):
        raise UnexpectedShape("the entry is no object")
    status = as_object(entry.get("status"))
    asked = as_list(entry.get("prompt"))
    return HistoryEntry(
        as_object(entry.get("outputs")),
        str(status.get("status_str") or "")[:LONGEST_TEXT],
        {
            message[0]: as_object(message[1])
            for message in as_list(status.get("messages"))
            if isinstance(message, list) and len(message) > 1 and isinstance(message[0], str)
        },
        asked[2] if len(asked) > 2 else None,
    )


def names(document: Any) -> list[str]:
    """``/models/<folder>`` and ``/embeddings``: file names."""
    if not isinstance(document, list) or not all(isinstance(name, str) for name in document):
        raise UnexpectedShape("it is no list of names")
    return document


def system(document: Any) -> dict[str, Any]:
    """``/system_stats``: its plain values; numbers are finite, long texts are cut."""
    if not isinstance(document, dict) or not isinstance(document.get("system"), dict):
        raise UnexpectedShape("it has no part called system")
    devices = [_plain(device) for device in as_list(document.get("devices"))]
    return {"system": _plain(document["system"]), "devices": devices}


def _plain(values: Any) -> dict[str, Any]:
    return dict(_plain_items(as_object(values)))


def _plain_items(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, str):
            yield key[:LONGEST_TEXT], value[:LONGEST_TEXT]
        elif isinstance(value, bool) or value is None or finite(value) is not None:
            yield key[:LONGEST_TEXT], value


def schemas(document: Any) -> dict[str, dict[str, Any]]:
    """``/object_info`` and ``/object_info/<class>``: class -> its schema."""
    if not isinstance(document, dict):
        raise UnexpectedShape("it is no object")
    return {name: _schema(schema) for name, schema in document.items() if isinstance(schema, dict)}


def _schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The same, where the parts that say what inputs there are have their right kinds."""
    order = as_object(schema.get("input_order"))
    return {
        **schema,
        "input": _groups(schema.get("input")),
        "input_order": {
            group: [name for name in as_list(listed) if isinstance(name, str)]
            for group, listed in order.items()
        },
        "output": as_list(schema.get("output")),
        "output_name": as_list(schema.get("output_name")),
    }


def _groups(groups: Any) -> dict[str, dict[str, Any]]:
    """``required``, ``optional`` and ``hidden``: input -> ``[type, options]``."""
    return {
        group: {name: _input(spec) for name, spec in as_object(inputs).items()}
        for group, inputs in as_object(groups).items()
    }


def _input(spec: Any) -> Any:
    if not isinstance(spec, list) or len(spec) < 2 or not isinstance(spec[1], dict):
        return spec  # a hidden one is a mere text
    options = dict(spec[1])
    if not isinstance(options.get("options", []), list):
        del options["options"]
    choices = as_list(options.get("options"))
    if any(isinstance(choice, dict) for choice in choices):
        options["options"] = [_way(choice) for choice in choices if _is_way(choice)]
    if "template" in options:
        template = as_object(options["template"])
        options["template"] = {**template, "input": _groups(template.get("input"))}
    return [spec[0], options, *spec[2:]]


def _is_way(choice: Any) -> bool:
    """A choice that brings inputs of its own: ``{"key", "inputs"}`` (comfy_api DynamicCombo)."""
    return isinstance(choice, dict) and isinstance(choice.get("key"), (str, int, float))


def _way(choice: Mapping[str, Any]) -> dict[str, Any]:
    return {**choice, "inputs": _groups(choice.get("inputs"))}


def _list(document: Any, key: str) -> list[Any]:
    if not isinstance(document, dict) or not isinstance(document.get(key), list):
        raise UnexpectedShape(f"it has no list called {key}")
    found: list[Any] = document[key]
    return found
