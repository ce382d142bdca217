"""The table of commands: name, the function that does it, what it needs, and its description.

After a change ``python -m devtools.settings_files`` writes the descriptions into the manifest.
"""

from __future__ import annotations

from collections.abc import Mapping

from comfyui_pipeline.process.stdin import EXAMPLE_CALL
from input_server.light_dataclasses import dataclass


@dataclass(frozen=True)
class Command:
    """One command. ``dispatch.py`` imports and calls its function when a call names it.

    The function takes (call, settings, engine, started, record) and returns the host's ``result``;
    ``engine`` is None for a call that needs no server.
    """

    name: str
    function: str  # module:name
    example: str  # a correct call
    english: str
    chinese: str
    notes: tuple[str, ...] = ()  # lines after the arguments, in both languages
    needs_persistent_server: bool = False  # not the embedded one, which ends with the call
    starts_server: bool = True  # one that is asleep, if a setting says how
    question: str = ""  # short for the command info with this question


COMMANDS: Mapping[str, Command] = {
    command.name: command
    for command in (
        Command(
            "run",
            "comfyui_pipeline.pipeline:run",
            EXAMPLE_CALL,
            "Run one workflow and wait for it; returns links to all outputs (show image links "
            "unchanged), the seed used and the changes.",
            "运行一个 ComfyUI 工作流并等待完成，返回每个输出的链接（图片为 Markdown 链接，"
            "请原样展示给用户）、所用种子和改动。",
            notes=(
                "Usual other names (image_url, model, n, cfg_scale…) work too; keys without effect are "
                "reported. Several calls at once 一次多个: workflow1, prompt1, workflow2, prompt2, …",
                "支持模糊匹配，并返回实际采用的名称；名称有误时，请按错误信息改正后重试。",
            ),
        ),
        Command(
            "submit",
            "comfyui_pipeline.jobs:submit",
            '{"command": "submit", "workflow": "text2img_api", "prompt": "a red fox"}',
            "For long jobs such as video: queue the workflow and return its prompt_id at once. Same "
            "arguments as run. Fetch the result later with result.",
            "提交一个耗时的工作流（如视频），立刻返回 prompt_id，不等待结果。"
            "参数与 run 相同，之后用 result 取结果。",
            needs_persistent_server=True,
        ),
        Command(
            "result",
            "comfyui_pipeline.jobs:result",
            '{"command": "result", "prompt_id": "…"}',
            "Return the outputs of a job queued before, or its state while it has not ended.",
            "取得之前提交的任务的结果；尚未完成时返回其状态。",
            needs_persistent_server=True,
        ),
        Command(
            "status",
            "comfyui_pipeline.jobs:status",
            '{"command": "status", "prompt_id": "…"}',
            "Return the state of a job: its position in the queue, running or ended.",
            "查询任务状态：排队位置、正在运行或已结束。",
            needs_persistent_server=True,
        ),
        Command(
            "cancel",
            "comfyui_pipeline.jobs:cancel",
            '{"command": "cancel", "prompt_id": "…"}',
            "Cancel one job, queued or running; other jobs are not affected.",
            "取消一个任务（排队中或运行中），不影响其他任务。",
            needs_persistent_server=True,
            starts_server=False,
        ),
        Command(
            "describe",
            "comfyui_pipeline.describe_command:describe",
            '{"command": "describe", "workflow": "text2img_api"}',
            "Describe a workflow before running it: its arguments with present values, nodes that "
            "can be changed, what the server lacks.",
            "查看一个工作流：可用的参数及当前值、可修改的节点、服务器缺少的内容。",
        ),
        Command(
            "info",
            "comfyui_pipeline.info:answer",
            '{"info": "workflows"}',
            "List workflows or models, or show the state of the server.",
            "列出工作流或模型，或查询服务器状态。",
        ),
        Command(
            "free",
            "comfyui_pipeline.free_memory:free",
            '{"command": "free"}',
            "Unload all models of the server, to free its memory for other programs.",
            "卸载服务器上的所有模型，把显存让给其他程序。",
            needs_persistent_server=True,
            starts_server=False,
        ),
        Command(
            "queue",
            "comfyui_pipeline.info:answer",
            '{"command": "queue"}',
            "The same as info with queue.",
            "等同于 info 的 queue。",
            question="queue",
        ),
    )
}
