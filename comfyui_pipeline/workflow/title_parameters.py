"""Parameters that a workflow's author names in node titles: ``$prompt.text!``, ``$~image``.

``$`` begins a parameter, ``~`` after it marks a file, then comes its name. ``.input`` names the
input of the node that it sets; without it, that is the input of the same name, the file input, or
the only one that holds a value. ``!`` at the end makes it required, and ``:`` after that begins a
description, which ends at the next parameter: ``$width.width!:how wide``. A title may contain several
parameters, separated by spaces or commas, and other words.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from comfyui_pipeline.bounded.truncate import shorten
from comfyui_pipeline.errors import PatchError
from comfyui_pipeline.workflow.graph import Graph, Node, Target, is_link
from input_server.light_dataclasses import dataclass

FORM = r"(?<![\w$])\$(~?)([^\W\d]\w*)(?:\.(\w+(?:\.\w+)*))?(!?)(?:[:：]([^$]*))?"
MAX_DESCRIPTION = 200


@dataclass(frozen=True, slots=True)
class TitleParameter:
    """One parameter and every input that it sets."""

    name: str
    targets: tuple[Target, ...]
    file: bool
    required: bool
    description: str = ""

    @property
    def shown(self) -> str:
        """How an error names it: ``"width" (how wide)``."""
        return f'"{self.name}"' + (f" ({self.description})" if self.description else "")


def find(graph: Graph) -> Mapping[str, TitleParameter]:
    """The parameters of a workflow by name. Raises PatchError for one that names no input."""
    marks: dict[str, set[str]] = {}
    texts: dict[str, str] = {}
    targets: dict[str, dict[tuple[str, str], Target]] = {}
    for node in graph.nodes.values():
        for match in dict.fromkeys(re.findall(FORM, node.title)) if "$" in node.title else ():
            file, name, input_name, required, text = match
            texts[name] = texts.get(name) or shorten(text.strip(" ,;，；"), MAX_DESCRIPTION)
            marks.setdefault(name, set()).update((file, required))
            target = Target(node, _input(node, name, input_name, bool(file)))
            targets.setdefault(name, {})[node.id, target.name] = target
    return {
        name: TitleParameter(
            name, tuple(found.values()), "~" in marks[name], "!" in marks[name], texts[name]
        )
        for name, found in targets.items()
    }


def _input(node: Node, name: str, input_name: str, file: bool) -> str:
    known = [*node.specs, *(given for given in node.inputs if given not in node.specs)]
    if input_name:
        if input_name in known:
            return input_name
        raise _unclear(node, name, f"has no input {input_name!r}", known)
    files = [spec.name for spec in node.specs.values() if spec.takes_file]
    if file and len(files) == 1:
        return files[0]
    if name in known:
        return name
    values = [given for given, value in node.inputs.items() if not is_link(value)]
    if len(values) == 1:
        return values[0]
    raise _unclear(node, name, "does not say which input is meant", known)


def _unclear(node: Node, name: str, why: str, known: list[str]) -> PatchError:
    return PatchError(
        f'The title of node {node.label} names the parameter "{name}", but {why}.',
        f"Write it as ${name}.input in the title; the node has: {', '.join(known)}.",
    )
