"""Figures for Prometheus: requests, bytes, failures by kind, times, copies made, mounts."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector

from .metrics_folder import SHARED
from .response import SAFE, HttpResponse

if TYPE_CHECKING:
    from ..auth.access import Grant
    from ..urls import Route

TIMES = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)


class Metrics:
    """The figures of one server; a page of it as well. No key is in any of them."""

    def __init__(self, usage: Callable[[], Mapping[str, tuple[int, int]]]) -> None:
        self._registry = CollectorRegistry()
        shared = SHARED in os.environ
        held = None if shared else self._registry
        self._requests = Counter(
            "comfyui_files_requests", "Answers by status", ["method", "status"], registry=held
        )
        self._failures = Counter(
            "comfyui_files_failures", "Answers that gave no file, by reason", ["why"], registry=held
        )
        self._bytes = Counter("comfyui_files_sent_bytes", "Bytes of bodies", registry=held)
        self._times = Histogram(
            "comfyui_files_seconds", "Until an answer was handed over", buckets=TIMES, registry=held
        )
        self._copies = Counter(
            "comfyui_files_copies", "Smaller copies sent, by how they came", ["how"], registry=held
        )
        if shared:
            MultiProcessCollector(self._registry)  # type: ignore[no-untyped-call]
        self._registry.register(_Mounts(usage))
        self._children: dict[tuple[str, int], Counter] = {}

    @staticmethod
    def now() -> float:
        return time.perf_counter()

    def note(self, reply: HttpResponse, method: str, started: float) -> None:
        """Count one answer."""
        key = (method if method in ("GET", "HEAD") else "other", reply.status)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = self._requests.labels(key[0], str(key[1]))
        child.inc()
        if reply.status >= 400:
            self._failures.labels(reply.reason).inc()
        elif method == "GET":
            self._bytes.inc(reply.length)
        self._times.observe(time.perf_counter() - started)

    def copied(self, how: str) -> None:
        """Count one copy, "kept" or "made"."""
        self._copies.labels(how).inc()

    def answer(self, _route: Route, _query: Mapping[str, str], _grant: Grant) -> HttpResponse:
        """The page."""
        body = generate_latest(self._registry)
        headers = {
            **SAFE,
            "Content-Type": "text/plain; version=0.0.4; charset=utf-8",
            "Cache-Control": "no-store",
            "Content-Length": str(len(body)),
        }
        return HttpResponse(200, headers, body)


class _Mounts:
    """What is read when the figures are asked for."""

    def __init__(self, usage: Callable[[], Mapping[str, tuple[int, int]]]) -> None:
        self._usage = usage

    def collect(self) -> Iterable[Metric]:
        size = GaugeMetricFamily("comfyui_files_mount_bytes", "Bytes in a mount", labels=["mount"])
        count = GaugeMetricFamily("comfyui_files_mount_files", "Files in a mount", labels=["mount"])
        for alias, (files, total) in self._usage().items():
            count.add_metric([alias], files)
            size.add_metric([alias], total)
        yield size
        yield count
