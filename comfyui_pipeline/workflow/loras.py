"""LoRAs that a call names, in ``loras`` or as ``<lora:name:strength>`` in its prompt.

They go into the LoRA loaders that the workflow has, in order; with ``"lora_nodes": "add"`` further
loaders are put between the model and what uses it.
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
from input_server.text_values import parse_count

TAG = re.compile(r"<lora:([^:<>]+)(?::([^:<>]*))?(?::([^:<>]*))?>", re.IGNORECASE)
MAX_LORAS = 5000
"""LoRAs of one call. Each may become a node of its own."""
MODEL_STRENGTHS = ("strength_model", "strength", "lora_strength", "weight", "model_strength")
CLIP_STRENGTHS = ("strength_clip", "clip_strength")


@dataclass(frozen=True, slots=True)
class Lora:
    """One LoRA: its name as written, how strongly it acts on the model and on the text encoder."""

    name: str
    strength: float = 1.0
    clip_strength: float | None = None


def from_prompt(text: str) -> tuple[str, list[Lora]]:
    """The text without its LoRA tags, and the LoRAs that they name."""
    found = [_lora(*match.groups()) for match in TAG.finditer(text)]
    if not found:
        return text, []
    return re.sub(r"[ \t]{2,}", " ", TAG.sub("", text)).strip(" ,\t"), found


def from_list(items: Sequence[str]) -> list[Lora]:
    """``name`` or ``name:strength`` or ``name:strength:clip strength``, also as a tag."""
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
        raise PatchError("A LoRA without a name was asked for.", "Write it as name:strength.")
    numbers = []
    for text in (strength, clip):
        number = _number(text) if text else None
        if text and number is None:
            raise PatchError(
                f"The strength {text[:40]!r} of the LoRA {name.strip()[:80]!r} is no number.",
                "Write it as name:0.8.",
            )
        numbers.append(number)
    return Lora(name.strip(), 1.0 if numbers[0] is None else numbers[0], numbers[1])


def _number(text: str) -> float | None:
    return numbers.parse_number(text.strip())


def check_count(wanted: Sequence[Lora]) -> None:
    """Raises PatchError for more LoRAs than one call may name."""
    if len(wanted) > MAX_LORAS:
        raise PatchError(
            f"The call names {len(wanted)} LoRAs; at most {MAX_LORAS} are taken.", "Name fewer."
        )


def settings(graph: Graph, wanted: Sequence[Lora]) -> list[tuple[Target, Any]]:
    """Where each LoRA and its strengths go. Raises PatchError when there are too few loaders."""
    loaders = roles.lora_loaders(graph)
    if len(wanted) > len(loaders):
        there = f"loads {len(loaders)} LoRA" + ("" if len(loaders) == 1 else "s")
        raise PatchError(
            f"This workflow {there}, and {len(wanted)} were asked for.",
            'Ask for fewer, or add "lora_nodes": "add" to the call.',
        )
    found: list[tuple[Target, Any]] = []
    for target, lora in zip(loaders, wanted, strict=False):
        found.append((target, lora.name))
        clip = lora.strength if lora.clip_strength is None else lora.clip_strength
        for names, strength in ((MODEL_STRENGTHS, lora.strength), (CLIP_STRENGTHS, clip)):
            name = next((name for name in names if name in target.node.specs), None)
            if name is not None:
                found.append((Target(target.node, name), strength))
    return found


# -- adding loaders --------------------------------------------------------------------------------


def add_loaders(
    prompt: Mapping[str, Mapping[str, Any]], graph: Graph, more: int, catalog: NodeSchemas
) -> dict[str, dict[str, Any]]:
    """A prompt with ``more`` LoRA loaders between each model and what uses it.

    ``catalog``: the classes to choose the loader from. Raises PatchError when there is no model or
    no class that lays a LoRA over one.
    """
    made = {node_id: {**node, "inputs": dict(node["inputs"])} for node_id, node in prompt.items()}
    end = _end_of_chain(graph)
    if end is None:
        raise PatchError(
            "This workflow loads no model, so no LoRA can be added to it.", "Leave the LoRAs out."
        )
    model, clip = end
    class_type, schema = _loader_class(catalog, with_clip=clip is not None)
    names = {kind: _input_of(schema, kind) for kind in ("MODEL", "CLIP")}
    outputs = [str(kind) for kind in schema.get("output") or ()]
    sources = {"MODEL": model, "CLIP": clip}
    linked = {kind: source for kind, source in sources.items() if source and names[kind]}
    takers = {kind: _takers(made, source) for kind, source in linked.items()}
    number = _highest_id(made)
    for _ in range(more):
        number += 1
        while str(number) in made:
            number += 1
        ends = {str(names[kind]): source for kind, source in linked.items()}
        inputs = {**_defaults(schema), **ends}
        made[str(number)] = {
            "class_type": class_type,
            "inputs": inputs,
            "_meta": {"title": "LoRA"},
        }
        linked = {kind: [str(number), outputs.index(kind)] for kind in linked}
    for kind, places in takers.items():
        for node_id, name in places:
            made[node_id]["inputs"][name] = list(linked[kind])
    return made


def _end_of_chain(graph: Graph) -> tuple[list[Any], list[Any] | None] | None:
    """The outputs that LoRAs go behind: the last loader's, else the model's and the text encoder's."""
    loaders = roles.lora_loaders(graph)
    node = loaders[-1].node if loaders else None
    if node is None:
        models = roles.models(graph)
        if not models:
            return None
        node = models[0].node
    model = [node.id, node.outputs.index("MODEL")]
    if "CLIP" in node.outputs:
        return model, [node.id, node.outputs.index("CLIP")]
    if loaders:
        return model, None
    givers = [n for n in graph.nodes.values() if "CLIP" in n.outputs and _gives(n, "CLIP")]
    clip = givers[0] if len(givers) == 1 else None
    return model, [clip.id, clip.outputs.index("CLIP")] if clip else None


