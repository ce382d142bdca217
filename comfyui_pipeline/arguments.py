"""The table of arguments: everything that is known about each key of a call, one row per key.

Parsing (``call.py``), roles, placeholders, patching, ``describe`` and the manifest's descriptions
(``python -m devtools.settings_files`` writes them) derive from ``ARGUMENTS``. To add an argument,
add a row: a new numeric argument that sets an input of the same name needs nothing else but the
documents.
"""

from __future__ import annotations

from collections.abc import Mapping

from input_server.light_dataclasses import dataclass

TEXT, INTEGER, NUMBER, SWITCH, CHOICE, LIST = (
    "text",
    "integer",
    "number",
    "switch",
    "choice",
    "list",
)
SEED, JSON, PARAMS, COMMAND, QUESTION = "seed", "json", "params", "command", "question"
"""Kinds of values; ``call.READERS`` has a function for each."""

RUN = ("run", "submit")
WORKFLOW = (*RUN, "describe")
JOB = ("status", "result", "cancel")
OUTPUTS = (*RUN, "result")
EVERY = (*WORKFLOW, *JOB, "info", "queue")
"""Commands that take the same arguments."""

ALL, IF_EQUAL, ONE = "all", "if_equal", "one"
"""What one value may set where a role has several targets: all of them; all of them if their
present values are equal; never more than one."""

MAX_SEED = 2**64 - 1
MAX_SIDE = 16384


@dataclass(frozen=True)
class Argument:
    """One key of a call.

    Its value goes into the ``field`` of ``ToolCall``; without a field it is a shortcut argument and
    goes to the inputs that its ``role`` (a key of ``workflow.roles.ROLES``) finds. ``english``,
    ``chinese`` and the ``note`` in both languages are for the AI, in the manifest.
    """

    name: str
    kind: str
    english: str
    chinese: str
    commands: tuple[str, ...] = RUN
    note: str = ""
    hidden: bool = False  # not in the manifest: for programs, or rarely needed
    required: bool = False
    aliases: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    unit: str = ""
    choices: tuple[str, ...] = ()  # an empty value means the last one
    true_choice: str = ""  # the field is whether this was chosen
    switch_values: tuple[str, str] | None = None  # the field's values for false and true
    keeps_empty: bool = False  # an empty text is a value, not an absent argument
    excludes: str = ""  # the argument that it takes the place of
    field: str = ""
    role: str = ""
    input_names: tuple[str, ...] = ()  # for roles that find inputs by name: the first that exists
    input_types: tuple[str, ...] = ()
    targets: str = ALL
    placeholders: tuple[str, ...] = ()  # {{NAME}} in workflow files
    optional_placeholder: bool = False  # empty when the call has no such argument
    node_words: tuple[str, ...] = ()  # node titles in params that mean this role's nodes

    @property
    def is_shortcut(self) -> bool:
        """Whether a role places its value."""
        return bool(self.role)


