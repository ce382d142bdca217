"""Long texts of the kinds that make a careless pattern or loop take the square of their length.

A program of its own, since a C loop holds the interpreter: ``pumps.py GROUP CHARACTERS [SHARD SHARDS]``
tries every place of a group with every kind of text, and prints each before it begins.
"""

from __future__ import annotations

import contextlib
import copy
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT))

from comfyui_pipeline import call as tool_call  # noqa: E402
from comfyui_pipeline import info, prepare, settings  # noqa: E402
from comfyui_pipeline.arguments import NAMES  # noqa: E402
from comfyui_pipeline.call_context import CallContext  # noqa: E402
from comfyui_pipeline.call_record import CallRecord  # noqa: E402
from comfyui_pipeline.errors import ToolError  # noqa: E402

DATA = PROJECT / "tests" / "data" / "conversion"
UNITS = {
    "spaces": " ",
    "newlines": "\n",
    "returns": "\r\n",
    "tabs": "\t",
    "wide spaces": "\u3000",
    "letters": "a",
    "words": "a ",
    "capitals": "A",
    "digits": "9",
    "numbers": "1,",
    "decimals": "1.",
    "colons": ":",
    "prefixes": "1:",
    "spaced prefixes": "1 : ",
    "commas": ",",
    "dots": ".",
    "minus": "-",
    "quotes": '"',
    "apostrophes": "'",
    "open braces": "{",
    "closed braces": "}",
    "double braces": "{{",
    "placeholders": "{{PROMPT}}",
    "open placeholders": "{{ A",
    "choices": "{a|",
    "whole choices": "{a|b}",
    "parentheses": "(a|b",
    "brackets": "[",
    "objects": '{"a":',
    "lists": "[1,",
    "slashes": "/",
    "backslashes": "\\",
    "escapes": "\\{",
    "folders": "a/",
    "line comments": "//",
    "comments": "/*",
    "letters in comments": "/*a",
    "whole comments": "/*a*/",
    "ends of comments": "*/",
    "LoRA tags": "<lora:",
    "open LoRA tags": "<lora:a:1",
    "whole LoRA tags": "<lora:a:1>",
    "percent": "%",
    "dates": "%date",
    "whole dates": "%date:yyyy%",
    "names": "%a.b%",
    "escaped": "%41",
    "schemes": "data:",
    "base64": "base64,",
    "data URIs": "data:image/png;base64,",
    "addresses": "http://",
    "keys": "/pw=",
    "at": "a@",
    "dollars": "$a",
    "dollars with dots": "$a.b",
    "marks": "\u0301\u0316",
    "letters with marks": "e\u0301\u0316",
    "compatible": "\ufdfa",
    "wide letters": "ａ",
    "mixed": "a \n{|}%/*<lora:\\\"',:[",
}
BEGINNINGS = ("", "http://", "data:image/png;base64,", "/", "C:", "file:///", "a\n", "{", "[", '"')
"""What decides how an argument is read."""


