"""Find and read a workflow: a file of the workflows folder, an image that contains one, or JSON.

Names never lead out of the workflows folder. ``load`` takes a name as it is; ``meant`` finds those
that a name written otherwise fits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from comfyui_pipeline.bounded import json_text
from comfyui_pipeline.errors import WorkflowError
from comfyui_pipeline.workflow import containers
from comfyui_pipeline.workflow.containers import is_editor_document
from input_server.light_dataclasses import dataclass, replace

MAX_BYTES = 64 * 2**20
IMAGE_SUFFIXES = (".png", ".webp", ".jpg", ".jpeg")
MEDIA_SUFFIXES = (*IMAGE_SUFFIXES, ".mp4", ".webm", ".mkv", ".mov", ".flac", ".opus", ".mp3")
"""Files that ComfyUI writes the workflow into."""
MAX_SHOWN = 100
"""Characters of an invalid name in an error."""
MAX_NAME_CHARACTERS = 1000
"""Of a workflow's name with its folders; file systems have no longer paths."""
MAX_NODES = 100_000
"""Nodes of one prompt. Ten times the largest workflows seen."""
SAVE_AGAIN = "Save it again from ComfyUI."
INLINE_NAME = "workflow_json"
"""The name of a workflow that is part of the call."""


@dataclass(frozen=True, slots=True)
class Workflow:
    """A workflow as it was saved: as a prompt, as an editor document, or as both.

    ``notes``: what was repaired or left out.

    ``nodes``: the prompt, node id -> ``class_type``, ``inputs``, ``_meta``. ``ui``: the document.
    ``chosen``: why it is this one, where the caller named no or no exact name. ``in_image``: an image
    that it made holds it.
    """

    name: str
    nodes: Mapping[str, Mapping[str, Any]] | None
    ui: Mapping[str, Any] | None = None
    chosen: str = ""
    in_image: bool = False
    notes: tuple[str, ...] = ()


def names(folder: Path) -> list[str]:
    """The sorted names (for :func:`load`) of the workflows in ``folder`` and its subfolders."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(
        (path.with_suffix("") if path.suffix.lower() == ".json" else path).as_posix()
        for path in found
        if path.suffix.lower() in (".json", *IMAGE_SUFFIXES)
        and not any(part.startswith(".") for part in path.parts)
    )


def load(folder: Path, name: str) -> Workflow:
    """Read the workflow ``name``, which may contain folders and omit ``.json``.

    Raises WorkflowError if it does not exist (with similar names), is outside of ``folder`` or
    contains no workflow.
    """
    path = _path(folder, name)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise WorkflowError(
                f"The workflow {name[:MAX_SHOWN]!r} is larger than {MAX_BYTES >> 20} MB.",
                "Save it again from ComfyUI, or use a smaller one.",
            )
        content = path.read_bytes()
    except OSError as error:
        raise WorkflowError(
            f"The workflow {name[:MAX_SHOWN]!r} cannot be read: {error.strerror}.",
            "Check the permissions of the file.",
        ) from None
    relative = path.relative_to(folder.resolve())
    shown = relative.with_suffix("") if path.suffix.lower() == ".json" else relative
    return from_bytes(shown.as_posix(), content)


def has_suffix(name: str) -> bool:
    """Whether a name ends like a workflow file's."""
    return name.strip().lower().endswith((".json", *MEDIA_SUFFIXES))


def has_image_suffix(name: str) -> bool:
    """Whether a name ends like an image's that ComfyUI writes workflows into."""
    return name.strip().lower().endswith(MEDIA_SUFFIXES)


def from_bytes(name: str, content: bytes) -> Workflow:
    """Read the content of a file: JSON, or an image, film or sound that ComfyUI saved it in."""
    mime = _media_type(content)
    if mime:
        kind = "image" if mime.startswith("image/") else "file"
        return _from_texts(name, _texts_in(name, content, mime, kind), kind)
    text, notes = _decoded(name, content)
    try:
        document = json_text.read(text)
    except json_text.InvalidJson as bad:
        raise WorkflowError(f"The workflow {name!r} {bad}.", SAVE_AGAIN) from None
    found = from_document(name, document)
    return replace(found, notes=(*notes, *found.notes)) if notes else found


def _is_json(content: bytes) -> bool:
    return content.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"[", b'"')