def _gives(node: Node, kind: str) -> bool:
    return all(spec.type != kind for spec in node.specs.values())


def _loader_class(catalog: NodeSchemas, *, with_clip: bool) -> tuple[str, Mapping[str, Any]]:
    """The plainest class that lays one LoRA over a model, and over a text encoder if there is one."""
    fitting = []
    for name, schema in catalog.items():
        node = graphs.build({"1": {"class_type": name, "inputs": {}}}, {name: schema}).nodes["1"]
        kinds = [spec.type for spec in node.specs.values()]
        choices = [spec for spec in node.specs.values() if roles.is_lora_choice(node, spec)]
        takes_clip = "CLIP" in kinds and "CLIP" in node.outputs
        wanted = set(kinds) <= {"MODEL", "CLIP", "COMBO", "FLOAT"}
        if len(choices) == 1 and wanted and takes_clip == with_clip and choices[0].choices:
            fitting.append((len(kinds), len(name), name))
    if not fitting:
        raise PatchError(
            "This ComfyUI has no node that loads a LoRA, or no LoRA file.",
            "Put LoRA files into its models/loras folder, or leave the LoRAs out.",
        )
    name = min(fitting)[2]
    return name, catalog[name]


def _input_of(schema: Mapping[str, Any], kind: str) -> str | None:
    node = graphs.build({"1": {"class_type": "x", "inputs": {}}}, {"x": schema}).nodes["1"]
    return next((spec.name for spec in node.specs.values() if spec.type == kind), None)


def _defaults(schema: Mapping[str, Any]) -> dict[str, Any]:
    node = graphs.build({"1": {"class_type": "x", "inputs": {}}}, {"x": schema}).nodes["1"]
    plain = [spec for spec in node.specs.values() if spec.type in ("COMBO", "FLOAT")]
    return {
        spec.name: spec.choices[0] if spec.type == "COMBO" else spec.options.get("default", 1.0)
        for spec in plain
    }


def _highest_id(prompt: Mapping[str, Any]) -> int:
    return max((parse_count(i, at_most=2**53) or 0 for i in prompt), default=0)


def _takers(prompt: Mapping[str, Any], source: list[Any]) -> list[tuple[str, str]]:
    """Every node and input that takes this output."""
    return [
        (node_id, name)
        for node_id, node in prompt.items()
        for name, value in node["inputs"].items()
        if is_link(value) and [str(value[0]), value[1]] == source
    ]
