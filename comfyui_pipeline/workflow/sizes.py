"""The size of a workflow's result: ``width``, ``height``, ``size``, ``aspect_ratio`` and ``scale``.

A size belongs to the nodes that begin an image (an empty latent, a video's first latent), else to
the nodes that resize one. Resizing nodes behind the first are scaled by the same factor.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from comfyui_pipeline.errors import PatchError
from comfyui_pipeline.workflow.changes import NoRole, Origin, Planner, ambiguous
from comfyui_pipeline.workflow.graph import Target
from comfyui_pipeline.workflow.running import above, running
from comfyui_pipeline.workflow.size_names import PICTURES
from comfyui_pipeline.workflow.size_nodes import SizedNode, Sizes, factors, find, fixed_factor
from input_server.light_dataclasses import replace

if TYPE_CHECKING:
    from comfyui_pipeline.size_values import SizeRequest

ARGUMENTS = ("width", "height", "size", "aspect_ratio", "scale")
AREAS = ("megapixels", "resolution", "longest_side", "largest_size", "target_size")
"""Inputs of nodes that scale an image to an area or to a side, whatever its ratio."""
SIDE_STEP = 8
"""Sides of a generated image are multiples of this, if the node has no coarser step."""


def place(planner: Planner, given: Mapping[str, Any], whole: Mapping[str, Any]) -> None:
    """Plan the changes of the size arguments that are left of ``whole``. Raises PatchError."""
    if "scale" in given and _place_factor(planner, float(given["scale"])):
        given = {name: value for name, value in given.items() if name != "scale"}
    if not given:
        return
    name = next(n for n in ARGUMENTS if n in given)
    if _place_megapixels(planner, given):
        return
    sizes = find(planner.graph)
    if "scale" not in given and not sizes.begins:
        from comfyui_pipeline.workflow import size_choices

        offered = size_choices.find(planner.graph)
        if offered:
            size_choices.place(planner, given, _request(planner, given), offered)
            return
    if not sizes.first and "scale" in whole and name != "scale":
        raise _both(planner, "scale", name)
    if not sizes.first:
        raise _no_size(planner, given)
    only = {"width", "height"} & whole.keys() - given.keys()
    if only:  # the workflow's author placed the other side
        _set_sides(planner, sizes.first, given)
        return
    request = _request(planner, given)
    _check_equal(planner, name, sizes.first)
    for sized in sizes.first:
        _resize(planner, given, sized, request)
    for sized in sizes.first:
        _set_equal(planner, given, sized)
    _scale_later(planner, given, sizes)


def _place_megapixels(planner: Planner, given: Mapping[str, Any]) -> bool:
    """Set the inputs of running nodes that are called ``megapixels``, where the caller says so."""
    area = given["size"].area if given.keys() == {"size"} else None
    if not area or "megapixel" not in planner.key("size").lower():
        return False
    targets = [
        Target(node, spec.name)
        for node in running(planner.graph)
        for spec in node.specs.values()
        if spec.name.rpartition(".")[2] == "megapixels"
        and isinstance(node.inputs.get(spec.name), (int, float))
    ]
    for target in planner.unset(targets):
        planner.set(target, round(area / 1024 / 1024, 3), Origin.ARGUMENT, "size")
    return bool(targets)


def _no_size(planner: Planner, given: Mapping[str, Any]) -> NoRole:
    """The error for a workflow whose size follows from its input, and what sets it otherwise."""
    keys = " and ".join(f'"{planner.key(name)}"' for name in ARGUMENTS if name in given)
    areas = [
        f"{name} = {node.inputs[name]} (node {node.label})"
        for node in running(planner.graph)
        for name in AREAS
        if name in node.specs
        and not planner.graph.link(node.inputs.get(name))
        and node.inputs.get(name) is not None
    ]
    hint = (
        f"Its size follows from its input and from {areas[0]}, which is a key too."
        if areas
        else ('The workflow "resize_image" resizes an image, before or after this one.')
    )
    return NoRole(f"This workflow has no size that {keys} could change.", hint)


def _request(planner: Planner, given: Mapping[str, Any]) -> SizeRequest:
    """One request of all size arguments. Raises PatchError for two that contradict each other."""
    from comfyui_pipeline.size_values import SizeRequest

    request: SizeRequest = given.get("size") or SizeRequest()
    for side in ("width", "height"):
        value, other = given.get(side), getattr(request, side)
        if value is not None and other not in (None, value):
            raise _both(planner, "size", side)
        if value is not None:
            wide = side == "width"
            request = (
                replace(request, width=int(value)) if wide else replace(request, height=int(value))
            )
    ratio = given.get("aspect_ratio")
    if ratio is None:
        return request
    if request.width and request.height:
        if abs(request.width / request.height / (ratio[0] / ratio[1]) - 1) <= 0.05:
            return request
        if {"width", "height"} & given.keys():
            raise _both(planner, "width", "aspect_ratio")
        planner.notes.append(
            f"{planner.key('size')} gives the area, {planner.key('aspect_ratio')} the shape."
        )
        return SizeRequest(ratio=ratio, area=request.width * request.height)
    return replace(request, ratio=ratio, shape=False)


def _both(planner: Planner, one: str, other: str) -> PatchError:
    return PatchError(
        f'"{planner.key(one)}" and "{planner.key(other)}" contradict each other.', "Give only one."
    )


def _check_equal(planner: Planner, name: str, first: tuple[SizedNode, ...]) -> None:
    if len({sized.now for sized in first}) > 1:
        inputs = "; ".join(f"node {s.node.label}, inputs width and height" for s in first[:30])
        raise PatchError(
            f'"{planner.key(name)}" is ambiguous; it matches {len(first)} nodes of this workflow '
            "with different sizes.",
            f"Set each with params instead: {inputs}.",
            code="ambiguous",
        )


def _resize(
    planner: Planner, given: Mapping[str, Any], sized: SizedNode, request: SizeRequest
) -> None:
    factor = float(given.get("scale") or 1)
    one_side = (request.width is None) != (request.height is None)
    if one_side and request.ratio is None and sized.resizes:
        _one_side_of_input(planner, given, sized, request)
        return
    if sized.resizes and "scale" in given:
        raise PatchError(
            f'"{planner.key("scale")}" needs a node that enlarges by a factor; node '
            f"{sized.node.label} takes a size in pixels.",
            'Give "width" or "height" alone: the other side follows from the image.',
        )
    size = _wanted(sized, request, factor)
    if size is None and one_side and not sized.resizes:
        _set_sides(planner, (sized,), given)
        return
    if size is None:
        missing = "height" if request.width else "width"
        what = f'give "{missing}" too' if one_side else 'give "width" and "height"'
        raise PatchError(
            f"The size of what node {sized.node.label} resizes is not known before it runs.",
            f"Therefore {what}.",
        )
    exact = request.width and request.height
    if size == sized.now and not exact:
        names = ", ".join(planner.key(name) for name in given)
        planner.notes.append(f"{names}: the workflow's own size {size[0]}x{size[1]} fits already.")
    elif one_side and request.ratio is None and size != sized.now:
        side, other = ("height", size[1]) if request.width else ("width", size[0])
        planner.notes.append(f"{side} {other} keeps the workflow's aspect ratio.")
    _set(planner, given, sized, size)


def _wanted(sized: SizedNode, request: SizeRequest, factor: float) -> tuple[int, int] | None:
    """Width and height, each a multiple of its step unless the caller gave it."""
    now = sized.now
    width, height, ratio = request.width, request.height, request.ratio
    if width and height:
        exact = (width * factor, height * factor)
    elif width or height:
        proportion = ratio or now
        if proportion is None:
            return None
        shape = proportion[0] / proportion[1]
        exact = (width * factor, width / shape) if width else ((height or 0) * shape, height or 0)
        if factor != 1:
            exact = (exact[0] * factor, exact[1] * factor)
    elif now is None:
        return None
    else:
        if request.shape and ratio and _same_shape(now, ratio):
            ratio = None
        area = (request.area or now[0] * now[1]) * factor * factor
        wide, tall = ratio or now
        exact = ((area * wide / tall) ** 0.5, (area * tall / wide) ** 0.5)
    return (
        width if width and factor == 1 else _rounded(sized, sized.width, exact[0]),
        height if height and factor == 1 else _rounded(sized, sized.height, exact[1]),
    )


def _same_shape(now: tuple[int, int], ratio: tuple[float, float]) -> bool:
    return (now[0] > now[1]) == (ratio[0] > ratio[1]) and (now[0] < now[1]) == (ratio[0] < ratio[1])


def _rounded(sized: SizedNode, target: Target, side: float) -> int:
    """The nearest multiple of the input's step, within its range."""
    options = target.spec.options if target.spec else {}
    step = options.get("step", 1)
    step = step if isinstance(step, int) and step > 1 else 1 if sized.resizes else SIDE_STEP
    low, high = options.get("min", 1), options.get("max", 16384)
    rounded = max(1, round(side / step)) * step
    low = low if isinstance(low, (int, float)) else 1
    high = high if isinstance(high, (int, float)) else 16384
    return int(min(max(rounded, low), high))


