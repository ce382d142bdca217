"""Paths named in documents exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]
DOCUMENTS = ("ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "README.md", "README.zh-CN.md")
FOLDERS = (
    *("comfyui_pipeline", "input_server", "embedded_comfyui", "tests", "demo"),
    *("benchmarks", "devtools", "docs"),
)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_path_in_a_document_exists(name: str) -> None:
    text = (PROJECT / name).read_text("utf-8")
    quoted = re.findall(r"`([\w./-]+)`", text) + re.findall(r"\]\(([\w./-]+)\)", text)
    paths = {path for path in quoted if path.split("/")[0] in FOLDERS and "/" in path}
    paths |= {path for path in quoted if re.fullmatch(r"\w+\.(md|py)", path)}
    assert paths
    ours = {path.name for folder in FOLDERS for path in (PROJECT / folder).rglob("*.py")}
    missing = [path for path in sorted(paths) if not (PROJECT / path).exists()]
    assert [path for path in missing if "/" in path or path not in ours] == []


def test_every_file_in_the_tree_of_the_architecture_exists() -> None:
    tree = (PROJECT / "ARCHITECTURE.md").read_text("utf-8").split("```")[1]
    files = set(re.findall(r"\b\w+\.(?:py|js)\b", tree))
    ours = {path.name for folder in FOLDERS for path in (PROJECT / folder).rglob("*.*")}
    ours |= {path.name for path in PROJECT.iterdir()}
    assert sorted(files - ours) == []


def test_every_folder_is_in_the_tree_of_the_architecture() -> None:
    text = (PROJECT / "ARCHITECTURE.md").read_text("utf-8")
    packages = ("comfyui_pipeline", "input_server", "embedded_comfyui")
    folders = {
        path.parent.name for package in packages for path in (PROJECT / package).rglob("*.py")
    }
    assert [folder for folder in sorted(folders) if f"{folder}/" not in text] == []


def test_both_readmes_have_the_same_sections_tables_and_images() -> None:
    english, chinese = ((PROJECT / name).read_text("utf-8") for name in DOCUMENTS[-2:])
    for pattern in (r"^#+ ", r"^\|", r"docs/images/\w+\.png", r"^```", r"`[A-Z_]{6,}`"):
        counts = [len(re.findall(pattern, text, re.MULTILINE)) for text in (english, chinese)]
        assert counts[0] == counts[1], pattern
