"""Run the file server as a child process on a free port (used by tests here)."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import requests

from tests.project_copy import project
from tests.waiting import TIMEOUT

PROJECT = Path(__file__).resolve().parents[2]
KEY = "key-of-the-file-server"


class Running:
    """A server with ``folder`` as the mount ``m``. ``log``: the lines it has written to stderr."""

    program: tuple[str, ...] = ("-m", "input_server")

    def __init__(self, folder: Path, *arguments: str, **environment: str) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.environment = {
            **os.environ,
            "COMFYUI_MOUNTS": f"m:{folder}",
            "COMFYUI_MOUNTS_FILE": str(folder.parent / "mounts.json"),
            "COMFYUI_ACCESS_KEY": KEY,
            "INPUT_SERVER_CACHE_DIR": str(folder.parent / "copies"),
            **environment,
        }
        self.process = subprocess.Popen(
            [sys.executable, *self.program, "--port", "0", "--stop-with-stdin", *arguments],
            cwd=project(),
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )
        self.log: list[str] = []
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()
        assert self.process.stdout is not None
        first = self.process.stdout.readline()
        if not first.startswith("File server on"):
            self.stop()
            raise AssertionError("".join(self.log))
        self.url = first.split()[-1]
        self.port = int(self.url.rpartition(":")[2]) if "http" in first else 0
        self.files = f"{self.url}/comfyui_server/pw={KEY}/files/m"

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _read_log(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr:
            self.log.extend(self.process.stderr)

    def get(self, path: str, **headers: str) -> requests.Response:
        """Send a GET. ``path``: relative to the mount, or absolute; ``_`` in header names means ``-``."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        url = f"{self.url}{path}" if path.startswith("/") else f"{self.files}/{path}"
        return requests.get(url, headers=named, timeout=TIMEOUT)

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run ``python -m input_server …`` with the settings of the server, while it runs."""
        return subprocess.run(
            [sys.executable, "-m", "input_server", *arguments],
            cwd=project(),
            env=self.environment,
            capture_output=True,
            encoding="utf-8",
            timeout=TIMEOUT,
            check=False,
        )

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=TIMEOUT)

    def stop(self) -> int:
        """Stop the server as a supervisor does. Returns its exit status."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.wait()

    def wait(self) -> int:
        """Wait until the server has exited and its log is complete. Returns its exit status."""
        status = self.process.wait(TIMEOUT)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self._reader.join(TIMEOUT)
        return status


def processes(parent: int) -> list[int]:
    """Return the process and its descendants, on Linux."""
    found = [parent]
    for pid in found:
        children = Path(f"/proc/{pid}/task/{pid}/children")
        if children.exists():
            found += [int(child) for child in children.read_text().split()]
    return found


def open_files(pids: list[int]) -> int:
    """Return the number of files and sockets that these processes have open."""
    return sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in pids)


def memory(pids: list[int]) -> int:
    """Return the bytes of private memory of these processes."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Private"):
                total += int(line.split()[1]) * 1024
    return total
