"""``docs/arguments.md``: every argument with its names in other tools. ``settings_files`` writes it."""

from __future__ import annotations

from comfyui_pipeline.arguments import ARGUMENTS, Argument

HEADER = """\
# Arguments

Every argument of a call, its range, and the other names that are accepted for it. Capitals, hyphens,
underscores, spaces and full-width forms do not matter in a name. Lists may come as numbered keys:
`image1`, `image_2`, `lora1`. A parameter that the workflow's author declared in a node title
(`$name`) takes precedence over every other name.

一个调用的全部参数、取值范围及可接受的其他名称。名称不区分大小写、全角半角、连字符、下划线和空格；
列表可以写成带编号的键（`image1`、`image_2`、`lora1`）。工作流作者在节点标题中声明的参数（`$name`）优先。

| argument | meaning | other names | range |
|---|---|---|---|
"""


def text() -> str:
    """Return the document."""
    return HEADER + "".join(f"{line(argument)}\n" for argument in ARGUMENTS)


def line(argument: Argument) -> str:
    """Return the row of one argument."""
    names = ", ".join(f"`{alias}`" for alias in argument.aliases)
    meaning = f"{argument.english}; {argument.chinese}".replace("|", "\\|")
    return f"| `{argument.name}` | {meaning} | {names} | {_range(argument)} |"


def _range(argument: Argument) -> str:
    if argument.choices:
        return ", ".join(f"`{choice}`" for choice in argument.choices)
    if argument.low is None or argument.high is None:
        return ""
    high = "2^64-1" if argument.high >= 2**64 - 1 else f"{argument.high:.10g}"
    return f"{argument.low:g}–{high} {argument.unit}".rstrip()