def _one_side_of_input(
    planner: Planner, given: Mapping[str, Any], sized: SizedNode, request: SizeRequest
) -> None:
    """Keep the ratio of the image that is resized: 0 stands for it where both sides allow 0."""
    specs = [sized.node.specs.get(name) for name in ("width", "height")]
    if not all(spec and spec.options.get("min") == 0 for spec in specs):
        missing = "height" if request.width else "width"
        raise PatchError(
            f"Node {sized.node.label} needs both sides: it cannot keep the ratio of its input itself.",
            f'Give "{missing}" too.',
        )
    _set(planner, given, sized, (request.width or 0, request.height or 0))
    side = "height" if request.width else "width"
    planner.notes.append(f"{side} follows from the image, so that it is not distorted.")


def _set(
    planner: Planner, given: Mapping[str, Any], sized: SizedNode, size: tuple[int, int]
) -> None:
    if sized.key[:2] == sized.key[2:] and size[0] != size[1]:
        raise PatchError(
            f"Node {sized.node.label} takes one number for both sides.", "Give a square size."
        )
    _check_limits(sized, size)
    first = next(name for name in ARGUMENTS if name in given)
    for side, target, whole in (("width", sized.width, size[0]), ("height", sized.height, size[1])):
        if planner.unset([target]):
            value = _written(sized, target, whole)
            name = side if side in given else first
            planner.set(target, value, Origin.ARGUMENT, name, part="" if name == side else side)


