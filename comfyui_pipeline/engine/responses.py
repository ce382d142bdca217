"""The server's HTTP responses as typed values: the one place where their JSON is taken apart.

Each function takes parsed JSON and raises UnexpectedShape where ComfyUI would never send that. What
custom nodes fill in (schemas, outputs, error details) is taken as far as it makes sense.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from comfyui_pipeline.bounded.numbers import finite
from comfyui_pipeline.engine.json_shape import as_list, as_object
from comfyui_pipeline.engine.protocol import Output, Prompt
from input_server.light_dataclasses import dataclass, field

LONGEST_ID = 200
LONGEST_TEXT = 300
MAX_RUN_MS = 30 * 86_400_000


class UnexpectedShape(ValueError):
    """The JSON is not what ComfyUI sends; the text says which part of it."""


# -- the queue and the history -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class QueueEntry:
    """One job in the queue (execution.py PromptQueue): ``[number, id, prompt, …]``."""

    number: float
    prompt_id: str
    prompt: Prompt | None = field(default=None, repr=False)
    extra_data: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Queue:
    """``GET /queue``; ``pending`` in the order in which they will run."""

    running: tuple[QueueEntry, ...]
    pending: tuple[QueueEntry, ...]

    def find(self, prompt_id: str) -> QueueEntry | None:
        """The job with this id, running or pending."""
        entries = (*self.running, *self.pending)
        return next((entry for entry in entries if entry.prompt_id == prompt_id), None)

    def of_client(self, client_id: str) -> QueueEntry | None:
        """The job that a client with this id queued, running or pending."""
        entries = (*self.running, *self.pending)
        return next((e for e in entries if e.extra_data.get("client_id") == client_id), None)

    def is_running(self, prompt_id: str) -> bool:
        return any(entry.prompt_id == prompt_id for entry in self.running)

    def ahead_of(self, prompt_id: str) -> int | None:
        """How many jobs run before a pending one; None when it is not pending."""
        ids = [entry.prompt_id for entry in self.pending]
        return ids.index(prompt_id) + len(self.running) if prompt_id in ids else None


@dataclass(frozen=True, slots=True)
class ExecutionError:
    """A node that raised (execution.py ``execution_error``), without its traceback and inputs, which
    can contain keys.
    """

    node_id: str = ""
    node_type: str = ""
    exception_type: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """``GET /history/<id>``: one job that has ended.

    ``outputs``: by node id. ``events``: names of its status messages, ``execution_success`` and the
    like. ``cached``: ids of the nodes whose outputs came from the server's cache. ``seconds``: for which
    it ran, without the time in the queue.
    """

    outputs: Mapping[str, tuple[Output, ...]] = field(default_factory=dict, repr=False)
    seconds: float | None = None
    status: str = ""
    events: frozenset[str] = frozenset()
    error: ExecutionError = field(default_factory=ExecutionError)
    cached: tuple[str, ...] = ()
    prompt: Prompt | None = field(default=None, repr=False)
    extra_data: Mapping[str, Any] = field(default_factory=dict, repr=False)


def queue(document: Any) -> Queue:
    """``GET /queue``."""
    running, pending = (
        tuple(_queue_entry(item, key) for item in _list(document, key))
        for key in ("queue_running", "queue_pending")
    )
    return Queue(running, tuple(sorted(pending, key=lambda entry: entry.number)))


def _queue_entry(item: Any, key: str) -> QueueEntry:
    if not isinstance(item, list) or len(item) < 2:
        raise UnexpectedShape(f"an entry of {key} is not a list")
    number = finite(item[0])
    if number is None or not isinstance(item[1], str) or len(item[1]) > LONGEST_ID:
        raise UnexpectedShape(f"an entry of {key} has no number and id")
    return QueueEntry(number, item[1], _prompt(item), _extra_data(item))


def history(document: Any, prompt_id: str) -> HistoryEntry | None:
    """The entry of one job; None when there is none."""
    if not isinstance(document, dict):
        raise UnexpectedShape("it is not an object")
    entry = document.get(prompt_id)
    if entry is None:
        return None
    if not isinstance(entry, dict):
        raise UnexpectedShape("the entry is not an object")
    status = as_object(entry.get("status"))
    messages = {
        message[0]: as_object(message[1])
        for message in as_list(status.get("messages"))
        if isinstance(message, list) and len(message) > 1 and isinstance(message[0], str)
    }
    return HistoryEntry(
        outputs={
            str(node): node_outputs(str(node), ui)
            for node, ui in as_object(entry.get("outputs")).items()
        },
        seconds=_seconds(messages),
        status=str(status.get("status_str") or "")[:LONGEST_TEXT],
        events=frozenset(messages),
        error=execution_error(messages.get("execution_error")),
        cached=cached_nodes(messages.get("execution_cached")),
        prompt=_prompt(as_list(entry.get("prompt"))),
        extra_data=_extra_data(as_list(entry.get("prompt"))),
    )


def _seconds(messages: Mapping[str, Mapping[str, Any]]) -> float | None:
    """From the first to the last event; their times are milliseconds (execution.py ``add_message``)."""
    begin = finite(messages.get("execution_start", {}).get("timestamp"))
    times = [finite(data.get("timestamp")) for data in messages.values()]
    known = [moment for moment in times if moment is not None]
    if begin is None or not known or not 0 <= max(known) - begin < MAX_RUN_MS:
        return None
    return (max(known) - begin) / 1000


def ended_job_of(document: Any, client_id: str) -> str | None:
    """The id of the job that a client queued, in ``GET /history``; None when it is not there."""
    if not isinstance(document, dict):
        raise UnexpectedShape("it is not an object")
    for prompt_id, entry in document.items():
        item = as_list(as_object(entry).get("prompt"))
        if _extra_data(item).get("client_id") == client_id:
            return prompt_id if isinstance(prompt_id, str) else None
    return None


def _prompt(item: list[Any]) -> Prompt | None:
    """The prompt in a queue item; entries that are no nodes are left out."""
    if len(item) < 3 or not isinstance(item[2], dict):
        return None
    return {
        node_id: {**node, "inputs": dict(as_object(node.get("inputs")))}
        for node_id, node in item[2].items()
        if isinstance(node, dict) and isinstance(node.get("class_type"), str)
    }


def _extra_data(item: list[Any]) -> Mapping[str, Any]:
    """What was queued next to the prompt of a queue item."""
    return as_object(item[3]) if len(item) > 3 else {}


def execution_error(data: Any) -> ExecutionError:
    """The data of an ``execution_error``, in the history or over the WebSocket."""
    data = as_object(data)
    return ExecutionError(
        node_id=str(data.get("node_id")),
        node_type=str(data.get("node_type") or ""),
        exception_type=str(data.get("exception_type") or ""),
        message=str(data.get("exception_message") or ""),
    )


def cached_nodes(data: Any) -> tuple[str, ...]:
    """The node ids of an ``execution_cached``."""
    return tuple(str(node) for node in as_list(as_object(data).get("nodes")))


def is_cancelled(document: Any) -> bool:
    """``POST /api/jobs/<id>/cancel``."""
    return bool(as_object(document).get("cancelled"))


# -- outputs of nodes ------------------------------------------------------------------------------

FILES_3D = r"(?i)(?!/)[^\r\n<>:\"|?*]{1,240}\.(glb|gltf|obj|ply|stl|fbx|usdz|splat|ksplat|spz)"
"""What a path to a 3D file looks like; other files come as entries with a ``filename``."""


def node_outputs(node_id: str, ui: Any) -> tuple[Output, ...]:
    """Files and texts in a node's ``ui`` result, recognised by shape, whatever their key is."""
    return tuple(_outputs(node_id, ui))


