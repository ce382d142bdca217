"""Workflow files: which are listed and loaded."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from comfyui_pipeline.errors import WorkflowError
from comfyui_pipeline.workflow import files

PROMPT = {"1": {"class_type": "SaveImage", "inputs": {}}}


@pytest.mark.skipif(os.name != "posix", reason="links need a privilege on Windows")
@pytest.mark.parametrize("name", ["out", "out.json", "folder/secret", "folder/secret.json"])
def test_a_symlink_out_of_the_workflows_folder_is_not_followed(tmp_path: Path, name: str) -> None:
    inside, outside = tmp_path / "workflows", tmp_path / "outside"
    for folder in (inside, outside):
        folder.mkdir()
    (outside / "secret.json").write_text(json.dumps(PROMPT), "utf-8")
    (inside / "out.json").symlink_to(outside / "secret.json")
    (inside / "folder").symlink_to(outside)
    (inside / "good.json").write_text(json.dumps(PROMPT), "utf-8")
    assert files.load(inside, "good").nodes is not None
    with pytest.raises(WorkflowError, match="There is no workflow"):
        files.load(inside, name)


def test_hidden_workflows_are_not_listed(tmp_path: Path) -> None:
    for name in ("a.json", ".b.json", ".c/d.json", "e/.f.json", "e/g.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}", "utf-8")
    assert files.names(tmp_path) == ["a", "e/g.png"]
