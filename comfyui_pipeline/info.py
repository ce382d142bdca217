"""The command ``info``: workflows on disk, models and state of the server.

``QUESTIONS`` is the table of what the command ``info`` answers. To add a question, add a row and
its function. Every call imports this module, so it imports what a question needs in its function.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from comfyui_pipeline.text_result import text_result
from comfyui_pipeline.workflow.model_folders import MODEL_FOLDERS
from input_server.light_dataclasses import dataclass

if TYPE_CHECKING:
    from pathlib import Path

    from comfyui_pipeline.call import ToolCall
    from comfyui_pipeline.call_record import CallRecord
    from comfyui_pipeline.engine.protocol import Engine
    from comfyui_pipeline.settings import Settings

SAMPLER_CLASS = "KSampler"
"""The core's own sampler, whose inputs list every sampler and scheduler of a server."""
MAX_SHOWN = 200
"""Names in the text; ``items`` has all of them."""
MAX_TITLE_CHARACTERS = 80
"""Characters of a node's title in the list of workflows."""


# -- workflows, read from disk ---------------------------------------------------------------------


def workflows(folder: Path) -> Mapping[str, Any]:
    """List every workflow with the titles of the nodes that a call can change."""
    from comfyui_pipeline.workflow import files

    items = [_workflow(folder, name) for name in files.names(folder)]
    lines = [
        f"- {item['name']}: " + (item["problem"] or f"nodes {', '.join(item['nodes'])}")
        for item in items
    ]
    head = (
        f"{len(items)} workflows in the workflows folder:"
        if items
        else "No workflows: put files saved from ComfyUI into the workflows folder."
    )
    return text_result("\n".join([head, *lines]), items=items)


def _workflow(folder: Path, name: str) -> dict[str, Any]:
    from comfyui_pipeline.errors import WorkflowError
    from comfyui_pipeline.workflow import files

    try:
        found = files.load(folder, name)
    except WorkflowError as error:
        return {"name": name, "nodes": [], "problem": f"cannot be run: {error}"}
    prompt, document = found.nodes, found.ui or {}
    titles = _document_titles(document) if prompt is None else _prompt_titles(prompt)
    return {"name": name, "nodes": [f'"{title}"' for title in titles], "problem": None}


def _prompt_titles(nodes: Mapping[str, Mapping[str, Any]]) -> list[str]:
    from comfyui_pipeline.workflow import graph as graphs

    return [
        str(node["_meta"].get("title") or node["class_type"])[:MAX_TITLE_CHARACTERS]
        for node in nodes.values()
        if any(not graphs.is_link(value) for value in node["inputs"].values())
    ]


def _document_titles(document: Mapping[str, Any]) -> list[str]:
    nodes = [node for node in document.get("nodes") or () if isinstance(node, dict)]
    return [
        str(node.get("title") or node.get("type"))[:MAX_TITLE_CHARACTERS]
        for node in nodes
        if node.get("widgets_values")
    ]


# -- asked of the server ---------------------------------------------------------------------------


def models(engine: Engine, what: str, folder: str) -> Mapping[str, Any]:
    """List the files of one of the server's model folders."""
    return _named(what, engine.models(folder))


def embeddings(engine: Engine) -> Mapping[str, Any]:
    """List the server's embeddings."""
    return _named("embeddings", engine.embeddings())


def sampler_choices(engine: Engine, what: str, name: str) -> Mapping[str, Any]:
    """List the choices of one input of the core's sampler node."""
    from comfyui_pipeline.workflow import graph as graphs

    schemas = engine.schemas([SAMPLER_CLASS])
    prompt = {"1": {"class_type": SAMPLER_CLASS, "inputs": {}}}
    spec = graphs.build(prompt, schemas).nodes["1"].specs.get(name)
    return _named(what, [str(choice) for choice in spec.choices] if spec else [])


def _named(what: str, names: Sequence[str]) -> Mapping[str, Any]:
    if not names:
        return text_result(f"This server has no {what}.", items=[])
    more = f"\n…and {len(names) - MAX_SHOWN} more" if len(names) > MAX_SHOWN else ""
    shown = "\n".join(f"- {name}" for name in names[:MAX_SHOWN])
    return text_result(f"{len(names)} {what}:\n{shown}{more}", items=list(names))


