"""Read how a picture or film was generated, from the prompt that ComfyUI stored in it.

Where it has none, the texts of other programs are read (``other_programs.py``). No node type is known
by name; links and input names decide: the positive prompt text is whatever feeds an input called
``positive``, a seed is an integer input whose name ends in ``seed``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, TypeVar

from ..model_files import model_stem
from ..mounts.open_files import OpenFile
from .embedded import Embedded
from .embedded_texts import read_embedded
from .memory import MemoryBudget, OverBudget
from .other_programs import Settings, read_settings

MAX_PROMPT_CHARS = 100_000
"""Characters of all positive or all negative prompt texts that are kept, for searches."""
MAX_NAME_CHARS = 300
MAX_VALUES = 16
MAX_NODES, MAX_INPUTS = 5000, 128
"""Nodes, and inputs of each, that are read; the largest real workflows have a tenth of it."""
MAX_LOOKUPS, MAX_LINKS = 1000, 16
"""Inputs whose values are looked up, and the links that are followed from each."""
OPPOSITE = {"positive": "negative", "negative": "positive"}
TEXT_INPUT = re.compile("text|prompt|string|caption|wildcard", re.IGNORECASE)
MODEL_INPUT = re.compile(r"\w*(ckpt|net|lora|vae|clip|model|encoder)_name\d?", re.IGNORECASE)
"""Inputs of loaders, such as ckpt_name, unet_name, lora_name or clip_name1."""
UNBUDGETED_CHARS, BYTES_PER_CHAR = 2**16, 28
"""Length up to which a prompt is parsed without a reservation, and what parsing takes at most."""
MAX_DIGITS = 40

Value = TypeVar("Value")
Nodes = Mapping[str, Mapping[str, Any]]
"""Node id -> its inputs: values, and links to other nodes as [id, output]."""
InputKey = tuple[str, str]
"""Node id and input name."""


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """Size in pixels (None if unknown) and generation settings (empty if unknown).

    ``has_workflow``: the editor document is embedded as well, so ComfyUI can open the file.
    ``is_partial``: some texts are too long to be read or kept completely.
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
    is_partial: bool = False

    @property
    def search_text(self) -> str:
        """The searchable text."""
        seeds = (str(seed) for seed in self.seeds)
        return "\n".join((*seeds, *self.models, self.positive, self.negative))


def read_image_info(file: OpenFile, memory: MemoryBudget | None = None) -> ImageInfo:
    """Return what is known about a file; an empty result for broken or other files. Never raises.

    Blocks until ``memory`` has room to parse a long prompt; one that exceeds the budget is ignored.
    """
    embedded = read_embedded(file)
    prompt = embedded.texts.get("prompt", "")
    longest = max(len(text) for text in (prompt, *embedded.others.values()))
    if memory is None or longest < UNBUDGETED_CHARS:
        return _info(embedded, prompt)
    try:
        with memory.reserve(BYTES_PER_CHAR * longest):
            return _info(embedded, prompt)
    except OverBudget:
        unread = Embedded(embedded.width, embedded.height, embedded.texts, is_partial=True)
        return _info(unread, "")


def _info(embedded: Embedded, prompt: str) -> ImageInfo:
    nodes = _parse_nodes(prompt)
    positive, negative = _prompt_texts(nodes)
    info = ImageInfo(
        embedded.width,
        embedded.height,
        positive[:MAX_PROMPT_CHARS],
        negative[:MAX_PROMPT_CHARS],
        _values(nodes, lambda name: name.lower().endswith("seed"), _integer),
        _models(nodes),
        _values(nodes, lambda name: name == "sampler_name", _name),
        _values(nodes, lambda name: name == "scheduler", _name),
        _values(nodes, lambda name: name == "steps", _integer),
        _values(nodes, lambda name: name == "cfg", _number)
        or _values(nodes, lambda name: name == "guidance", _number),
        embedded.texts.get("workflow", "").lstrip()[:1] == "{",
        embedded.is_partial
        or len(nodes) == MAX_NODES
        or max(len(positive), len(negative)) > MAX_PROMPT_CHARS,
    )
    if info.positive or info.seeds:
        return info
    return _with_settings(info, read_settings(embedded.others))


