"""The command ``info``: workflows on disk, models and state of the server.

``QUESTIONS`` is the table of what the command ``info`` answers. To add a question, add a row and
its function. Every call imports this module, so it imports what a question needs in its function.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from comfyui_pipeline.text_result import text_result
from comfyui_pipeline.workflow.model_folders import MODEL_FOLDERS
from input_server.light_dataclasses import dataclass

if TYPE_CHECKING:
    from comfyui_pipeline.call import ToolCall
    from comfyui_pipeline.call_record import CallRecord
    from comfyui_pipeline.engine.protocol import Engine
    from comfyui_pipeline.settings import Settings
    from comfyui_pipeline.workflow_catalog import Catalog, Entry

SAMPLER_CLASS = "KSampler"
"""The core's own sampler, whose inputs list every sampler and scheduler of a server."""
MAX_SHOWN = 200
"""Names in the text; ``items`` has all of them."""
MAX_OUTPUTS = 20
"""Results that are listed."""
MAX_SERVER_SECONDS = 8.0
"""For which the list of workflows waits for a server that says what runs."""


# -- workflows, read from disk ---------------------------------------------------------------------


def workflows(settings: Settings) -> Mapping[str, Any]:
    """List every workflow: its purpose, what it takes, and whether it runs on the server."""
    import time

    from comfyui_pipeline import workflow_catalog
    from comfyui_pipeline.workflow import summary

    def connect() -> Any:
        from contextlib import suppress

        from comfyui_pipeline.errors import ToolError
        from comfyui_pipeline.process.dependencies import make_importable
        from comfyui_pipeline.server_connection import connect

        with suppress(ToolError):  # plain HTTP needs no packages
            make_importable(settings.cache_dir.parent)
        return connect(settings, time.monotonic() + MAX_SERVER_SECONDS)

    found = workflow_catalog.read(settings, workflow_catalog.ask_through(connect, settings))
    if not found.entries:
        nothing = "No workflows: put files saved from ComfyUI into the workflows folder."
        return text_result(nothing, items=[])
    items = [_workflow_item(entry) for entry in found.entries]
    count = len(items)
    head = f"{count} workflow{'' if count == 1 else 's'} in the workflows folder"
    lines = [f"{head}{_server_state(found)}:"]
    for entry, item in zip(found.entries, items, strict=True):
        said = entry.problem or summary.line(entry.summary)
        lacks = f"; does not run here, missing: {item['missing']}" if item["missing"] else ""
        other = summary.instead(entry.summary) if entry.summary else ""
        runs = f"; runs with {other}" if other and not lacks else ""
        lines.append(f"- {entry.name}: {said}{lacks}{runs}")
    return text_result("\n".join(lines), items=items)


def _server_state(found: Catalog) -> str:
    if found.unreachable:
        return f" (whether they run is not known: {found.unreachable.rstrip('.')})"
    lacking = sum(entry.runs is False for entry in found.entries)
    return "" if lacking else ", all run on this server"


def _workflow_item(entry: Entry) -> dict[str, Any]:
    from comfyui_pipeline.workflow import summary

    said = entry.summary
    fields = ("kind", "purpose", "takes", "size", "seconds", "models")
    return {
        "name": entry.name,
        "nodes": [f'"{title}"' for title in entry.nodes],
        "problem": entry.problem,
        **{field: said.get(field) for field in fields},
        "runs": entry.runs,
        "missing": summary.missing(said) if said and entry.runs is False else "",
    }


