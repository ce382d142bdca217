"""The names of inputs that hold a size: ``width``, ``model.width``, ``empty_latent_width``, …"""

from __future__ import annotations

from collections.abc import Iterator

from comfyui_pipeline.workflow.graph import Node

PICTURES = ("IMAGE", "LATENT", "VIDEO", "MASK")
FACTORS = ("scale_by", "upscale_by", "scale_factor", "rescale_factor", "upscale_factor")
"""Inputs that hold the factor of an upscaling node."""
NAMES = (
    "width",
    "empty_latent_width",
    "width_override",
    "output_width",
    "target_width",
)
"""Inputs for the width of a result, the surest first; the height has the same name."""


def side_names(node: Node) -> tuple[str, str] | None:
    """The inputs of a node that hold its width and height; None if it has none."""
    return next(_pairs(node), None)


def _pairs(node: Node) -> Iterator[tuple[str, str]]:
    for wanted in NAMES:
        for spec in node.specs.values():
            prefix, _, last = spec.name.rpartition(".")
            if last != wanted or spec.type != "INT":
                continue
            height = f"{prefix}{'.' if prefix else ''}{last.replace('width', 'height')}"
            other = node.specs.get(height)
            known = {spec.name, height} & node.inputs.keys()
            if other is not None and other.type == "INT" and known:
                yield spec.name, height
