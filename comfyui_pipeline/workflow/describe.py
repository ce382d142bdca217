"""What a workflow does and what a call can change in it, for an AI: short by default."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from comfyui_pipeline.bounded.truncate import shorten
from comfyui_pipeline.workflow import roles, title_parameters
from comfyui_pipeline.workflow.graph import Graph, InputSpec, Node, is_link
from comfyui_pipeline.workflow.validate import Problem
from comfyui_pipeline.workflow.values import listed, range_of

SHOWN_VALUE = 80
SHOWN_CHOICES = 6
SHOWN_NODES = 40
SHOWN_PROBLEMS = 10


def describe(
    graph: Graph, name: str, wrong: Sequence[Problem], notes: Sequence[str], *, full: bool
) -> tuple[str, dict[str, Any]]:
    """The text for the AI, and the same for programs. ``wrong``: what this server lacks for it."""
    arguments = _arguments(graph)
    named = _named(graph)
    nodes = [_node(node) for node in graph.nodes.values()]
    lines = [_headline(graph, name)]
    if named:
        lines.append("Parameters named by its author (give them as keys of the call):")
        lines += [f"- {told['name']}{_mark(told)} = {_cut(told['value'])}" for told in named]
    lines.append("Short arguments, with their values now:" if arguments else "No short arguments.")
    lines += [f"- {told['argument']} = {_now(told)}" for told in arguments]
    if wrong:
        lines.append(f"It cannot run here as it is ({len(wrong)}):")
        lines += [f"- {problem}" for problem in list(wrong)[:SHOWN_PROBLEMS]]
    lines += [f"Note: {note}" for note in notes]
    lines += _node_lines(graph, full)
    fields = {
        "workflow": name,
        "arguments": arguments,
        "parameters": named,
        "nodes": nodes,
        "problems": [str(problem) for problem in wrong],
        "notes": list(notes),
    }
    return "\n".join(lines), fields


def _headline(graph: Graph, name: str) -> str:
    takes = [f"{len(roles.pictures(graph))} picture(s)"] if roles.pictures(graph) else []
    takes += ["a text"] if roles.texts(graph, "positive") else []
    models = [str(t.node.inputs.get(t.name)) for t in roles.models(graph)]
    savers = [node.label for node in graph.nodes.values() if node.is_output_node]
    told = f"The workflow {name}: {len(graph.nodes)} nodes"
    told += f", takes {' and '.join(takes)}" if takes else ""
    told += f", uses {', '.join(models[:3])}" if models else ", needs no model"
    return told + (f"; its results come from {', '.join(savers[:5])}." if savers else ".")


def _arguments(graph: Graph) -> list[dict[str, Any]]:
    found = []
    for argument in roles.FINDERS:
        targets = roles.find_targets(graph, argument)
        if targets:
            found.append(
                {
                    "argument": argument,
                    "values": [t.node.inputs.get(t.name) for t in targets],
                    "nodes": [t.node.id for t in targets],
                    "range": range_of(targets[0].spec).strip() if targets[0].spec else "",
                }
            )
    return found


def _named(graph: Graph) -> list[dict[str, Any]]:
    return [
        {
            "name": param.name,
            "file": param.file,
            "required": param.required,
            "value": param.targets[0].node.inputs.get(param.targets[0].name),
        }
        for param in title_parameters.find(graph).values()
    ]


def _mark(told: Mapping[str, Any]) -> str:
    marks = [word for word in ("file", "required") if told[word]]
    return f" ({', '.join(marks)})" if marks else ""


def _now(told: Mapping[str, Any]) -> str:
    values = list(dict.fromkeys(_cut(value) for value in told["values"]))
    places = f" (nodes {', '.join(told['nodes'])})" if len(told["nodes"]) > 1 else ""
    within = f" [{told['range']}]" if told["range"] and told["argument"] != "seed" else ""
    return " | ".join(values[:4]) + within + places


def _node_lines(graph: Graph, full: bool) -> Iterator[str]:
    editable = [node for node in graph.nodes.values() if _plain_inputs(node)]
    yield "Nodes that params can change" + (
        ":" if full else ' ("detail": "full" tells of each input):'
    )
    for node in editable if full else editable[:SHOWN_NODES]:
        if not full:
            yield f"- {node.label}: {', '.join(_plain_inputs(node))}"
            continue
        yield f"- {node.label}"
        yield from (f"    {_input_line(node, name)}" for name in _plain_inputs(node))
    if not full and len(editable) > SHOWN_NODES:
        yield f"- and {len(editable) - SHOWN_NODES} more"


def _plain_inputs(node: Node) -> list[str]:
    return [name for name, value in node.inputs.items() if not is_link(value)]


def _input_line(node: Node, name: str) -> str:
    spec, value = node.specs.get(name), node.inputs.get(name)
    if spec is None:
        return f"{name} = {_cut(value)}"
    kind = "file" if spec.takes_file else "choice" if spec.type == "COMBO" else spec.type.lower()
    told = f"{name} ({kind}{range_of(spec)}) = {_cut(value)}"
    return told + (f"; choices: {_choices(spec)}" if spec.type == "COMBO" else "")


def _choices(spec: InputSpec) -> str:
    return listed(spec.choices, most=SHOWN_CHOICES)


def _node(node: Node) -> dict[str, Any]:
    return {
        "id": node.id,
        "title": node.title,
        "class": node.class_type,
        "saves": node.is_output_node,
        "inputs": {name: node.inputs[name] for name in _plain_inputs(node)},
    }


def _cut(value: Any) -> str:
    shown = f'"{value}"' if isinstance(value, str) else str(value)
    shown = " ".join(shown.split())
    return shorten(shown, SHOWN_VALUE)
