"""Models that a workflow names but the server has elsewhere, under another name, or not at all.

A name saved in a file is matched as a caller's would be: slashes, folder, case and extension do not
matter. A missing diffusion model may be replaced by another one of its family.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from comfyui_pipeline.workflow import matching, roles
from comfyui_pipeline.workflow.graph import Graph, InputSpec, Target
from comfyui_pipeline.workflow.model_folders import ARGUMENT_OF_INPUT, MODEL_FOLDERS
from comfyui_pipeline.workflow.validate import needed_nodes
from input_server.light_dataclasses import dataclass

FAMILIES: tuple[tuple[str, str], ...] = (
    ("SDXL", r"[a-z]*xl|pony[a-z]*|illustrious[a-z]*|noobai[a-z]*|animagine[a-z]*"),
    ("SD3", r"(sd|stable diffusion) ?3"),
    ("SD2", r"(sd|stable diffusion) ?v? ?2|^v ?2"),
    ("SD1.5", r"(sd|stable diffusion) ?v? ?1|^v ?1"),
    ("Flux", r"flux"),
    ("Qwen-Image", r"qwen"),
    ("Wan", r"wan"),
    ("Hunyuan", r"hunyuan[a-z]*"),
    ("LTX", r"ltxv?"),
    ("Z-Image", r"z ?image"),
    ("HiDream", r"hidream"),
    ("Chroma", r"chroma"),
    ("ACE-Step", r"ace ?step"),
    ("Stable Audio", r"stable audio"),
    ("Cosmos", r"cosmos"),
    ("SVD", r"svd"),
)
"""Family of diffusion models -> what the names of its files and folders contain as a word."""


@dataclass(frozen=True, slots=True)
class Replacement:
    """Another model for an input. ``same_file``: only its folder, case or extension differ."""

    target: Target
    old: str
    new: str
    same_file: bool

    @property
    def argument(self) -> str:
        return ARGUMENT_OF_INPUT.get(self.target.name, "params")

    def __str__(self) -> str:
        if self.same_file:
            return f"{self.target.name} {self.old!r} → {self.new!r}"
        return (
            f"The model {self.old!r} of this workflow is not on the server; {self.new!r} was used "
            f'instead. Pass "{self.argument}" to choose another.'
        )


def family(name: str) -> str:
    """The family of a diffusion model by the words of its name, else its folders; "" if unclear."""
    parts = name.replace("\\", "/")[: matching.MAX_CHARACTERS].split("/")
    spaced = [re.sub(r"(?<=[a-z])(?=[A-Z])", " ", part) for part in reversed(parts)]
    texts = [re.sub(r"[^a-z0-9]+", " ", matching.normalize(part)) for part in spaced]
    for text in texts:
        for found, words in FAMILIES:
            if re.search(rf"(?<![a-z0-9])(?:{words})(?![a-z])", text):
                return found
    return ""


def replacements(
    graph: Graph, set_inputs: Collection[tuple[str, str]], *, preferred: str = "", any_of: bool
) -> list[Replacement]:
    """What the server has in place of models of the workflow that it lacks.

    ``set_inputs``: inputs (node id, name) that the call sets itself. ``preferred``: the model of the
    settings. ``any_of``: whether the best of several models may stand in, as for the workflows that
    come with the plugin; else only one that is the only one that fits.
    """
    diffusion = {(t.node.id, t.name) for t in roles.models(graph)}
    return [
        found
        for target, spec, value in _missing(graph)
        if (target.node.id, target.name) not in set_inputs
        and (
            found := _replacement(
                target, spec, value, preferred, (target.node.id, target.name) in diffusion, any_of
            )
        )
    ]


def _missing(graph: Graph) -> Iterator[tuple[Target, InputSpec, str]]:
    """The inputs that name a model which is not among their choices."""
    for node in needed_nodes(graph):
        for name, value in node.inputs.items():
            spec = node.specs.get(name)
            if spec is None or spec.type != "COMBO" or spec.takes_file or not spec.choices:
                continue
            if not isinstance(value, str) or value in spec.choices:
                continue
            if name in MODEL_FOLDERS or matching.is_model_file(value):
                yield Target(node, name), spec, value


def _replacement(
    target: Target, spec: InputSpec, value: str, preferred: str, is_diffusion: bool, any_of: bool
) -> Replacement | None:
    names = [choice for choice in spec.choices if isinstance(choice, str)]
    same = matching.same_file(value, names)
    if len(same) == 1:
        return Replacement(target, value, same[0], same_file=True)
    if same:
        return None
    if is_diffusion:
        chosen = _preferred(preferred, names) or _stand_in(value, names, any_of)
    else:
        only_upscaler = any_of and "UPSCALE_MODEL" in target.node.outputs
        chosen = _stand_in(value, names, any_of) if only_upscaler else ""
    return Replacement(target, value, chosen, same_file=False) if chosen else None


def _preferred(preferred: str, names: Sequence[str]) -> str:
    found = matching.find_file(preferred, names, strict=False).names if preferred else ()
    return found[0] if len(found) == 1 else ""


def _stand_in(value: str, names: Sequence[str], any_of: bool) -> str:
    """The model that fits best: of the same family, else of an unknown one; "" if none is clear."""
    wanted = family(value)
    of_family = {name: family(name) for name in names}
    same = [name for name in names if wanted and of_family[name] == wanted]
    possible = same or [name for name in names if not wanted or not of_family[name]]
    if len(possible) == 1 or (possible and any_of):
        near = matching.nearest(value, possible, 1) if len(possible) > 1 else []
        return near[0] if near else possible[0]
    return ""


def default_values(
    graph: Graph, set_inputs: Collection[tuple[str, str]], defaults: Mapping[str, str]
) -> Iterator[tuple[Target, Any]]:
    """The models of the settings for a workflow that comes with the plugin: role -> model.

    ``defaults``: ``checkpoint`` and ``vae``; inputs of ``set_inputs`` are left alone.
    """
    for argument, name in defaults.items():
        for target in roles.find_targets(graph, argument) if name else ():
            if (target.node.id, target.name) not in set_inputs:
                yield target, name
