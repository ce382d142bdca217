"""What every test may use: servers on free ports, and the plugin installed in a folder of its own."""

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
    """What came back from one process."""

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
    """The plugin in a folder as a user might have it: with a space and Chinese letters."""

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
        told = done.stderr.decode("utf-8", "replace")
        assert "ResourceWarning" not in told, told
        return PluginResponse(done.returncode, done.stdout, told)

    def start(self, call: Any, **env: str) -> subprocess.Popen[bytes]:
        """A call that goes on while the test does something else."""
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
        """Put a workflow file there; gives its name."""
        path = self.folder / "workflows" / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(nodes, ensure_ascii=False), "utf-8")
        return name


@pytest.fixture(scope="session", autouse=True)
def isolate_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test meets what its developer has set: not in the environment, and not in the files of this
    checkout, as the file server is that of a copy (tests/project_copy.py).
    """
    kept = without_settings(os.environ)
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ.keys() - kept.keys():
            patch.delenv(name)
        copy = copy_project(tmp_path_factory.mktemp("apart"))
        patch.setattr(config, "PACKAGE", copy / "input_server")
        yield


@pytest.fixture
def plugin(tmp_path: Path) -> Plugin:
    """A fresh installation that knows no server yet."""
    folder = copy_project(tmp_path / "Plugin 插件" / "comfyui")
    kept = ("PATH", "HOME", "SYSTEMROOT", "TMPDIR", "TEMP", "TMP", "USERPROFILE", "LANG")
    environment = {name: os.environ[name] for name in kept if name in os.environ}
    environment["FILE_SERVER_ACCESS_KEY"] = "key-of-the-test"
    environment["PYTHONWARNINGS"] = "always::ResourceWarning"  # the process says what it left open
    return Plugin(folder, environment)


@pytest.fixture
def ready(plugin: Plugin, comfyui: Any) -> Plugin:
    """The plugin, set to a running server."""
    return Plugin(plugin.folder, {**plugin.environment, "COMFYUI_BASE_URL": comfyui.url})


@pytest.fixture(scope="session")
def comfyui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A server that speaks ComfyUI's protocol, one for all tests of this worker."""
    from embedded_comfyui import serve_in_thread

    with serve_in_thread(tmp_path_factory.mktemp("comfyui")) as server:
        yield server


def png(width: int, height: int, color: tuple[int, int, int] = (200, 30, 60)) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (width, height), color).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def picture() -> str:
    """A small red picture as a ``data:`` URI."""
    return "data:image/png;base64," + base64.b64encode(png(24, 16)).decode()