def _check_limits(sized: SizedNode, size: tuple[int, int]) -> None:
    """Raise PatchError for a side outside the limits of its input, with the nearest size of the shape."""
    if sized.factor * sized.after != 1 or 0 in size:
        return
    smallest, largest = 0.0, float(10**6)
    for target, side in zip((sized.width, sized.height), size, strict=True):
        options = target.spec.options if target.spec else {}
        low, high = options.get("min"), options.get("max")
        smallest = max(smallest, low / side) if isinstance(low, (int, float)) else smallest
        largest = min(largest, high / side) if isinstance(high, (int, float)) else largest
    if smallest <= 1 <= largest or smallest > largest:
        return
    factor = smallest if smallest > 1 else largest
    near = [
        _rounded(sized, target, side * factor)
        for target, side in zip((sized.width, sized.height), size, strict=True)
    ]
    raise PatchError(
        f"Node {sized.node.label} cannot make {size[0]}x{size[1]}: a side is outside its limits.",
        f'The nearest size of this shape is "size": "{near[0]}x{near[1]}".',
    )


def _written(sized: SizedNode, target: Target, side: int) -> int:
    """The number for an input that makes the result's side this long."""
    total = sized.factor * sized.after
    return side if total == 1 else _rounded(sized, target, side / total)


