"""``pip install .`` gives two commands that work outside the repository."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devtools.isolated import without_settings
from tests.waiting import TIMEOUT

PROJECT = Path(__file__).resolve().parents[1]
KEY = "key-of-the-package-test"


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install a copy of the checkout into a new environment, offline; return the scripts folder."""
    base = tmp_path_factory.mktemp("package")
    ignore = shutil.ignore_patterns(".*", "node_modules", "output", "build", "tests", "*.egg-info")
    shutil.copytree(PROJECT, base / "checkout", ignore=ignore)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", base / "venv"], check=True)
    name = "Scripts/python.exe" if sys.platform == "win32" else "bin/python"
    python = base / "venv" / name
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    done = subprocess.run(
        [*pip, *options, str(base / "checkout")],
        capture_output=True,
        encoding="utf-8",
        timeout=TIMEOUT,
        check=False,
        env={**without_settings(os.environ), "PYTHONPATH": _own_packages()},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    site = next((base / "venv").rglob("site-packages"))
    (site / "dependencies.pth").write_text(_own_packages(), "utf-8")
    return python.parent


def _own_packages() -> str:
    """Return the folder of the plugin's dependencies."""
    return sysconfig.get_path("purelib")


def call(scripts: Path, folder: Path, arguments: dict[str, Any], **settings: str) -> Any:
    done = subprocess.run(
        [scripts / "comfyui-plugin"],
        cwd=folder,
        env={**without_settings(os.environ), **settings},
        input=json.dumps(arguments).encode(),
        capture_output=True,
        timeout=TIMEOUT,
        check=False,
    )
    answer = json.loads(done.stdout)
    assert answer["status"] == "success", answer
    return answer["result"]


def test_the_plugin_runs_a_packaged_workflow_in_any_folder(
    scripts: Path, tmp_path: Path, comfyui: Any, image_uri: str
) -> None:
    names = {item["name"] for item in call(scripts, tmp_path, {"info": "workflows"})["items"]}
    assert {"resize_image", "text2img_api"} <= names
    arguments = {"workflow": "resize_image", "image": image_uri, "width": "20", "height": "10"}
    result = call(scripts, tmp_path, arguments, COMFYUI_BASE_URL=comfyui.url)
    (output,) = result["outputs"]
    assert Path(output["path"]).parent == tmp_path / "output"
    assert (output["width"], output["height"]) == (20, 10)


def test_the_current_folder_has_the_settings_and_workflows(
    scripts: Path, tmp_path: Path, comfyui: Any, image_uri: str
) -> None:
    settings = f"COMFYUI_BASE_URL={comfyui.url}\nCOMFYUI_OUTPUT_DIR={tmp_path / 'results'}\n"
    (tmp_path / "config.env").write_text(f"{settings}COMFYUI_TIMEOUT=580\n", "utf-8")
    (tmp_path / "workflows").mkdir()
    shutil.copy(PROJECT / "workflows" / "invert_image.json", tmp_path / "workflows" / "mine.json")
    assert [i["name"] for i in call(scripts, tmp_path, {"info": "workflows"})["items"]] == ["mine"]
    (output,) = call(scripts, tmp_path, {"workflow": "mine", "image": image_uri})["outputs"]
    assert Path(output["path"]).parent == tmp_path / "results"


@pytest.fixture
def served(scripts: Path, tmp_path: Path) -> Iterator[str]:
    (tmp_path / "config.env").write_text(f"FILE_SERVER_ACCESS_KEY={KEY}\n", "utf-8")
    (tmp_path / "output").mkdir()
    (tmp_path / "output" / "a.txt").write_text("content", "utf-8")
    with subprocess.Popen(
        [scripts / "comfyui-files", "--port", "0", "--stop-with-stdin"],
        cwd=tmp_path,
        env=without_settings(os.environ),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    ) as process:
        assert process.stdin
        assert process.stdout
        yield process.stdout.readline().split()[-1]
        process.stdin.close()
        process.wait(TIMEOUT)


def test_the_file_server_serves_the_results_of_the_current_folder(served: str) -> None:
    url = f"{served}/comfyui_server/pw={KEY}/"
    with urllib.request.urlopen(f"{url}files/output/a.txt", timeout=TIMEOUT) as response:
        assert response.read() == b"content"
    with urllib.request.urlopen(f"{url}gallery/output/", timeout=TIMEOUT) as response:
        assert b"<html" in response.read()


def test_every_data_file_is_packaged(scripts: Path) -> None:
    site = next(scripts.parent.rglob("site-packages"))
    expected = [
        *("comfyui_pipeline/py.typed", "input_server/py.typed", "embedded_comfyui/py.typed"),
        *("comfyui_pipeline/project/plugin-manifest.json", "input_server/plugin-manifest.json"),
        *("comfyui_pipeline/project/config.env.example", "input_server/config.env.example"),
        "input_server/bridge.js",
        "input_server/nginx.conf.example",
    ]
    packages = ("comfyui_pipeline", "input_server", "embedded_comfyui")
    expected += [
        path.relative_to(PROJECT).as_posix()
        for package in packages
        for path in (PROJECT / package).rglob("*")
        if path.suffix in (".json", ".html", ".css", ".js", ".py") and ".cache" not in path.parts
    ]
    assert [name for name in expected if not (site / name).is_file()] == []
    assert not (site / "tests").exists()


# -- one list of requirements -----------------------------------------------------------------------


def _requirements(name: str) -> set[str]:
    """Return the packages in a requirements file, without spaces and comments."""
    lines = (PROJECT / name).read_text("utf-8").splitlines()
    plain = (re.sub(r"\s*#.*", "", line).replace(" ", "") for line in lines)
    return {line for line in plain if line and not line.startswith("-")}


def test_the_requirements_files_list_what_pyproject_lists() -> None:
    tomllib = pytest.importorskip("tomllib")  # Python 3.11
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    base = set(project["dependencies"])
    assert _requirements("requirements.txt") == base
    serving = _requirements("requirements-serve.txt") | _requirements(
        "input_server/requirements.txt"
    )
    assert serving - base == set(extras["serve"])
    assert _requirements("requirements-test.txt") == set(extras["test"]) - {"comfyui-plugin[serve]"}


def test_the_lock_file_has_an_allowed_version_of_every_requirement() -> None:
    requirements = pytest.importorskip("packaging.requirements")
    locked = dict(line.split("==") for line in _requirements("requirements-lock.txt"))
    versions = {name.lower().replace("_", "-"): version for name, version in locked.items()}
    files = ("requirements.txt", "requirements-serve.txt", "requirements-test.txt")
    for text in {line for file in files for line in _requirements(file)}:
        wanted = requirements.Requirement(text)
        assert wanted.specifier.contains(versions[wanted.name.lower()]), text


def test_the_manifests_and_the_package_have_one_version() -> None:
    version = re.search(r'^version = "(.+)"', (PROJECT / "pyproject.toml").read_text("utf-8"), re.M)
    assert version
    for manifest in ("plugin-manifest.json", "input_server/plugin-manifest.json"):
        assert json.loads((PROJECT / manifest).read_text("utf-8"))["version"] == version[1]