def _with_settings(info: ImageInfo, found: Settings) -> ImageInfo:
    """Return what another program says, apart from what is known already."""
    if not (found.positive or found.seeds):
        return info
    return replace(
        info,
        positive=found.positive[:MAX_PROMPT_CHARS],
        negative=found.negative[:MAX_PROMPT_CHARS],
        seeds=_distinct(_parsed(found.seeds, int, _integer)),
        models=_distinct(name[:MAX_NAME_CHARS] for name in found.models),
        samplers=_distinct(name[:MAX_NAME_CHARS] for name in found.samplers),
        schedulers=_distinct(name[:MAX_NAME_CHARS] for name in found.schedulers),
        steps=_distinct(_parsed(found.steps, int, _integer)),
        cfg=_distinct(_parsed(found.cfg, float, _number)),
        is_partial=info.is_partial
        or max(len(found.positive), len(found.negative)) > MAX_PROMPT_CHARS,
    )


def _parsed(
    texts: Iterable[str], kind: Callable[[str], Any], convert: Callable[[Any], Value | None]
) -> Iterator[Value]:
    """The numbers in texts, without those that are none or not plausible."""
    for text in texts:
        try:
            value = convert(kind(text[:MAX_DIGITS]))
        except ValueError:
            continue
        if value is not None:
            yield value


def _parse_nodes(text: str) -> Nodes:
    try:
        document = json.loads(text, parse_int=_parse_int) if text else {}
    except (ValueError, RecursionError, MemoryError):
        return {}
    entries = document.items() if isinstance(document, dict) else ()
    return {
        node_id: dict(islice(node["inputs"].items(), MAX_INPUTS))
        for node_id, node in islice(entries, MAX_NODES)
        if isinstance(node, dict) and isinstance(node.get("inputs"), dict)
    }


def _parse_int(digits: str) -> int | None:
    """None for absurdly long numbers, whose conversion takes quadratic time."""
    return int(digits) if len(digits) <= MAX_DIGITS else None


def _linked_node(value: Any) -> str | None:
    """The id of the node that an input is linked to; None if its value is not a link."""
    if isinstance(value, list) and len(value) == 2 and isinstance(value[0], (str, int)):
        return str(value[0])
    return None


def _links(inputs: Mapping[str, Any]) -> list[str]:
    return [name for name, value in inputs.items() if _linked_node(value) is not None]


# -- prompt texts ----------------------------------------------------------------------------------


def _prompt_texts(nodes: Nodes) -> tuple[str, str]:
    """Return the positive and negative prompt text; a text that feeds both is positive.

    If no input is called positive or negative, all texts behind ``conditioning`` are positive (some
    guiders have one input only). If there is none either (API nodes), inputs called ``prompt`` are
    used.
    """
    positive = _texts_behind(nodes, "positive", "positive")
    negative = _texts_behind(nodes, "negative", "negative")
    if not positive and not negative:
        positive = _texts_behind(nodes, "positive", "conditioning")
    if not positive and not negative:
        for name in ("prompt", "positive_prompt"):
            positive |= _texts_behind(nodes, "positive", name)
        negative = _texts_behind(nodes, "negative", "negative_prompt")
    only_negative = {key: text for key, text in negative.items() if key not in positive}
    return _join(positive.values()), _join(only_negative.values())


def _join(texts: Iterable[str]) -> str:
    return "\n\n".join(dict.fromkeys(texts))


@dataclass(frozen=True, slots=True)
class _Step:
    """A value on the path to a text. ``expects_text``: its input takes a text, not a conditioning."""

    key: InputKey
    value: Any
    expects_text: bool


