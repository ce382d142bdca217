"""Find and read a workflow file. Only inside the workflows folder, and never another file instead."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comfyui_pipeline.errors import WorkflowError

MAX_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Workflow:
    """A workflow in prompt format: node id -> ``class_type``, ``inputs`` and maybe ``_meta``."""

    name: str
    nodes: Mapping[str, Mapping[str, Any]]


def names(folder: Path) -> list[str]:
    """The workflows in ``folder`` and its subfolders, as names for :func:`load`, sorted."""
    found = (path.relative_to(folder) for path in folder.rglob("*.json") if path.is_file())
    return sorted(
        path.with_suffix("").as_posix()
        for path in found
        if not any(part.startswith(".") for part in path.parts)
    )


def load(folder: Path, name: str) -> Workflow:
    """Read the workflow called ``name`` (with or without ``.json``, ``sub/name`` too).

    Raises WorkflowError when it is not there (naming the nearest ones), lies outside ``folder``,
    is not JSON or is no prompt.
    """
    path = _path(folder, name)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise WorkflowError(f"The workflow {name!r} is larger than {MAX_BYTES >> 20} MB.")
        document = json.loads(path.read_text("utf-8-sig"))
    except OSError as error:
        raise WorkflowError(f"The workflow {name!r} cannot be read: {error.strerror}.") from None
    except (ValueError, RecursionError) as error:
        where = f" (line {error.lineno})" if isinstance(error, json.JSONDecodeError) else ""
        raise WorkflowError(
            f"The workflow {name!r} is not JSON{where}.",
            "Export it again from ComfyUI: Workflow > Export (API).",
        ) from None
    relative = path.relative_to(folder.resolve()).with_suffix("").as_posix()
    return Workflow(relative, _nodes(name, document))


def _path(folder: Path, name: str) -> Path:
    asked = name.strip()
    parts = asked.split("/")
    if "\\" in asked or ":" in asked or any(part in ("", ".", "..") for part in parts):
        raise WorkflowError(
            f"The workflow name {name!r} is not a name inside the workflows folder.",
            f"There are: {_some(names(folder))}.",
        )
    inside = folder.resolve()
    for candidate in (inside / asked, inside / f"{asked}.json"):
        try:
            path = candidate.resolve()
            found = candidate.suffix.lower() == ".json" and path.is_file()
        except (OSError, ValueError):
            found = False
        if found and path.is_relative_to(inside):
            return path
    raise _absent(folder, asked)


def _absent(folder: Path, name: str) -> WorkflowError:
    from difflib import get_close_matches

    there = names(folder)
    bare = name.removesuffix(".json")
    lowered = {known.lower(): known for known in there}
    near = [lowered[match] for match in get_close_matches(bare.lower(), lowered, 3, 0.5)]
    hint = f"Did you mean {' or '.join(near)}? " if near else ""
    return WorkflowError(f"There is no workflow {bare!r}.", f"{hint}There are: {_some(there)}.")


def _some(entries: list[str], limit: int = 40) -> str:
    if not entries:
        return "none yet (put API-format .json files into the workflows folder)"
    more = f" and {len(entries) - limit} more" if len(entries) > limit else ""
    return ", ".join(entries[:limit]) + more


def _nodes(name: str, document: Any) -> dict[str, dict[str, Any]]:
    if isinstance(document, dict) and isinstance(document.get("nodes"), list):
        raise WorkflowError(
            f"The workflow {name!r} was saved in the editor's own format, which a server cannot run.",
            "In ComfyUI open it and choose Workflow > Export (API), then put that file here.",
        )
    if isinstance(document, dict) and isinstance(document.get("prompt"), dict):
        document = document["prompt"]
    if not isinstance(document, dict) or not document:
        raise WorkflowError(f"The workflow {name!r} holds no nodes.")
    return {str(node_id): _node(name, node_id, node) for node_id, node in document.items()}


def _node(name: str, node_id: str, node: Any) -> dict[str, Any]:
    """One node, with ``inputs`` always there: a prompt without them kills the server's worker."""
    if not isinstance(node, dict) or not isinstance(node.get("class_type"), str):
        raise WorkflowError(
            f"Node {node_id} of the workflow {name!r} has no class_type, so it is no API-format file.",
            "In ComfyUI choose Workflow > Export (API).",
        )
    inputs = node.get("inputs")
    if inputs is not None and not isinstance(inputs, dict):
        raise WorkflowError(
            f"Node {node_id} of the workflow {name!r} has inputs that are no object."
        )
    meta = node.get("_meta")
    return {
        "class_type": node["class_type"],
        "inputs": dict(inputs or {}),
        "_meta": dict(meta) if isinstance(meta, dict) else {},
    }
