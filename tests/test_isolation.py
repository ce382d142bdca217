"""Tests give the same results with any settings of the developer."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from devtools import isolated

PROJECT = Path(__file__).resolve().parent.parent
SET = {
    "FILE_SERVER_ACCESS_KEY": "key-of-the-developer",
    "FILE_SERVER_BASE_URL": "https://files.example.com",
    "INPUT_SERVER_OFFLOAD": "x-accel:/elsewhere",
    "INPUT_SERVER_WORKERS": "2",
    "COMFYUI_BASE_URL": "http://127.0.0.1:1",
    "COMFYUI_OUTPUT_DIR": "/nowhere",
    "DebugMode": "true",
}
SAMPLE = (
    "tests/input_server/http/test_serving.py::test_a_file_is_sent_with_its_type_and_security_headers",
    "tests/input_server/http/test_serving.py::test_the_server_does_not_start_without_a_key",
    "tests/input_server/auth/test_access.py::test_an_example_key_is_accepted_on_loopback_only",
    "tests/input_server/auth/test_access.py::test_the_link_command_prints_a_working_link",
    "tests/input_server/http/test_express.py::test_every_route_works_in_a_python_host",
    "tests/input_server/gallery/test_routes.py::test_page_list_and_images_over_http_have_their_headers",
    "tests/input_server/test_bridge.py::test_a_request_waits_for_a_starting_server",
    "tests/input_server/test_config.py::test_default_settings",
    "tests/pipeline/test_links.py",
)
"""Tests that start a server, call the plugin or read settings, each in another way."""


@pytest.mark.timeout(600)  # runs tests in a copy of the suite
def test_settings_of_the_developer_do_not_affect_tests(tmp_path: Path) -> None:
    checkout = isolated.copy_project(tmp_path / "checkout")
    ignored = shutil.ignore_patterns("__pycache__", "node_modules")
    for name in ("tests", "demo", "benchmarks", "devtools"):
        shutil.copytree(PROJECT / name, checkout / name, ignore=ignored)
    shutil.copy(PROJECT / "pyproject.toml", checkout)
    modules = Path("tests", "node", "node_modules")
    if (PROJECT / modules).is_dir() and os.name == "posix":
        (checkout / modules).symlink_to(PROJECT / modules)
    text = "".join(f"{name}={value}\n" for name, value in SET.items())
    for folder in (checkout, checkout / "input_server"):
        (folder / "config.env").write_text(text, "utf-8")
    (checkout / "mounts.json").write_text("no JSON", "utf-8")
    options = ["--basetemp", str(tmp_path / "temporary"), "-p", "no:cacheprovider"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *SAMPLE, *options],
        cwd=checkout,
        env={**os.environ, **SET},
        capture_output=True,
        encoding="utf-8",
        timeout=590,
        check=False,
    )
    assert done.returncode == 0, done.stdout
