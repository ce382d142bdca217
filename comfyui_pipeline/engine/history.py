"""What ``/history/<id>`` and ``executed`` frames say of a run: its outputs, and how it ended."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from comfyui_pipeline.engine import error_text
from comfyui_pipeline.engine.failure_hints import hint_for
from comfyui_pipeline.engine.http import as_list, as_object
from comfyui_pipeline.engine.protocol import Output, Prompt
from comfyui_pipeline.engine.responses import HistoryEntry
from comfyui_pipeline.errors import JobFailed


def outputs(prompt: Prompt, by_node: Mapping[str, Any]) -> tuple[Output, ...]:
    """Every result, in the order of the prompt's nodes; told by the shape of the entry, not its key."""
    order = [node for node in prompt if node in by_node]
    order += [node for node in by_node if node not in prompt]
    return tuple(found for node in order for found in _of_node(node, by_node[node]))


def _of_node(node_id: str, ui: Any) -> Iterator[Output]:
    for key, values in as_object(ui).items():
        for value in _flat(values):
            if isinstance(value, str) and value.strip():
                yield _of_text(node_id, key, value)
            elif isinstance(value, dict) and isinstance(value.get("filename"), str):
                yield Output(
                    node_id,
                    key,
                    filename=value["filename"],
                    subfolder=str(value.get("subfolder") or ""),
                    folder_type=str(value.get("type") or "output"),
                )


def _flat(values: Any) -> Iterator[Any]:
    """Some nodes give lists inside the list."""
    if isinstance(values, list):
        for value in values:
            yield from _flat(value)
    else:
        yield values


def _of_text(node_id: str, key: str, text: str) -> Output:
    """A text; or a path below the output folder, as the nodes that show 3D files give it.

    ``PreviewUI3D`` (comfy_api) puts ``mesh/a.glb`` or ``a.glb [temp]`` first into ``result``. The
    text stays with it: what turns out to be no file is one.
    """
    path, _, note = text.partition(" [")
    kind = note.removesuffix("]") if note else "output"
    if kind not in ("output", "temp", "input") or not FILE_NAME.fullmatch(path):
        return Output(node_id, key, text=text)
    folder, _, name = path.replace("\\", "/").rpartition("/")
    return Output(node_id, key, filename=name, subfolder=folder, folder_type=kind, text=text)


FILE_NAME = re.compile(
    r"(?!/)[^\r\n<>:\"|?*]{1,240}\.(glb|gltf|obj|ply|stl|fbx|usdz|splat|ksplat|spz)", re.IGNORECASE
)
"""What a path to a 3D file looks like; other files come as entries with a ``filename``."""


def check_end(prompt: Prompt, entry: HistoryEntry) -> None:
    """Raise RunFailed unless the history entry says that the run went well.

    ``status_str`` alone lies: a cycle made at run time ends as ``success`` (execution.py), and an
    interruption as ``error``. So ``execution_success`` has to be among the messages.
    """
    told = entry.messages
    if "execution_success" in told or (not told and entry.status == "success"):
        return
    if "execution_interrupted" in told:
        raise JobFailed(
            "The run was interrupted at ComfyUI before its end.",
            "Somebody pressed cancel there, or another program did; call again if that was not you.",
        )
    if "execution_error" in told:
        error = told["execution_error"]
        said = f"{error.get('exception_type')} {error.get('exception_message')}"
        raise JobFailed(
            f"The run failed: {error_text.execution_error(prompt, error)}.",
            hint_for(said, prompt),
        )
    raise JobFailed(
        f"The run ended at ComfyUI as {entry.status or 'unknown'} without saying why.",
        "ComfyUI's own console says more.",
    )


def cached(entry: HistoryEntry) -> list[str]:
    """The nodes that the history says came from the server's cache."""
    nodes = entry.messages.get("execution_cached", {}).get("nodes")
    return [str(node) for node in as_list(nodes)]