def _outputs(node_id: str, ui: Any) -> Iterator[Output]:
    flat = {key: list(_flat(values)) for key, values in as_object(ui).items()}
    found = {key: [_output(node_id, key, value) for value in flat[key]] for key in flat}
    yield from (output for outputs in found.values() for output in outputs if output)
    beside = any(any(outputs) for outputs in found.values())
    others = {
        key: values
        for key, values in as_object(ui).items()
        if not any(found[key]) and any(_is_value(value, beside=beside) for value in flat[key])
    }
    for key, value in others.items():
        bare = value[0] if isinstance(value, list) and len(value) == 1 else value
        text = json.dumps(bare, ensure_ascii=False)
        yield Output(node_id, key, text=f"{key}: {text}" if len(others) > 1 else text)


def _output(node_id: str, key: str, value: Any) -> Output | None:
    """A file or a text; None for anything else."""
    if isinstance(value, str) and value.strip():
        return _text_output(node_id, key, value)
    if isinstance(value, dict) and isinstance(value.get("filename"), str):
        return Output(
            node_id,
            key,
            filename=value["filename"],
            subfolder=str(value.get("subfolder") or ""),
            folder_type=str(value.get("type") or "output"),
        )
    return None


def _is_value(value: Any, *, beside: bool) -> bool:
    """Whether this is a result of its own, such as a number, a score or the box of a face.

    ``beside``: the node has files or texts, of which single numbers describe something, such as
    ``animated``. An entry of an image that went over the WebSocket is none.
    """
    if isinstance(value, dict):
        is_file = "filename" in value or value.get("type") in ("output", "temp", "input")
        return bool(value) and not is_file
    return isinstance(value, (bool, int, float)) and not beside


