"""Run prompts one after the other, node by node, with a cache between runs (ComfyUI execution.py).

The frames, their order and the history entries are those of ComfyUI 0.3.64.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from embedded_comfyui.nodes.base import Folders, Node, NodeContext, NodeResult
from embedded_comfyui.queue import Item

Send = Callable[[str, dict[str, Any], "str | None"], None]
"""(event, data, client id): to that client's socket; None sends to every socket."""


class Interrupted(Exception):
    """The run was asked to stop."""


@dataclass(slots=True)
class _Run:
    """What is known of the run at hand."""

    item: Item
    client: str | None
    signatures: dict[str, str]
    results: dict[str, NodeResult] = field(default_factory=dict)
    started: dict[str, str] = field(default_factory=dict)  # node id -> running | finished
    messages: list[list[Any]] = field(default_factory=list)
    ui: dict[str, Any] = field(default_factory=dict)


class Executor:
    """Executes one item at a time; ``interrupt`` may be called from any thread."""

    def __init__(self, nodes: Mapping[str, Node], folders: Folders, send: Send) -> None:
        self._nodes = nodes
        self._folders = folders
        self._send = send
        self._cache: dict[str, NodeResult] = {}
        self._interrupt = threading.Event()
        self._reset = threading.Event()
        self.client: str | None = None
        self.node: str | None = None

    def interrupt(self) -> None:
        self._interrupt.set()

    def free(self) -> None:
        """Forget every cached result before the next run."""
        self._reset.set()

    def execute(self, item: Item) -> dict[str, Any]:
        """Run one prompt; gives its history entry without ``prompt``."""
        self._interrupt.clear()
        if self._reset.is_set():
            self._reset.clear()
            self._cache = {}
        self.client = item.extra_data.get("client_id")
        run = _Run(item, self.client, self._signatures(item.prompt))
        self._message(run, "execution_start", {}, everyone=False)
        kept = set(run.signatures.values())
        self._cache = {key: value for key, value in self._cache.items() if key in kept}
        cached = [node for node, key in run.signatures.items() if key in self._cache]
        self._message(run, "execution_cached", {"nodes": cached}, everyone=False)
        success = self._all(run)
        if success:
            self._message(run, "execution_success", {}, everyone=False)
        meta = {
            node: {"node_id": node, "display_node": node, "parent_node": None, "real_node_id": node}
            for node in run.ui
        }
        status = {
            "status_str": "success" if success else "error",
            "completed": success,
            "messages": run.messages,
        }
        return {"outputs": run.ui, "status": status, "meta": meta}

    def finish(self, item: Item) -> None:
        """Tell that the run has ended; to be called once its history is written."""
        self.node = None
        client = item.extra_data.get("client_id")
        if client is not None:
            self._send("executing", {"node": None, "prompt_id": item.prompt_id}, client)

    def _all(self, run: _Run) -> bool:
        """Run every node that an output needs; False when one failed."""
        waiting = self._needed(run)
        while waiting:
            node_id = self._next(run, waiting)
            waiting.remove(node_id)
            if not self._one(run, node_id):
                return False
        return True

    def _needed(self, run: _Run) -> list[str]:
        """The outputs and what feeds them, as far as it is not cached."""
        found: list[str] = []
        open_ones = list(run.item.outputs)
        while open_ones:
            node_id = open_ones.pop()
            if node_id in found:
                continue
            found.append(node_id)
            for source in _sources(run.item.prompt[node_id]):
                if run.signatures[source] not in self._cache:
                    open_ones.append(source)
        return [node_id for node_id in run.item.prompt if node_id in found]

    def _next(self, run: _Run, waiting: list[str]) -> str:
        """Of the nodes that can run: an output, one that feeds an output, one before that, any."""
        prompt = run.item.prompt
        feeds = {node_id: set(_sources(prompt[node_id])) for node_id in waiting}
        ready = [node_id for node_id in waiting if not feeds[node_id] & set(waiting)]
        nearest = [
            node_id for node_id in waiting if self._class(run, node_id).schema["output_node"]
        ]
        for _ in range(3):
            for node_id in ready:
                if node_id in nearest:
                    return node_id
            nearest = [source for node_id in nearest for source in feeds.get(node_id, ())]
        return ready[0]

    def _one(self, run: _Run, node_id: str) -> bool:
        cached = self._cache.get(run.signatures[node_id])
        if cached is not None:
            if cached.ui is not None:
                self._show(run, node_id, cached)
            self._progress(run, node_id, "finished")
            return True
        self._progress(run, node_id, "running")
        self.node = node_id
        shown = {"node": node_id, "display_node": node_id, "prompt_id": run.item.prompt_id}
        self._to_client(run, "executing", shown)
        inputs = self._inputs(run, node_id)
        try:
            self._check_interrupted()
            result = self._class(run, node_id).run(inputs, self._context(run, node_id))
        except Interrupted:
            self._message(run, "execution_interrupted", self._where(run, node_id), everyone=True)
            return False
        except Exception as problem:
            data = {**self._where(run, node_id), **self._problem(run, problem, inputs)}
            self._message(run, "execution_error", data, everyone=False)
            return False
        self._cache[run.signatures[node_id]] = result
        run.results[node_id] = result
        if result.ui is not None:
            self._show(run, node_id, result)
        self._progress(run, node_id, "finished")
        return True

    def _inputs(self, run: _Run, node_id: str) -> dict[str, Any]:
        """The inputs of a node with links replaced by what they bring; unknown ones left out."""
        schema = self._class(run, node_id).schema["input"]
        known = {*schema.get("required", {}), *schema.get("optional", {})}
        inputs = {}
        for name, value in (run.item.prompt[node_id].get("inputs") or {}).items():
            if name not in known:
                continue
            if _is_link(value):
                inputs[name] = self._cache[run.signatures[value[0]]].outputs[value[1]]
            else:
                inputs[name] = value
        return inputs

    def _class(self, run: _Run, node_id: str) -> Node:
        return self._nodes[run.item.prompt[node_id]["class_type"]]

    def _context(self, run: _Run, node_id: str) -> NodeContext:
        return NodeContext(
            self._folders,
            node_id,
            run.item.prompt,
            run.item.extra_data.get("extra_pnginfo"),
            self._check_interrupted,
        )

    def _check_interrupted(self) -> None:
        if self._interrupt.is_set():
            raise Interrupted

    def _where(self, run: _Run, node_id: str) -> dict[str, Any]:
        return {
            "node_id": node_id,
            "node_type": run.item.prompt[node_id]["class_type"],
            "executed": list(run.results),
        }

    def _problem(self, run: _Run, problem: Exception, inputs: Mapping[str, Any]) -> dict[str, Any]:
        module = type(problem).__module__
        name = type(problem).__qualname__
        return {
            "exception_message": f"{problem}\n",
            "exception_type": name if module == "builtins" else f"{module}.{name}",
            "traceback": traceback.format_tb(problem.__traceback__),
            "current_inputs": {key: [str(value)] for key, value in inputs.items()},
            "current_outputs": [n for n, key in run.signatures.items() if key in self._cache],
        }

    def _show(self, run: _Run, node_id: str, result: NodeResult) -> None:
        run.ui[node_id] = result.ui
        data = {
            "node": node_id,
            "display_node": node_id,
            "output": result.ui,
            "prompt_id": run.item.prompt_id,
        }
        self._to_client(run, "executed", data)

    def _progress(self, run: _Run, node_id: str, state: str) -> None:
        run.started[node_id] = state
        prompt_id = run.item.prompt_id
        nodes = {
            node: {
                "value": float(state == "finished"),
                "max": 1.0,
                "state": state,
                "node_id": node,
                "prompt_id": prompt_id,
                "display_node_id": node,
                "parent_node_id": None,
                "real_node_id": node,
            }
            for node, state in run.started.items()
        }
        self._to_client(run, "progress_state", {"prompt_id": prompt_id, "nodes": nodes})

    def _message(self, run: _Run, event: str, data: dict[str, Any], *, everyone: bool) -> None:
        """A frame that the history keeps. ``everyone``: to all sockets when no client is named."""
        stamp = int(time.time() * 1000)
        ident = {"prompt_id": run.item.prompt_id}
        whole = {**data, **ident} if event == "execution_cached" else {**ident, **data}
        whole["timestamp"] = stamp
        run.messages.append([event, whole])
        if run.client is not None or everyone:
            self._send(event, whole, run.client)

    def _to_client(self, run: _Run, event: str, data: dict[str, Any]) -> None:
        if run.client is not None:
            self._send(event, data, run.client)

    def _signatures(self, prompt: Mapping[str, Any]) -> dict[str, str]:
        """node id -> what its result depends on: class, inputs, files, and the same of its sources."""
        found: dict[str, str] = {}

        def sign(node_id: str, above: frozenset[str]) -> str:
            if node_id in found:
                return found[node_id]
            entry = prompt.get(node_id)
            if entry is None or node_id in above:
                return f"nothing {node_id}"
            inputs = entry.get("inputs") or {}
            parts = {
                name: ["link", sign(value[0], above | {node_id}), value[1]]
                if _is_link(value)
                else ["value", value]
                for name, value in inputs.items()
            }
            file = self._nodes[entry["class_type"]].fingerprint(inputs, self._folders)
            text = json.dumps([entry["class_type"], parts, file], sort_keys=True, default=str)
            found[node_id] = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
            return found[node_id]

        for node_id in prompt:
            sign(node_id, frozenset())
        return found


def _is_link(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str)


def _sources(entry: Mapping[str, Any]) -> list[str]:
    return [value[0] for value in (entry.get("inputs") or {}).values() if _is_link(value)]
