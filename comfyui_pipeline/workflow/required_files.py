"""Files that a workflow needs and that neither the call gives nor the server has."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from comfyui_pipeline.errors import PatchError
from comfyui_pipeline.workflow import roles
from comfyui_pipeline.workflow.graph import Graph, Target, is_link
from comfyui_pipeline.workflow.validate import needed_nodes
from input_server.light_dataclasses import dataclass

PLACEHOLDERS = frozenset({"", "example.png", "placeholder.png", "none"})
"""File names that stand for "a file of yours": ``example.png`` is in every new ComfyUI's input folder,
so that it exists but is never what a caller means by saying nothing."""
MAX_LISTED = 8


@dataclass(frozen=True, slots=True)
class RequiredFile:
    """An input whose file is missing, and the argument that gives it ("" for ``params``)."""

    target: Target
    argument: str

    def __str__(self) -> str:
        node = f"node {self.target.node.label}"
        if self.argument:
            return f'"{self.argument}" ({node})'
        return f"the input {self.target.name!r} of {node} (with params)"


def missing_files(
    graph: Graph, set_inputs: Collection[tuple[str, str]] = frozenset()
) -> list[RequiredFile]:
    """The file inputs of nodes that run, which hold a placeholder or a file that the server lacks.

    ``set_inputs``: inputs (node id, name) that the call sets. The server lists only the files at the
    top of its input folder (``LoadImage.INPUT_TYPES``, nodes.py), so names with a folder or an
    annotation such as ``[output]`` are left to its own check.
    """
    arguments = _arguments(graph)
    return [
        RequiredFile(Target(node, name), arguments.get((node.id, name), ""))
        for node in needed_nodes(graph)
        for name, value in node.inputs.items()
        if (spec := node.specs.get(name))
        and spec.takes_file
        and spec.required
        and not is_link(value)
        and (node.id, name) not in set_inputs
        and _is_missing(value, spec.choices)
    ]


def _is_missing(value: object, choices: Sequence[object]) -> bool:
    name = str(value).strip() if value is not None else ""
    if name.lower() in PLACEHOLDERS:
        return True
    plain = not any(mark in name for mark in "/\\[")
    return plain and bool(choices) and name not in choices


def _arguments(graph: Graph) -> dict[tuple[str, str], str]:
    """File input -> the argument that sets it."""
    masks, images = roles.masks(graph), roles.images(graph)
    in_alpha = {id(t) for t in masks if roles.mask_in_alpha(graph, t)}
    found = {(t.node.id, t.name): "images" if len(images) > 1 else "image" for t in images}
    found |= {(t.node.id, t.name): "mask" for t in masks if id(t) not in in_alpha}
    for node in graph.nodes.values():
        for spec in node.specs.values():
            if spec.takes_file and spec.file_kind in ("video", "audio"):
                found.setdefault((node.id, spec.name), spec.file_kind)
    return found


def sentence(missing: Sequence[RequiredFile]) -> str:
    """What the workflow needs."""
    named = list(dict.fromkeys(str(file) for file in missing))
    return f"This workflow needs {' and '.join(named[:MAX_LISTED])}."


def required_error(missing: Sequence[RequiredFile]) -> PatchError:
    """The error that says which arguments to pass."""
    return PatchError(
        sentence(missing),
        "Pass a URL, a data URI, a file path or an attachment name.",
        code="file_required",
    )
