"""How a picture was made, read from the prompt that ComfyUI wrote into it.

Links and the names of inputs tell what is what: the positive text is what feeds an input called
``positive``, a seed is a whole number whose name ends in ``seed``. No node class is known by name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

from ..mounts.open_files import OpenFile
from .embedded_texts import Embedded, read_embedded
from .memory import MemoryBudget, OverBudget

MAX_TEXT_CHARS = 20_000
"""Characters of all positive or all negative texts together."""
LONGEST_NAME = 300
MOST_VALUES = 16
MAX_NODES, MAX_INPUTS = 5000, 128
"""What is looked at of a prompt; the largest of people's have a tenth of it."""
MOST_FOLLOWED, DEEPEST = 1000, 16
"""Inputs whose numbers or names are looked for, and the links that are followed to each."""
ROLES = {"positive": "negative", "negative": "positive"}
"""Role -> its opposite."""
TEXTUAL = re.compile("text|prompt|string|caption|wildcard", re.IGNORECASE)
WEIGHTS = re.compile(r".+\.(safetensors|sft|ckpt|gguf|pth?|bin|onnx)", re.IGNORECASE)
NAMED = re.compile(r"\w*(ckpt|net|lora|vae|clip|model|encoder)_name\d?", re.IGNORECASE)
"""Inputs of loaders, such as ckpt_name, unet_name, lora_name or clip_name1."""

SHORT_PROMPT, PARSED = 2**16, 28
"""Characters up to which a prompt is parsed at once, and the bytes that each may become."""
MOST_DIGITS = 40

Nodes = Mapping[str, Mapping[str, Any]]
"""Node id -> its inputs: values, and links to other nodes as [id, output]."""


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """What is known of how a picture was made; empty where nothing is.

    ``width``, ``height``: of the picture itself, in pixels. ``has_workflow``: whether the editor's
    document is in the file, so that ComfyUI can open it.
    """

    width: int | None = None
    height: int | None = None
    positive: str = ""
    negative: str = ""
    seeds: tuple[int, ...] = ()
    models: tuple[str, ...] = ()
    samplers: tuple[str, ...] = ()
    schedulers: tuple[str, ...] = ()
    steps: tuple[int, ...] = ()
    cfg: tuple[float, ...] = ()
    has_workflow: bool = False

    @property
    def search_text(self) -> str:
        """What a search looks through; what is short comes first, should the rest be cut."""
        seeds = (str(seed) for seed in self.seeds)
        return "\n".join((*seeds, *self.models, self.positive, self.negative))


def read_image_info(file: OpenFile, memory: MemoryBudget | None = None) -> ImageInfo:
    """What a file tells; an empty ImageInfo for a broken file or another kind. Never raises.

    Waits for its share of ``memory`` where the prompt is long; one that would take more counts as none.
    """
    found = read_embedded(file)
    prompt = found.texts.get("prompt", "")
    if memory is None or len(prompt) < SHORT_PROMPT:
        return _info(found, prompt)
    try:
        with memory.reserve(PARSED * len(prompt)):
            return _info(found, prompt)
    except OverBudget:
        return _info(found, "")


def _info(found: Embedded, prompt: str) -> ImageInfo:
    nodes = _nodes(prompt)
    positive, negative = _texts(nodes)
    return ImageInfo(
        found.width,
        found.height,
        positive,
        negative,
        _all(nodes, lambda name: name.lower().endswith("seed"), _whole),
        _models(nodes),
        _all(nodes, lambda name: name == "sampler_name", _name),
        _all(nodes, lambda name: name == "scheduler", _name),
        _all(nodes, lambda name: name == "steps", _whole),
        _all(nodes, lambda name: name == "cfg", _number)
        or _all(nodes, lambda name: name == "guidance", _number),
        found.texts.get("workflow", "").lstrip()[:1] == "{",
    )


def _nodes(text: str) -> Nodes:
    try:
        document = json.loads(text, parse_int=_parsed) if text else {}
    except (ValueError, RecursionError, MemoryError):
        return {}
    entries = document.items() if isinstance(document, dict) else ()
    return {
        node_id: dict(islice(node["inputs"].items(), MAX_INPUTS))
        for node_id, node in islice(entries, MAX_NODES)
        if isinstance(node, dict) and isinstance(node.get("inputs"), dict)
    }


def _parsed(digits: str) -> int | None:
    """A whole number; None for one that no machine makes, which would take its time."""
    return int(digits) if len(digits) <= MOST_DIGITS else None


def _source(value: Any) -> str | None:
    """The node that a link comes from; None for what is no link."""
    if isinstance(value, list) and len(value) == 2 and isinstance(value[0], (str, int)):
        return str(value[0])
    return None