ARGUMENTS: tuple[Argument, ...] = (
    Argument(
        "command", COMMAND, "run if omitted", "不填则为 run", EVERY, hidden=True, field="command"
    ),
    Argument(
        "workflow",
        TEXT,
        "name of a workflow (command info with info=workflows lists them), or a ComfyUI image with "
        "its workflow inside: attachment, path or URL",
        "工作流名称，或带有工作流的 ComfyUI 图片",
        WORKFLOW,
        "文生图 text2img_api，图生图 img2img_api，局部重绘 inpaint_api，线稿控制 controlnet_canny_api，"
        "放大 upscale_api；不需要模型 (no model needed): resize_image, invert_image, blur_image, "
        "outpaint_canvas, blend_images, paste_with_mask. describe shows its arguments",
        required=True,
        field="workflow",
    ),
    Argument(
        "workflow_json",
        JSON,
        "the workflow itself instead of a name",
        "直接给出工作流 JSON",
        WORKFLOW,
        hidden=True,
        excludes="workflow",
        field="workflow_json",
    ),
    Argument(
        "prompt",
        TEXT,
        "what the image should show; <lora:name:0.8> in it loads a LoRA",
        "正面提示词，可含 <lora:名称:0.8>",
        role="positive_text",
        placeholders=("POSITIVE_PROMPT", "PROMPT_INPUT", "USER_PROMPT", "PROMPT"),
        node_words=("positive", "positive prompt"),
    ),
    Argument(
        "negative_prompt",
        TEXT,
        "what the image should not show",
        "负面提示词",
        keeps_empty=True,
        role="negative_text",
        placeholders=("NEGATIVE_PROMPT",),
        optional_placeholder=True,
        node_words=("negative", "negative prompt"),
    ),
    Argument(
        "seed",
        SEED,
        "same seed, same image; random if omitted; the seed used is returned",
        "相同种子得到相同图片；不填则随机，返回所用种子",
        WORKFLOW,
        low=0,
        high=MAX_SEED,
        field="seed",
        role="seed",
        placeholders=("SEED",),
    ),
    Argument(
        "steps",
        INTEGER,
        "sampling steps",
        "采样步数",
        low=1,
        high=10_000,
        role="sampler_input",
        input_names=("steps",),
        input_types=("INT",),
        placeholders=("STEPS",),
    ),
    Argument(
        "cfg",
        NUMBER,
        "guidance scale",
        "引导系数",
        low=0,
        high=1000,
        role="cfg",
        placeholders=("CFG",),
    ),
    Argument(
        "sampler",
        TEXT,
        "sampler name",
        "采样器",
        role="sampler_input",
        input_names=("sampler_name",),
        input_types=("COMBO",),
        placeholders=("SAMPLER",),
    ),
    Argument(
        "scheduler",
        TEXT,
        "scheduler name",
        "调度器",
        role="sampler_input",
        input_names=("scheduler",),
        input_types=("COMBO",),
        placeholders=("SCHEDULER",),
    ),
    Argument(
        "denoise",
        NUMBER,
        "denoising strength",
        "重绘幅度",
        low=0,
        high=1,
        role="sampler_input",
        input_names=("denoise",),
        input_types=("FLOAT",),
        placeholders=("DENOISE",),
    ),
    Argument(
        "width",
        INTEGER,
        "image width",
        "宽度",
        low=1,
        high=MAX_SIDE,
        unit="px",
        role="size",
        input_names=("width",),
        targets=IF_EQUAL,
        placeholders=("WIDTH",),
        node_words=("size", "latent"),
    ),
    Argument(
        "height",
        INTEGER,
        "image height",
        "高度",
        low=1,
        high=MAX_SIDE,
        unit="px",
        role="size",
        input_names=("height",),
        targets=IF_EQUAL,
        placeholders=("HEIGHT",),
    ),
    Argument(
        "batch_size",
        INTEGER,
        "number of images",
        "张数",
        low=1,
        high=4096,
        role="batch_size",
        placeholders=("BATCH_SIZE",),
    ),
    Argument(
        "checkpoint",
        TEXT,
        "model name; folder and extension may be omitted, as for vae and loras",
        "大模型名称，可省略目录和扩展名",
        role="model",
        targets=IF_EQUAL,
        placeholders=("MODEL", "CHECKPOINT"),
        node_words=("model",),
    ),
    Argument(
        "vae", TEXT, "VAE name", "VAE 名称", role="vae", targets=IF_EQUAL, placeholders=("VAE",)
    ),
    Argument(
        "loras",
        LIST,
        "name or name:strength, comma-separated",
        "LoRA 名称，可加 :强度，逗号分隔",
        role="lora",
        placeholders=("LORAS",),
        optional_placeholder=True,
        node_words=("lora",),
    ),
    Argument(
        "image",
        TEXT,
        "input image: http(s) URL, data: URI, file:// path, or attachment name",
        "输入图片，可填 URL、路径或附件名",
        role="image",
        targets=ONE,
        placeholders=("IMAGE",),
    ),
    Argument(
        "images",
        LIST,
        "several input images, in order",
        "多张，按顺序",
        role="image",
        excludes="image",
    ),
    Argument(
        "mask",
        TEXT,
        "mask image, given like image; white areas are repainted (inpainting)",
        "遮罩，写法同 image，白色区域会被重绘",
        role="mask",
        targets=ONE,
        placeholders=("MASK",),
    ),
    Argument(
        "strength",
        NUMBER,
        "ControlNet strength",
        "控制强度",
        low=-100,
        high=100,
        role="control_strength",
        placeholders=("STRENGTH",),
        node_words=("controlnet",),
    ),
    Argument(
        "params",
        PARAMS,
        'any other input, as a JSON list: [{"node_title":"Sampler","inputs":{"steps":30}}]; or node_id '
        "instead of node_title",
        "其他任意输入，JSON 列表，也可用 node_id",
        field="params",
    ),
    Argument(
        "all",
        SWITCH,
        "true: a params entry changes every node with that title",
        "true 时 params 修改所有同名节点",
        hidden=True,
        field="all_titled",
    ),
    Argument(
        "lora_nodes",
        CHOICE,
        "add: insert LoRA loaders if the workflow has too few",
        "填 add：LoRA 加载节点不够时自动添加",
        hidden=True,
        choices=("add", "keep"),
        true_choice="add",
        field="add_loras",
    ),
    Argument(
        "max_side",
        INTEGER,
        "shrink larger input images to this side length",
        "较大的输入图片缩小到该边长",
        low=16,
        high=MAX_SIDE,
        unit="px",
        field="max_side",
    ),
    Argument(
        "showbase64",
        SWITCH,
        "compatibility name of return_image: true = preview, false = none",
        "return_image 的兼容写法：true 即 preview，false 即 none",
        OUTPUTS,
        hidden=True,
        switch_values=("none", "preview"),
        field="return_image",
    ),
    Argument(
        "return_image",
        CHOICE,
        "images in the response: preview (small copies, default), full, none",
        "附带的图片：缩略图（默认）、原图、不附",
        OUTPUTS,
        choices=("none", "full", "preview"),
        field="return_image",
    ),
    Argument(
        "previews",
        SWITCH,
        "true: also return temporary preview images",
        "同时返回临时预览图",
        OUTPUTS,
        field="previews",
    ),
    Argument(
        "on_timeout",
        CHOICE,
        "cancel: cancel the job at the time limit; otherwise it continues and its "
        "prompt_id is returned",
        "超时则取消任务；否则继续运行并返回 prompt_id",
        choices=("cancel", "keep"),
        true_choice="cancel",
        field="cancel_on_timeout",
    ),
    Argument(
        "strict",
        SWITCH,
        "true: no fuzzy matching, names must be exact",
        "名称必须完全一致",
        field="strict",
    ),
    Argument(
        "detail",
        CHOICE,
        "full: list every input with its range and choices",
        "列出每个输入的范围和选项",
        ("describe",),
        choices=("full", "short"),
        true_choice="full",
        field="full",
    ),
    Argument(
        "prompt_id",
        TEXT,
        "ID of the job, returned when it was queued",
        "任务 ID",
        JOB,
        required=True,
        field="prompt_id",
    ),
    Argument(
        "wait",
        NUMBER,
        "seconds to wait for the job to end",
        "最多等待秒数",
        ("result",),
        low=0,
        high=86_400,
        unit="s",
        field="wait",
    ),
    Argument(
        "info", QUESTION, "what to list", "要查询的内容", ("info",), required=True, field="info"
    ),
)
"""In the order in which changes are planned and described. Of two rows with the same field, the
later one counts."""

BY_NAME: Mapping[str, Argument] = {argument.name: argument for argument in ARGUMENTS}
SHORTCUTS: tuple[Argument, ...] = tuple(
    argument for argument in ARGUMENTS if argument.is_shortcut and not argument.excludes
)
"""The arguments that a role places, without the second spelling of one (``images``)."""
NAMES: Mapping[str, str] = {
    key: argument.name for argument in ARGUMENTS for key in (argument.name, *argument.aliases)
}
"""Every key of ours -> the argument's name. Other keys belong to the host (``maid``,
``tool_password``…) or are parameters that a workflow's author named in node titles."""


def role_of(name: str) -> str:
    """The role of a shortcut argument; "" for any other key."""
    argument = BY_NAME.get(name)
    return argument.role if argument else ""
