"""Which inputs of a workflow play which role, read from its links, input names and types.

The positive prompt is the text that feeds a sampler's ``positive`` input, whatever its node is
called; a model loader is a node that outputs a model and takes none. No node type is known by name.
``ROLES`` is the table of roles; rows of ``arguments.ARGUMENTS`` refer to its keys.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

from comfyui_pipeline.arguments import BY_NAME, Argument
from comfyui_pipeline.workflow import (
    durations,
    image_roles,
    image_slots,
    passes,
    prompt_texts,
    size_nodes,
)
from comfyui_pipeline.workflow.graph import Graph, InputSpec, Node, Target, is_link
from comfyui_pipeline.workflow.running import part_that_runs, running

CONDITIONING = "CONDITIONING"
OF_MAIN_PASS = frozenset({"steps", "denoise"})
"""Arguments that do not change what refines or enlarges the first result."""


def find_targets(graph: Graph, argument: str) -> list[Target]:
    """The inputs that a shortcut argument changes; none if the workflow has no such role."""
    row = BY_NAME[argument]
    return ROLES[row.role](part_that_runs(graph), row)


# -- prompt texts ----------------------------------------------------------------------------------


def texts(graph: Graph, side: str) -> list[Target]:
    """The text inputs of the ``positive`` or ``negative`` side: by links, else title, else input name.

    A text that feeds both sides (through ConditioningZeroOut, for example) is a positive one.
    """
    return prompt_texts.texts(part_that_runs(graph), side)


# -- sampling --------------------------------------------------------------------------------------


def seeds(graph: Graph) -> list[Target]:
    """Every integer whose name ends in ``seed``, at the source of its value.

    ``control_after_generate`` is no criterion: ordinary numbers (a width) have it too.
    """
    found = []
    for node in running(graph):
        for spec in node.specs.values():
            named = spec.name.rpartition(".")[2].lower().endswith("seed")
            if spec.type == "INT" and named and spec.name in node.inputs:
                found.append(graph.source(Target(node, spec.name), ("INT",)))
    return _unique(found)


def samplers(graph: Graph) -> list[Node]:
    """The nodes where conditioning and a model, or a guider, end."""
    return [node for node in running(graph) if _is_sampler(node)]


def _is_sampler(node: Node) -> bool:
    linked = {spec.type for spec in node.specs.values() if is_link(node.inputs.get(spec.name))}
    whole = {"MODEL", "LATENT"} <= linked and any(name.endswith("seed") for name in node.specs)
    encodes = CONDITIONING in node.outputs and not whole
    if encodes or not node.outputs or "GUIDER" in node.outputs:
        return False
    return "GUIDER" in linked or (CONDITIONING in linked and "MODEL" in linked)


def sampling_inputs(graph: Graph, name: str, types: tuple[str, ...]) -> list[Target]:
    """Inputs of this name at samplers and at the nodes that only feed them, else at any node."""
    found: set[str] = set()
    waiting = samplers(graph)
    while waiting:
        node = waiting.pop()
        if node.id in found:
            continue
        found.add(node.id)
        for spec in node.specs.values():
            linked = graph.link(node.inputs.get(spec.name))
            if spec.type in passes.SETTINGS and linked is not None:
                waiting.append(linked[0])
    in_order = [node for node in running(graph) if node.id in found]
    return _named(graph, in_order, name, types) or _named(graph, running(graph), name, types)


def _sampler_input(graph: Graph, argument: Argument) -> list[Target]:
    for name in argument.input_names:
        if found := sampling_inputs(graph, name, argument.input_types):
            if argument.name not in OF_MAIN_PASS:
                return found
            return passes.of_main_pass(graph, found, argument.input_names, argument.input_types)
    return []


def _cfg(graph: Graph) -> list[Target]:
    found = sampling_inputs(graph, "cfg", ("FLOAT",))
    return found or _named(graph, running(graph), "guidance", ("FLOAT",))


def _any_input(graph: Graph, argument: Argument) -> list[Target]:
    for name in argument.input_names:
        if found := _named(graph, running(graph), name, argument.input_types):
            if "STRING" not in argument.input_types:
                return found
            uses = [Target(n, name) for n in running(graph) if name in n.inputs and name in n.specs]
            written = [use for use in uses if _is_written(graph.source(use, argument.input_types))]
            return _unique([*(t for t in found if not _is_written(t)), *written])
    return []


def _is_written(source: Target | None) -> bool:
    """Whether a text is what a language model is asked: its answer is another text."""
    return source is not None and any(
        n.endswith(("seed", "system_prompt")) for n in source.node.specs
    )


# -- sizes -----------------------------------------------------------------------------------------


def _size(graph: Graph, argument: Argument) -> list[Target]:
    if argument.name == "scale":
        found = size_nodes.factors(graph)
        if found:
            return found
    found_sizes = size_nodes.find(graph)
    first = found_sizes.first
    if argument.name != "scale" and not found_sizes.begins:
        from comfyui_pipeline.workflow import size_choices

        offered = size_choices.find(graph)
        if offered:
            return size_choices.targets_of(offered, argument.name)
    if argument.name == "scale":
        first = tuple(sized for sized in first if sized.now)
    sides = [t for sized in first for t in (sized.width, sized.height)]
    if argument.name in ("width", "height"):
        sides = [getattr(sized, argument.name) for sized in first]
    return _unique(sides)


def _batch_size(graph: Graph) -> list[Target]:
    nodes = [node for node in running(graph) if "batch_size" in node.specs]
    found = _named(graph, _latent_first(nodes), "batch_size", ("INT",))
    return found or _named(graph, filter(_repeats_latent, running(graph)), "amount", ("INT",))


def _repeats_latent(node: Node) -> bool:
    kinds = {spec.type for spec in node.specs.values()}
    return kinds == {"LATENT", "INT"} and node.outputs == ("LATENT",)


def _latent_first(nodes: list[Node]) -> list[Node]:
    return [node for node in nodes if "LATENT" in node.outputs] or nodes


# -- models ----------------------------------------------------------------------------------------


def models(graph: Graph) -> list[Target]:
    """The file inputs of diffusion model loaders: nodes that output a model and take none."""
    return [target for node in loaders(graph, "MODEL") for target in _file_choice(node)]


def vaes(graph: Graph) -> list[Target]:
    """The file inputs of nodes that load a VAE without a model."""
    nodes = [node for node in loaders(graph, "VAE") if "MODEL" not in node.outputs]
    return [target for node in nodes for target in _file_choice(node)]


def lora_loaders(graph: Graph) -> list[Target]:
    """The LoRA inputs of nodes that take a model and output it."""
    return [
        Target(node, spec.name)
        for node in running(graph)
        for spec in node.specs.values()
        if is_lora_choice(node, spec)
    ]


def is_lora_choice(node: Node, spec: InputSpec) -> bool:
    """Whether this input chooses the LoRA that its node applies to a model."""
    return (
        spec.type == "COMBO"
        and "lora" in spec.name.lower()
        and "MODEL" in node.outputs
        and any(other.type == "MODEL" for other in node.specs.values())
    )


def _lora_strengths(graph: Graph) -> list[Target]:
    nodes = [target.node for target in lora_loaders(graph)]
    return [
        target
        for name in ("strength_model", "strength_clip")
        for target in _named(graph, nodes, name, ("FLOAT",))
    ]


def control_strengths(graph: Graph) -> list[Target]:
    """``strength`` of the nodes that take a ControlNet."""
    nodes = [
        node
        for node in running(graph)
        if any("CONTROL_NET" in spec.type for spec in node.specs.values())
    ]
    return _named(graph, nodes, "strength", ("FLOAT",))


def loaders(graph: Graph, type_: str) -> list[Node]:
    """Nodes that output this type and take none of it."""
    return [
        node
        for node in running(graph)
        if type_ in node.outputs and all(spec.type != type_ for spec in node.specs.values())
    ]


def _file_choice(node: Node) -> list[Target]:
    """The input that chooses the file: its name ends in ``_name``, or it is the first choice."""
    choices = [s.name for s in node.specs.values() if s.type == "COMBO" and s.name in node.inputs]
    files = [name for name in choices if name.endswith("_name")] or choices[:1]
    return [Target(node, name) for name in files[:1]]


# -- images, masks, file names ---------------------------------------------------------------------


def images(graph: Graph) -> list[Target]:
    """The file inputs of nodes that load an image whose colours are used; else of any image loader."""
    graph = part_that_runs(graph)
    files = _image_files(graph)
    loaded = [target for target in files if "IMAGE" in target.node.outputs]
    pictures = [t for t in loaded if "mask" not in t.name.lower()]  # a mask that is painted
    coloured = [t for t in pictures if not _only_mask_used(graph, t.node)] or pictures or files
    return image_slots.in_slot_order(graph, coloured)


def _image_of_role(graph: Graph, argument: Argument) -> list[Target]:
    """The image that is loaded for a role; the only image of a workflow is its start image."""
    found = images(graph)
    part = image_roles.ARGUMENT_ROLES[argument.name]
    named = image_roles.with_part(graph, found, part)
    if not named and part == "start image":
        free = [t for t in found if image_roles.part_of(graph, t) in ("", "reference image")]
        named = free if len(free) == 1 else []
    return named


def masks(graph: Graph) -> list[Target]:
    """The file inputs of nodes that output only a mask, or of which only the mask is used.

    If there are none: the images whose image and alpha mask are both used.
    """
    graph = part_that_runs(graph)
    files = _image_files(graph)
    mask_only = [t for t in files if "IMAGE" not in t.node.outputs and "MASK" in t.node.outputs]
    mask_used = [t for t in files if _only_mask_used(graph, t.node)]
    return mask_only or mask_used or [t for t in files if mask_in_alpha(graph, t)]


def mask_in_alpha(graph: Graph, target: Target) -> bool:
    """Whether image and mask of one file are both used, so that the mask must be its alpha channel."""
    return {"IMAGE", "MASK"} <= _used_outputs(graph, target.node)


def filename_prefixes(graph: Graph) -> list[Target]:
    """The file name prefixes of the output nodes."""
    return [
        Target(node, "filename_prefix")
        for node in running(graph)
        if node.is_output_node and "filename_prefix" in node.specs
    ]


def _image_files(graph: Graph) -> list[Target]:
    return [
        Target(node, spec.name)
        for node in running(graph)
        for spec in node.specs.values()
        if spec.takes_file
        and spec.options.get("image_upload")
        and not is_link(node.inputs.get(spec.name))
    ]


def files_of(graph: Graph, kind: str) -> list[Target]:
    """The inputs that take a file of this kind."""
    return [
        Target(node, spec.name)
        for node in running(graph)
        for spec in node.specs.values()
        if spec.takes_file and spec.file_kind == kind and not is_link(node.inputs.get(spec.name))
    ]


def _only_mask_used(graph: Graph, node: Node) -> bool:
    """Whether a file is only a mask: that output is used, or its colours stand for regions."""
    used = _used_outputs(graph, node)
    return used == {"MASK"} or (
        bool(used)
        and used <= {"MASK", "IMAGE"}
        and all(
            node.outputs[slot] == "MASK" or _takes_mask(user, name)
            for user, name, slot in graph.consumers(node)
        )
    )


def _takes_mask(node: Node, name: str) -> bool:
    """Whether an input takes colours as a mask: by its name, or its node makes only masks of them."""
    kinds = {spec.type for spec in node.specs.values() if is_link(node.inputs.get(spec.name))}
    texts = any(spec.type == "STRING" for spec in node.specs.values())  # what to look for
    return "mask" in name.lower() or (
        set(node.outputs) == {"MASK"} and kinds == {"IMAGE"} and not texts
    )


def _used_outputs(graph: Graph, node: Node) -> set[str]:
    """The types of the outputs that other nodes are linked to."""
    used = graph.used_outputs(node)
    return {node.outputs[slot] for slot in used if 0 <= slot < len(node.outputs)}


# -- helpers ---------------------------------------------------------------------------------------


def _named(graph: Graph, nodes: Iterable[Node], name: str, types: tuple[str, ...]) -> list[Target]:
    targets = [
        Target(node, name)
        for node in nodes
        if name in node.inputs and (spec := node.specs.get(name)) and spec.type in types
    ]
    return _unique(graph.source(target, types) for target in targets)


def _unique(targets: Iterable[Target | None]) -> list[Target]:
    seen: dict[tuple[str, str], Target] = {}
    for target in targets:
        if target is not None:
            seen.setdefault((target.node.id, target.name), target)
    return list(seen.values())


# -- the table of roles ----------------------------------------------------------------------------

ROLES: Mapping[str, Callable[[Graph, Argument], list[Target]]] = MappingProxyType(
    {
        "positive_text": lambda graph, _: texts(graph, "positive"),
        "negative_text": lambda graph, _: texts(graph, "negative"),
        "seed": lambda graph, _: seeds(graph),
        "sampler_input": _sampler_input,  # input_names at samplers and what feeds them
        "any_input": _any_input,  # input_names at any node
        "cfg": lambda graph, _: _cfg(graph),
        "size_request": _size,
        "guidance": lambda graph, row: _any_input(graph, row) or _cfg(graph),
        "lora_strength": lambda graph, _: _lora_strengths(graph),
        "start_image": _image_of_role,
        "end_image": _image_of_role,
        "control_image": _image_of_role,
        "video": lambda graph, _: files_of(graph, "video"),
        "audio": lambda graph, _: files_of(graph, "audio"),
        "duration": lambda graph, _: durations.duration(graph),
        "frames": lambda graph, _: durations.frames(graph),
        "fps": lambda graph, _: durations.rates(graph),
        "batch_size": lambda graph, _: _batch_size(graph),
        "model": lambda graph, _: models(graph),
        "vae": lambda graph, _: vaes(graph),
        "lora": lambda graph, _: lora_loaders(graph),
        "image": lambda graph, _: images(graph),
        "mask": lambda graph, _: masks(graph),
        "control_strength": lambda graph, _: control_strengths(graph),
    }
)
"""Role -> the function that finds its inputs in a workflow for one argument."""