def queue(engine: Engine) -> Mapping[str, Any]:
    """List the ids of the running and the queued jobs, in the order of the queue."""
    state = engine.queue_state()
    running = [entry.prompt_id for entry in state.running]
    pending = [entry.prompt_id for entry in state.pending]
    text = f"{len(running)} running, {len(pending)} waiting."
    if running or pending:
        text += f" Prompt ids in order: {', '.join(running + pending)}."
    return text_result(text, running=running, pending=pending)


def system(engine: Engine) -> Mapping[str, Any]:
    """Report the server's version, memory and devices, from ``/system_stats``."""
    stats = engine.system()
    about = stats.get("system", {})
    devices = [
        f"{device.get('name')}: {_gigabytes(device.get('vram_free'))} of "
        f"{_gigabytes(device.get('vram_total'))} free"
        for device in stats.get("devices", [])
    ]
    text = (
        f"ComfyUI {about.get('comfyui_version', '?')} on {about.get('os', '?')}, memory "
        f"{_gigabytes(about.get('ram_free'))} of {_gigabytes(about.get('ram_total'))} free; "
        f"devices: {'; '.join(devices) or 'none'}."
    )
    return text_result(text, system=_public(about), devices=stats.get("devices", []))


def _public(about: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out the server's command line, which may hold paths and secrets."""
    return {key: value for key, value in about.items() if key != "argv"}


def _gigabytes(amount: Any) -> str:
    return f"{amount / 2**30:.1f} GB" if isinstance(amount, (int, float)) else "?"


# -- the table of questions ------------------------------------------------------------------------


@dataclass(frozen=True)
class Question:
    """One thing that ``info`` lists, read from the workflows folder or asked of the server."""

    name: str
    chinese: str
    ask_server: Callable[[Engine], Mapping[str, Any]] | None = None
    read_folder: Callable[[Path], Mapping[str, Any]] | None = None

    @property
    def needs_server(self) -> bool:
        """Whether it is asked of the server."""
        return self.ask_server is not None


def _models(name: str, chinese: str, folder: str) -> Question:
    return Question(name, chinese, lambda engine: models(engine, name, folder))


def _choices(name: str, chinese: str, input_name: str) -> Question:
    return Question(name, chinese, lambda engine: sampler_choices(engine, name, input_name))


QUESTIONS: Mapping[str, Question] = {
    question.name: question
    for question in (
        Question("workflows", "工作流", read_folder=workflows),
        _models("checkpoints", "大模型", MODEL_FOLDERS["ckpt_name"]),
        _models("loras", "LoRA", MODEL_FOLDERS["lora_name"]),
        _models("vaes", "VAE", MODEL_FOLDERS["vae_name"]),
        _models("controlnets", "ControlNet", MODEL_FOLDERS["control_net_name"]),
        _models("upscalers", "放大模型", "upscale_models"),
        _choices("samplers", "采样器", "sampler_name"),
        _choices("schedulers", "调度器", "scheduler"),
        Question("embeddings", "文本嵌入", embeddings),
        Question("queue", "队列", queue),
        Question("system", "系统状态", system),
    )
}


def ask(name: str, engine: Engine) -> Mapping[str, Any]:
    """Answer a question of the table that is asked of the server. Raises EngineError's children."""
    asked = QUESTIONS[name].ask_server
    if asked is None:
        raise ValueError(f"{name} is not asked of the server")
    return asked(engine)


# -- the command ----------------------------------------------------------------------------------


def answer(
    call: ToolCall,
    settings: Settings,
    engine: Engine | None,
    _started: float,
    _record: CallRecord,
) -> Mapping[str, Any]:
    """Do the command ``info``. ``engine``: None for what is read from disk."""
    read_folder = QUESTIONS[call.info].read_folder
    if read_folder is not None:
        return read_folder(settings.workflows_dir)
    if engine is None:
        raise ValueError(f"{call.info} is asked of the server")
    return ask(call.info, engine)
