"""Run a Node host with the file server plugin as a child process."""

from __future__ import annotations

import json
import os
import queue
import select
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import pytest
import requests

from tests.input_server.running import PROJECT, processes
from tests.project_copy import project
from tests.waiting import TIMEOUT

NODE = PROJECT / "tests" / "node"
HOST_KEY = "key-of-the-host"
VERSIONS = ("express4", "express5")

needs_node = pytest.mark.skipif(
    shutil.which("node") is None or not (NODE / "node_modules" / "express5").is_dir(),
    reason="needs Node.js, and Express in tests/node: `python3 run.py test` installs it with npm",
)


class Host:
    """A running host. ``config``: the plugin's settings; ``log``: the lines written so far."""

    def __init__(
        self,
        base: Path,
        config: dict[str, Any],
        *,
        version: str = "express5",
        kind: str = "node",
        plugin: Path | None = None,
        environment: dict[str, str] | None = None,
    ) -> None:
        self.base = base
        self.config: dict[str, Any] = {
            "INPUT_SERVER_PYTHON": sys.executable,
            "INPUT_SERVER_CACHE_DIR": str(base / "copies"),
            "COMFYUI_MOUNTS_FILE": str(base / "mounts.json"),
            "DebugMode": False,
            **config,
        }
        folder = plugin or project() / "input_server"
        self.process = subprocess.Popen(
            ["node", str(NODE / "host.js"), version, kind, str(folder)],
            env={**os.environ, **(environment or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )
        self.log: list[str] = []
        self._results: queue.Queue[Any] = queue.Queue()
        self._log_changed = threading.Condition()
        self._readers = [
            threading.Thread(target=self._read, args=(stream,), daemon=True)
            for stream in (self.process.stdout, self.process.stderr)
        ]
        for reader in self._readers:
            reader.start()

    def __enter__(self) -> Host:
        self.port = int(self.do("listen"))
        self.url = f"http://127.0.0.1:{self.port}"
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self, *, kill: bool = False) -> None:
        """Stop or kill it and read the rest of its output."""
        if kill:
            self.process.kill()
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(TIMEOUT)
        for reader in self._readers:
            reader.join(TIMEOUT)

    def _read(self, stream: IO[str]) -> None:
        with stream:
            for line in stream:
                if line.startswith('{"did"'):
                    self._results.put(json.loads(line)["result"])
                    continue
                with self._log_changed:
                    self.log.append(line.rstrip("\n"))
                    self._log_changed.notify_all()

    def send(self, action: str, **changes: Any) -> None:
        """Send a command to the host. ``changes``: settings that differ from before."""
        self.config |= changes
        command = {"do": action, "config": self.config, "base": str(self.base)}
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()

    def do(self, action: str, **changes: Any) -> Any:
        """Send a command, wait until it is done, and return its result."""
        self.send(action, **changes)
        return self._results.get(timeout=TIMEOUT)

    def logged(self, text: str) -> str:
        """Wait for a log line that contains the text, and return it."""
        with self._log_changed:
            assert self._log_changed.wait_for(
                lambda: any(text in line for line in self.log), TIMEOUT
            ), self.log
            return next(line for line in self.log if text in line)

    def get(self, path: str, **headers: str) -> requests.Response:
        """Send a GET. ``_`` in header names means ``-``."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return requests.get(self.url + path, headers=named, timeout=TIMEOUT)

    def servers(self) -> list[int]:
        """Return the Python processes of the host, the server before its workers."""
        return processes(self.process.pid)[1:]


def ended(pids: Iterable[int]) -> bool:
    """Wait until all processes have exited (pidfd_open(2): readable once its process exits)."""
    until = time.monotonic() + TIMEOUT
    for pid in pids:
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            left = max(0.0, until - time.monotonic())
            if not select.select([descriptor], [], [], left)[0]:
                return False
        finally:
            os.close(descriptor)
    return True
