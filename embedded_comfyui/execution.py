"""Run prompts one after the other, with a cache of node results (ComfyUI execution.py).

The messages, their order and the history entries are those of ComfyUI 0.3.64.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from embedded_comfyui.nodes.base import Folders, Node, NodeContext, NodeResult
from embedded_comfyui.queue import Item

Send = Callable[[str, dict[str, Any], "str | None"], None]
"""(event, data, client id): to that client's socket; None sends to every socket."""


MAX_PROGRESS_NODES = 100
"""Nodes in one ``progress_state``; with more, only the changed node is sent, because the total size
would be quadratic.
"""


class Interrupted(Exception):
    """The job was interrupted."""


@dataclass(slots=True)
class _Run:
    """State of the running job."""

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
        """Clear the cache before the next job."""
        self._reset.set()

    def execute(self, item: Item) -> dict[str, Any]:
        """Run one prompt and return its history entry without ``prompt``."""
        self._interrupt.clear()
        if self._reset.is_set():
            self._reset.clear()
            self._cache = {}
        self.client = item.extra_data.get("client_id")
        run = _Run(item, self.client, self._signatures(item.prompt))
        self._message(run, "execution_start", {}, everyone=False)
        needed = set(run.signatures.values())
        self._cache = {key: value for key, value in self._cache.items() if key in needed}
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
        """Send the end of the job; call this after its history is written."""
        self.node = None
        client = item.extra_data.get("client_id")
        if client is not None:
            self._send("executing", {"node": None, "prompt_id": item.prompt_id}, client)

    def _all(self, run: _Run) -> bool:
        """Run every node that an output needs. Returns False if one failed."""
        order = self._order(run)
        return all(self._one(run, node_id) for node_id in order)

    def _needed(self, run: _Run) -> list[str]:
        """The output nodes and everything upstream that is not cached."""
        found: set[str] = set()
        stack = list(run.item.outputs)
        while stack:
            node_id = stack.pop()
            if node_id in found:
                continue
            found.add(node_id)
            for source in _sources(run.item.prompt[node_id]):
                if run.signatures[source] not in self._cache:
                    stack.append(source)
        return [node_id for node_id in run.item.prompt if node_id in found]

    def _order(self, run: _Run) -> Iterator[str]:
        """Among the ready nodes, those nearest to an output node run first."""
        waiting = self._needed(run)
        place = {node_id: number for number, node_id in enumerate(waiting)}
        feeds = {
            node_id: {s for s in _sources(run.item.prompt[node_id]) if s in place}
            for node_id in waiting
        }
        takers: dict[str, list[str]] = {}
        for node_id, sources in feeds.items():
            for source in sources:
                takers.setdefault(source, []).append(node_id)
        distance = self._distances(run, waiting, feeds)
        missing = {node_id: len(sources) for node_id, sources in feeds.items()}
        ready = [(distance[n], place[n], n) for n in waiting if not missing[n]]
        heapq.heapify(ready)
        while ready:
            node_id = heapq.heappop(ready)[2]
            yield node_id
            for taker in takers.get(node_id, ()):
                missing[taker] -= 1
                if not missing[taker]:
                    heapq.heappush(ready, (distance[taker], place[taker], taker))

    def _distances(
        self, run: _Run, waiting: Sequence[str], feeds: Mapping[str, set[str]]
    ) -> dict[str, int]:
        """The number of links between a node and an output node, at most 3."""
        found = dict.fromkeys(waiting, 3)
        nearest = [n for n in waiting if self._class(run, n).schema["output_node"]]
        for distance in range(3):
            nearest = [node_id for node_id in nearest if found[node_id] == 3]
            found.update(dict.fromkeys(nearest, distance))
            nearest = list(dict.fromkeys(s for node_id in nearest for s in feeds[node_id]))
        return found

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
        """The inputs of a node with links replaced by their values, without unknown inputs."""
        schema = self._class(run, node_id).schema["input"]
        known = {*schema.get("required", {}), *schema.get("optional", {})}
        inputs = {}
        for name, value in _inputs_of(run.item.prompt[node_id]).items():
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
        if run.client is None:
            return
        shown = run.started if len(run.started) <= MAX_PROGRESS_NODES else {node_id: state}
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
            for node, state in shown.items()
        }
        self._to_client(run, "progress_state", {"prompt_id": prompt_id, "nodes": nodes})

    def _message(self, run: _Run, event: str, data: dict[str, Any], *, everyone: bool) -> None:
        """Send a message and add it to the history. ``everyone``: to all sockets if the job has no client."""
        stamp = int(time.time() * 1000)
        ident = {"prompt_id": run.item.prompt_id}
        content = {**data, **ident} if event == "execution_cached" else {**ident, **data}
        content["timestamp"] = stamp
        run.messages.append([event, content])
        if run.client is not None or everyone:
            self._send(event, content, run.client)

    def _to_client(self, run: _Run, event: str, data: dict[str, Any]) -> None:
        if run.client is not None:
            self._send(event, data, run.client)

    def _signatures(self, prompt: Mapping[str, Any]) -> dict[str, str]:
        """Node id -> hash of what its result depends on: type, inputs, files, and its sources."""
        found: dict[str, str] = {}
        expanded: set[str] = set()
        waiting = list(prompt)[::-1]
        while waiting:
            node_id = waiting[-1]
            sources = [s for s in _sources(prompt[node_id]) if s in prompt and s not in found]
            if node_id not in expanded and node_id not in found:
                expanded.add(node_id)
                waiting += [source for source in reversed(sources) if source not in expanded]
                continue
            waiting.pop()
            if node_id not in found:
                found[node_id] = self._signature(prompt[node_id], found)
        return found

    def _signature(self, entry: Mapping[str, Any], found: Mapping[str, str]) -> str:
        inputs = _inputs_of(entry)
        parts = {
            name: ["link", found.get(value[0], f"nothing {value[0]}"), value[1]]
            if _is_link(value)
            else ["value", value]
            for name, value in inputs.items()
        }
        file = self._nodes[entry["class_type"]].fingerprint(inputs, self._folders)
        text = json.dumps([entry["class_type"], parts, file], sort_keys=True, default=str)
        return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def _is_link(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str)


def _inputs_of(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    inputs = entry.get("inputs")
    return inputs if isinstance(inputs, dict) else {}


def _sources(entry: Mapping[str, Any]) -> list[str]:
    return [value[0] for value in _inputs_of(entry).values() if _is_link(value)]
