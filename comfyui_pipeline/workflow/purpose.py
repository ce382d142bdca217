"""What a workflow is for: its kind of result, made from which inputs, derived from its graph.

The rules go by types and links: a sampler whose latent comes from an encoded image repaints that
image, an image that reaches the text encoder is edited, and so on. No node type is known by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from comfyui_pipeline.workflow import roles, schema
from comfyui_pipeline.workflow.graph import Graph, InputSpec, Node, Target, is_link
from input_server.light_dataclasses import dataclass

KINDS: Mapping[str, tuple[str, str]] = {
    "text2img": ("text to image", "文生图"),
    "img2img": ("image to image", "图生图"),
    "inpaint": ("inpainting", "局部重绘"),
    "edit": ("image editing", "图像编辑"),
    "control": ("image guided by a control image", "控制图生图"),
    "upscale": ("upscaling", "放大"),
    "process": ("image processing", "图像处理"),
    "combine": ("combining images", "图像合成"),
    "text2video": ("text to video", "文生视频"),
    "img2video": ("image to video", "图生视频"),
    "video2video": ("video to video", "视频处理"),
    "music": ("text to music", "文生音乐"),
    "text2audio": ("text to audio", "文生音频"),
    "audio2audio": ("audio processing", "音频处理"),
    "text2model": ("text to 3D", "文生3D"),
    "img2model": ("image to 3D", "图生3D"),
    "text": ("text result", "文本"),
    "other": ("other", "其他"),
}
"""Kind -> its name in both languages. The keys are used in ``purpose_words``."""

VIDEO, AUDIO, MODEL_3D, IMAGE, TEXT = "video", "audio", "3d", "image", "text"
RATES = ("fps", "frame_rate")
FRAMES = ("length", "num_frames", "frames", "video_frames", "video_length")
SECONDS = ("seconds", "duration", "audio_length")
FACTORS = frozenset({"scale_factor", "upscale_factor"})
ENLARGING = ("upscal", "increase resolution", "super resolution", "放大", "超分")
PARTS_OF_3D = ("MESH", "3D", "GLB", "VOXEL", "SPLAT", "GAUSSIAN")
ROLE_WORDS = (
    ("start image", ("start", "first")),
    ("end image", ("end", "last")),
    ("control image", ("control", "hint", "pose", "depth", "canny")),
    ("reference image", ("reference", "ref", "style", "clip_vision")),
)
"""What an image is, by words in the name of the input that takes it."""
MAX_INPUTS = 5
"""Inputs of a processing node that are named."""
MAX_DISTANCE = 12
"""Nodes that an image is followed through."""


@dataclass(frozen=True, slots=True)
class Purpose:
    """What a workflow does and takes.

    ``takes``: its input files by role, in order (``image``, ``start image``, ``mask``, ``video``…).
    ``most_images``: how many images it can take. ``size``: ``(width, height)`` of what it generates.
    ``seconds``: the duration of it. ``models``: the files of its model loaders. ``steps``: display
    names of its nodes, where no model is used.
    """

    kind: str
    takes: tuple[str, ...] = ()
    most_images: int = 0
    prompt: bool = False
    size: tuple[int, int] | None = None
    seconds: float | None = None
    models: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()

    @property
    def images(self) -> int:
        """How many image files it has inputs for, without masks."""
        return sum(role.endswith("image") for role in self.takes)


def of(graph: Graph, schemas: Mapping[str, Any]) -> Purpose:
    """The purpose of a workflow. ``schemas``: node types, for their display names."""
    view = _View(graph, _executing(graph))
    takes = tuple(view.roles_of_files())
    models = tuple(dict.fromkeys(_values(graph, roles.models(graph), view)))
    prompt = any(t.node.id in view.ids for t in roles.texts(graph, "positive"))
    kind = _kind(view, takes, prompt=prompt, models=bool(models))
    steps = () if models or prompt else tuple(_steps(view, schemas))
    return Purpose(
        kind,
        takes,
        _most_images(view, takes, schemas),
        prompt,
        _size(graph, view),
        _seconds(view),
        models,
        steps,
    )


# -- the graph, as far as it executes --------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _View:
    graph: Graph
    ids: frozenset[str]

    @property
    def nodes(self) -> list[Node]:
        return [node for node in self.graph.nodes.values() if node.id in self.ids]

    def links(self) -> Iterator[tuple[Node, int, Node, str]]:
        """Every link: source, slot, user, input."""
        for node in self.nodes:
            for name, value in node.inputs.items():
                linked = self.graph.link(value)
                if linked is not None:
                    yield linked[0], linked[1], node, name

    def users(self, node: Node, kinds: Iterable[str]) -> list[tuple[Node, str]]:
        wanted = set(kinds)
        return [
            (user, name)
            for source, slot, user, name in self.links()
            if source.id == node.id
            and slot < len(source.outputs)
            and source.outputs[slot] in wanted
        ]

    def files(self, *flags: str) -> list[Target]:
        """File inputs with one of these upload flags."""
        return [
            Target(node, spec.name)
            for node in self.nodes
            for spec in node.specs.values()
            if any(spec.options.get(flag) for flag in flags)
            and not is_link(node.inputs.get(spec.name))
        ]

    def roles_of_files(self) -> Iterator[str]:
        masks = {(t.node.id, t.name) for t in roles.masks(self.graph)}
        for target in self.files("image_upload", "animated_image_upload"):
            only_mask = (target.node.id, target.name) in masks
            in_alpha = only_mask and roles.mask_in_alpha(self.graph, target)
            if not only_mask or in_alpha:
                yield self.image_role(target.node)
            if only_mask:
                yield "mask"
        for flag, kind in (("video_upload", "video"), ("audio_upload", "audio")):
            for _ in self.files(flag):
                yield kind

    def image_role(self, loader: Node) -> str:
        """What the image of a loader is for, by the inputs that it reaches."""
        waiting, seen = [(loader, 0)], {loader.id}
        while waiting:
            node, distance = waiting.pop(0)
            for user, name in self.users(node, ("IMAGE", "CLIP_VISION_OUTPUT")):
                words = name.lower().replace(".", "_").split("_")
                for role, known in ROLE_WORDS:
                    if any(word in known for word in words):
                        return role
                if _takes(user, "CONTROL_NET"):
                    return "control image"
                if user.id not in seen and distance < MAX_DISTANCE:
                    seen.add(user.id)
                    waiting.append((user, distance + 1))
        return "image"


def _executing(graph: Graph) -> frozenset[str]:
    """The nodes that lead to an output node; all if there is none."""
    waiting = [node for node in graph.nodes.values() if node.is_output_node]
    if not waiting:
        return frozenset(graph.nodes)
    found: set[str] = set()
    while waiting:
        node = waiting.pop()
        if node.id not in found:
            found.add(node.id)
            waiting += [linked[0] for v in node.inputs.values() if (linked := graph.link(v))]
    return frozenset(found)


def _takes(node: Node, *kinds: str) -> bool:
    return any(
        any(kind in spec.type for kind in kinds) and is_link(node.inputs.get(spec.name))
        for spec in node.specs.values()
    )


def _values(graph: Graph, targets: Iterable[Target], view: _View) -> Iterator[str]:
    for target in targets:
        value = target.node.inputs.get(target.name)
        if target.node.id in view.ids and isinstance(value, str):
            yield value


# -- the kind --------------------------------------------------------------------------------------


def _kind(view: _View, takes: tuple[str, ...], *, prompt: bool, models: bool) -> str:
    result = _result(view)
    images = [role for role in takes if role.endswith("image")]
    generates = bool([n for n in roles.samplers(view.graph) if n.id in view.ids]) or prompt
    if result == VIDEO:
        if "video" in takes:
            return "video2video"
        return "img2video" if images else "text2video"
    if result == AUDIO:
        if "audio" in takes and not generates:
            return "audio2audio"
        return "music" if _has_input(view, ("lyrics", "tags", "bpm")) else "text2audio"
    if result == MODEL_3D:
        return "img2model" if images else "text2model"
    if result == TEXT:
        return "text"
    if result == IMAGE:
        return _image_kind(view, takes, images, generates=generates, models=models)
    return "other"


def _image_kind(
    view: _View, takes: tuple[str, ...], images: list[str], *, generates: bool, models: bool
) -> str:
    if images and not models and _enlarges(view):
        return "upscale"
    if not generates:
        if _scales_by_model(view):
            return "upscale"
        return "combine" if len(images) + takes.count("mask") > 1 else "process"
    if not images and "mask" not in takes:
        return "text2img" if "video" not in takes else "process"
    if "mask" in takes:
        return "inpaint"
    if _edits(view):
        return "edit"
    if "control image" in images:
        return "control"
    return "img2img" if models or _repaints(view) else "edit"


def _result(view: _View) -> str:
    """The medium of what the output nodes store or show; the richest of several."""
    found: set[str] = set()
    for node in view.nodes:
        if node.is_output_node:
            found.update(_media(view, node))
    return next((m for m in (VIDEO, MODEL_3D, AUDIO, IMAGE, TEXT) if m in found), "")


def _media(view: _View, output: Node) -> Iterator[str]:
    rate = any(name in output.specs for name in RATES)
    for name, value in output.inputs.items():
        linked = view.graph.link(value)
        if linked is None:
            continue
        source, slot = linked
        kind = source.outputs[slot] if slot < len(source.outputs) else ""
        spec = output.specs.get(name)
        kind = kind if kind not in ("", "*") else (spec.type if spec else "")
        if kind == "VIDEO" or (kind == "IMAGE" and rate):
            yield VIDEO
        elif any(part in kind for part in PARTS_OF_3D):
            yield MODEL_3D
        elif kind in ("AUDIO", "IMAGE"):
            yield kind.lower()
        elif kind == "STRING":
            yield TEXT


def _has_input(view: _View, names: tuple[str, ...]) -> bool:
    return any(name in node.specs or name in node.inputs for node in view.nodes for name in names)


def _scales_by_model(view: _View) -> bool:
    return any(_takes(node, "UPSCALE_MODEL") for node in view.nodes)


def _enlarges(view: _View) -> bool:
    """Whether an image only goes through a node that enlarges it, by an input for the factor or by its
    title.
    """
    for node in view.nodes:
        if not (_takes(node, "IMAGE") and "IMAGE" in node.outputs) or node.is_output_node:
            continue
        names = {name.rpartition(".")[2] for name in node.inputs}
        titled = any(word in node.title.lower() for word in ENLARGING)
        if titled or (names & FACTORS and "seed" in names):
            return True
    return False


def _edits(view: _View) -> bool:
    """Whether an image reaches the conditioning otherwise than through a ControlNet."""
    return any(
        "CONDITIONING" in node.outputs
        and not _takes(node, "CONTROL_NET")
        and _takes(node, "IMAGE", "LATENT")
        and any(_from_files(view, node))
        for node in view.nodes
    )


def _from_files(view: _View, node: Node) -> Iterator[bool]:
    """For each image or latent that a node takes: whether it comes from a file."""
    for name, value in node.inputs.items():
        spec = node.specs.get(name)
        linked = view.graph.link(value)
        if linked and spec and spec.type in ("IMAGE", "LATENT"):
            yield _from_file(view, linked[0])


def _repaints(view: _View) -> bool:
    """Whether a sampler starts from an encoded image."""
    for sampler in roles.samplers(view.graph):
        if sampler.id in view.ids and any(_from_files(view, sampler)):
            return True
    return False


def _from_file(view: _View, node: Node) -> bool:
    """Whether an image or latent derives from a file, followed through images and latents only."""
    waiting, seen = [node], {node.id}
    while waiting:
        above = waiting.pop()
        if any(spec.takes_file for spec in above.specs.values()):
            return True
        for name, value in above.inputs.items():
            spec, linked = above.specs.get(name), view.graph.link(value)
            if linked and spec and spec.type in ("IMAGE", "LATENT") and linked[0].id not in seen:
                seen.add(linked[0].id)
                waiting.append(linked[0])
    return False


# -- figures ---------------------------------------------------------------------------------------


def _most_images(view: _View, takes: tuple[str, ...], schemas: Mapping[str, Any]) -> int:
    """How many images fit: those with a loader, and free inputs beside a linked one."""
    most = sum(role.endswith("image") for role in takes)
    for node in view.nodes:
        slots = [s for s in node.specs.values() if s.type == "IMAGE"]
        if "CONDITIONING" in node.outputs or node.outputs[:1] == ("IMAGE",):
            used = sum(is_link(node.inputs.get(spec.name)) for spec in slots)
            numbered = [spec for spec in slots if spec.name[-1:].isdigit()]
            kind = schema.read(schemas.get(node.class_type, {}))
            grown = sum(spec.type == "IMAGE" for spec in kind.growable(node.inputs))
            if used and len(numbered) + grown > used:
                most = max(most, len(numbered) + grown)
    return most


def _size(graph: Graph, view: _View) -> tuple[int, int] | None:
    for node in [n for n in view.nodes if "LATENT" in n.outputs] + view.nodes:
        if "width" in node.inputs and "height" in node.inputs:
            sides = [graph.value(Target(node, side), ("INT",)) for side in ("width", "height")]
            if all(isinstance(side, int) and side > 0 for side in sides):
                return sides[0], sides[1]
    return None


def _seconds(view: _View) -> float | None:
    """The duration: an input in seconds, or a number of frames at the workflow's rate."""
    if _result(view) not in (VIDEO, AUDIO):
        return None
    latents = [node for node in view.nodes if "LATENT" in node.outputs]
    seconds = _number(view, view.nodes, SECONDS)
    if seconds:
        return seconds
    frames, rate = _number(view, latents, FRAMES), _number(view, view.nodes, RATES)
    return round((frames - 1) / rate, 1) if frames and rate and frames > 1 else None