def _flat(values: Any) -> Iterator[Any]:
    """Some nodes return lists inside the list."""
    if isinstance(values, list):
        for value in values:
            yield from _flat(value)
    else:
        yield values


def _text_output(node_id: str, key: str, text: str) -> Output:
    """A text; or a path below the output folder, as nodes for 3D files return it.

    ``PreviewUI3D`` (comfy_api) puts ``mesh/a.glb`` or ``a.glb [temp]`` first into ``result``. The text
    is returned as well: it is the output if there is no such file.
    """
    path, _, note = text.partition(" [")
    kind = note.removesuffix("]") if note else "output"
    if kind not in ("output", "temp", "input") or not re.fullmatch(FILES_3D, path):
        return Output(node_id, key, text=text)
    folder, _, name = path.replace("\\", "/").rpartition("/")
    return Output(node_id, key, filename=name, subfolder=folder, folder_type=kind, text=text)


# -- replies to POST /prompt ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class InputError:
    """One reason why a node cannot run (execution.py ``validate_inputs``).

    ``value``: what the input got, as Python shows it; None where the server does not say.
    ``choices``: of a combo; None when there are none or the server leaves them out, being many.
    """

    kind: str
    message: str
    details: str
    input_name: str = ""
    value: str | None = None
    choices: tuple[str, ...] | None = None
    limits: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NodeErrors:
    """Why one node cannot run, and which output nodes do not run because of it."""

    reasons: tuple[InputError, ...]
    dependents: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rejection:
    """A 400 of ``POST /prompt`` (server.py, execution.py ``validate_prompt``)."""

    kind: str
    message: str
    details: str
    node_id: str
    class_type: str
    node_errors: Mapping[str, NodeErrors]


@dataclass(frozen=True, slots=True)
class QueuedPrompt:
    """A prompt that was queued, and what of it will not run. ``prompt_id``: as the server says."""

    prompt_id: str
    node_errors: Mapping[str, NodeErrors] = field(default_factory=dict)


def queued(document: Any, sent_id: str) -> QueuedPrompt:
    """A 200 of ``POST /prompt``. ``sent_id``: the id in the request, which older servers ignore."""
    chosen = as_object(document).get("prompt_id")
    known = isinstance(chosen, str) and 0 < len(chosen) <= LONGEST_ID
    return QueuedPrompt(str(chosen) if known else sent_id, node_errors(document))


def rejection(document: Any) -> Rejection:
    """The body of a 400 of ``POST /prompt``."""
    error = as_object(as_object(document).get("error"))
    extra = as_object(error.get("extra_info"))
    return Rejection(
        kind=str(error.get("type") or ""),
        message=str(error.get("message") or ""),
        details=str(error.get("details") or ""),
        node_id=str(extra.get("node_id") or ""),
        class_type=str(extra.get("class_type") or ""),
        node_errors=node_errors(document),
    )


