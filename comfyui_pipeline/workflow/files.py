"""Find and read a workflow: a file in the workflows folder, a picture that holds one, or JSON.

Only inside the workflows folder, and never another file instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from comfyui_pipeline.bounded import json_text
from comfyui_pipeline.errors import WorkflowError
from input_server.light_dataclasses import dataclass

MAX_BYTES = 64 * 2**20
IMAGE_SUFFIXES = (".png", ".webp", ".jpg", ".jpeg")
SHOWN = 100
"""Characters of a wrong name that an error repeats."""
MAX_NAME_CHARACTERS = 1000
"""Characters of a workflow's name with its folders; a longer one names no file."""
MAX_NODES = 100_000
"""Nodes of one prompt. Ten times the largest workflows seen."""
INLINE_NAME = "workflow_json"
"""The name of a workflow that came inside the call."""


@dataclass(frozen=True, slots=True)
class Workflow:
    """A workflow as it was found: in prompt format, in the editor's own, or in both.

    ``nodes``: node id -> ``class_type``, ``inputs``, ``_meta``. ``ui``: the editor's document.
    """

    name: str
    nodes: Mapping[str, Mapping[str, Any]] | None
    ui: Mapping[str, Any] | None = None


def names(folder: Path) -> list[str]:
    """The workflows in ``folder`` and its subfolders, as names for :func:`load`, sorted."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(
        (path.with_suffix("") if path.suffix.lower() == ".json" else path).as_posix()
        for path in found
        if path.suffix.lower() in (".json", *IMAGE_SUFFIXES)
        and not any(part.startswith(".") for part in path.parts)
    )


def load(folder: Path, name: str) -> Workflow:
    """Read the workflow called ``name`` (with or without ``.json``, ``sub/name`` too).

    Raises WorkflowError when it is not there (naming the nearest ones), lies outside ``folder``,
    or holds no workflow.
    """
    path = _path(folder, name)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise WorkflowError(
                f"The workflow {name[:SHOWN]!r} is larger than {MAX_BYTES >> 20} MB."
            )
        content = path.read_bytes()
    except OSError as error:
        raise WorkflowError(
            f"The workflow {name[:SHOWN]!r} cannot be read: {error.strerror}."
        ) from None
    relative = path.relative_to(folder.resolve())
    shown = relative.with_suffix("") if path.suffix.lower() == ".json" else relative
    return from_bytes(shown.as_posix(), content)


def is_missing_file(folder: Path, name: str) -> bool:
    """Whether a name ends like a workflow file's, but there is no such file in ``folder``."""
    if not name.strip().lower().endswith((".json", *IMAGE_SUFFIXES)):
        return False
    try:
        _path(folder, name)
    except WorkflowError:
        return True
    return False


def is_editor_document(document: Any) -> bool:
    """Whether this is a document of ComfyUI's editor rather than a prompt."""
    return isinstance(document, dict) and isinstance(document.get("nodes"), list)