def _decoded(name: str, content: bytes) -> tuple[str, tuple[str, ...]]:
    """The text of a file, and a note where it is not UTF-8. Raises WorkflowError."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" not in text:
        return text, ()
    from input_server.text_encoding import SAMPLE_BYTES, charset

    encoding = charset(content[:SAMPLE_BYTES])
    for one in (encoding, "gb18030"):
        try:
            text = content.decode(one or "ascii").removeprefix("\ufeff")
        except (UnicodeDecodeError, LookupError):
            continue
        shown = {"gb18030": "GBK"}.get(one, one.upper())
        return text, (f"The workflow {name!r} was read as {shown}; UTF-8 is what ComfyUI writes.",)
    raise WorkflowError(
        f"The workflow {name!r} is not JSON: it is encoded neither as UTF-8, UTF-16 nor GBK.",
        SAVE_AGAIN,
    )


def from_document(name: str, document: Any) -> Workflow:
    """Read parsed JSON: a prompt, an editor document, or what other programs put around them."""
    if json_text.is_deeper_than(document, json_text.MAX_NESTING):
        raise WorkflowError(f"The workflow {name!r} {json_text.TOO_DEEP}.", SAVE_AGAIN)
    if is_editor_document(document):
        return Workflow(name, None, document)
    found = containers.find(document)
    if found.prompt is not None:
        nodes = _nodes(name, found.prompt)
        return Workflow(name, nodes, found.ui, notes=found.notes)
    if found.ui is not None:
        return Workflow(name, None, found.ui, notes=found.notes)
    if not isinstance(document, dict):
        raise WorkflowError(f"The workflow {name!r} is not a JSON object.", SAVE_AGAIN)
    return Workflow(name, _nodes(name, document))


def _media_type(content: bytes) -> str:
    """MIME type of an image, film or sound that can contain a workflow, "" for other content."""
    if content[:4] == b"\x89PNG":
        return "image/png"
    if content[:3] == b"\xff\xd8\xff":
        return "image/jpeg"
    if content[8:12] == b"WEBP":
        return "image/webp"
    if _is_json(content):
        return ""
    from input_server.file_signatures import HEAD_BYTES, detect_mime

    mime = detect_mime(content[:HEAD_BYTES]) or ""
    return mime if mime.startswith(("video/", "audio/")) else ""


def _from_texts(name: str, texts: Mapping[str, str], kind: str) -> Workflow:
    """``prompt`` and ``workflow`` as ComfyUI's saving nodes write them (nodes_images.py, video_types.py).

    ``kind``: what holds them.
    """
    found: dict[str, Any] = {}
    invalid: dict[str, str] = {}
    for key, text in texts.items():
        try:
            found[key] = json_text.read(text)
        except json_text.InvalidJson as bad:
            invalid[key] = str(bad)
    ui = found.get("workflow")
    ui = ui if is_editor_document(ui) else None
    if isinstance(found.get("prompt"), dict) and found["prompt"]:
        return Workflow(name, _nodes(name, found["prompt"]), ui, in_image=True)
    if ui is not None:
        return Workflow(name, None, ui, in_image=True)
    if invalid:
        reasons = " and ".join(f"its {key!r} {why}" for key, why in invalid.items())
        raise WorkflowError(
            f"The workflow in the {kind} {name!r} cannot be read: {reasons}.", SAVE_AGAIN
        )
    raise WorkflowError(
        f"The {kind} {name!r} contains no workflow.",
        "Use the file as ComfyUI saved it: chat programs and editors remove the workflow.",
    )


def _texts_in(name: str, content: bytes, mime: str, kind: str) -> Mapping[str, str]:
    """The texts that ComfyUI wrote into a file, by name. Raises WorkflowError for a broken image."""
    from input_server.images.embedded_texts import ImageBytes, read_embedded

    embedded = read_embedded(ImageBytes(content, mime), MAX_BYTES)
    if kind == "image" and embedded.is_cut_off and not embedded.texts:
        raise WorkflowError(
            f"The image {name!r} cannot be read; it may be incomplete.",
            "Copy or download the original file again.",
        )
    return embedded.texts


def _path(folder: Path, name: str) -> Path:
    wanted = name.strip()
    if len(wanted) > MAX_NAME_CHARACTERS:
        raise WorkflowError(
            f"The workflow name {wanted[:MAX_SHOWN]!r}… is too long: it has {len(wanted)} characters.",
            f"Available: {_some(names(folder))}.",
            code="workflow_not_found",
        )
    parts = wanted.split("/")
    if "\\" in wanted or ":" in wanted or any(part in ("", ".", "..") for part in parts):
        raise WorkflowError(
            f"The workflow name {name[:MAX_SHOWN]!r} is not a name in the workflows folder.",
            f"Available: {_some(names(folder))}.",
            code="workflow_not_found",
        )
    inside = folder.resolve()
    for candidate in (inside / wanted, inside / f"{wanted}.json"):
        try:
            path = candidate.resolve()
            found = candidate.suffix.lower() in (".json", *MEDIA_SUFFIXES) and path.is_file()
        except (OSError, ValueError):
            found = False
        if found and path.is_relative_to(inside):
            return path
    raise not_found(folder, wanted)


def exists(folder: Path, name: str) -> bool:
    """Whether ``load`` finds a file of exactly this name."""
    try:
        _path(folder, name)
    except WorkflowError:
        return False
    return True


def meant(folder: Path, name: str, *, same: bool = False) -> tuple[str, ...]:
    """The workflows of the folder that a name fits, written as people write names.

    ``same``: only those with the same letters and digits.
    """
    from comfyui_pipeline.workflow import names as workflow_names

    existing = [known for known in names(folder) if exists(folder, known)]
    if same:
        return workflow_names.same_letters(name, existing)
    return workflow_names.match(name, existing).names


def not_found(folder: Path, name: str, candidates: Sequence[str] = ()) -> WorkflowError:
    """The error about a name that fits no workflow, or several: ``candidates``."""
    from comfyui_pipeline.workflow import names as workflow_names

    existing = names(folder)
    bare = name.strip().removesuffix(".json")[:MAX_SHOWN]
    if candidates:
        what = f"The workflow name {bare!r} fits several: {_some(list(candidates), 12)}."
        return WorkflowError(what, "Give one of these.", code="workflow_not_found")
    similar = workflow_names.similar(bare, existing)
    hint = f"Did you mean {' or '.join(similar)}? " if similar else ""
    return WorkflowError(
        f"There is no workflow {bare!r}.",
        f"{hint}Available: {_some(existing)}.",
        code="workflow_not_found",
    )


def _some(entries: list[str], limit: int = 40) -> str:
    if not entries:
        return "none (put workflow files saved from ComfyUI into the workflows folder)"
    more = f" and {len(entries) - limit} more" if len(entries) > limit else ""
    return ", ".join(entries[:limit]) + more


def _nodes(name: str, document: Any) -> dict[str, dict[str, Any]]:
    if not isinstance(document, dict) or not document:
        raise WorkflowError(f"The workflow {name!r} contains no nodes.", SAVE_AGAIN)
    if len(document) > MAX_NODES:
        raise WorkflowError(
            f"The workflow {name!r} has more than {MAX_NODES} nodes.", "Use a smaller one."
        )
    return {str(i): _node(name, str(i), node, document) for i, node in document.items()}


def _node(name: str, node_id: str, node: Any, document: Mapping[str, Any]) -> dict[str, Any]:
    """One node; ``inputs`` is always present, as a prompt without it crashes the server's worker."""
    if not isinstance(node, dict) or not isinstance(node.get("class_type"), str):
        raise WorkflowError(
            f"Node {node_id[:MAX_SHOWN]} of the workflow {name!r} has no class_type, so it is not a prompt.",
            SAVE_AGAIN,
        )
    inputs = node.get("inputs")
    if inputs is not None and not isinstance(inputs, dict):
        raise WorkflowError(
            f"Node {node_id[:MAX_SHOWN]} of the workflow {name!r} has inputs that are not an object.",
            SAVE_AGAIN,
        )
    meta = node.get("_meta")
    return {
        "class_type": node["class_type"],
        "inputs": {key: _linked(value, document) for key, value in (inputs or {}).items()},
        "_meta": json_text.nan_to_null(dict(meta)) if isinstance(meta, dict) else {},
    }


def _linked(value: Any, document: Mapping[str, Any]) -> Any:
    """A link with the id as the server wants it: some programs write ``[1, 0]`` for ``["1", 0]``."""
    if isinstance(value, list) and len(value) == 2 and type(value[0]) is type(value[1]) is int:
        return [str(value[0]), value[1]] if str(value[0]) in document else value
    return value
