"""The queue, the running prompt and the history (ComfyUI execution.py, PromptQueue). Thread-safe."""

from __future__ import annotations

import copy
import heapq
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

MAX_HISTORY = 10000


@dataclass(frozen=True, slots=True, order=True)
class Item:
    """One prompt to run. Lower numbers run first."""

    number: float
    order: int
    prompt_id: str = field(compare=False)
    prompt: dict[str, Any] = field(compare=False)
    extra_data: dict[str, Any] = field(compare=False)
    outputs: tuple[str, ...] = field(compare=False)

    def shown(self) -> list[Any]:
        """The entry in ``/queue`` and ``/history``."""
        return [self.number, self.prompt_id, self.prompt, self.extra_data, list(self.outputs)]


class PromptQueue:
    """``changed`` is called without the lock whenever the number of queued prompts changes."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._lock = threading.Condition()
        self._waiting: list[Item] = []
        self._running: Item | None = None
        self._history: dict[str, dict[str, Any]] = {}
        self._closed = False

    def put(self, item: Item) -> None:
        with self._lock:
            heapq.heappush(self._waiting, item)
            self._lock.notify()
        self._changed()

    def get(self) -> Item | None:
        """Wait for the next prompt; None if the queue was closed."""
        with self._lock:
            while not self._waiting and not self._closed:
                self._lock.wait()
            if self._closed:
                return None
            self._running = heapq.heappop(self._waiting)
        self._changed()
        return self._running

    def done(self, item: Item, entry: dict[str, Any]) -> None:
        """Move the running prompt to the history as ``entry``."""
        with self._lock:
            self._running = None
            self._history.pop(item.prompt_id, None)
            while len(self._history) >= MAX_HISTORY:
                del self._history[next(iter(self._history))]
            self._history[item.prompt_id] = {"prompt": item.shown(), **entry}
        self._changed()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._lock.notify_all()

    def remaining(self) -> int:
        with self._lock:
            return len(self._waiting) + (self._running is not None)

    def running_id(self) -> str | None:
        with self._lock:
            return self._running.prompt_id if self._running else None

    def snapshot(self) -> dict[str, Any]:
        """``/queue``: the pending prompts in heap order, as in ComfyUI."""
        with self._lock:
            return {
                "queue_running": [self._running.shown()] if self._running else [],
                "queue_pending": [item.shown() for item in self._waiting],
            }

    def delete(self, prompt_ids: Collection[Any]) -> None:
        """Remove pending prompts; the running one is not affected."""
        self._filter(lambda item: item.prompt_id not in prompt_ids)

    def clear(self) -> None:
        self._filter(lambda item: False)

    def _filter(self, condition: Callable[[Item], bool]) -> None:
        with self._lock:
            self._waiting = [item for item in self._waiting if condition(item)]
            heapq.heapify(self._waiting)
        self._changed()

    def history(
        self, prompt_id: str | None = None, max_items: int | None = None, offset: int = -1
    ) -> dict[str, Any]:
        """A copy of one entry, of the newest ``max_items``, or of those from ``offset`` on."""
        with self._lock:
            if prompt_id is not None:
                entry = self._history.get(prompt_id)
                return {prompt_id: copy.deepcopy(entry)} if entry else {}
            ids = list(self._history)
            if max_items is not None:
                first = max(0, len(ids) - max_items) if offset < 0 else offset
                ids = ids[first : first + max_items]
            return {known: copy.deepcopy(self._history[known]) for known in ids}

    def forget(self, prompt_ids: Collection[Any] | None) -> None:
        """Delete entries of the history; None deletes all."""
        with self._lock:
            for known in list(self._history) if prompt_ids is None else prompt_ids:
                self._history.pop(known, None)
