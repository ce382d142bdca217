"""``comfyui_plugin.py convert FILE…``: convert editor documents to prompts on the command line."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from glob import glob
from pathlib import Path
from typing import Any

from comfyui_pipeline import known_types, settings
from comfyui_pipeline.bounded import json_text
from comfyui_pipeline.engine.schema_cache import SchemaCache
from comfyui_pipeline.errors import PackagesMissing, ToolError, WorkflowError
from comfyui_pipeline.known_types import KnownTypes
from comfyui_pipeline.process import dependencies
from comfyui_pipeline.workflow import editor_nodes, files, validate
from comfyui_pipeline.workflow.convert.document import read_document
from comfyui_pipeline.workflow.convert.prompt import convert


def main(argv: Sequence[str], project: Path) -> int:
    """Convert every file; return 1 if one of them could not be converted, else 0."""
    chosen = _arguments(argv)
    try:
        if chosen.out_dir is not None:
            chosen.out_dir.mkdir(parents=True, exist_ok=True)
        found = {path: _read(path, project) for path in chosen.files}
        known = _types(chosen.object_info, found, project)
    except PackagesMissing as missing:
        return _fail(str(missing))
    except (ToolError, OSError) as error:
        return _fail(str(error))
    return max(_one(path, flow, known, chosen) for path, flow in found.items())


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="comfyui_plugin.py convert",
        description="Convert workflows that ComfyUI's editor saved into prompts for its API.",
        epilog="Notes and errors go to stderr. Exit status 1 when a file could not be converted.",
    )
    parser.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        help="JSON file, image that contains its workflow, or pattern (workflows/*.json)",
    )
    parser.add_argument(
        "--object-info",
        metavar="FILE|URL",
        help="file with a server's /object_info, or URL of a server (default: COMFYUI_BASE_URL)",
    )
    parser.add_argument(
        "--out-dir",
        type=Path,
        metavar="DIR",
        help="folder for NAME.api.json (default: print to stdout)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="seed for random choices {a|b} in texts"
    )
    chosen = parser.parse_args(argv)
    chosen.files = [path for written in chosen.files for path in _paths(written)]
    if len(chosen.files) > 1 and chosen.out_dir is None:
        parser.error("--out-dir is required for several files")
    return chosen


def _paths(written: str) -> list[Path]:
    """The files of a path or pattern: cmd and PowerShell leave patterns and single quotes to programs."""
    path = Path(written)
    if path.exists():
        return [path]
    unquoted = written.strip("'\"")
    is_pattern = any(sign in unquoted for sign in "*?[")
    found = sorted(glob(unquoted)) if is_pattern else []  # noqa: PTH207 - may be absolute
    return [Path(name) for name in found] or [Path(unquoted)]


def _read(path: Path, project: Path) -> files.Workflow | ToolError:
    try:
        if path.suffix.lower() in files.IMAGE_SUFFIXES:
            _need_packages(project)
        return files.from_bytes(path.name, path.read_bytes())
    except OSError as error:
        return WorkflowError(f"{path} cannot be read: {error.strerror}.")
    except ToolError as error:
        return error


def _need_packages(project: Path) -> None:
    """Make the project's packages importable, or raise PackagesMissing."""
    if dependencies.make_importable(project) is not None:
        raise PackagesMissing(
            "This needs the packages of the project: run it with the Python in its .venv."
        )


def _types(
    source: str | None, found: Mapping[Path, files.Workflow | ToolError], project: Path
) -> KnownTypes:
    if source is not None and not source.lower().startswith(("http://", "https://")):
        return KnownTypes(_from_file(Path(source)), frozenset(), {})
    _need_packages(project)
    classes: set[str] = set()
    for flow in found.values():
        if isinstance(flow, files.Workflow) and flow.nodes is None:
            classes |= read_document(flow.ui or {}).class_types()
    if not classes:
        return KnownTypes({}, frozenset(), {})
    from comfyui_pipeline.engine.comfyui import ComfyUI

    base = source or settings.load(project, os.environ).base_url
    path, mark, query = base.partition("?")
    path = path.rstrip("/").removesuffix("/object_info")
    engine = ComfyUI(f"{path}{mark}{query}", "convert", log=lambda text: None)
    try:
        return known_types.ask(classes, SchemaCache(None, engine.schemas), engine)
    finally:
        engine.close()


def _from_file(path: Path) -> Mapping[str, Mapping[str, Any]]:
    try:
        read = json_text.read(path.read_text("utf-8-sig"))
    except ValueError:
        read = None
    if not isinstance(read, dict) or not all(isinstance(one, dict) for one in read.values()):
        raise WorkflowError(
            f"{path} is not the response of a server to /object_info.",
            "Save http://…:8188/object_info into a file and name that.",
        )
    return read


def _one(
    path: Path,
    flow: files.Workflow | ToolError,
    known: KnownTypes,
    chosen: argparse.Namespace,
) -> int:
    if isinstance(flow, ToolError):
        return _fail(f"{path.name}: {flow}")
    if flow.nodes is None:
        flow = known_types.with_replacements(flow, known)
    prompt = flow.nodes
    notes: tuple[str, ...] = ()
    unknown: list[str] = []
    if prompt is None:
        try:
            converted = convert(flow.ui or {}, known.schemas, seed=chosen.seed)
        except ToolError as error:
            return _fail(f"{path.name}: {error}")
        editor_types = validate.origin_of(flow.ui).editor_types | converted.passing
        prompt, gone = editor_nodes.without(converted.prompt, known.schemas, editor_types)
        unknown = [
            editor_nodes.label(node_id, node)
            for node_id, node in prompt.items()
            if node["class_type"] not in known.schemas
        ]
        notes = (*flow.notes, *converted.important, *converted.notes, *gone)
    for note in notes:
        print(f"{path.name}: {note}", file=sys.stderr)
    for label in unknown:
        print(f"{path.name}: node {label}: its node type is not in --object-info", file=sys.stderr)
    if (problem := _non_finite_inputs(prompt)) is not None:
        print(f"{path.name}: {problem}", file=sys.stderr)
    text = json.dumps(prompt, ensure_ascii=False, indent=2) + "\n"
    if chosen.out_dir is None:
        sys.stdout.buffer.write(text.encode())
        sys.stdout.flush()
    else:
        (chosen.out_dir / f"{path.stem}.api.json").write_bytes(text.encode())
    return 0


def _non_finite_inputs(prompt: Mapping[str, Mapping[str, Any]]) -> str | None:
    """The inputs that hold NaN or an infinity, which no server accepts."""
    odd = [
        f"node {node_id[:80]}, input {name[:80]!r} ({problem})"
        for node_id, node in prompt.items()
        for name, value in node["inputs"].items()
        if (problem := json_text.non_finite(value)) is not None
    ]
    more = f" and {len(odd) - 10} more" if len(odd) > 10 else ""
    return f"ComfyUI does not accept these numbers: {', '.join(odd[:10])}{more}" if odd else None


def _fail(text: str) -> int:
    print(text, file=sys.stderr)
    return 1