def node_errors(document: Any) -> dict[str, NodeErrors]:
    """The ``node_errors`` of a 400 or a 200 of ``POST /prompt``, by node id."""
    found = {}
    for node_id, entry in as_object(as_object(document).get("node_errors")).items():
        entry = as_object(entry)
        found[str(node_id)] = NodeErrors(
            tuple(_input_error(as_object(error)) for error in as_list(entry.get("errors"))),
            tuple(
                str(other)
                for other in as_list(entry.get("dependent_outputs"))
                if str(other) != str(node_id)
            ),
        )
    return found


def _input_error(error: Mapping[str, Any]) -> InputError:
    extra = as_object(error.get("extra_info"))
    config = as_list(extra.get("input_config"))
    options = as_object(config[1]) if len(config) > 1 else {}
    choices = config[0] if config else None
    if choices == "COMBO":
        choices = options.get("options")
    return InputError(
        kind=str(error.get("type") or ""),
        message=str(error.get("message") or error.get("type") or "invalid"),
        details=str(error.get("details") or ""),
        input_name=str(extra.get("input_name") or ""),
        value=repr(extra["received_value"]) if "received_value" in extra else None,
        choices=tuple(str(choice) for choice in choices) if isinstance(choices, list) else None,
        limits={key: options[key] for key in ("min", "max") if key in options},
    )


# -- uploads, lists, system ------------------------------------------------------------------------


def uploaded(document: Any) -> str:
    """``POST /upload/image`` and ``/upload/mask``: the value for a loader node, ``folder/name``."""
    name = as_object(document).get("name")
    if not isinstance(name, str):
        raise UnexpectedShape("it has no name")
    folder = str(document.get("subfolder") or "").replace("\\", "/").strip("/")
    return f"{folder}/{name}" if folder else name


def names(document: Any) -> list[str]:
    """``/models/<folder>`` and ``/embeddings``: file names."""
    if not isinstance(document, list) or not all(isinstance(name, str) for name in document):
        raise UnexpectedShape("it is not a list of names")
    return document


def texts(document: Any) -> dict[str, str]:
    """``/view_metadata/<folder>``: the texts in the header of a safetensors file."""
    return {name: value for name, value in as_object(document).items() if isinstance(value, str)}


def system(document: Any) -> dict[str, Any]:
    """``/system_stats``: its plain values; numbers are finite, long texts are truncated."""
    if not isinstance(document, dict) or not isinstance(document.get("system"), dict):
        raise UnexpectedShape("it has no object named system")
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


# -- schemas ---------------------------------------------------------------------------------------


def schemas(document: Any) -> dict[str, dict[str, Any]]:
    """``/object_info`` and ``/object_info/<class>``: node type -> its schema."""
    if not isinstance(document, dict):
        raise UnexpectedShape("it is not an object")
    return {name: _schema(schema) for name, schema in document.items() if isinstance(schema, dict)}


def _schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The same, where the parts that define the inputs have their right types."""
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
        return spec  # a hidden input is a plain text
    options = dict(spec[1])
    if not isinstance(options.get("options", []), list):
        del options["options"]
    choices = as_list(options.get("options"))
    if any(isinstance(choice, dict) for choice in choices):
        options["options"] = [_choice(choice) for choice in choices if _has_inputs(choice)]
    if "template" in options:
        template = as_object(options["template"])
        options["template"] = {**template, "input": _groups(template.get("input"))}
    return [spec[0], options, *spec[2:]]


def _has_inputs(choice: Any) -> bool:
    """A choice that adds inputs: ``{"key", "inputs"}`` (comfy_api DynamicCombo)."""
    return isinstance(choice, dict) and isinstance(choice.get("key"), (str, int, float))


def _choice(choice: Mapping[str, Any]) -> dict[str, Any]:
    return {**choice, "inputs": _groups(choice.get("inputs"))}


def _list(document: Any, key: str) -> list[Any]:
    if not isinstance(document, dict) or not isinstance(document.get(key), list):
        raise UnexpectedShape(f"it has no list named {key}")
    found: list[Any] = document[key]
    return found