def pumped(characters: int) -> Iterator[tuple[str, str]]:
    """One text of each kind; an end that fits nothing makes a pattern try again from elsewhere."""
    for name, unit in UNITS.items():
        yield f"{name}!", unit * (characters // len(unit)) + "!"


@cache
def schemas() -> Mapping[str, Any]:
    read = json.loads((DATA / "classes-0.8.0.json").read_text("utf-8"))
    files = {
        "ckpt_name": ["a.safetensors", "b/c.ckpt"],
        "lora_name": ["l", "styles/ink.safetensors"],
    }
    for schema in read.values():
        required = schema["input"].get("required") or {}
        for name, choices in files.items():
            if name in required:
                required[name] = [choices]
    return read


class Stub:
    """A server that knows the classes, and takes every file."""

    files: Any

    def __init__(self) -> None:
        self.files = self

    def schemas(self, names: Any) -> dict[str, Any]:
        return {name: schemas()[name] for name in names if name in schemas()}

    def catalog(self) -> Mapping[str, Any]:
        return schemas()

    def upload(self, content: bytes, name: str, subfolder: str) -> str:
        return f"{subfolder}/{name}"

    def upload_mask(self, layer: bytes, name: str, subfolder: str, original: str) -> str:
        return f"{subfolder}/{name}"

    def input_size(self, value: str) -> int | None:
        return 1

    def read_input(self, value: str) -> bytes | None:
        return None


def configured(folder: Path) -> settings.Settings:
    """Settings of an installation without a file server; its cache is not shared."""
    for name in ("workflows", "attachments"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    environment = {
        "COMFYUI_BASE_URL": "http://127.0.0.1:9",
        "COMFYUI_ATTACHMENTS_DIR": str(folder / "attachments"),
        "COMFYUI_ALLOWED_DIRS": str(folder),
    }
    return settings.load(folder, environment)


def context_of(call: tool_call.ToolCall, chosen: settings.Settings) -> CallContext:
    now = time.monotonic()
    return CallContext(call, chosen, Stub(), CallRecord(), now, now + 60)  # type: ignore[arg-type]


def ready(call: Mapping[str, Any], chosen: settings.Settings) -> Any:
    """The job of a call. Raises ToolError."""
    read = tool_call.parse(json.dumps(call).encode())
    return prepare.prepare(context_of(read, chosen))


def attempt(call: Mapping[str, Any], chosen: settings.Settings) -> str:
    """Everything up to the queue, or a description; gives the error, "" when there is none."""
    try:
        read = tool_call.parse(json.dumps(call).encode())
        for part in read.parts or (read,):
            if part.command == "describe":
                info.describe(part, chosen, Stub(), time.monotonic(), CallRecord())  # type: ignore[arg-type]
            elif part.command == "run":
                prepare.prepare(context_of(part, chosen))
    except ToolError as error:
        return str(error) or "an error without words"
    return ""


def node(kind: str, title: str = "", **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs, "_meta": {"title": title}}


PROMPT: dict[str, Any] = {
    "1": node("CheckpointLoaderSimple", ckpt_name="a.safetensors"),
    "9": node(
        "LoraLoader",
        model=["1", 0],
        clip=["1", 1],
        lora_name="l",
        strength_model=1.0,
        strength_clip=1.0,
    ),
    "2": node("CLIPTextEncode", "Positive Prompt", text="{{PROMPT}} fox", clip=["9", 1]),
    "3": node("CLIPTextEncode", "Negative Prompt", text="bad", clip=["9", 1]),
    "4": node("LoadImage", image="example.png"),
    "10": node("LoadImageMask", "$~mask", image="example.png", channel="red"),
    "8": node("VAEEncodeForInpaint", pixels=["4", 0], vae=["1", 2], mask=["10", 0], grow_mask_by=6),
    "11": node("EmptyLatentImage", "$size.width", width=64, height=64, batch_size=1),
    "5": node(
        "KSampler",
        model=["9", 0],
        positive=["2", 0],
        negative=["3", 0],
        latent_image=["8", 0],
        seed=1,
        steps=2,
        cfg=1.0,
        sampler_name="euler",
        scheduler="normal",
        denoise=1.0,
    ),
    "6": node("VAEDecode", samples=["5", 0], vae=["1", 2]),
    "7": node("SaveImage", images=["6", 0], filename_prefix="x"),
}


def arguments(text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """A call for each argument that holds the text, known or not."""
    base = {"workflow_json": PROMPT, "prompt": "fox"}
    for name in sorted(set(NAMES) - {"workflow_json"}):
        if name in ("workflow", "prompt_id", "wait"):
            continue
        yield name, {**base, name: text}
    yield "workflow", {"workflow": text}
    yield "workflow_json", {"workflow_json": text}
    for command in ("status", "result"):
        yield f"prompt_id of {command}", {"command": command, "prompt_id": text}
        yield f"wait of {command}", {"command": command, "prompt_id": "x", "wait": text}
    yield "lists", {**base, "images": [text, text], "loras": [text, text]}
    yield "an unknown key", {**base, text: "x"}
    yield "an unknown value", {**base, "unknown": text, "size": text}
    yield "a numbered key", {**base, f"workflow{text}": "x"}
    yield "a part", {"command1": "run", "workflow1": text, "prompt1": text}
    yield "params as text", {**base, "params": text}
    for param in (
        {"node_id": text, "inputs": {"text": "x"}},
        {"node_title": text, "inputs": {"text": "x"}},
        {"node_id": "2", "inputs": {text: "x"}},
        {"node_id": "2", "inputs": {"text": text}},
        {"node_id": "5", "inputs": {"steps": text, "cfg": text}},
        {"node_id": "5", "inputs": {"sampler_name": text}},
        {"node_id": "4", "inputs": {"image": text}},
        {"node_id": "5", "inputs": {"model": [text, 0]}},
    ):
        yield (
            f"params: {sorted(param)} {sorted(param['inputs'])[0][:9]!r}",
            {**base, "params": [param]},
        )
    yield "added LoRAs", {**base, "lora_nodes": "add", "loras": text, "prompt": text}


def beginnings(text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for beginning in BEGINNINGS:
        for name in ("image",):
            call = {"workflow_json": PROMPT, "prompt": "fox", name: beginning + text}
            yield f"{name} = {beginning!r}…", call
        yield f"workflow = {beginning!r}…", {"workflow": beginning + text}


def prompt_texts(text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """A workflow in prompt format for each place that can hold the text."""
    changes: dict[str, Callable[[dict[str, Any]], Any]] = {
        "text": lambda made: made["2"]["inputs"].update(text=text),
        "title": lambda made: made["2"]["_meta"].update(title=text),
        "class": lambda made: made["2"].update(class_type=text),
        "input name": lambda made: made["2"]["inputs"].update({text: 1}),
        "file": lambda made: made["4"]["inputs"].update(image=text),
        "choice": lambda made: made["5"]["inputs"].update(sampler_name=text, scheduler=text),
        "model": lambda made: made["1"]["inputs"].update(ckpt_name=text),
        "number": lambda made: made["5"]["inputs"].update(steps=text, cfg=text, seed=text),
        "prefix": lambda made: made["7"]["inputs"].update(filename_prefix=text),
        "node id": lambda made: made.update({text: made["3"]}),
        "link": lambda made: made["2"]["inputs"].update(clip=[text, 1]),
        "in a list": lambda made: made["2"]["inputs"].update(text=[text, text, text]),
    }
    for name, change in changes.items():
        made = copy.deepcopy(PROMPT)
        change(made)
        yield f"{name}, run", {"workflow_json": made, "prompt": "fox"}
        yield f"{name}, describe", {"command": "describe", "workflow_json": made, "detail": "full"}


def editor_document() -> dict[str, Any]:
    """A small file of the editor's with everything that holds a text."""
    image = {"name": "IMAGE", "type": "IMAGE"}
    inner = {
        "id": "inner",
        "name": "Inner",
        "inputs": [{"name": "image", "type": "IMAGE", "linkIds": [1]}],
        "outputs": [{**image, "linkIds": [2]}],
        "nodes": [
            {
                "id": 20,
                "type": "ImageBlur",
                "inputs": [{"name": "image", "type": "IMAGE", "link": 1}],
                "outputs": [image],
                "widgets_values": [1, 1.0],
            }
        ],
        "links": [
            {"id": 1, "origin_id": -10, "origin_slot": 0, "target_id": 20, "target_slot": 0},
            {"id": 2, "origin_id": 20, "origin_slot": 0, "target_id": -20, "target_slot": 0},
        ],
    }
    return {
        "last_node_id": 30,
        "nodes": [
            {
                "id": 1,
                "type": "EmptyImage",
                "properties": {"Node name for S&R": "E"},
                "outputs": [image],
                "widgets_values": [64, 32, 1, 255],
            },
            {
                "id": 2,
                "type": "Reroute",
                "inputs": [{"name": "", "type": "*", "link": 1}],
                "outputs": [{"name": "", "type": "*"}],
            },
            {
                "id": 3,
                "type": "inner",
                "inputs": [{"name": "image", "type": "IMAGE", "link": 2}],
                "outputs": [image],
                "properties": {"proxyWidgets": [["20", "sigma"]]},
                "widgets_values": [3],
            },
            {
                "id": 4,
                "type": "SaveImage",
                "inputs": [{"name": "images", "type": "IMAGE", "link": 3}],
                "widgets_values": ["ui"],
            },
            {"id": 5, "type": "CLIPTextEncode", "widgets_values": ["{a|b}"]},
            {"id": 6, "type": "Note", "widgets_values": ["note"]},
        ],
        "links": [[1, 1, 0, 2, 0, "IMAGE"], [2, 2, 0, 3, 0, "*"], [3, 3, 0, 4, 0, "IMAGE"]],
        "groups": [{"title": "Group", "bounding": [0, 0, 1, 1]}],
        "definitions": {"subgraphs": [inner]},
        "extra": {},
    }


def editor_texts(text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """A workflow in the editor's format for each place that can hold the text."""
    changes: dict[str, Callable[[dict[str, Any], dict[int, Any], dict[str, Any]], Any]] = {
        "widget": lambda made, by, inner: by[5].update(widgets_values=[text]),
        "prefix": lambda made, by, inner: by[4].update(widgets_values=[text]),
        "named widgets": lambda made, by, inner: by[5].update(
            widgets_values={"text": text, text: 1}
        ),
        "note": lambda made, by, inner: by[6].update(widgets_values=[text]),
        "title": lambda made, by, inner: by[4].update(title=text),
        "class": lambda made, by, inner: by[5].update(type=text),
        "linked class": lambda made, by, inner: by[1].update(type=text),
        "node id": lambda made, by, inner: by[5].update(id=text),
        "group": lambda made, by, inner: made["groups"][0].update(title=text),
        "group type": lambda made, by, inner: by[5].update(type="workflow>" + text),
        "search name": lambda made, by, inner: by[1].update(properties={"Node name for S&R": text}),
        "socket": lambda made, by, inner: by[4]["inputs"][0].update(name=text),
        "socket type": lambda made, by, inner: by[4]["inputs"][0].update(type=text),
        "output type": lambda made, by, inner: (
            by[2]["outputs"][0].update(type=text),
            by[2].update(mode=4),
            by[2]["inputs"][0].update(type=text + ",x"),
        ),
        "subgraph": lambda made, by, inner: inner.update(name=text),
        "subgraph id": lambda made, by, inner: (inner.update(id=text), by[3].update(type=text)),
        "subgraph input": lambda made, by, inner: inner["inputs"][0].update(name=text),
        "promoted": lambda made, by, inner: by[3].update(
            properties={"proxyWidgets": [["20", text]]}
        ),
        "promoted id": lambda made, by, inner: by[3].update(
            properties={"proxyWidgets": [[text, "sigma"], [text, text, text]]}
        ),
        "link end": lambda made, by, inner: made["links"][0].__setitem__(1, text),
        "pack": lambda made, by, inner: by[5].update(type="Foreign", properties={"cnr_id": text}),
    }
    for name, change in changes.items():
        made = editor_document()
        by = {one["id"]: one for one in made["nodes"]}
        change(made, by, made["definitions"]["subgraphs"][0])
        yield f"{name}, run", {"workflow_json": made}


GROUPS = {
    "arguments": arguments,
    "beginnings": beginnings,
    "prompt texts": prompt_texts,
    "editor texts": editor_texts,
}


def main(group: str, characters: int, shard: int = 0, shards: int = 1) -> None:
    """Print each case of one of several shards, then the slowest ones."""
    slowest: list[tuple[float, str]] = []
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(None):
        chosen = configured(Path(folder))
        for kind, text in list(pumped(characters))[shard::shards]:
            for place, call in GROUPS[group](text):
                print(f"{place} of {kind}", flush=True)
                begun = time.process_time()
                attempt(call, chosen)
                slowest.append((time.process_time() - begun, f"{place} of {kind}"))
    for seconds, case in sorted(slowest, reverse=True)[:12]:
        print(f"{seconds:.2f} s CPU: {case}")


def one_case(wanted: str, characters: int) -> None:
    """A single case by the name that ``main`` prints."""
    place, _, kind = wanted.partition(" of ")
    text = UNITS[kind] * (characters // len(UNITS[kind])) + "!"
    with tempfile.TemporaryDirectory() as folder:
        chosen = configured(Path(folder))
        for group in GROUPS.values():
            for name, call in group(text):
                if name.removesuffix(", run") == place:
                    print(name, attempt(call, chosen)[:200], flush=True)
    print("ended")


if __name__ == "__main__":
    if sys.argv[1] == "--one":
        one_case(sys.argv[2], int(sys.argv[3]))
    else:
        main(sys.argv[1], *map(int, sys.argv[2:]))
