"""Prometheus metrics: requests, bytes, failures by reason, durations, variants, mounts."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector

from .metrics_dir import VARIABLE
from .response import SAFE, HttpResponse

if TYPE_CHECKING:
    from ..auth.access import Grant
    from ..urls import Route

BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
"""Seconds."""

Usage = Callable[[], Mapping[str, tuple[int, int]]]
"""Returns files and bytes by the alias of the mount."""


class Metrics:
    """The metrics of one worker, and the page that shows those of all workers. Holds no keys."""

    def __init__(self, usage: Usage) -> None:
        self._registry = CollectorRegistry()
        shared = VARIABLE in os.environ
        registry = None if shared else self._registry
        self._requests = Counter(
            "comfyui_files_requests", "Responses by status", ["method", "status"], registry=registry
        )
        self._failures = Counter(
            "comfyui_files_failures",
            "Responses without a file, by reason",
            ["why"],
            registry=registry,
        )
        self._bytes = Counter(
            "comfyui_files_sent_bytes", "Bytes of response bodies", registry=registry
        )
        self._seconds = Histogram(
            "comfyui_files_seconds",
            "Time until a response was handed to the server",
            buckets=BUCKETS,
            registry=registry,
        )
        self._variants = Counter(
            "comfyui_files_copies",
            "Variants sent, from the cache or rendered",
            ["how"],
            registry=registry,
        )
        if shared:
            MultiProcessCollector(self._registry)  # type: ignore[no-untyped-call]
        self._registry.register(_Mounts(usage))
        self._children: dict[tuple[str, int], Counter] = {}

    @staticmethod
    def now() -> float:
        """Return the time to pass to ``record``."""
        return time.perf_counter()

    def record(self, response: HttpResponse, method: str, started: float) -> None:
        """Count one response."""
        key = (method if method in ("GET", "HEAD") else "other", response.status)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = self._requests.labels(key[0], str(key[1]))
        child.inc()
        if response.status >= 400:
            self._failures.labels(response.reason).inc()
        elif method == "GET":
            self._bytes.inc(response.length)
        self._seconds.observe(time.perf_counter() - started)

    def record_variant(self, how: str) -> None:
        """Count one variant, "kept" (from the cache) or "made" (rendered)."""
        self._variants.labels(how).inc()

    def answer(self, _route: Route, _query: Mapping[str, str], _grant: Grant) -> HttpResponse:
        """Return the page."""
        body = generate_latest(self._registry)
        headers = {
            **SAFE,
            "Content-Type": "text/plain; version=0.0.4; charset=utf-8",
            "Cache-Control": "no-store",
            "Content-Length": str(len(body)),
        }
        return HttpResponse(200, headers, body)


class _Mounts:
    """Files and bytes of each mount, measured when the page is requested."""

    def __init__(self, usage: Usage) -> None:
        self._usage = usage

    def collect(self) -> Iterable[Metric]:
        size = GaugeMetricFamily("comfyui_files_mount_bytes", "Bytes in a mount", labels=["mount"])
        count = GaugeMetricFamily("comfyui_files_mount_files", "Files in a mount", labels=["mount"])
        for alias, (files, total) in self._usage().items():
            count.add_metric([alias], files)
            size.add_metric([alias], total)
        yield size
        yield count
