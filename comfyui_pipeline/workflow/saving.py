"""File name, format and quality of results, set at the output nodes where these take them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from comfyui_pipeline.errors import PatchError
from comfyui_pipeline.media.copies import (
    COPY_NOTE,
    FORMATS,
    LOSSY,
    SAME_FORMAT,
    normalize_format,
)
from comfyui_pipeline.workflow.changes import Change, Origin, Planner
from comfyui_pipeline.workflow.graph import Graph, InputSpec, Node, Target, is_link
from comfyui_pipeline.workflow.saved_names import SavedName
from input_server.light_dataclasses import dataclass

NAME_INPUTS = ("filename_prefix", "file_prefix", "save_prefix", "prefix", "filename", "file_name")
FORMAT_INPUTS = ("format", "extension", "image_format", "output_format", "file_format", "file_type",
                 "filetype", "ext")  # fmt: skip
MAX_DEPTH = 8
MAX_SHOWN = 80
MAX_LISTED = 8


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a call says about its results. ``keys``: argument -> how the caller wrote it."""

    saved: SavedName = SavedName()
    format: str = ""
    quality: int | None = None
    strip_metadata: bool = False
    keys: Mapping[str, str] | None = None

    def key(self, name: str) -> str:
        return (self.keys or {}).get(name, name)


@dataclass(frozen=True, slots=True)
class SavingPlan:
    """``changes``: all of the call; ``important``: sentences on what has no effect; ``notes``.

    ``copy_format``: the format in which images are copied where their nodes do not save them so.
    """

    changes: tuple[Change, ...]
    copy_format: str = ""
    important: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def plan(graph: Graph, wanted: Wanted, changes: Sequence[Change], *, strict: bool) -> SavingPlan:
    """Add to ``changes`` what the call says about its results. Raises PatchError for a format that
    neither the output nodes nor a copy can have.
    """
    planner = Planner(graph, strict)
    important: list[str] = []
    notes: list[str] = []
    set_before = {_key(change.target): change for change in changes}
    if wanted.saved.name or wanted.saved.folder:
        important += _set_names(planner, graph, wanted, set_before)
    image_format = _set_format(planner, graph, wanted, notes)
    important += _set_quality(planner, graph, wanted, image_format)
    if wanted.strip_metadata and not _has_images(graph):
        key = wanted.key("metadata")
        important.append(f'"{key}" has no effect: this workflow saves no images.')
    if wanted.strip_metadata and _has_images(graph):
        notes.append(f"{COPY_NOTE} without prompt and workflow, next to the original.")
    merged = {_key(c.target): c for c in (*changes, *planner.changes.values())}
    copy_format = image_format if image_format in FORMATS else ""
    return SavingPlan(tuple(merged.values()), copy_format, tuple(important), tuple(notes))


# -- names -----------------------------------------------------------------------------------------


def _set_names(
    planner: Planner,
    graph: Graph,
    wanted: Wanted,
    before: Mapping[tuple[str, str], Change],
) -> Iterator[str]:
    """The given name in the given folder, else in that of the workflow."""
    targets = list(_inputs(graph, NAME_INPUTS, ("STRING",)))
    key = wanted.key("filename_prefix" if wanted.saved.name else "folder")
    if not targets:
        yield f'"{key}" has no effect: no output node of this workflow takes a file name.'
    for target in targets:
        change = before.get(_key(target))
        if change is not None and change.origin is not Origin.FILE_NAME:
            continue
        present = change.value if change is not None else target.node.inputs.get(target.name)
        folder, _, name = present.rpartition("/") if isinstance(present, str) else ("", "", "")
        path = [wanted.saved.folder or folder, wanted.saved.name or name or "ComfyUI"]
        value = expand_patterns("/".join(part for part in path if part), graph)
        planner.set(target, value, Origin.FILE_NAME, "filename_prefix")


def expand_patterns(text: str, graph: Graph) -> str:
    """Replace ``%date:yyyy-MM-dd%`` and ``%Node.widget%``, which only the editor knows; ComfyUI itself
    replaces ``%year%``, ``%width%`` and the like.
    """
    if "%" not in text:
        return text
    from datetime import datetime

    from comfyui_pipeline.workflow.convert.dynamic_text import replace_patterns

    def value_of(name: str, widget: str) -> object:
        for node in graph.nodes.values():
            if name in (node.title, node.class_type) and not is_link(node.inputs.get(widget, [])):
                return node.inputs[widget]
        raise KeyError(name)

    return replace_patterns(text, value_of, datetime.now())


# -- format and quality ----------------------------------------------------------------------------


