"""Commands and topics of ``info`` as callers write them: other tools' names, Chinese, purposes.

Imported only for a word that is not in the tables of commands and questions.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from comfyui_pipeline import argument_keys
from comfyui_pipeline.call_document import MAX_SHOWN, invalid_call
from comfyui_pipeline.commands import COMMANDS
from comfyui_pipeline.errors import CallError
from comfyui_pipeline.info import FOLDER_NAME, QUESTIONS

RUN, SUBMIT, RESULT, STATUS, CANCEL, DESCRIBE, FREE = (
    "run",
    "submit",
    "result",
    "status",
    "cancel",
    "describe",
    "free",
)
COMMAND_WORDS: Mapping[str, str] = {
    RUN: "runworkflow execute executeworkflow exec start invoke generate create make process call "
    "runsync comfyuigenerate generateimages 运行 执行 生成 开始 启动 调用 生成图 出图",
    SUBMIT: "submitworkflow enqueue enqueueworkflow queueprompt queueworkflow async runasync background "
    "submitjob post 提交 排队 后台运行 异步",
    RESULT: "getresult results getresults fetch fetchoutputs fetchresult download output getoutput "
    "getimage viewimage waitfor wait history gethistory 结果 取结果 获取结果 查看结果 下载 历史",
    STATUS: "getstatus jobstatus getjobstatus getjob job progress state check poll query watch 状态 "
    "查询 查询状态 进度 任务状态",
    CANCEL: "canceljob stop abort interrupt kill delete remove terminate 取消 停止 中断 终止 取消任务",
    FREE: "freememory clearvram unload unloadmodels freevram freegpu clearmemory releasememory 释放显存 "
    "释放内存 清理显存 卸载模型",
    DESCRIBE: "describeworkflow inspect show details explain parameters slots listworkflowslots "
    "workflowinfo getworkflow schema 描述 说明 查看 详情 参数 查看工作流",
}
"""Command -> other words for it: letters and digits only."""
HISTORY_WORDS = ("history", "gethistory", "历史", "results", "output", "getresults")
"""Words for the results so far, where no job is named."""
CHECK_WORDS = (
    "validate validateworkflow dryrun check checkworkflow test simulate preview validateonly verify "
    "验证 检查 校验 试运行"
)
"""Words for a run that is only checked."""
REFUSED: Mapping[str, str] = {
    "upload uploadimage uploadfile uploadmask 上传 上传图片": (
        "No upload is needed: give the file in the call that uses it, as a URL, data URI, path or "
        'attachment name: {"workflow": "resize_image", "image": "cat.png", "width": "512"}'
    ),
    "install installnode installmodel downloadmodel deps update restart reboot 安装 下载模型": (
        "This tool installs nothing. What the server has: "
        '{"info": "models"}; what a workflow lacks: {"info": "workflows"}.'
    ),
    "clear clearqueue clearhistory 清空队列": (
        "This tool cancels single jobs only: "
        '{"command": "cancel", "prompt_id": "last"}; {"info": "queue"} lists them.'
    ),
}
"""Words for what this tool does not do -> what to do instead."""

TOPIC_WORDS: Mapping[str, str] = {
    "workflows": "workflow flows flow template templates list listworkflows pipelines 工作流 流程 模板 "
    "工作流列表 列出工作流",
    "checkpoints": "checkpoint ckpt ckpts basemodel basemodels sdmodels 大模型 主模型 底模 基础模型 模型文件",
    "loras": "lora listloras lycoris",
    "vaes": "vae listvaes",
    "controlnets": "controlnet controlnetmodels 控制网络",
    "upscalers": "upscaler upscalemodel upscalemodels upscalers esrgan 放大模型 超分模型",
    "unets": "unet diffusionmodel diffusionmodels dit 扩散模型",
    "text_encoders": "textencoder clip clips clipmodels 文本编码器",
    "samplers": "sampler samplername samplernames listsamplers 采样器 采样方法",
    "schedulers": "scheduler listschedulers 调度器",
    "embeddings": "embedding textualinversion textualinversions 嵌入 文本嵌入",
    "queue": "jobs tasks getqueue getqueuestatus queuestatus listjobs running pending 队列 任务 任务队列",
    "system": "systemstats systeminfo server serverinfo stats device devices gpu vram memory version "
    "health ping status getsystemstats 系统 系统状态 服务器 状态 显存 版本",
    "nodes": "node nodetypes nodeclasses objectinfo listnodes customnodes 节点 节点列表",
    "outputs": "output images gallery results recent history files lastoutputs 输出 结果 图库 历史",
    "help": "commands usage manual tools capabilities arguments 帮助 用法 命令 功能",
}
"""Topic -> other words for it: letters and digits only."""
GROUPS: Mapping[str, tuple[str, ...]] = {
    "models model listmodels listlocalmodels allmodels 模型 所有模型 模型列表": (
        "checkpoints",
        "unets",
        "loras",
        "vaes",
        "controlnets",
        "upscalers",
        "text_encoders",
    ),
    "all everything any 全部 所有": (
        "workflows",
        "checkpoints",
        "unets",
        "loras",
        "vaes",
        "controlnets",
        "upscalers",
        "samplers",
        "schedulers",
        "queue",
        "system",
    ),
}
"""Words -> the topics that they stand for together."""
MAX_QUESTION = 1000
"""Characters of the topics of one call."""
SEPARATORS = str.maketrans(dict.fromkeys(",;|/+&、，；\n", "\n"))


def letters(text: str) -> str:
    """Letters and digits only, without case and width."""
    folded = unicodedata.normalize("NFKC", text[:200]).casefold()
    return "".join(letter for letter in folded if letter.isalnum())


def replaced(word: str, given: Mapping[str, object]) -> dict[str, str] | None:
    """The arguments that a command word stands for, such as ``{"command": "info", "info": "loras"}``.

    None for a word that is none of these; it may be the name of a workflow. ``given``: the call's
    arguments, which decide about ``check`` and ``history``.
    """
    folded = letters(word)
    if folded in COMMANDS:
        return {"command": folded}
    found = _command(folded, given)
    if found:
        return found
    if asked := topics(word):
        return {"command": "info", "info": ",".join(asked)}
    for lists in ("list", "get", "show", "列出", "查询", "查看", "info"):
        asked = topics(folded.removeprefix(lists)) if folded.startswith(lists) else ()
        if asked:
            return {"command": "info", "info": ",".join(asked)}
    return None


def _command(folded: str, given: Mapping[str, object]) -> dict[str, str] | None:
    has_job = bool(given.get("prompt_id"))
    if folded in CHECK_WORDS.split() and not has_job:
        return {"command": RUN, "dry_run": "true"}
    for command, words in COMMAND_WORDS.items():
        if folded in words.split():
            if command == RESULT and not has_job and folded in HISTORY_WORDS:
                return {"command": "info", "info": "outputs"}
            return {"command": command}
    return None


def refusal(word: str) -> str:
    """What to do instead of a command that this tool does not have; "" for any other word."""
    folded = letters(word)
    return next((said for words, said in REFUSED.items() if folded in words.split()), "")


def topics(text: str) -> tuple[str, ...]:
    """The topics of ``info`` that a text lists; none if one of them is unknown."""
    found: list[str] = []
    for part in split_topics(text):
        meant = _topic(part)
        if not meant:
            return ()
        found += meant
    return tuple(dict.fromkeys(found))


def split_topics(text: str) -> list[str]:
    """The parts of a list of topics: separated by commas, lines, ``and``, or a JSON list."""
    bare = text.strip().strip("[]{}").translate(SEPARATORS)
    bare = bare.replace(" and ", "\n").replace("和", "\n").replace("\\n", "\n")
    parts = [part.strip(" \t\r\"'“”`.") for part in bare.split("\n")]
    if any(part and not _topic(part) for part in parts) and "," not in text:
        words = [word.strip("\"'") for word in bare.split()]
        parts = words if all(_topic(word) for word in words) else parts
    return [part for part in parts if part]


def _topic(text: str) -> tuple[str, ...]:
    folded = letters(text)
    if not folded:
        return ()
    for topic, words in TOPIC_WORDS.items():
        if folded == letters(topic) or folded in words.split():
            return (topic,) if topic in QUESTIONS else ()
    for words, several in GROUPS.items():
        if folded in words.split():
            return tuple(topic for topic in several if topic in QUESTIONS)
    return ()


def near(word: str, known: Sequence[str]) -> list[str]:
    """Names of the table that are nearly the same."""
    from difflib import get_close_matches

    return get_close_matches(letters(word), known, 2, 0.8)


def expanded(document: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """The keys of a call with the command and the topics that its words stand for.

    Also returns a command word that is unknown: it may be the name of a workflow, and has become
    the call's ``workflow`` where that was missing. Raises CallError for other unknown words.
    """
    plain = ("command", "info")
    found = {key.lower() if key.lower() in plain else key: v for key, v in document.items()}
    unknown = ""
    word = found.get("command")
    if isinstance(word, str) and word.strip() and word.strip().lower() not in COMMANDS:
        meant = replaced(word, found)
        if meant is None:
            if refused := refusal(word):
                raise CallError(f"There is no command {word.strip()[:MAX_SHOWN]!r}.", refused)
            named = (argument_keys.find(key)[0] for key, given in found.items() if given)
            if any(row and row.name in ("workflow", "workflow_json") for row in named):
                raise unknown_command(word)
            meant, unknown = {"command": "run", "workflow": word.strip()}, word.strip()
        found.update(meant)
    question = found.get("info")
    if isinstance(question, (str, list)) and question not in ("", []):
        found["info"] = _question(question)
    return found, unknown


def _question(given: str | list[Any]) -> str:
    text = ",".join(str(one) for one in given) if isinstance(given, list) else given
    text = text[:MAX_QUESTION]
    if text.strip().lower() in QUESTIONS:
        return text.strip().lower()
    if asked := topics(text):
        return ",".join(asked)
    wrong = [part for part in split_topics(text) if not _topic(part)] or [text]
    shown = ", ".join(repr(part[:MAX_SHOWN]) for part in wrong[:3])
    similar = near(wrong[0], list(QUESTIONS))
    names = [re.sub(r"\s+", "_", part.strip().lower()) for part in wrong]
    if not similar and all(FOLDER_NAME.fullmatch(name) for name in names):  # the server knows
        known = [topic for part in split_topics(text) for topic in _topic(part)]
        return ",".join(dict.fromkeys([*known, *names]))
    hint = f"Did you mean {' or '.join(similar)}? " if similar else ""
    raise invalid_call(
        f'"info" has no topic {shown}.',
        f"{hint}Use one or several of: {', '.join(QUESTIONS)}.",
        COMMANDS["info"].example,
    )


def unknown_command(word: str) -> CallError:
    """The error about a word that is no command, and no workflow either."""
    shown = word.strip()[:MAX_SHOWN]
    known = [*COMMANDS, *(one for words in COMMAND_WORDS.values() for one in words.split())]
    similar = [
        next((name for name, words in COMMAND_WORDS.items() if one in words.split()), one)
        for one in near(word, known)
    ]
    names = " or ".join(dict.fromkeys(similar))
    hint = f"Did you mean {names}? " if names else ""
    return invalid_call(f"Unknown command {shown!r}.", f"{hint}Use one of: {', '.join(COMMANDS)}.")
