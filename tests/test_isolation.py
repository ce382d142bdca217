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
ONE_OF_EACH_KIND = (
    "test_a_file_is_sent_with_its_type_and_security_headers",
    "test_the_server_does_not_start_without_a_key",
    "test_an_example_key_is_accepted_on_loopback_only",
    "test_the_link_command_prints_a_working_link",
    "test_every_route_works_in_a_python_host",
    "test_page_list_and_images_over_http_have_their_headers",
    "test_a_request_waits_for_a_starting_server",
    "test_default_settings",
    "test_the_pipeline_and_the_file_server_mean_the_same_mounts",
)
"""Tests that start a server, call the plugin or read settings, each in a different way."""


def test_the_chosen_tests_exist() -> None:
    code = "".join(path.read_text("utf-8") for path in (PROJECT / "tests").rglob("test_*.py"))
    assert [name for name in ONE_OF_EACH_KIND if f"def {name}(" not in code] == []


@pytest.mark.timeout(600)  # runs tests in a copy of the suite
def test_no_test_reads_the_settings_of_its_developer(tmp_path: Path) -> None:
    checkout = isolated.copy_project(tmp_path / "checkout")
    ignore = shutil.ignore_patterns("__pycache__", "node_modules")
    for name in ("tests", "demo", "benchmarks", "devtools"):
        shutil.copytree(PROJECT / name, checkout / name, ignore=ignore)
    shutil.copy(PROJECT / "pyproject.toml", checkout)
    modules = Path("tests", "node", "node_modules")
    if (PROJECT / modules).is_dir() and os.name == "posix":
        (checkout / modules).symlink_to(PROJECT / modules)
    text = "".join(f"{name}={value}\n" for name, value in SET.items())
    for folder in (checkout, checkout / "input_server"):
        (folder / "config.env").write_text(text, "utf-8")
    (checkout / "mounts.json").write_text("no JSON", "utf-8")
    names = " or ".join(ONE_OF_EACH_KIND)
    chosen = ["tests/input_server", "tests/pipeline/test_links.py", "-k", names]
    places = ["--basetemp", str(tmp_path / "temporary"), "-p", "no:cacheprovider"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *chosen, *places],
        cwd=checkout,
        env={**os.environ, **SET},
        capture_output=True,
        encoding="utf-8",
        timeout=590,
        check=False,
    )
    assert done.returncode == 0, done.stdout
