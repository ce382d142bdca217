"""Which inputs arguments should change in recorded workflows, and what a call has changed of them.

``tests/data/roles/targets.jsonl`` was written by reading each workflow, not by running the code. A line:

    graph       corpus/name: an official template of the package, or a workflow in ``graphs.json.gz``, of
                which only structure is kept (texts are replaced, equal ones by equal ones)
    prompt      inputs (``node.input``) that get a new prompt; [] for none, "ask" for several texts
    prompt_or   other right answers; never: texts that a prompt must not change
    negative    as prompt, for ``negative_prompt``; negative_or
    size        {"width": …, "height": …, "factor": …}: where the result's size has to stand;
                {"resolution": […], "aspect": […]}: choices that may change; "none", "ask"
    images      inputs of the caller's images in order; order "none" if it has no meaning
    steps, frames, fps, seconds
    doubt       why the reader was not sure; such lines are counted apart
"""

from __future__ import annotations

import copy
import gzip
import importlib.util
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from comfyui_pipeline.workflow.convert.prompt import convert
from comfyui_pipeline.workflow.graph import is_link
from input_server.light_dataclasses import dataclass

DATA = Path(__file__).resolve().parents[1] / "tests" / "data"
PACKAGE = "comfyui_workflow_templates_json"
WIDTH, HEIGHT = 1280, 720
NEAR = 24
"""Pixels by which a side may differ, where it has to be a multiple."""
TEXT, NEGATIVE = "a new fox, red", "new blur, red"
IMAGE = "picture{}.png"
NUMBERS: Mapping[str, float] = {"steps": 13, "frames": 57, "fps": 15, "seconds": 4}
CORE = (
    "LoadImage",
    "LoadImageMask",
    "ImageScale",
    "ImageScaleBy",
    "LoraLoader",
    "LoraLoaderModelOnly",
)
MAX_FOLLOWED = 12
Prompt = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Recorded:
    """One workflow: what a call is given, the prompt that it is, the node types, what is expected."""

    name: str
    workflow: Mapping[str, Any]
    prompt: Prompt
    schemas: Mapping[str, Any]
    expected: Mapping[str, Any]

    @property
    def doubtful(self) -> bool:
        return bool(self.expected.get("doubt"))


@dataclass(frozen=True, slots=True)
class Ask:
    """A call of one argument, and what it is about."""

    about: str
    arguments: Mapping[str, str]


def recorded(part: int = 0, parts: int = 1) -> Iterator[Recorded]:
    """The workflows of the table, those of the package as editor documents; ``part`` of ``parts``."""
    for line in (DATA / "roles" / "targets.jsonl").read_text("utf-8").splitlines()[part::parts]:
        expected = json.loads(line)
        name = expected["graph"]
        if name.startswith("templates"):
            schemas = _types("roles/classes-0.33.0.json.gz")
            document = json.loads(_templates()[name.partition("/")[2]].read_text("utf-8"))
            prompt = convert(document, schemas).prompt
        else:
            schemas = _types("roles/classes.json.gz")
            document = prompt = _types("roles/graphs.json.gz")[name]
        prompt = {i: node for i, node in prompt.items() if "class_type" in node}
        yield Recorded(name, document, prompt, _with_saved_choices(prompt, schemas), expected)


@cache
def _types(name: str) -> Mapping[str, Any]:
    read: Mapping[str, Any] = json.loads(gzip.decompress((DATA / name).read_bytes()))
    return read


@cache
def _templates() -> Mapping[str, Path]:
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(f"the package {PACKAGE} is missing; run `python3 run.py test` once")
    root = Path(next(iter(spec.submodule_search_locations)))
    return {path.stem: path for path in root.rglob("*.json")}


def _with_saved_choices(prompt: Prompt, schemas: Mapping[str, Any]) -> dict[str, Any]:
    """The node types of a server that has the files which the prompt names."""
    used = {node["class_type"] for node in prompt.values()} | set(CORE)
    found = {kind: copy.deepcopy(schemas[kind]) for kind in used if kind in schemas}
    for node in prompt.values():
        inputs = found.get(node["class_type"], {}).get("input", {})
        for group in ("required", "optional"):
            for name, spec in (inputs.get(group) or {}).items():
                value = node["inputs"].get(name)
                choices = _choices(spec)
                if isinstance(value, str) and choices is not None and value not in choices:
                    choices.append(value)
    return found


def _choices(spec: Any) -> list[Any] | None:
    if isinstance(spec[0], list):
        return spec[0]
    options = spec[1].get("options") if spec[0] == "COMBO" and len(spec) > 1 else None
    return options if isinstance(options, list) else None


def asks(one: Recorded) -> list[Ask]:
    """The calls that the expectations of a workflow are about."""
    expected = one.expected
    found = [Ask("prompt", {"prompt": TEXT}), Ask("negative", {"negative_prompt": NEGATIVE})]
    if expected.get("size"):
        found.append(Ask("size", {"width": str(WIDTH), "height": str(HEIGHT)}))
    if images := expected.get("images"):
        names = [IMAGE.format(number) for number in range(1, len(images) + 1)]
        found.append(Ask("images", {"images": json.dumps(names)}))
    found += [
        Ask(name, {name: f"{value:g}"})
        for name, value in NUMBERS.items()
        if expected.get(name) and expected[name] != "ask"
    ]
    return found


