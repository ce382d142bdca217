"""Process calls with long texts that a careless pattern or loop would read in quadratic time.

``python -m tests.workflow.long_texts GROUP CHARACTERS [SHARD SHARDS]`` tries every place of a group
with every kind of text, and prints each case before it starts. It runs in a separate process because
a regular expression that backtracks holds the interpreter.
"""

from __future__ import annotations

import contextlib
import copy
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from comfyui_pipeline.arguments import BY_NAME
from tests.workflow.offline_calls import PROMPT, editor_document, error_of, settings_in

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
    "complete choices": "{a|b}",
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
    "complete comments": "/*a*/",
    "ends of comments": "*/",
    "LoRA tags": "<lora:",
    "open LoRA tags": "<lora:a:1",
    "complete LoRA tags": "<lora:a:1>",
    "percent": "%",
    "dates": "%date",
    "complete dates": "%date:yyyy%",
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
"""Prefixes that decide how an argument is parsed."""


def texts(characters: int) -> Iterator[tuple[str, str]]:
    """One text of each kind; its last character fits no pattern, which causes backtracking."""
    for name, unit in UNITS.items():
        yield f"{name}!", unit * (characters // len(unit)) + "!"


def arguments(text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """A call for each known and unknown argument, with the text as its value."""
    base = {"workflow_json": PROMPT, "prompt": "fox"}
    for name in sorted(set(BY_NAME) - {"workflow_json"}):
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
    """A workflow in prompt format for each place that may contain the text."""
    changes: dict[str, Callable[[dict[str, Any]], Any]] = {
        "text": lambda prompt: prompt["2"]["inputs"].update(text=text),
        "title": lambda prompt: prompt["2"]["_meta"].update(title=text),
        "class": lambda prompt: prompt["2"].update(class_type=text),
        "input name": lambda prompt: prompt["2"]["inputs"].update({text: 1}),
        "file": lambda prompt: prompt["4"]["inputs"].update(image=text),
        "choice": lambda prompt: prompt["5"]["inputs"].update(sampler_name=text, scheduler=text),
        "model": lambda prompt: prompt["1"]["inputs"].update(ckpt_name=text),
        "number": lambda prompt: prompt["5"]["inputs"].update(steps=text, cfg=text, seed=text),
        "prefix": lambda prompt: prompt["7"]["inputs"].update(filename_prefix=text),
        "node id": lambda prompt: prompt.update({text: prompt["3"]}),
        "link": lambda prompt: prompt["2"]["inputs"].update(clip=[text, 1]),
        "in a list": lambda prompt: prompt["2"]["inputs"].update(text=[text, text, text]),
    }
    for name, change in changes.items():
        prompt = copy.deepcopy(PROMPT)
        change(prompt)
        yield f"{name}, run", {"workflow_json": prompt, "prompt": "fox"}
        yield (
            f"{name}, describe",
            {"command": "describe", "workflow_json": prompt, "detail": "full"},
        )


def editor_texts(text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """A workflow in the editor's format for each place that may contain the text."""
    changes: dict[str, Callable[[dict[str, Any], dict[int, Any], dict[str, Any]], Any]] = {
        "widget": lambda prompt, by, inner: by[5].update(widgets_values=[text]),
        "prefix": lambda prompt, by, inner: by[4].update(widgets_values=[text]),
        "named widgets": lambda prompt, by, inner: by[5].update(
            widgets_values={"text": text, text: 1}
        ),
        "note": lambda prompt, by, inner: by[6].update(widgets_values=[text]),
        "title": lambda prompt, by, inner: by[4].update(title=text),
        "class": lambda prompt, by, inner: by[5].update(type=text),
        "linked class": lambda prompt, by, inner: by[1].update(type=text),
        "node id": lambda prompt, by, inner: by[5].update(id=text),
        "group": lambda prompt, by, inner: prompt["groups"][0].update(title=text),
        "group type": lambda prompt, by, inner: by[5].update(type="workflow>" + text),
        "search name": lambda prompt, by, inner: by[1].update(
            properties={"Node name for S&R": text}
        ),
        "socket": lambda prompt, by, inner: by[4]["inputs"][0].update(name=text),
        "socket type": lambda prompt, by, inner: by[4]["inputs"][0].update(type=text),
        "output type": lambda prompt, by, inner: (
            by[2]["outputs"][0].update(type=text),
            by[2].update(mode=4),
            by[2]["inputs"][0].update(type=text + ",x"),
        ),
        "subgraph": lambda prompt, by, inner: inner.update(name=text),
        "subgraph id": lambda prompt, by, inner: (inner.update(id=text), by[3].update(type=text)),
        "subgraph input": lambda prompt, by, inner: inner["inputs"][0].update(name=text),
        "promoted": lambda prompt, by, inner: by[3].update(
            properties={"proxyWidgets": [["20", text]]}
        ),
        "promoted id": lambda prompt, by, inner: by[3].update(
            properties={"proxyWidgets": [[text, "sigma"], [text, text, text]]}
        ),
        "link end": lambda prompt, by, inner: prompt["links"][0].__setitem__(1, text),
        "pack": lambda prompt, by, inner: by[5].update(type="Foreign", properties={"cnr_id": text}),
    }
    for name, change in changes.items():
        prompt = editor_document()
        by = {one["id"]: one for one in prompt["nodes"]}
        change(prompt, by, prompt["definitions"]["subgraphs"][0])
        yield f"{name}, run", {"workflow_json": prompt}


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
        chosen = settings_in(Path(folder))
        for kind, text in list(texts(characters))[shard::shards]:
            for place, call in GROUPS[group](text):
                print(f"{place} of {kind}", flush=True)
                started = time.process_time()
                error_of(call, chosen)
                slowest.append((time.process_time() - started, f"{place} of {kind}"))
    for seconds, case in sorted(slowest, reverse=True)[:12]:
        print(f"{seconds:.2f} s CPU: {case}")


def one_case(name_of_case: str, characters: int) -> None:
    """A single case by the name that ``main`` prints."""
    place, _, kind = name_of_case.partition(" of ")
    text = UNITS[kind] * (characters // len(UNITS[kind])) + "!"
    with tempfile.TemporaryDirectory() as folder:
        chosen = settings_in(Path(folder))
        for group in GROUPS.values():
            for name, call in group(text):
                if name.removesuffix(", run") == place:
                    print(name, error_of(call, chosen)[:200], flush=True)
    print("ended")


if __name__ == "__main__":
    if sys.argv[1] == "--one":
        one_case(sys.argv[2], int(sys.argv[3]))
    else:
        main(sys.argv[1], *map(int, sys.argv[2:]))
