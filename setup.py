"""Copies the files that are outside the packages (workflows, manifest, example settings) into the wheel.

Everything else about packaging is in pyproject.toml. pip runs this file; there is no need to.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

PROJECT = Path(__file__).resolve().parent
PACKAGED = "comfyui_pipeline/project"
"""Where comfyui_pipeline/process/project.py finds them."""


class BuildWithProjectFiles(build_py):
    """Add the project's files to the packages."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:  # `pip install -e` uses the checkout itself
            return
        target = Path(self.build_lib) / PACKAGED
        shutil.copytree(PROJECT / "workflows", target / "workflows", dirs_exist_ok=True)
        for name in ("plugin-manifest.json", "config.env.example"):
            shutil.copy(PROJECT / name, target)


setup(cmdclass={"build_py": BuildWithProjectFiles})
