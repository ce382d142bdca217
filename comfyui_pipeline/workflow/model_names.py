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
from comfyui_pipeline.workflow.model_arguments import how_to_choose
from comfyui_pipeline.workflow.model_folders import MODEL_FOLDERS
from comfyui_pipeline.workflow.validate import needed_nodes
from input_server.light_dataclasses import dataclass, replace

BEGINNINGS: tuple[tuple[str, str], ...] = (
    ("pony", "SDXL"),
    ("illustrious", "SDXL"),
    ("noobai", "SDXL"),
    ("animagine", "SDXL"),
    ("sdxl", "SDXL"),
    ("sd 3", "SD3"),
    ("sd 2", "SD2"),
    ("sd 1", "SD1.5"),
    ("flux", "Flux"),
    ("qwen", "Qwen-Image"),
    ("wan ", "Wan"),
    ("hunyuan", "Hunyuan"),
    ("ltx ", "LTX"),
    ("ltxv ", "LTX"),
    ("z image", "Z-Image"),
    ("zimage", "Z-Image"),
    ("hidream", "HiDream"),
    ("chroma ", "Chroma"),
    ("ace step", "ACE-Step"),
    ("acestep", "ACE-Step"),
    ("stable audio", "Stable Audio"),
    ("cosmos", "Cosmos"),
    ("svd ", "SVD"),
)
"""Words of a model's name -> its family; they are compared at the beginning of each word."""


@dataclass(frozen=True, slots=True)
class Replacement:
    """Another model for an input. ``same_file``: only its folder, case or extension differ.

    ``how``: how a call chooses another one.
    """

    target: Target
    old: str
    new: str
    same_file: bool
    how: str = ""

    def __str__(self) -> str:
        if self.same_file:
            return f"{self.target.name} {self.old!r} → {self.new!r}"
        return (
            f"The model {self.old!r} is not on the server; {self.new!r} is used instead. To choose "
            f"another one, {self.how}."
        )


def family(name: str) -> str:
    """The family of a diffusion model by the words of its name, else its folders; "" if unclear."""
    parts = name.replace("\\", "/")[: matching.MAX_CHARACTERS].split("/")
    for part in reversed(parts):
        words = _words(part)
        for place, word in enumerate(words):
            rest = " ".join(words[place:]) + " "
            found = next((kind for begin, kind in BEGINNINGS if rest.startswith(begin)), "")
            if found or word.endswith("xl"):
                return found or "SDXL"
    return ""


def _words(part: str) -> list[str]:
    """``SD15-fooBar_v2`` -> ``sd 1 5 foo bar v 2``; a version alone at the beginning is one of SD."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", part)
    text = (
        matching.normalize(spaced)
        .replace("stable diffusion", "sd")
        .replace("stable-diffusion", "sd")
        .replace("stable_diffusion", "sd")
        .replace("sd xl", "sdxl")
    )
    words = re.findall(r"[a-z]+|[0-9]", text)
    if words[:1] == ["v"] and len(words) > 1:
        words = ["sd", *words]
    return [word for place, word in enumerate(words) if word != "v" or words[place - 1] != "sd"]


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
        found if found.same_file else replace(found, how=how_to_choose(graph, target, found.new))
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


SETTING_OF: Mapping[str, str] = {
    "checkpoint": "COMFYUI_DEFAULT_CHECKPOINT",
    "vae": "COMFYUI_DEFAULT_VAE",
}
"""Argument -> the setting that gives its model where the call does not."""


def stale_settings(
    graph: Graph,
    set_inputs: Collection[tuple[str, str]],
    defaults: Mapping[str, str],
    *,
    every: bool,
) -> list[str]:
    """Sentences on models of the settings that the server lacks, where they would be used.

    ``every``: they are used for all inputs of their role, else where the workflow's model is missing.
    """
    found = {}
    for argument, name in defaults.items():
        for target in roles.find_targets(graph, argument) if name else ():
            choices = [str(c) for c in target.spec.choices] if target.spec else []
            lacks = str(target.node.inputs.get(target.name)) not in choices
            if (target.node.id, target.name) in set_inputs or not (every or lacks):
                continue
            if len(matching.find_file(name, choices, strict=False).names) != 1:
                found[argument] = stale_sentence(SETTING_OF[argument], name, choices)
    return list(found.values())


def stale_sentence(setting: str, name: str, choices: Sequence[str]) -> str:
    """That a setting names no model of the server, or several, with the nearest names."""
    same = matching.find_file(name, choices, strict=False).names
    near = same or matching.nearest(name, choices)
    what = "which fits several models" if same else "which is not on the server"
    similar = f" ({'' if same else 'similar: '}{', '.join(near[:4])})" if near else ""
    return f"{setting} names {name[:80]!r}, {what}{similar}; it was not used."
