"""Files that a workflow needs and that neither the call gives nor the server has."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from comfyui_pipeline.errors import PatchError
from comfyui_pipeline.workflow import image_roles, optional_inputs, roles
from comfyui_pipeline.workflow.graph import Graph, InputSpec, Node, Target, is_link
from comfyui_pipeline.workflow.validate import needed_nodes
from input_server.light_dataclasses import dataclass, replace

PLACEHOLDERS = frozenset({"", "example.png", "placeholder.png", "none"})
"""File names that stand for "a file of yours": ``example.png`` is in every new ComfyUI's input folder,
so that it exists but is never what a caller means by saying nothing."""
MAX_LISTED = 8


@dataclass(frozen=True, slots=True)
class RequiredFile:
    """An input whose file is missing, and the argument that gives it ("" for ``params``).

    ``spared``: the nodes that would have to go for the workflow to do without it, if it can.
    """

    target: Target
    argument: str
    spared: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[str, str]:
        return self.target.node.id, self.target.name


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
        and not _may_be_empty(spec, value)
    ]


def without_optional(
    prompt: Mapping[str, Mapping[str, Any]],
    graph: Graph,
    missing: Sequence[RequiredFile],
    set_inputs: Collection[tuple[str, str]] = frozenset(),
) -> tuple[Mapping[str, Mapping[str, Any]], list[RequiredFile], list[Node]]:
    """The prompt without optional images next to others and without optional videos and sounds, the
    files that are still needed, and the nodes that were left out.

    A workflow of images needs the first one, where the call gives none; a mask is always needed.
    """
    images = [(t.node.id, t.name) for t in roles.images(graph)]
    given = {key for key in images if key in set_inputs} or set(images[:1])
    needed: list[RequiredFile] = []
    left_out: list[Node] = []
    for file in missing:
        optional = file.key in images or file.argument in ("video", "audio")
        reduced = optional_inputs.without(prompt, graph, file.target.node.id) if optional else None
        if reduced is None:
            needed.append(file)
        elif file.key in given:
            needed.append(replace(file, spared=tuple(prompt.keys() - reduced.keys())))
        else:
            prompt = reduced
            left_out.append(file.target.node)
    return prompt, needed, left_out


def saved_images(graph: Graph, set_inputs: Collection[tuple[str, str]]) -> list[Target]:
    """The images that the call does not give although it gives others, and that the server has."""
    images = roles.images(graph)
    missing = {file.key for file in missing_files(graph, set_inputs)}
    keys = {(t.node.id, t.name) for t in images}
    if keys.isdisjoint(set_inputs):
        return []
    return [t for t in images if (t.node.id, t.name) not in {*set_inputs, *missing}]


def _may_be_empty(spec: InputSpec, value: object) -> bool:
    """Whether an empty text is what the node's type has itself, as a mask that nobody has painted."""
    return spec.type == "STRING" and value == "" == spec.options.get("default")


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
    found = _image_arguments(graph, images)
    found |= {(t.node.id, t.name): "mask" for t in masks if id(t) not in in_alpha}
    for node in graph.nodes.values():
        for spec in node.specs.values():
            if spec.takes_file and spec.file_kind in ("video", "audio"):
                found.setdefault((node.id, spec.name), spec.file_kind)
    return found


def _image_arguments(graph: Graph, images: Sequence[Target]) -> dict[tuple[str, str], str]:
    """Image -> ``image``; of several, ``start_image`` and the like where these tell them apart."""
    by_part = {part: name for name, part in image_roles.ARGUMENT_ROLES.items()}
    parts = [by_part.get(image_roles.part_of(graph, t), "") for t in images]
    if len(images) < 2:
        parts = ["image"] * len(images)
    elif not all(parts) or len(set(parts)) < len(parts):
        parts = ["images"] * len(images)
    return {(t.node.id, t.name): part for t, part in zip(images, parts, strict=True)}


def listed(missing: Sequence[RequiredFile]) -> list[str]:
    """Each argument with the nodes whose files it gives."""
    nodes: dict[str, list[str]] = {}
    for file in missing:
        name = f'"{file.argument}"' if file.argument else f"the input {file.target.name!r}"
        nodes.setdefault(name, []).append(file.target.node.label)
    return [_named(name, labels) for name, labels in list(nodes.items())[:MAX_LISTED]]


def _named(name: str, labels: Sequence[str]) -> str:
    if not name.startswith('"'):
        return f"{name} of node {', '.join(labels[:MAX_LISTED])} (with params)"
    if len(labels) == 1:
        return f"{name} (node {labels[0]})"
    return f"{name} (a list of {len(labels)}: nodes {', '.join(labels[:MAX_LISTED])})"


def sentence(missing: Sequence[RequiredFile]) -> str:
    """What the workflow needs."""
    return f"This workflow needs {' and '.join(listed(missing))}."


def required_error(missing: Sequence[RequiredFile]) -> PatchError:
    """The error that says which arguments to pass."""
    hint = "Pass a URL, a data URI, a file path or an attachment name."
    if all(file.spared for file in missing):
        ids = sorted({node_id for file in missing for node_id in file.spared})
        hint += f' It runs without, too: add "bypass": {json.dumps(ids)}.'
    return PatchError(sentence(missing), hint, code="file_required")
