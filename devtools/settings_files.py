"""Write the files that derive from tables of the code: ``python -m devtools.settings_files``.

These are both ``config.env.example``, the ``configSchema`` of both manifests, the names of the
plugin's settings for the file server (all from the tables of settings), and the descriptions of
commands in the plugin's manifest (``devtools.manifest``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from comfyui_pipeline import settings_table as plugin
from devtools import argument_document, manifest
from input_server import settings_table as file_server
from input_server.settings_table import BOOLEAN, INTEGER, NUMBER, Setting

PROJECT = Path(__file__).resolve().parents[1]
WIDTH = 100
SCHEMA_TYPES = {INTEGER: "integer", NUMBER: "integer", BOOLEAN: "boolean"}
"""Types of VCPToolBox's configSchema (Plugin.js); all others are strings."""

PLUGIN_HEADER = """\
# Copy this file to config.env and change what you need. Absent and empty settings have the default shown.
# Environment variables override config.env. On Windows write paths as they are, without quotes:
# D:\\ComfyUI\\input. A value that contains # needs quotes around it: 'abc#def'.
# The settings of input_server/config.env.example can be set here too.
# 将本文件复制为 config.env，按需修改；未填写的项使用所示默认值。环境变量优先于 config.env。
# Windows 路径直接填写，不加引号：D:\\ComfyUI\\input。值中含有 # 时须加引号：'abc#def'。
# 文件服务器的设置（input_server/config.env.example）也可以写在这里。
"""
FILE_SERVER_HEADER = """\
# Copy this file to config.env and fill in what you need; leave the rest empty.
# Environment variables override config.env. A setting that is empty here is taken from the config.env of
# the comfyui plugin (the folder above, or next to this one). VCPDistributedServer sends this file to its
# main server.
# 将本文件复制为 config.env，只填写需要的项，其余留空。环境变量优先于 config.env；
# 此处留空的项从 comfyui 插件（上级目录或同级目录）的 config.env 读取。
"""


def example(table: Mapping[str, Setting], header: str, *, show_defaults: bool) -> str:
    """Return the text of a ``config.env.example``.

    ``show_defaults``: write defaults as values; otherwise values are empty and defaults described.
    """
    blocks = [header]
    for row in table.values():
        english, chinese = row.english, row.chinese
        if row.default and not show_defaults:
            english += f" Default: {row.default}"
            chinese += f"默认为 {row.default}"
        value = row.default if show_defaults else ""
        blocks.append(f"{_comment(english)}{_comment(chinese)}{row.name}={value}\n")
    return "\n".join(blocks)


def schema(table: Mapping[str, Setting]) -> dict[str, str]:
    """Return a manifest's ``configSchema``."""
    return {row.name: SCHEMA_TYPES.get(row.type, "string") for row in table.values()}


def names() -> str:
    """Return the module with the names of the settings that only the plugin reads."""
    listed = "".join(
        f'        "{name}",\n' for name in plugin.SETTINGS if name not in file_server.SETTINGS
    )
    return (
        '"""Settings of the plugin, which may stand in the same ``config.env``.\n\n'
        'Written by ``python -m devtools.settings_files``.\n"""\n\n'
        "from __future__ import annotations\n\n"
        f"PLUGIN_SETTINGS = frozenset(\n    {{\n{listed}    }}\n)\n"
    )


def files() -> dict[Path, str]:
    """Return the files with the text that they should have."""
    server = PROJECT / "input_server"
    return {
        PROJECT / "config.env.example": example(plugin.SETTINGS, PLUGIN_HEADER, show_defaults=True),
        server / "config.env.example": example(
            file_server.SETTINGS, FILE_SERVER_HEADER, show_defaults=False
        ),
        PROJECT / "plugin-manifest.json": _manifest(
            PROJECT, plugin.SETTINGS, manifest.descriptions()
        ),
        server / "plugin_settings.py": names(),
        PROJECT / "docs" / "arguments.md": argument_document.text(),
        server / "plugin-manifest.json": _manifest(server, file_server.SETTINGS),
    }


def panel_defaults(table: Mapping[str, Setting]) -> dict[str, int]:
    """Return what a host's admin panel saves for numbers that were not filled in, where 0 (which it
    saves otherwise) is not the same as unset.
    """
    return {
        row.name: int(row.default)
        for row in table.values()
        if row.type in (INTEGER, NUMBER) and row.low <= 0
    }


def _manifest(
    folder: Path, table: Mapping[str, Setting], descriptions: Mapping[str, str] | None = None
) -> str:
    """``descriptions``: command -> its description; without them those in the file stay."""
    document = json.loads((folder / "plugin-manifest.json").read_text("utf-8"))
    document["configSchema"] = schema(table)
    if defaults := panel_defaults(table):
        document["defaults"] = defaults
    if descriptions:
        for command in document["capabilities"]["invocationCommands"]:
            command["description"] = descriptions[command["command"]]
    return json.dumps(document, ensure_ascii=False, indent=2) + "\n"


def _comment(text: str) -> str:
    """``text`` as comment lines; Chinese letters count twice and may be broken anywhere."""
    lines, line, width = [], "", 0
    for word in re.findall(r"[\u2e80-\uffef]|[^\u2e80-\uffef\s]+\s*|\s+", text):
        cells = sum(2 if letter >= "\u2e80" else 1 for letter in word.rstrip())
        if width + cells > WIDTH and word not in "，。；：、）":
            lines.append(line)
            line, width = "", 0
        line += word
        width += cells + len(word) - len(word.rstrip())
    return "".join(f"# {line.rstrip()}\n" for line in [*lines, line])


if __name__ == "__main__":
    for path, text in files().items():
        path.write_text(text, "utf-8")
