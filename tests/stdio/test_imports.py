"""Which modules a call may import: importing is most of the time that a short call takes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

import run

COSTLY = frozenset(
    {
        "PIL",
        "asyncio",
        "certifi",
        "comfyui_pipeline.workflow.convert",
        "concurrent.futures",
        "dataclasses",
        "dotenv",
        "email",
        "http.client",
        "inspect",
        "logging",
        "rapidfuzz",
        "requests",
        "ssl",
        "traceback",
        "urllib.request",
        "urllib3",
        "uuid",
        "websocket",
    }
)
"""Modules whose import takes at least 3 ms of CPU time where ``python -c pass`` takes 9."""

RUN_IMPORTS = {"PIL", "concurrent.futures", "logging", "traceback"}
ALLOWED: dict[str, tuple[dict[str, Any], set[str]]] = {
    "list of workflows": ({"info": "workflows"}, set()),
    "invalid call": ({"command": "dance", "workflow": "trivial"}, set()),
    "missing workflow": ({"workflow": "nowhere"}, RUN_IMPORTS | {"rapidfuzz"}),
    "queue": ({"info": "queue"}, set()),
    "system": ({"info": "system"}, set()),
    "models": ({"info": "loras"}, set()),
    "status": ({"command": "status", "prompt_id": "x"}, RUN_IMPORTS),
    "run": ({"workflow": "trivial"}, RUN_IMPORTS),
}
"""Call -> what of COSTLY it may import: a server on this machine needs no requests."""

TRIVIAL = {
    "1": {
        "class_type": "EmptyImage",
        "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 255},
    },
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "imports"}},
}
PROBE = """
import sys
import comfyui_plugin
comfyui_plugin.main()
print("MODULES", *sorted(sys.modules), file=sys.stderr)
"""


def imported(plugin: Any, call: dict[str, Any], **settings: str) -> set[str]:
    """The modules of the process that answered the call."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE],
        cwd=plugin.folder,
        env={**os.environ, "FILE_SERVER_ACCESS_KEY": "key-of-the-test", **settings},
        input=json.dumps(call).encode(),
        capture_output=True,
        check=True,
    )
    assert json.loads(done.stdout)["status"] in ("success", "error")
    return set(done.stderr.decode().rpartition("MODULES")[2].split())


@pytest.mark.parametrize(("call", "allowed"), ALLOWED.values(), ids=ALLOWED)
def test_a_call_imports_only_what_it_needs(
    plugin: Any, comfyui: Any, call: dict[str, Any], allowed: set[str]
) -> None:
    (plugin.folder / "workflows" / "trivial.json").write_text(json.dumps(TRIVIAL), "utf-8")
    modules = imported(plugin, call, COMFYUI_BASE_URL=comfyui.url)
    assert "json" in modules
    assert COSTLY & modules <= allowed
    assert "comfyui_pipeline.engine.server_start" not in modules  # no setting says how to start it


def test_an_https_server_is_reached_through_the_libraries(plugin: Any) -> None:
    modules = imported(plugin, {"info": "queue"}, COMFYUI_BASE_URL="https://127.0.0.1:9")
    assert {"requests", "ssl"} <= modules


def test_a_run_opens_no_format_of_pillow_that_it_does_not_use(plugin: Any, comfyui: Any) -> None:
    (plugin.folder / "workflows" / "trivial.json").write_text(json.dumps(TRIVIAL), "utf-8")
    call = {"workflow": "trivial", "return_image": "none"}
    modules = imported(plugin, call, COMFYUI_BASE_URL=comfyui.url)
    assert "PIL.PngImagePlugin" in modules
    assert not {"PIL.PdfImagePlugin", "PIL.JpegImagePlugin", "PIL.GifImagePlugin"} & modules


@pytest.mark.parametrize(("line", "imported_it"), [("=trivial", False), ("='trivial'", True)])
def test_only_quotes_in_the_settings_import_their_parser(
    plugin: Any, line: str, imported_it: bool
) -> None:
    settings = f"# it's a comment\nCOMFYUI_DEFAULT_WORKFLOW{line}\n"
    (plugin.folder / "config.env").write_text(settings, "utf-8")
    assert ("dotenv" in imported(plugin, {"info": "workflows"})) is imported_it


def test_setup_compiles_what_a_call_imports(plugin: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "PROJECT", plugin.folder)
    monkeypatch.setattr(run, "VENV", plugin.folder / ".venv")
    monkeypatch.setattr(run, "python", lambda: sys.executable)
    assert run.compile_bytecode() == 0
    cached = plugin.folder / "comfyui_pipeline" / "__pycache__"
    names = {file.name.split(".")[0] for file in cached.glob("*.pyc")}
    assert {file.stem for file in (plugin.folder / "comfyui_pipeline").glob("*.py")} <= names