def outputs(settings: Settings) -> Mapping[str, Any]:
    """List the newest results in the results folder, with their links."""
    from comfyui_pipeline.result_urls import url_for_file

    folder = settings.output_dir
    found = [
        (path.stat().st_mtime, path)
        for path in (folder.rglob("*") if folder.is_dir() else ())
        if path.is_file() and not any(part.startswith(".") for part in path.parts)
    ]
    newest = [path for _, path in sorted(found, reverse=True)[:MAX_OUTPUTS]]
    items = []
    for path in newest:
        relative = path.relative_to(folder).as_posix()
        link = url_for_file(settings.links, settings.output_alias, relative, path, "")
        items.append({"name": relative, "url": link})
    if not items:
        return text_result("There are no results yet.", items=[])
    lines = [f"- {item['name']}" + (f": {item['url']}" if item["url"] else "") for item in items]
    head = f"The newest {len(items)} of {len(found)} results:"
    return text_result("\n".join([head, *lines]), items=items)


def help_text(_settings: Settings) -> Mapping[str, Any]:
    """List the commands with an example of each, and the arguments of a run."""
    from comfyui_pipeline.arguments import ARGUMENTS
    from comfyui_pipeline.commands import COMMANDS

    lines = [f"- {command.name}: {command.english}" for command in COMMANDS.values()]
    names = [a.name for a in ARGUMENTS if "run" in a.commands and not a.hidden]
    return text_result(
        "\n".join(
            [
                "Commands:",
                *lines,
                f"Arguments of run: {', '.join(names)}.",
                'What a workflow takes: {"command": "describe", "workflow": "resize_image"}',
            ]
        ),
        items=list(COMMANDS),
    )


# -- asked of the server ---------------------------------------------------------------------------


def models(engine: Engine, what: str, folder: str) -> Mapping[str, Any]:
    """List the files of one of the server's model folders."""
    return _named(what, engine.models(folder))


def loras(engine: Engine) -> Mapping[str, Any]:
    """List the server's LoRAs with the trigger words that their files name."""
    from comfyui_pipeline import trigger_words

    names = engine.models(MODEL_FOLDERS["lora_name"])
    words = trigger_words.of_files(engine, names)
    lines = [
        f"{name} (trigger words: {', '.join(words[name])})" if name in words else name
        for name in names
    ]
    listed = _named("loras", lines)
    return {**listed, "items": names, "trigger_words": {n: list(w) for n, w in words.items()}}


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


def nodes(engine: Engine) -> Mapping[str, Any]:
    """List the node types of the server."""
    return _named("node types", sorted(engine.catalog()))


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
    version, where = about.get("comfyui_version", "?"), about.get("os", "?")
    text = f"ComfyUI {version} on {where}, {free_memory(stats)}."
    return text_result(text, system=_public(about), devices=stats.get("devices", []))


def free_memory(stats: Mapping[str, Any]) -> str:
    """The free memory in ``/system_stats``: of the machine, and of its devices."""
    about = stats.get("system", {})
    devices = [
        f"{device.get('name')}: {_gigabytes(device.get('vram_free'))} of "
        f"{_gigabytes(device.get('vram_total'))} free"
        for device in stats.get("devices", [])
    ]
    return (
        f"memory {_gigabytes(about.get('ram_free'))} of {_gigabytes(about.get('ram_total'))} free; "
        f"devices: {'; '.join(devices) or 'none'}"
    )