def _texts_behind(nodes: Nodes, role: str, entry: str) -> dict[InputKey, str]:
    """Return the texts that feed inputs called ``entry``, by following links backwards.

    ``role``: ``positive`` or ``negative``, used where a node has inputs for both. Each node is visited
    at most twice.
    """
    texts: dict[InputKey, str] = {}
    visited: set[tuple[str, bool]] = set()
    for node_id, inputs in nodes.items():
        steps = [_Step((node_id, entry), inputs[entry], False)] if entry in inputs else []
        while steps:
            step = steps.pop()
            source = _linked_node(step.value)
            if isinstance(step.value, str) and step.value.strip():
                texts.setdefault(step.key, step.value.strip())
            elif source is not None and source in nodes:
                is_text_node = step.key[1] in (role, entry) and not _links(nodes[source])
                expects_text = step.expects_text or is_text_node
                if (source, expects_text) not in visited:
                    visited.add((source, expects_text))
                    steps += reversed(_next_steps(source, nodes[source], role, expects_text))
    return texts


def _next_steps(
    node_id: str, inputs: Mapping[str, Any], role: str, expects_text: bool
) -> list[_Step]:
    """Return the inputs of a node that its text can come from."""
    text_inputs = _of_role([name for name in inputs if TEXT_INPUT.search(name)], role)
    links = _links(inputs)
    if role in inputs:
        names, expects = [role], False
    elif text_inputs:
        names, expects = text_inputs, True
    elif expects_text:
        names, expects = [name for name in inputs if not MODEL_INPUT.fullmatch(name)], True
    else:
        names, expects = [name for name in links if name.startswith("cond")] or links, False
    return [_Step((node_id, name), inputs[name], expects) for name in names]


def _of_role(names: list[str], role: str) -> list[str]:
    """The names that contain the role, else those that do not contain the opposite one."""
    matching = [name for name in names if role in name.lower()]
    return matching or [name for name in names if OPPOSITE[role] not in name.lower()]


# -- models, seeds and other values ----------------------------------------------------------------


def _models(nodes: Nodes) -> tuple[str, ...]:
    """Model files chosen by any input, and whatever inputs such as ``ckpt_name`` contain."""
    names = (
        value
        for inputs in nodes.values()
        for name, value in inputs.items()
        if isinstance(value, str) and (MODEL_INPUT.fullmatch(name) or model_stem(value))
        if value not in ("", "None")
    )
    return _distinct(name[:MAX_NAME_CHARS] for name in names)


def _values(
    nodes: Nodes, has_name: Callable[[str], bool], convert: Callable[[Any], Value | None]
) -> tuple[Value, ...]:
    """Return the distinct values of inputs by name, following links. ``convert``: None if invalid."""
    inputs_found = (
        (name, value)
        for inputs in nodes.values()
        for name, value in inputs.items()
        if has_name(name)
    )
    found = (_resolve(nodes, *one, convert) for one in islice(inputs_found, MAX_LOOKUPS))
    return _distinct(value for value in found if value is not None)


def _distinct(values: Iterable[Value]) -> tuple[Value, ...]:
    return tuple(islice(dict.fromkeys(values), MAX_VALUES))


def _resolve(
    nodes: Nodes, name: str, value: Any, convert: Callable[[Any], Value | None]
) -> Value | None:
    """Return a value, or that of the linked node: of the input of the same name, else the first valid
    one.
    """
    for _ in range(MAX_LINKS):
        source = _linked_node(value)
        if source is None:
            return convert(value)
        inputs = nodes.get(source, {})
        valid = [one for one in inputs.values() if convert(one) is not None]
        links = [inputs[link] for link in _links(inputs)]
        value = inputs.get(name, next(iter([*valid, *links]), None))
    return None


def _integer(value: Any) -> int | None:
    """An integer of at most 64 bits; JSON may hold thousands of digits."""
    is_integer = isinstance(value, int) and not isinstance(value, bool)
    return value if is_integer and abs(value) < 2**64 else None


def _number(value: Any) -> float | None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if is_number and abs(value) < 10**9 else None


def _name(value: Any) -> str | None:
    return value[:MAX_NAME_CHARS] if isinstance(value, str) and value else None
