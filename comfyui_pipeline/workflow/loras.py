"""LoRAs that a call names, in ``loras`` or as ``<lora:name:strength>`` in its prompt.

They go into the workflow's LoRA loaders in order; unless ``"lora_nodes": "keep"``, missing loaders are
inserted between the model and the nodes that use it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from comfyui_pipeline.bounded import numbers
from comfyui_pipeline.errors import PatchError
from comfyui_pipeline.workflow import graph as graphs
from comfyui_pipeline.workflow import roles
from comfyui_pipeline.workflow.graph import Graph, Node, NodeSchemas, Target, is_link
from input_server.light_dataclasses import dataclass
from input_server.parse_values import parse_count

TAG = re.compile(r"<lora:([^:<>]+)(?::([^:<>]*))?(?::([^:<>]*))?>", re.IGNORECASE)
MAX_LORAS = 5000
"""LoRAs of one call. Each may need a node."""
MODEL_STRENGTHS = ("strength_model", "strength", "lora_strength", "weight", "model_strength")
CLIP_STRENGTHS = ("strength_clip", "clip_strength")


@dataclass(frozen=True, slots=True)
class Lora:
    """One LoRA: its name as written, and its strengths for the model and the text encoder.

    ``clip_strength``: None for the same as ``strength``.
    """

    name: str
    strength: float = 1.0
    clip_strength: float | None = None


def from_prompt(text: str) -> tuple[str, list[Lora]]:
    """Remove the LoRA tags from a prompt; returns the text and the LoRAs that they name."""
    found = [_lora(*match.groups()) for match in TAG.finditer(text)]
    if not found:
        return text, []
    return re.sub(r"[ \t]{2,}", " ", TAG.sub("", text)).strip(" ,\t"), found


def from_list(items: Sequence[str]) -> list[Lora]:
    """Parse ``name``, ``name:strength`` and ``name:strength:clip strength``, also as tags."""
    found = []
    for item in items:
        tagged = TAG.fullmatch(item.strip())
        if tagged:
            found.append(_lora(*tagged.groups()))
            continue
        parts = item.rsplit(":", 2)
        numbers = [part for part in parts[1:] if _number(part) is not None]
        name = item if not numbers else ":".join(parts[: len(parts) - len(numbers)])
        found.append(_lora(name, *numbers))
    return found


def _lora(name: str, strength: str | None = None, clip: str | None = None) -> Lora:
    if not name.strip():
        raise PatchError("A LoRA has no name.", "Write it as name:strength.")
    numbers = []
    for text in (strength, clip):
        number = _number(text) if text else None
        if text and number is None:
            raise PatchError(
                f"The strength {text[:40]!r} of the LoRA {name.strip()[:80]!r} is not a number.",
                "Write it as name:0.8.",
            )
        numbers.append(number)
    return Lora(name.strip(), 1.0 if numbers[0] is None else numbers[0], numbers[1])


def _number(text: str) -> float | None:
    return numbers.parse_number(text.strip())


def check_count(requested: Sequence[Lora]) -> None:
    """Raise PatchError for more LoRAs than one call may name."""
    if len(requested) > MAX_LORAS:
        raise PatchError(
            f"The call names {len(requested)} LoRAs; at most {MAX_LORAS} are allowed.",
            "Name fewer.",
        )


def assignments(graph: Graph, requested: Sequence[Lora]) -> list[tuple[Target, Any]]:
    """The inputs for each LoRA and its strengths. Raises PatchError for too few loaders."""
    loaders = roles.lora_loaders(graph)
    if len(requested) > len(loaders):
        plural = "" if len(loaders) == 1 else "s"
        raise PatchError(
            f"This workflow has {len(loaders)} LoRA loader{plural}, and the call names "
            f"{len(requested)} LoRAs.",
            'Name fewer, or leave "lora_nodes" out so that loaders are added.',
        )
    found: list[tuple[Target, Any]] = []
    for target, lora in zip(loaders, requested, strict=False):
        found.append((target, lora.name))
        clip = lora.strength if lora.clip_strength is None else lora.clip_strength
        for names, strength in ((MODEL_STRENGTHS, lora.strength), (CLIP_STRENGTHS, clip)):
            name = next((name for name in names if name in target.node.specs), None)
            if name is not None:
                found.append((Target(target.node, name), strength))
    return found


# -- adding loaders --------------------------------------------------------------------------------


NewLoaders = Sequence[tuple[Node, Sequence[Lora]]]
"""A node that loads or passes on a model -> the LoRAs that new loaders behind it apply."""


def new_loaders(graph: Graph, requested: Sequence[Lora]) -> NewLoaders:
    """Where loaders are added for the LoRAs that the workflow has no loader for.

    In a workflow with a model for high and one for low noise, a LoRA is applied to both, unless its
    name says that it belongs to one of them. Raises PatchError when the workflow loads no model.
    """
    loaders = roles.lora_loaders(graph)
    if loaders:
        return [(loaders[-1].node, requested[len(loaders) :])]
    models = [target.node for target in roles.models(graph)]
    if not models:
        raise PatchError(
            "This workflow loads no model that a LoRA could be applied to.", "Leave the LoRAs out."
        )
    noises = {noise: node for node in models if (noise := _noise_of_model(node))}
    if len(models) != 2 or len(noises) != 2:
        return [(models[0], requested)]
    return [
        (node, [lora for lora in requested if _noise(lora.name) in ("", noise)])
        for noise, node in noises.items()
    ]


def _noise_of_model(node: Node) -> str:
    names = [value for value in node.inputs.values() if isinstance(value, str)]
    return next((noise for name in names if (noise := _noise(name))), "")


def _noise(name: str) -> str:
    """``high`` or ``low`` for a model of that part of the steps, as in ``wan2.2_i2v_high_noise``."""
    pairs = re.findall(r"(high|low)(?=noise)|(?<![a-z])(high|low)(?![a-z])", name.lower())
    found = {one or other for one, other in pairs}
    return found.pop() if len(found) == 1 else ""


def add_loaders(
    prompt: Mapping[str, Mapping[str, Any]], graph: Graph, new: NewLoaders, catalog: NodeSchemas
) -> dict[str, dict[str, Any]]:
    """Insert the new LoRA loaders before the nodes that use their models; returns a new prompt.

    ``catalog``: the node types to choose the loader from. Raises PatchError when the server has no
    LoRA loader.
    """
    patched = {i: {**node, "inputs": dict(node["inputs"])} for i, node in prompt.items()}
    for node, ones in new:
        model, clip = _outputs(graph, node)
        ends = (model, clip if len(new) == 1 else None)
        _insert(patched, ends, len(ones), catalog)
    return patched


def _insert(
    patched: dict[str, dict[str, Any]],
    ends: tuple[list[Any], list[Any] | None],
    more: int,
    catalog: NodeSchemas,
) -> None:
    """Put ``more`` loaders behind the outputs of a model and its text encoder, in place."""
    model, clip = ends
    class_type, schema = _loader_class(catalog, with_clip=clip is not None)
    names = {kind: _input_of(schema, kind) for kind in ("MODEL", "CLIP")}
    outputs = [str(kind) for kind in schema.get("output") or ()]
    sources = {"MODEL": model, "CLIP": clip}
    linked = {kind: source for kind, source in sources.items() if source and names[kind]}
    consumers = {kind: _linked_inputs(patched, source) for kind, source in linked.items()}
    number = _highest_id(patched)
    for _ in range(more):
        number += 1
        while str(number) in patched:
            number += 1
        links = {str(names[kind]): source for kind, source in linked.items()}
        patched[str(number)] = {
            "class_type": class_type,
            "inputs": {**_defaults(schema), **links},
            "_meta": {"title": "LoRA"},
        }
        linked = {kind: [str(number), outputs.index(kind)] for kind in linked}
    for kind, inputs in consumers.items():
        for node_id, name in inputs:
            patched[node_id]["inputs"][name] = list(linked[kind])


def _outputs(graph: Graph, node: Node) -> tuple[list[Any], list[Any] | None]:
    """The outputs of the model and its text encoder that new loaders take."""
    model = [node.id, node.outputs.index("MODEL")]
    if "CLIP" in node.outputs:
        return model, [node.id, node.outputs.index("CLIP")]
    if roles.lora_loaders(graph):
        return model, None
    clip_loaders = roles.loaders(graph, "CLIP")
    clip = clip_loaders[0] if len(clip_loaders) == 1 else None
    return model, [clip.id, clip.outputs.index("CLIP")] if clip else None


def _loader_class(catalog: NodeSchemas, *, with_clip: bool) -> tuple[str, Mapping[str, Any]]:
    """The simplest node type that applies one LoRA to a model, and to a text encoder if there is one."""
    fitting = []
    for name, schema in catalog.items():
        node = graphs.build({"1": {"class_type": name, "inputs": {}}}, {name: schema}).nodes["1"]
        kinds = [spec.type for spec in node.specs.values()]
        choices = [spec for spec in node.specs.values() if roles.is_lora_choice(node, spec)]
        takes_clip = "CLIP" in kinds and "CLIP" in node.outputs
        only_usual = set(kinds) <= {"MODEL", "CLIP", "COMBO", "FLOAT"}
        if len(choices) == 1 and only_usual and takes_clip == with_clip and choices[0].choices:
            fitting.append((len(kinds), len(name), name))
    if not fitting:
        raise PatchError(
            "This ComfyUI server has no LoRA loader, or no LoRA file.",
            "Put LoRA files into its models/loras folder, or leave the LoRAs out.",
        )
    name = min(fitting)[2]
    return name, catalog[name]


def _input_of(schema: Mapping[str, Any], kind: str) -> str | None:
    node = graphs.build({"1": {"class_type": "x", "inputs": {}}}, {"x": schema}).nodes["1"]
    return next((spec.name for spec in node.specs.values() if spec.type == kind), None)


def _defaults(schema: Mapping[str, Any]) -> dict[str, Any]:
    node = graphs.build({"1": {"class_type": "x", "inputs": {}}}, {"x": schema}).nodes["1"]
    usual = [spec for spec in node.specs.values() if spec.type in ("COMBO", "FLOAT")]
    return {
        spec.name: spec.choices[0] if spec.type == "COMBO" else spec.options.get("default", 1.0)
        for spec in usual
    }


def _highest_id(prompt: Mapping[str, Any]) -> int:
    return max((parse_count(i, at_most=2**53) or 0 for i in prompt), default=0)


def _linked_inputs(prompt: Mapping[str, Any], source: list[Any]) -> list[tuple[str, str]]:
    """Every node and input that is linked to this output."""
    return [
        (node_id, name)
        for node_id, node in prompt.items()
        for name, value in node["inputs"].items()
        if is_link(value) and [str(value[0]), value[1]] == source
    ]
