"""Arguments that a workflow does not have itself, but which work by nodes that are added to it."""

from __future__ import annotations

from collections.abc import Iterator

from comfyui_pipeline.workflow import repeating, roles, scaling
from comfyui_pipeline.workflow.graph import Graph


def arguments(graph: Graph) -> Iterator[str]:
    """The names of these arguments, for nodes that ComfyUI itself has."""
    resized = scaling.input_in(graph) is not None
    if resized:
        yield from ("width", "height", "size")
    if resized or scaling.place_in(graph, None):
        yield "scale"
    if repeating.place_in(graph):
        yield "batch_size"
    if roles.models(graph) and not roles.lora_loaders(graph):
        yield "loras"