def from_bytes(name: str, content: bytes) -> Workflow:
    """A workflow out of a file's content: JSON, or a picture that ComfyUI wrote it into."""
    mime = _image_type(content)
    if mime:
        return _from_image(name, content, mime)
    try:
        document = json_text.read(content.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise WorkflowError(
            f"The workflow {name!r} is not JSON: it is not UTF-8.", "Save it again from ComfyUI."
        ) from None
    except json_text.InvalidJson as bad:
        raise WorkflowError(
            f"The workflow {name!r} {bad}.", "Save it again from ComfyUI."
        ) from None
    return from_document(name, document)


def from_document(name: str, document: Any) -> Workflow:
    """A workflow out of parsed JSON: a prompt, ``{"prompt": …}`` around one, or the editor's format."""
    if not isinstance(document, dict):
        raise WorkflowError(
            f"The workflow {name!r} is no JSON object.", "Save it again from ComfyUI."
        )
    if json_text.is_deeper_than(document, json_text.MAX_NESTING):
        raise WorkflowError(
            f"The workflow {name!r} {json_text.TOO_DEEP}.", "Save it again from ComfyUI."
        )
    if is_editor_document(document):
        return Workflow(name, None, document)
    prompt, ui = document, _carried(document)
    if isinstance(document.get("prompt"), dict):
        prompt = document["prompt"]
    elif ui is not None and "class_type" not in str(next(iter(document.values()), "")):
        return Workflow(name, None, ui)
    return Workflow(name, _nodes(name, prompt), ui)


def _carried(document: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The editor's document that travels beside a prompt, as in the server's own requests."""
    extra = document.get("extra_data")
    info = extra.get("extra_pnginfo") if isinstance(extra, dict) else None
    for holder in (info, document):
        ui = holder.get("workflow") if isinstance(holder, dict) else None
        if is_editor_document(ui):
            return ui
    return None


def _image_type(content: bytes) -> str:
    """MIME type of an image that can contain a workflow, "" for other content."""
    if content[:4] == b"\x89PNG":
        return "image/png"
    if content[:3] == b"\xff\xd8\xff":
        return "image/jpeg"
    return "image/webp" if content[8:12] == b"WEBP" else ""


def _from_image(name: str, content: bytes, mime: str) -> Workflow:
    """``prompt`` and ``workflow`` as SaveImage and SaveAnimatedWEBP write them (nodes_images.py)."""
    found: dict[str, Any] = {}
    unread: dict[str, str] = {}
    for key, text in _texts_in(name, content, mime).items():
        try:
            found[key] = json_text.read(text)
        except json_text.InvalidJson as bad:
            unread[key] = str(bad)
    ui = found.get("workflow")
    ui = ui if is_editor_document(ui) else None
    if isinstance(found.get("prompt"), dict) and found["prompt"]:
        return Workflow(name, _nodes(name, found["prompt"]), ui)
    if ui is not None:
        return Workflow(name, None, ui)
    if unread:
        reasons = " and ".join(f"its {key!r} {why}" for key, why in unread.items())
        raise WorkflowError(
            f"The workflow in the image {name!r} cannot be read: {reasons}.",
            "Save it again from ComfyUI.",
        )
    raise WorkflowError(
        f"The image {name!r} contains no workflow.",
        "Use the file as ComfyUI saved it: chat programs and image editors remove the workflow.",
    )


def _texts_in(name: str, content: bytes, mime: str) -> Mapping[str, str]:
    """The texts that ComfyUI wrote into an image, by name. Raises WorkflowError for a broken image."""
    from input_server.images.embedded_texts import ImageBytes, read_embedded

    embedded = read_embedded(ImageBytes(content, mime), MAX_BYTES)
    if embedded.is_cut_off and not embedded.texts:
        raise WorkflowError(
            f"The image {name!r} cannot be read; it may have been cut off.",
            "Save or transfer it again.",
        )
    return embedded.texts


def _path(folder: Path, name: str) -> Path:
    asked = name.strip()
    if len(asked) > MAX_NAME_CHARACTERS:
        raise WorkflowError(
            f"The workflow name {asked[:SHOWN]!r}… has {len(asked)} characters, more than any file's.",
            f"There are: {_some(names(folder))}.",
            code="workflow_not_found",
        )
    parts = asked.split("/")
    if "\\" in asked or ":" in asked or any(part in ("", ".", "..") for part in parts):
        raise WorkflowError(
            f"The workflow name {name[:SHOWN]!r} is not a name inside the workflows folder.",
            f"There are: {_some(names(folder))}.",
            code="workflow_not_found",
        )
    inside = folder.resolve()
    for candidate in (inside / asked, inside / f"{asked}.json"):
        try:
            path = candidate.resolve()
            found = candidate.suffix.lower() in (".json", *IMAGE_SUFFIXES) and path.is_file()
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
    return WorkflowError(
        f"There is no workflow {bare[:SHOWN]!r}.",
        f"{hint}There are: {_some(there)}.",
        code="workflow_not_found",
    )


def _some(entries: list[str], limit: int = 40) -> str:
    if not entries:
        return "none yet (put workflow files saved from ComfyUI into the workflows folder)"
    more = f" and {len(entries) - limit} more" if len(entries) > limit else ""
    return ", ".join(entries[:limit]) + more


def _nodes(name: str, document: Any) -> dict[str, dict[str, Any]]:
    if not isinstance(document, dict) or not document:
        raise WorkflowError(f"The workflow {name!r} holds no nodes.")
    if len(document) > MAX_NODES:
        raise WorkflowError(f"The workflow {name!r} has more than {MAX_NODES} nodes.")
    return {str(node_id): _node(name, node_id, node) for node_id, node in document.items()}


def _node(name: str, node_id: str, node: Any) -> dict[str, Any]:
    """One node, with ``inputs`` always there: a prompt without them kills the server's worker."""
    if not isinstance(node, dict) or not isinstance(node.get("class_type"), str):
        raise WorkflowError(
            f"Node {node_id[:SHOWN]} of the workflow {name!r} has no class_type, so it is no prompt.",
            "Save the workflow again from ComfyUI.",
        )
    inputs = node.get("inputs")
    if inputs is not None and not isinstance(inputs, dict):
        raise WorkflowError(
            f"Node {node_id[:SHOWN]} of the workflow {name!r} has inputs that are no object."
        )
    meta = node.get("_meta")
    return {
        "class_type": node["class_type"],
        "inputs": dict(inputs or {}),
        "_meta": json_text.nan_to_null(dict(meta)) if isinstance(meta, dict) else {},
    }