def _number(view: _View, nodes: Iterable[Node], names: tuple[str, ...]) -> float | None:
    for node in nodes:
        for name in names:
            if name in node.inputs:
                value = view.graph.value(Target(node, name), ("INT", "FLOAT"))
                if isinstance(value, (int, float)) and value > 0:
                    return float(value)
    return None


def _steps(view: _View, schemas: Mapping[str, Any]) -> Iterator[str]:
    """The nodes that take and output an image: their display names, and the inputs to be set."""
    shown: set[str] = set()
    for node in view.nodes:
        processes = _takes(node, "IMAGE") and "IMAGE" in node.outputs and not node.is_output_node
        if not processes or node.class_type in shown:
            continue
        shown.add(node.class_type)
        name = schemas.get(node.class_type, {}).get("display_name")
        name = name if isinstance(name, str) and name else node.class_type
        inputs = [spec.name for spec in node.specs.values() if _is_set(node, spec)]
        yield f"{name}: {', '.join(inputs[:MAX_INPUTS])}" if inputs else name


def _is_set(node: Node, spec: InputSpec) -> bool:
    plain = spec.name in node.inputs and not is_link(node.inputs[spec.name])
    return plain and not spec.takes_file and spec.type in ("INT", "FLOAT", "BOOLEAN", "COMBO")
