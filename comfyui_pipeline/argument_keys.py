"""Keys as callers write them -> arguments: ``Negative-Prompt``, ``num_images``, ``图片``, ``image_2``."""

from __future__ import annotations

import re
from collections.abc import Mapping

from comfyui_pipeline.arguments import ARGUMENTS, BY_NAME, Argument

HOST_KEYS = frozenset(
    {
        "tool_name",
        "maid",
        "valet",
        "archery",
        "ink",
        "river",
        "river_context",
        "vref",
        "vref_files",
        "tool_password",
        "requireAdmin",
        "timely_contact",
        "__vcp_timed_call",
    }
)
"""Keys of the hosts' tool protocol, which are no arguments of ours: VCPToolBox
``modules/vcpLoop/toolCallParser.js`` (``parseBlock``), ``toolExecutor.js`` and ``Plugin.js``;
VCPDistributedServer passes on what it receives."""
HOST_PREFIXES = ("__vcp", "_vcp")
MAX_KEY = 80
"""Characters; a longer key is no argument under any name."""
ITEMS_OF: Mapping[str, str] = {"image": "images", "images": "images", "loras": "loras"}
"""Argument -> the list that its numbered keys (``image1``, ``lora_2``) are items of."""
_SEPARATORS = str.maketrans("", "", "_-. \t\n:$*`\"'")
_NUMBERED = re.compile(r"([^0-9]+)0*([1-9][0-9]{0,2})([^0-9]*)")
_BY_COMMAND = {"id": "job_id", "taskid": "job_id", "runid": "job_id"}
"""Folded aliases of ``prompt_id`` that name the caller's own id in commands that queue a job."""


def fold(key: str) -> str:
    """A key without case, width, hyphens, underscores, dots and spaces: ``ＣＦＧ Scale`` -> ``cfgscale``."""
    if not key.isascii():
        import unicodedata

        key = unicodedata.normalize("NFKC", key)
    return key.lower().translate(_SEPARATORS)


def _index() -> dict[str, Argument]:
    found = {argument.name.replace("_", ""): argument for argument in ARGUMENTS}
    for argument in ARGUMENTS:
        for alias in argument.aliases:
            found.setdefault(alias.replace("_", "").lower(), argument)
    return found


FOLDED: Mapping[str, Argument] = _index()
"""Every name and alias of the table, folded -> its row."""


def is_host_key(key: str) -> bool:
    """Whether the host added this key."""
    return key in HOST_KEYS or key.startswith(HOST_PREFIXES)


def find(key: str, command: str = "run") -> tuple[Argument | None, int | None]:
    """The argument that a key means, and its number as an item of a list; (None, None) for others."""
    argument = BY_NAME.get(key)
    if argument is not None or len(key) > MAX_KEY:
        return argument, None
    folded = fold(key)
    if not folded:
        return None, None
    argument = FOLDED.get(folded)
    if argument is None:
        return _numbered(folded)
    if command not in argument.commands and folded in _BY_COMMAND:
        return BY_NAME[_BY_COMMAND[folded]], None
    return argument, None


def _numbered(folded: str) -> tuple[Argument | None, int | None]:
    match = _NUMBERED.fullmatch(folded)
    argument = FOLDED.get(match[1] + match[3]) if match else None
    if match is None or argument is None or argument.name not in ITEMS_OF:
        return None, None
    return BY_NAME[ITEMS_OF[argument.name]], int(match[2])


def nearest(key: str) -> str:
    """The argument whose name or alias is written most like a key; "" if none is similar."""
    from difflib import get_close_matches

    near = get_close_matches(fold(key), FOLDED, 1, 0.8) if len(key) <= MAX_KEY else []
    return FOLDED[near[0]].name if near else ""
