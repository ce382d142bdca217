"""Nodes that a call needs and its workflow lacks: image loaders, scaling, several images of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from comfyui_pipeline.engine.protocol import Engine
from comfyui_pipeline.load_workflow import LoadedWorkflow
from comfyui_pipeline.workflow import roles
from comfyui_pipeline.workflow.graph import NodeSchemas
from input_server.light_dataclasses import replace

SIDES = frozenset({"width", "height", "size"})
SIZES = frozenset({*SIDES, "scale"})


def add(loaded: LoadedWorkflow, shortcuts: Mapping[str, Any], engine: Engine) -> LoadedWorkflow:
    """The workflow with the nodes that its shortcut arguments need; a note names each place."""
    loaded = _with_image_loaders(loaded, shortcuts.get("images", ()))
    if not SIZES.isdisjoint(shortcuts):
        loaded = _with_scaling(loaded, shortcuts, engine)
    if "batch_size" in shortcuts:
        loaded = _with_repeating(loaded, engine)
    return loaded


def _with_image_loaders(loaded: LoadedWorkflow, images: Sequence[str]) -> LoadedWorkflow:
    """The workflow with a loader for each image, if its nodes take more than it loads."""
    if len(images) < 2 or (more := len(images) - len(roles.images(loaded.graph))) <= 0:
        return loaded
    from comfyui_pipeline.workflow import extra_images

    prompt = extra_images.add_loaders(loaded.prompt, loaded.graph, loaded.schemas, more)
    if prompt is None:
        return loaded
    note = f"{more} more image loader{' was' if more == 1 else 's were'} added to the workflow."
    return replace(loaded, prompt=prompt, notes=(*loaded.notes, note))


def _with_scaling(
    loaded: LoadedWorkflow, shortcuts: Mapping[str, Any], engine: Engine
) -> LoadedWorkflow:
    """The workflow with a node that scales, where its own nodes cannot do what the call asks for."""
    from comfyui_pipeline.workflow import scaling

    kind: scaling.Kind = "size"
    place = scaling.input_in(loaded.graph) if SIDES & shortcuts.keys() else None
    if "scale" in shortcuts:
        kind = "factor"
        factor = None if "upscale_model" in shortcuts else float(shortcuts["scale"])
        place = scaling.place_in(loaded.graph, factor) or scaling.input_in(loaded.graph)
    added = place and scaling.add(loaded.prompt, place, engine.catalog, kind)
    if not place or not added:
        return loaded
    where = "in place of" if place.replaces else "behind"
    return _with(loaded, added, f"scales the image was put {where} node {place.node.label}")


def _with_repeating(loaded: LoadedWorkflow, engine: Engine) -> LoadedWorkflow:
    """The workflow with a node that repeats its latent, where it starts from one image."""
    from comfyui_pipeline.workflow import repeating

    latent = repeating.place_in(loaded.graph)
    added = latent and repeating.add(loaded.prompt, latent, engine.catalog)
    if not latent or not added:
        return loaded
    return _with(loaded, added, f"repeats the latent was put before node {latent.node.label}")


def _with(
    loaded: LoadedWorkflow,
    added: tuple[Mapping[str, Mapping[str, Any]], NodeSchemas],
    what: str,
) -> LoadedWorkflow:
    """The workflow with a prompt that has one more node, that node's schema, and a note on it."""
    prompt, schemas = added
    return replace(
        loaded,
        prompt=prompt,
        schemas={**schemas, **loaded.schemas},
        notes=(*loaded.notes, f"A node that {what}."),
    )