def _texts(nodes: Nodes) -> tuple[str, str]:
    """The positive and the negative text; one that feeds both is the positive one.

    Where no input bears a role (a guider takes ``conditioning``), all texts are positive; where
    nothing is conditioned (a service does the work), inputs called ``prompt`` are asked.
    """
    positive = _behind(nodes, "positive", "positive")
    negative = _behind(nodes, "negative", "negative")
    if not positive and not negative:
        positive = _behind(nodes, "positive", "conditioning")
    if not positive and not negative:
        named = {role: _named(nodes, role) for role in ROLES}
        positive, negative = named["positive"], named["negative"]
    apart = {place: text for place, text in negative.items() if place not in positive}
    return _joined(positive.values()), _joined(apart.values())


def _joined(texts: Iterable[str]) -> str:
    return "\n\n".join(dict.fromkeys(texts))[:MAX_TEXT_CHARS]


Place = tuple[str, str]
"""A node and one of its inputs."""


@dataclass(frozen=True, slots=True)
class _Step:
    """A value on the way to a text. ``as_text``: whether the input that holds it takes a text."""

    place: Place
    value: Any
    as_text: bool


def _behind(nodes: Nodes, role: str, entrance: str) -> dict[Place, str]:
    """The texts that feed the inputs called ``entrance``. No node is looked at more than twice."""
    found: dict[Place, str] = {}
    seen: set[tuple[str, bool]] = set()
    for node_id, inputs in nodes.items():
        waiting = (
            [_Step((node_id, entrance), inputs[entrance], False)] if entrance in inputs else []
        )
        while waiting:
            step = waiting.pop()
            source = _source(step.value)
            if isinstance(step.value, str) and step.value.strip():
                found.setdefault(step.place, step.value.strip())
            elif source is not None and source in nodes:
                direct = step.place[1] in (role, entrance) and not _links(nodes[source])
                as_text = step.as_text or direct
                if (source, as_text) not in seen:
                    seen.add((source, as_text))
                    waiting += reversed(_onward(source, nodes[source], role, as_text))
    return found


def _onward(node_id: str, inputs: Mapping[str, Any], role: str, as_text: bool) -> list[_Step]:
    """Where the text of a node comes from. ``as_text``: it is a text, not what is made of one."""
    textual = _of_role([name for name in inputs if TEXTUAL.search(name)], role)
    links = _links(inputs)
    if role in inputs:
        names, texts = [role], False
    elif textual:
        names, texts = textual, True
    elif as_text:
        names, texts = [name for name in inputs if not NAMED.fullmatch(name)], True
    else:
        names, texts = [name for name in links if name.startswith("cond")] or links, False
    return [_Step((node_id, name), inputs[name], texts) for name in names]


def _links(inputs: Mapping[str, Any]) -> list[str]:
    return [name for name, value in inputs.items() if _source(value) is not None]


def _of_role(names: list[str], role: str) -> list[str]:
    """The names that may mean a role: those that say so, otherwise those that do not say another."""
    own = [name for name in names if role in name.lower()]
    return own or [name for name in names if ROLES[role] not in name.lower()]


def _named(nodes: Nodes, role: str) -> dict[Place, str]:
    """The texts of inputs called ``prompt``, or ``negative_prompt``."""
    wanted = ("prompt", "positive_prompt") if role == "positive" else ("negative_prompt",)
    return {place: text for name in wanted for place, text in _behind(nodes, role, name).items()}


def _models(nodes: Nodes) -> tuple[str, ...]:
    """Files of weights, whatever chooses them, and what inputs like ``ckpt_name`` say otherwise."""
    names = (
        value
        for inputs in nodes.values()
        for name, value in inputs.items()
        if isinstance(value, str) and (NAMED.fullmatch(name) or WEIGHTS.fullmatch(value))
        if value not in ("", "None")
    )
    return _few(name[:LONGEST_NAME] for name in names)


Value = TypeVar("Value")


def _all(
    nodes: Nodes, wanted: Callable[[str], bool], fitting: Callable[[Any], Value | None]
) -> tuple[Value, ...]:
    """The different values of the inputs with a wanted name, followed through links."""
    places = (
        (name, value) for inputs in nodes.values() for name, value in inputs.items() if wanted(name)
    )
    found = (_value(nodes, *place, fitting) for place in islice(places, MOST_FOLLOWED))
    return _few(value for value in found if value is not None)


def _few(values: Iterable[Value]) -> tuple[Value, ...]:
    return tuple(islice(dict.fromkeys(values), MOST_VALUES))


def _value(
    nodes: Nodes, name: str, value: Any, fitting: Callable[[Any], Value | None]
) -> Value | None:
    """A value, or the one of the node that it comes from: of the same name, or the first that fits."""
    for _ in range(DEEPEST):
        source = _source(value)
        if source is None:
            return fitting(value)
        inputs = nodes.get(source, {})
        fits = [one for one in inputs.values() if fitting(one) is not None]
        links = [inputs[link] for link in _links(inputs)]
        value = inputs.get(name, next(iter([*fits, *links]), None))
    return None


def _whole(value: Any) -> int | None:
    """A whole number that a machine could have made; JSON may hold thousands of digits."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    return value if whole and abs(value) < 2**64 else None


def _number(value: Any) -> float | None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if number and abs(value) < 10**9 else None


def _name(value: Any) -> str | None:
    return value[:LONGEST_NAME] if isinstance(value, str) and value else None