def _public(about: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out the server's command line, which may hold paths and secrets."""
    return {key: value for key, value in about.items() if key != "argv"}


def _gigabytes(amount: Any) -> str:
    return f"{amount / 2**30:.1f} GB" if isinstance(amount, (int, float)) else "?"


# -- the table of questions ------------------------------------------------------------------------


@dataclass(frozen=True)
class Question:
    """One thing that ``info`` lists, read from this machine or asked of the server.

    ``hidden``: not in the manifest, for it is answered under the name that callers try.
    """

    name: str
    chinese: str
    ask_server: Callable[[Engine], Mapping[str, Any]] | None = None
    read_folder: Callable[[Settings], Mapping[str, Any]] | None = None
    hidden: bool = False

    @property
    def needs_server(self) -> bool:
        """Whether it is asked of the server."""
        return self.ask_server is not None


def _models(name: str, chinese: str, folder: str, *, hidden: bool = False) -> Question:
    return Question(name, chinese, lambda engine: models(engine, name, folder), hidden=hidden)


def _choices(name: str, chinese: str, input_name: str) -> Question:
    return Question(name, chinese, lambda engine: sampler_choices(engine, name, input_name))


QUESTIONS: Mapping[str, Question] = {
    question.name: question
    for question in (
        Question("workflows", "工作流", read_folder=workflows),
        _models("checkpoints", "大模型", MODEL_FOLDERS["ckpt_name"]),
        Question("loras", "LoRA", loras),
        _models("vaes", "VAE", MODEL_FOLDERS["vae_name"]),
        _models("controlnets", "ControlNet", MODEL_FOLDERS["control_net_name"]),
        _models("upscalers", "放大模型", "upscale_models"),
        _choices("samplers", "采样器", "sampler_name"),
        _choices("schedulers", "调度器", "scheduler"),
        Question("embeddings", "文本嵌入", embeddings),
        Question("queue", "队列", queue),
        Question("system", "系统状态", system),
        _models("unets", "扩散模型", MODEL_FOLDERS["unet_name"], hidden=True),
        _models("text_encoders", "文本编码器", MODEL_FOLDERS["clip_name"], hidden=True),
        Question("nodes", "节点", nodes, hidden=True),
        Question("outputs", "结果", read_folder=outputs, hidden=True),
        Question("help", "帮助", read_folder=help_text, hidden=True),
    )
}


FOLDER_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{1,59}")
"""What the name of a model folder looks like, in lower case."""


def question(topic: str) -> Question | None:
    """The question of a topic: of the table, or about the server's model folder of that name."""
    known = QUESTIONS.get(topic)
    if known is not None or not FOLDER_NAME.fullmatch(topic):
        return known
    return Question(topic, "", lambda engine: model_folder(engine, topic), hidden=True)


def model_folder(engine: Engine, topic: str) -> Mapping[str, Any]:
    """List the files of any model folder, whose name may be in the plural. Raises CallError."""
    folders = engine.model_folders()
    folder = next((name for name in folders if _bare(name) == _bare(topic)), None)
    if folder is None:
        from comfyui_pipeline.commands import COMMANDS
        from comfyui_pipeline.errors import CallError

        topics = ", ".join(dict.fromkeys([*QUESTIONS, *folders]))
        raise CallError(
            f'"info" has no topic {topic!r}.',
            f"Use one or several of: {topics}. Example: {COMMANDS['info'].example}",
        )
    return models(engine, folder, folder)


def _bare(name: str) -> str:
    """Without case, separators and the ending of a plural."""
    return re.sub(r"[^a-z0-9]", "", name.lower()).rstrip("s")


def ask(name: str, engine: Engine) -> Mapping[str, Any]:
    """Answer a question of the table that is asked of the server. Raises EngineError's children."""
    found = question(name)
    asked = found and found.ask_server
    if not asked:
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
    topics = call.info.split(",")
    if len(topics) == 1:
        return _answer(topics[0], settings, engine)
    from comfyui_pipeline.errors import CallError, EngineError

    found: dict[str, Mapping[str, Any]] = {}
    for topic in topics:
        try:
            found[topic] = _answer(topic, settings, engine)
        except (CallError, EngineError) as error:
            found[topic] = text_result(f"{topic}: {error.message}", problem=error.message)
    texts = [part["text"] for answer in found.values() for part in answer["content"]]
    fields = {
        topic: {name: value for name, value in answer.items() if name != "content"}
        for topic, answer in found.items()
    }
    return text_result("\n\n".join(texts), topics=fields)


def _answer(topic: str, settings: Settings, engine: Engine | None) -> Mapping[str, Any]:
    known = QUESTIONS.get(topic)
    if known is not None and known.read_folder is not None:
        return known.read_folder(settings)
    if engine is None:
        raise ValueError(f"{topic} is asked of the server")
    return ask(topic, engine)