def judge(one: Recorded, about: str, got: Prompt | None) -> str:
    """What is wrong with what a call has changed; "" for nothing. ``got``: None for an error."""
    if about in ("prompt", "negative"):
        return _judge_text(one, about, got)
    if about == "size":
        return _judge_size(one, got)
    if about == "images":
        return _judge_images(one, got)
    return _judge_number(one, about, got)


def crossed(one: Recorded, got: Prompt | None) -> str:
    """The texts that a prompt has changed and must not."""
    expected = one.expected
    never = [*expected.get("never", ()), *_listed(expected.get("negative"))]
    wrong = set(never).difference(_listed(expected["prompt"])).intersection(_holding(got, TEXT))
    return f"changed {', '.join(sorted(wrong))}" if wrong else ""


def _judge_text(one: Recorded, about: str, got: Prompt | None) -> str:
    expected = one.expected
    found = _holding(got, TEXT if about == "prompt" else NEGATIVE)
    wanted = [expected.get(about, []), *expected.get(f"{about}_or", ())]
    for right in wanted:
        if right in ("ask", ["ask"], []):
            if got is None or not found:
                return ""
        elif sorted(_listed(right)) == found:
            return ""
    return f"expected {wanted[0]}, changed {found}"


def _judge_size(one: Recorded, got: Prompt | None) -> str:
    wanted = one.expected["size"]
    changed = _changed(one, got)
    if wanted in ("none", "ask"):
        return f"changed {changed}, expected {wanted}" if changed else ""
    if got is None:
        return f"refused, expected {wanted}"
    if "width" not in wanted:
        named = [t for names in wanted.values() for t in _listed(names)]
        more = sorted(set(changed) - set(named))
        return f"changed {more}, expected {wanted}" if more else ""
    factor = wanted.get("factor", 1)
    for side, pixels in (("width", WIDTH), ("height", HEIGHT)):
        for target in _listed(wanted[side]):
            value = _number(got, target)
            if value is None or abs(value - pixels * factor) > NEAR:
                return f"{target} is {value}, expected {pixels * factor:g}; changed {changed}"
    return ""


def _judge_images(one: Recorded, got: Prompt | None) -> str:
    wanted = one.expected["images"]
    numbers = {
        name: int(found[1])
        for name, value in _changed(one, got).items()
        if isinstance(value, str) and (found := re.search(r"picture(\d+)", value))
    }
    images = sorted(numbers, key=lambda name: numbers[name])
    if images == wanted or (
        one.expected.get("order") == "none" and sorted(images) == sorted(wanted)
    ):
        return ""
    return f"expected {wanted}, changed {images}"


def _judge_number(one: Recorded, about: str, got: Prompt | None) -> str:
    wanted = one.expected[about]
    changed = _changed(one, got)
    if got is None:
        return f"refused, expected {wanted}"
    if about in ("frames", "seconds"):
        wrong = [n for n in wanted if n not in changed and not _is_near(got, n, NUMBERS[about])]
    else:
        wrong = [name for name in wanted if _number(got, name) != NUMBERS[about]]
    return f"expected {wanted}, changed {changed}" if wrong else ""


def _is_near(got: Prompt, target: str, number: float) -> bool:
    """Whether an input holds about this number: the nearest that a service offers may be its own."""
    node_id, _, name = target.partition(".")
    try:
        return abs(float(got[node_id]["inputs"][name]) - number) <= 1
    except (KeyError, TypeError, ValueError):
        return False


def _listed(value: Any) -> Sequence[str]:
    return value if isinstance(value, list) else [value] if value else []


def _holding(got: Prompt | None, text: str) -> list[str]:
    """The inputs that hold a text, without names of files."""
    return sorted(
        f"{node_id}.{name}"
        for node_id, node in (got or {}).items()
        for name, value in node["inputs"].items()
        if isinstance(value, str) and text in value and name != "filename_prefix"
    )


def _changed(one: Recorded, got: Prompt | None) -> dict[str, Any]:
    found = {}
    for node_id, node in (got or {}).items():
        before = one.prompt.get(node_id, {}).get("inputs", {})
        for name, value in node["inputs"].items():
            fixed = "seed" in name or name == "filename_prefix"
            if not fixed and before.get(name) != value:
                found[f"{node_id}.{name}"] = value
    return found


def _number(got: Prompt, target: str) -> float | None:
    """The number at an input, through nodes that hold or pass on one number."""
    node_id, _, name = target.partition(".")
    for _ in range(MAX_FOLLOWED):
        value = got.get(node_id, {}).get("inputs", {}).get(name)
        if not is_link(value):
            return float(value) if isinstance(value, (int, float)) else None
        inputs = got.get(value[0], {}).get("inputs", {})
        plain = [key for key, one in inputs.items() if isinstance(one, (int, float))]
        links = [key for key, one in inputs.items() if is_link(one)]
        if len(plain) + len(links) != 1:
            return None
        node_id, name = value[0], (plain or links)[0]
    return None
