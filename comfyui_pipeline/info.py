"""Questions about what there is: workflows on this disk, models and work at the server."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from comfyui_pipeline.arguments import ToolCall
from comfyui_pipeline.errors import WorkflowError
from comfyui_pipeline.settings import Settings
from comfyui_pipeline.text_result import text_result
from comfyui_pipeline.workflow import files
from comfyui_pipeline.workflow import graph as graphs

if TYPE_CHECKING:
    from comfyui_pipeline.engine.protocol import Engine

MODEL_FOLDERS: Mapping[str, str] = MappingProxyType(
    {
        "checkpoints": "checkpoints",
        "loras": "loras",
        "vaes": "vae",
        "controlnets": "controlnet",
        "upscalers": "upscale_models",
    }
)
SAMPLER_CLASS = "KSampler"
"""The core's own sampler: the one class that lists every sampler and scheduler of a server."""
SHOWN = 200
TITLE = 80  # characters of a node's title in the list of workflows


def workflows(folder: Path) -> Mapping[str, Any]:
    """Every workflow with the titles of the nodes that a call can change. Reads only the disk."""
    items = [_workflow(folder, name) for name in files.names(folder)]
    lines = [
        f"- {item['name']}: " + (item["problem"] or f"nodes {', '.join(item['nodes'])}")
        for item in items
    ]
    head = (
        f"{len(items)} workflows" if items else "No workflows: put files saved from ComfyUI there"
    )
    return text_result("\n".join([f"{head} in the workflows folder:", *lines]), items=items)


def _workflow(folder: Path, name: str) -> dict[str, Any]:
    try:
        found = files.load(folder, name)
    except WorkflowError as error:
        return {"name": name, "nodes": [], "problem": f"cannot be run: {error}"}
    titles = _prompt_titles(found.nodes) if found.nodes is not None else _ui_titles(found.ui or {})
    return {"name": name, "nodes": [f'"{title}"' for title in titles], "problem": None}


def _prompt_titles(nodes: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return [
        str(node["_meta"].get("title") or node["class_type"])[:TITLE]
        for node in nodes.values()
        if any(not graphs.is_link(value) for value in node["inputs"].values())
    ]


def _ui_titles(document: Mapping[str, Any]) -> list[str]:
    nodes = [node for node in document.get("nodes") or () if isinstance(node, dict)]
    return [
        str(node.get("title") or node.get("type"))[:TITLE]
        for node in nodes
        if node.get("widgets_values")
    ]


def describe(
    call: ToolCall, settings: Settings, engine: Engine, started: float
) -> Mapping[str, Any]:
    """What a workflow does, what a call can change in it, and what this server lacks for it."""
    from comfyui_pipeline import load
    from comfyui_pipeline.workflow import validate
    from comfyui_pipeline.workflow.describe import describe as told_of

    found = load.find(call, settings, started + settings.timeout)
    opened = load.read(found, settings, engine, seed=call.seed or 0)
    wrong = validate.problems(opened.graph, opened.schemas, opened.origin)
    text, fields = told_of(opened.graph, opened.name, wrong, opened.notes, full=call.full)
    return text_result(text, **fields)


def ask(what: str, engine: Engine) -> Mapping[str, Any]:
    """Ask the server. Raises EngineError's children."""
    if what in MODEL_FOLDERS:
        return _named(what, engine.models(MODEL_FOLDERS[what]))
    return QUESTIONS[what](engine)


def _named(what: str, names: Sequence[str]) -> Mapping[str, Any]:
    if not names:
        return text_result(f"This server has no {what}.", items=[])
    more = f"\n…and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    shown = "\n".join(f"- {name}" for name in names[:SHOWN])
    return text_result(f"{len(names)} {what}:\n{shown}{more}", items=list(names))


def _choices(engine: Engine, what: str, name: str) -> Mapping[str, Any]:
    schemas = engine.schemas([SAMPLER_CLASS])
    prompt = {"1": {"class_type": SAMPLER_CLASS, "inputs": {}}}
    spec = graphs.build(prompt, schemas).nodes["1"].specs.get(name)
    return _named(what, [str(choice) for choice in spec.choices] if spec else [])


def _queue(engine: Engine) -> Mapping[str, Any]:
    state = engine.queue_state()
    running = [entry.prompt_id for entry in state.running]
    pending = [entry.prompt_id for entry in state.pending]
    text = f"{len(running)} running, {len(pending)} waiting."
    if running or pending:
        text += f" Prompt ids in order: {', '.join(running + pending)}."
    return text_result(text, running=running, pending=pending)


def _system(engine: Engine) -> Mapping[str, Any]:
    stats = engine.system()
    system = stats.get("system", {})
    devices = [
        f"{device.get('name')}: {_gigabytes(device.get('vram_free'))} of "
        f"{_gigabytes(device.get('vram_total'))} free"
        for device in stats.get("devices", [])
    ]
    text = (
        f"ComfyUI {system.get('comfyui_version', '?')} on {system.get('os', '?')}, memory "
        f"{_gigabytes(system.get('ram_free'))} of {_gigabytes(system.get('ram_total'))} free; "
        f"devices: {'; '.join(devices) or 'none'}."
    )
    return text_result(text, system=_public(system), devices=stats.get("devices", []))


def _public(system: Mapping[str, Any]) -> dict[str, Any]:
    """Without the server's command line, which may hold paths and secrets."""
    return {key: value for key, value in system.items() if key != "argv"}


def _gigabytes(amount: Any) -> str:
    return f"{amount / 2**30:.1f} GB" if isinstance(amount, (int, float)) else "?"


QUESTIONS: Mapping[str, Callable[[Engine], Mapping[str, Any]]] = MappingProxyType(
    {
        "samplers": lambda engine: _choices(engine, "samplers", "sampler_name"),
        "schedulers": lambda engine: _choices(engine, "schedulers", "scheduler"),
        "embeddings": lambda engine: _named("embeddings", engine.embeddings()),
        "queue": _queue,
        "system": _system,
    }
)
