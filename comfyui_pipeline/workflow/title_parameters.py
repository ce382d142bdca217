"""Parameters that a workflow's author names in node titles: ``$prompt.text!``, ``$~image``.

``$`` begins one; ``~`` makes it a file; then its name; ``.input`` says which input of the node it
sets (otherwise the one of that name, the file input, or the only editable one); ``!`` makes it
required. A title may hold several, with spaces or commas between, and other words beside them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from comfyui_pipeline.errors import PatchError
from comfyui_pipeline.workflow.graph import Graph, Node, Target, is_link
from input_server.light_dataclasses import dataclass

FORM = re.compile(r"(?<![\w$])\$(~?)([^\W\d]\w*)(?:\.(\w+(?:\.\w+)*))?(!?)")


@dataclass(frozen=True, slots=True)
class TitleParam:
    """One named parameter and every input that it sets."""

    name: str
    targets: tuple[Target, ...]
    file: bool
    required: bool


def find(graph: Graph) -> Mapping[str, TitleParam]:
    """The parameters of a workflow by name. Raises PatchError for one that names no input."""
    marks: dict[str, set[str]] = {}
    targets: dict[str, dict[tuple[str, str], Target]] = {}
    for node in graph.nodes.values():
        for found in dict.fromkeys(FORM.findall(node.title)) if "$" in node.title else ():
            file, name, wanted, required = found
            marks.setdefault(name, set()).update((file, required))
            target = Target(node, _input(node, name, wanted, bool(file)))
            targets.setdefault(name, {})[node.id, target.name] = target
    return {
        name: TitleParam(name, tuple(found.values()), "~" in marks[name], "!" in marks[name])
        for name, found in targets.items()
    }


def _input(node: Node, name: str, wanted: str, file: bool) -> str:
    known = [*node.specs, *(given for given in node.inputs if given not in node.specs)]
    if wanted:
        if wanted in known:
            return wanted
        raise _unclear(node, name, f"has no input {wanted!r}", known)
    files = [spec.name for spec in node.specs.values() if spec.takes_file]
    if file and len(files) == 1:
        return files[0]
    if name in known:
        return name
    plain = [given for given, value in node.inputs.items() if not is_link(value)]
    if len(plain) == 1:
        return plain[0]
    raise _unclear(node, name, "leaves open which input is meant", known)


def _unclear(node: Node, name: str, why: str, known: list[str]) -> PatchError:
    return PatchError(
        f'The title of node {node.label} names the parameter "{name}", but {why}.',
        f"Write it as ${name}.input in the title; the node has: {', '.join(known)}.",
    )