def _set_sides(planner: Planner, first: tuple[SizedNode, ...], given: Mapping[str, Any]) -> None:
    for side in ("width", "height"):
        for sized in first:
            target = sized.width if side == "width" else sized.height
            if side in given and planner.unset([target]):
                value = _written(sized, target, int(given[side]))
                planner.set(target, value, Origin.ARGUMENT, side)


def _set_equal(planner: Planner, given: Mapping[str, Any], sized: SizedNode) -> None:
    """Give a model or scheduler that takes the same size as the latent the new one too."""
    name = next(n for n in ARGUMENTS if n in given)
    for node in running(planner.graph):
        sides = (node.inputs.get("width"), node.inputs.get("height"))
        if sized.own is None or sides != sized.own or {*node.outputs} & {*PICTURES}:
            continue
        for side in ("width", "height"):
            value = planner.value(getattr(sized, side)) * sized.factor
            for target in planner.unset([Target(node, side)]):
                if target.spec and target.spec.type == "INT":
                    planner.set(target, round(value), Origin.ARGUMENT, name, part=side)


def _scale_later(planner: Planner, given: Mapping[str, Any], sizes: Sizes) -> None:
    """Resize the following passes by the factor of the first one."""
    first = sizes.first[0]
    before = [t.node.inputs.get(t.name) for t in (first.width, first.height)]
    change = {side: planner.value(getattr(first, side)) for side in ("width", "height")}
    if first.now is None:
        return
    if not all(isinstance(v, int) and v > 0 for v in change.values()):
        return
    factor = (change["width"] / before[0], change["height"] / before[1])
    if factor == (1, 1):
        return
    done = []
    for sized in sizes.later:
        old = sized.now
        if old is None or not planner.unset([sized.width, sized.height]):
            continue
        new = tuple(
            _rounded(sized, target, side * times)
            for target, side, times in zip((sized.width, sized.height), old, factor, strict=True)
        )
        name = next(n for n in ARGUMENTS if n in given)
        for side, target, value in zip(
            ("width", "height"), (sized.width, sized.height), new, strict=True
        ):
            for free in planner.unset([target]):
                part = f"{side} of the second pass"
                planner.set(
                    free, value, Origin.ARGUMENT, side if side in given else name, part=part
                )
        done.append(f"{new[0]}x{new[1]} in node {sized.node.label}")
    if done:
        planner.notes.append(
            f"The size {change['width']}x{change['height']} is that of the first pass; what follows "
            f"was scaled with it: {', '.join(done)}."
        )


def _place_factor(planner: Planner, factor: float) -> bool:
    """Set the factor of the upscaling nodes; whether there is one."""
    targets = planner.unset(factors(planner.graph))
    if not targets:
        return _has_fixed_factor(planner, factor)
    if len({repr(t.node.inputs.get(t.name)) for t in targets}) > 1:
        raise ambiguous(planner.key("scale"), targets)
    for target in targets:
        fixed = fixed_factor(planner.graph, above(planner.graph, target.node), planner)
        if fixed is None:
            raise PatchError(
                f'"{planner.key("scale")}" cannot be met: the name of the upscale model does not '
                "say how many times it enlarges.",
                f"Set the input {target.name!r} of node {target.node.label} with params; it scales "
                "what the model gives.",
            )
        if fixed != 1:
            planner.notes.append(
                f"The upscale model enlarges {fixed:g} times; its result was scaled by "
                f"{factor / fixed:g}, which makes {factor:g} times."
            )
        part = f"{factor:g} times in all" if fixed != 1 else ""
        planner.set(target, factor / fixed, Origin.ARGUMENT, "scale", part=part)
    return True


def _has_fixed_factor(planner: Planner, factor: float) -> bool:
    """Whether the workflow's upscale models enlarge by this factor themselves."""
    fixed = fixed_factor(planner.graph, (node.id for node in running(planner.graph)), planner)
    if fixed != factor or fixed == 1:
        return False
    planner.notes.append(f"The upscale model enlarges {factor:g} times by itself.")
    return True