def _set_format(planner: Planner, graph: Graph, wanted: Wanted, notes: list[str]) -> str:
    """Set it at the output nodes that offer it; returns the format of the copies of images, if any."""
    form = normalize_format(wanted.format or wanted.saved.extension)
    if not form:
        return ""
    found = False
    for target in _inputs(graph, FORMAT_INPUTS, None):
        choice = _choice(target.spec, form)
        if choice is not None:
            _set_choice(planner, target.node, target.spec, choice)
            found = True
    if found:
        return form
    if form in FORMATS and _has_images(graph):
        quality = f", quality {wanted.quality}" if wanted.quality and form in LOSSY else ""
        if form != "png":
            notes.append(f"{COPY_NOTE} in {form.upper()}{quality}, next to the original.")
        return form
    if any(form in node.class_type.lower() for node in _savers(graph)):
        return form
    if not wanted.format:
        return ""
    raise PatchError(
        f'"{wanted.key("format")}" is {wanted.format[:MAX_SHOWN]!r}, in which this workflow cannot '
        "save.",
        _possible_formats(graph),
        code="invalid_value",
    )


def _possible_formats(graph: Graph) -> str:
    offered = [
        str(choice)
        for target in _inputs(graph, FORMAT_INPUTS, None)
        for choice in _choices(target.spec)
    ]
    if _has_images(graph):
        offered += [form for form in FORMATS if form not in offered]
    if not offered:
        labels = "; ".join(node.label for node in _savers(graph)[:MAX_LISTED])
        return f"Leave it out; its output nodes save in one format only: {labels}."
    listed = ", ".join(dict.fromkeys(offered[:30]))
    return f"Use one of: {listed}; or leave it out. Links to the files are always returned."


def _set_quality(planner: Planner, graph: Graph, wanted: Wanted, form: str) -> Iterator[str]:
    if wanted.quality is None:
        return
    found = False
    for node in _savers(graph):
        for spec in node.specs.values():
            if "quality" not in spec.name.lower():
                continue
            if spec.type in ("INT", "FLOAT"):
                planner.set(Target(node, spec.name), wanted.quality, Origin.ARGUMENT, "quality")
                found = True
            elif (choice := _choice(spec, str(wanted.quality))) is not None:
                planner.set(Target(node, spec.name), choice, Origin.ARGUMENT, "quality")
                found = True
    if not found and not (form in LOSSY and _has_images(graph)):
        add = ' add "format": "jpg" or "webp".' if _has_images(graph) else " leave it out."
        yield f'"{wanted.key("quality")}" has no effect on the format of these files;{add}'


def _set_choice(
    planner: Planner, node: Node, spec: InputSpec | None, choice: Any, depth: int = 0
) -> None:
    """Set a choice and the inputs that it adds, each at its default."""
    if spec is None or depth > MAX_DEPTH:
        return
    planner.changes[node.id, spec.name] = Change(
        Target(node, spec.name), choice, Origin.ARGUMENT, "format"
    )
    for added in spec.branch(choice):
        if added.name in node.inputs:
            continue
        default = added.options.get("default")
        if default is None and _choices(added):
            default = _choices(added)[0]
        if added.branches:
            _set_choice(planner, node, added, default, depth + 1)
        elif added.required and default is not None:
            target = Target(node, added.name)
            planner.changes[node.id, added.name] = Change(
                target, default, Origin.FILE_NAME, "format"
            )


def _choice(spec: InputSpec | None, word: str) -> Any:
    """The choice that is this format, or has it as a part (``video/h264-mp4``); None for none."""
    choices = _choices(spec)
    exact = [c for c in choices if normalize_format(str(c)) == word]
    parts = [c for c in choices if word in {SAME_FORMAT.get(p, p) for p in _parts(str(c))}]
    return next(iter(exact or parts), None)


def _parts(choice: str) -> list[str]:
    found = re.split(r"[^a-z0-9]+", choice.lower()[:200])
    return [*found, *(part.removesuffix("k") for part in found)]


def _choices(spec: InputSpec | None) -> tuple[Any, ...]:
    if spec is None:
        return ()
    return tuple(key for key, _ in spec.branches) or tuple(spec.choices)


# -- output nodes ----------------------------------------------------------------------------------


def _savers(graph: Graph) -> list[Node]:
    return [node for node in graph.nodes.values() if node.is_output_node]


def _has_images(graph: Graph) -> bool:
    """Whether an output node takes images."""
    return any(
        spec.type == "IMAGE" and is_link(node.inputs.get(spec.name))
        for node in _savers(graph)
        for spec in node.specs.values()
    )


def _inputs(graph: Graph, names: Iterable[str], types: tuple[str, ...] | None) -> Iterator[Target]:
    """The first of these inputs at each output node."""
    for node in _savers(graph):
        for name in names:
            spec = node.specs.get(name)
            if spec is not None and (_choices(spec) if types is None else spec.type in types):
                yield Target(node, name)
                break


def _key(target: Target) -> tuple[str, str]:
    return target.node.id, target.name
