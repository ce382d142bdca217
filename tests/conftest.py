"""Fixtures of all tests: servers on free ports, and a plugin installed in its own folder."""

from __future__ import annotations

import base64
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from devtools.isolated import copy_project, without_settings
from input_server import settings as config
from tests.waiting import TIMEOUT

settings.register_profile(
    "suite",
    deadline=None,
    derandomize=True,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("suite")  # `--hypothesis-profile=default` looks for other examples each time


@dataclass(frozen=True)
class PluginResponse:
    """What one process returned."""

    status: int
    stdout: bytes
    stderr: str

    @property
    def json(self) -> dict[str, Any]:
        """The one JSON object on stdout; anything else there fails the test."""
        return json.loads(self.stdout.decode("utf-8"))

    @property
    def result(self) -> dict[str, Any]:
        assert self.json["status"] == "success", self.json
        return self.json["result"]

    @property
    def text(self) -> str:
        return self.result["content"][0]["text"]

    @property
    def error(self) -> str:
        assert self.json["status"] == "error", self.json
        return self.json["error"]


@dataclass(frozen=True)
class Plugin:
    """The plugin in a folder whose name has a space and Chinese characters."""

    folder: Path
    environment: Mapping[str, str]

    @property
    def output(self) -> Path:
        return self.folder / "output"

    def call(
        self, call: Any, *args: str, python: tuple[str, ...] = (), **env: str
    ) -> PluginResponse:
        """One call as a host makes it; ``call`` is what is written to stdin as JSON, or bytes."""
        done = subprocess.run(
            [*(python or (sys.executable,)), "comfyui_plugin.py", *args],
            cwd=self.folder,
            env={**self.environment, **env},
            input=call if isinstance(call, bytes) else json.dumps(call).encode(),
            capture_output=True,
            timeout=TIMEOUT,
            check=False,
        )
        log = done.stderr.decode("utf-8", "replace")
        assert "ResourceWarning" not in log, log
        return PluginResponse(done.returncode, done.stdout, log)

    def start(self, call: Any, **env: str) -> subprocess.Popen[bytes]:
        """Start a call that runs while the test does something else."""
        process = subprocess.Popen(
            [sys.executable, "comfyui_plugin.py"],
            cwd=self.folder,
            env={**self.environment, **env},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdin is not None
        process.stdin.write(json.dumps(call).encode())
        process.stdin.close()
        process.stdin = None
        return process

    def workflow(self, name: str, nodes: Mapping[str, Any]) -> str:
        """Write a workflow file; return its name."""
        path = self.folder / "workflows" / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(nodes, ensure_ascii=False), "utf-8")
        return name


@pytest.fixture(scope="session", autouse=True)
def isolate_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Hide the developer's settings: clear the environment, and run the file server from a copy of the
    checkout (tests/project_copy.py).
    """
    remaining = without_settings(os.environ)
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ.keys() - remaining.keys():
            patch.delenv(name)
        copy = copy_project(tmp_path_factory.mktemp("isolated"))
        patch.setattr(config, "PACKAGE", copy / "input_server")
        yield


@pytest.fixture
def plugin(tmp_path: Path) -> Plugin:
    """A fresh installation without a configured server."""
    folder = copy_project(tmp_path / "Plugin 插件" / "comfyui")
    inherited = ("PATH", "HOME", "SYSTEMROOT", "TMPDIR", "TEMP", "TMP", "USERPROFILE", "LANG")
    environment = {name: os.environ[name] for name in inherited if name in os.environ}
    environment["FILE_SERVER_ACCESS_KEY"] = "key-of-the-test"
    environment["PYTHONWARNINGS"] = "always::ResourceWarning"  # report unclosed files
    return Plugin(folder, environment)


@pytest.fixture
def ready(plugin: Plugin, comfyui: Any) -> Plugin:
    """The plugin, configured for a running server."""
    return Plugin(plugin.folder, {**plugin.environment, "COMFYUI_BASE_URL": comfyui.url})


@pytest.fixture(scope="session")
def comfyui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """An embedded server, one for all tests of this worker."""
    from embedded_comfyui import serve_in_thread

    with serve_in_thread(tmp_path_factory.mktemp("comfyui")) as server:
        yield server


def png(width: int, height: int, color: tuple[int, int, int] = (200, 30, 60)) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (width, height), color).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def image_uri() -> str:
    """A small red image as a ``data:`` URI."""
    return "data:image/png;base64," + base64.b64encode(png(24, 16)).decode()
