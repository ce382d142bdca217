"""What a workflow does and what a call can change in it, as text for the AI and as fields."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from comfyui_pipeline.arguments import SHORTCUTS, Argument
from comfyui_pipeline.bounded.truncate import shorten
from comfyui_pipeline.workflow import (
    additions,
    image_slots,
    matching,
    prompt_texts,
    required_files,
    roles,
    summary,
    survey,
    title_parameters,
)
from comfyui_pipeline.workflow.app_mode import NO_APP, AppMode
from comfyui_pipeline.workflow.graph import Graph, InputSpec, Node, Target, is_link
from comfyui_pipeline.workflow.model_folders import MODEL_FOLDERS
from comfyui_pipeline.workflow.required_files import RequiredFile
from comfyui_pipeline.workflow.running import running
from comfyui_pipeline.workflow.switches import OFF, WORDS, Group, Parts
from comfyui_pipeline.workflow.validate import Problem
from comfyui_pipeline.workflow.values import listed, range_of
from input_server.light_dataclasses import dataclass, field

MAX_VALUE_CHARACTERS = 80
MAX_CHOICES = 6
MAX_INLINE = 40
"""Characters of a text that is shown next to the name of its input."""
MAX_DIGITS = 15
MAX_NODES = 40
MAX_OFF = 12
MAX_PROBLEMS = 10
MAX_VALUES = 4
"""Different present values of one argument."""
FOLLOWING = frozenset({"size", "aspect_ratio"})
"""Arguments whose present values are those of ``width`` and ``height``."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What a call must give. ``placeholders``: placeholder -> argument; ``files``: needed files.

    ``missing``: file inputs (node id, name) whose values are none; some of them may stay so.
    """

    placeholders: Mapping[str, str] = field(default_factory=dict)
    files: Sequence[RequiredFile] = ()
    missing: Collection[tuple[str, str]] = ()


NO_NEEDS = Needs()


def describe(
    graph: Graph,
    name: str,
    problems: Sequence[Problem],
    notes: Sequence[str],
    *,
    full: bool,
    app: AppMode = NO_APP,
    template: Mapping[str, str] | None = None,
    needs: Needs = NO_NEEDS,
    parts: Parts | None = None,
) -> tuple[str, dict[str, Any]]:
    """The text for the AI, and the same for programs.

    ``problems``: what the server lacks for it; ``full``: list every input with range and choices;
    ``app``: what its author shows in App mode; ``template``: placeholder -> the argument for it;
    ``needs``: what a call must give; ``parts``: all nodes and groups of an editor document.
    """
    arguments, targets = _arguments(graph)
    parameters = _parameters(graph)
    must = _must_be_given(needs, parameters)
    lines = [_headline(graph, name), *([f"Must be given: {', '.join(must)}."] if must else ())]
    lines += _app_lines(graph, app, needs)
    if template:
        listed = [f"{name} (for {text})" for text, name in list(template.items())[:MAX_NODES]]
        lines.append(f"A template; these arguments fill its placeholders: {', '.join(listed)}.")
    if parameters:
        lines.append("Parameters named by its author (give them as keys of the call):")
        lines += [f"- {p['name']}{_marks(p)}{_about(p)} = {_shown(p['value'])}" for p in parameters]
    lines.append(
        "Shortcut arguments and their present values:" if arguments else "No shortcut arguments."
    )
    seconds = survey.of(graph, {})["seconds"]
    lines += [
        f"- {argument['argument']} = {_present(argument, [_value(t, needs) for t in found], seconds)}"
        for argument, found in zip(arguments, targets, strict=True)
    ]
    images = roles.images(graph)
    if len(images) > 1:
        slots = image_slots.slots(graph, images[:MAX_NODES])
        lines.append(f'Images, in the order of "images": {"; ".join(slots)}.')
    if added := list(additions.arguments(graph)):
        lines.append(f"By nodes that are added where needed: {', '.join(added)}.")
    lines += _part_lines(parts)
    if problems:
        count = f"{len(problems)} problem{'' if len(problems) == 1 else 's'}"
        lines.append(f"It cannot run on this server as it is ({count}):")
        lines += [f"- {problem}" for problem in list(problems)[:MAX_PROBLEMS]]
    lines += [f"Note: {note}" for note in notes]
    said = {(t.node.id, t.name) for found in targets for t in found}
    lines += _node_lines(graph, full, {*said, *needs.missing})
    fields = {
        "workflow": name,
        "arguments": arguments,
        "added_arguments": added,
        "parameters": parameters,
        "image_slots": [
            {"node": target.node.id, "input": target.name, "for": image_slots.slot(graph, target)}
            for target in images
        ],
        "groups": [
            {"title": one.title, "nodes": [part.id for part in one.members], "off": _is_off(one)}
            for one in (parts.groups if parts else ())
        ],
        "off": [part.id for part in (parts.nodes if parts else ()) if part.mode in OFF],
        "app_inputs": [
            {"node": i.target.node.id, "input": i.target.name, "label": i.label} for i in app.inputs
        ],
        "app_outputs": [node.id for node in app.outputs],
        "nodes": [_node(node) for node in graph.nodes.values()],
        "problems": [str(problem) for problem in problems],
        "notes": list(notes),
        "needs": must,
    }
    return "\n".join(lines), fields


def _must_be_given(needs: Needs, parameters: Sequence[Mapping[str, Any]]) -> list[str]:
    """Each argument without which a run is refused, with its place."""
    named = {f'"{p["name"]}"': "" for p in parameters if p["required"]}
    for text, argument in needs.placeholders.items():
        named.setdefault(f'"{argument}"', f" (for {text})")
    for file in required_files.listed(needs.files):
        name, blank, place = file.partition(" ")
        if not name.startswith('"'):
            name, blank, place = file, "", ""
        named.setdefault(name, blank + place)
    return [name + place for name, place in list(named.items())[:MAX_NODES]]


def _headline(graph: Graph, name: str) -> str:
    """Its purpose with inputs, size or duration, its models, and where its results come from."""
    said = survey.of(graph, {})
    models = said["models"] or _other_models(graph)
    outputs = [node.label for node in graph.nodes.values() if node.is_output_node]
    line = f"The workflow {name}: {summary.line(said)}; {len(graph.nodes)} nodes"
    line += f", uses {', '.join(models[:3])}" if models else ", needs no model"
    return line + (f"; its outputs come from {', '.join(outputs[:5])}." if outputs else ".")


def _other_models(graph: Graph) -> list[str]:
    """The model files of a workflow that loads no diffusion model, such as an upscale model."""
    return [
        value
        for node in running(graph)
        for name, value in node.inputs.items()
        if isinstance(value, str) and (name in MODEL_FOLDERS or matching.is_model_file(value))
    ]


def _app_lines(graph: Graph, app: AppMode, needs: Needs) -> Iterator[str]:
    """The inputs that its author chose for App mode, and how a call sets each."""
    if app.outputs:
        labels = ", ".join(node.label for node in app.outputs[:MAX_NODES])
        yield f"Its results in App mode, which a run returns unless output names others: {labels}."
    if not app.inputs:
        return
    arguments = {
        (target.node.id, target.name): argument.name
        for argument in reversed(SHORTCUTS)
        for target in roles.find_targets(graph, argument.name)
    }
    yield "Inputs that its author shows in App mode:"
    for shown in app.inputs:
        target = shown.target
        value = _shown(_value(target, needs))
        argument = arguments.get((target.node.id, target.name))
        named = f'the key "{shown.label}"' if 0 < len(shown.label) <= MAX_INLINE else ""
        how = argument or named or f'params: node_id "{target.node.id}", input {target.name}'
        label = f'"{shorten(shown.label, MAX_INLINE)}", ' if shown.label else ""
        yield f"- {how} = {value} ({label}node {target.node.label})"


def _part_lines(parts: Parts | None) -> Iterator[str]:
    """The groups and the nodes that do not run, which a call can switch."""
    if parts is None:
        return
    groups = [
        f'"{one.title}"{" (off)" if _is_off(one) else ""}' for one in parts.groups[:MAX_NODES]
    ]
    if groups:
        yield f"Groups that bypass and enable switch: {', '.join(groups)}."
    off = [f"{one.label}, {WORDS[one.mode]}" for one in parts.nodes if one.mode in OFF]
    if off:
        more = f"; and {len(off) - MAX_OFF} more" if len(off) > MAX_OFF else ""
        yield f"Off, unless enable names them: {'; '.join(off[:MAX_OFF])}{more}."


def _is_off(group: Group) -> bool:
    return all(part.mode in OFF for part in group.members)


def _arguments(graph: Graph) -> tuple[list[dict[str, Any]], list[list[Target]]]:
    """The arguments that change something, and their inputs; not those whose inputs others set."""
    found: list[dict[str, Any]] = []
    places: list[list[Target]] = []
    listed: set[tuple[str, str]] = set()
    for argument in SHORTCUTS:
        targets = roles.find_targets(graph, argument.name)
        inputs = {(t.node.id, t.name) for t in targets}
        if inputs <= listed or (argument.name in FOLLOWING and listed & inputs):
            continue
        listed |= inputs
        places.append(targets)
        found.append(
            {
                "argument": _name(argument, targets),
                "values": [t.node.inputs.get(t.name) for t in targets],
                "nodes": [t.node.id for t in targets],
                "range": range_of(targets[0].spec).strip() if targets[0].spec else "",
            }
        )
    return found, places


def _name(argument: Argument, targets: Sequence[Target]) -> str:
    """``prompts`` for a workflow of several different texts, which take one each."""
    several = argument.name == "prompt" and prompt_texts.independent(targets)
    return "prompts" if several else argument.name


def _value(target: Target, needs: Needs) -> Any:
    """The present value; None where it only stands for a file that has to be given."""
    if (target.node.id, target.name) in needs.missing:
        return None
    return target.node.inputs.get(target.name)


def _parameters(graph: Graph) -> list[dict[str, Any]]:
    return [
        {
            "name": parameter.name,
            "file": parameter.file,
            "required": parameter.required,
            "description": parameter.description,
            "value": parameter.targets[0].node.inputs.get(parameter.targets[0].name),
        }
        for parameter in title_parameters.find(graph).values()
    ]


def _marks(parameter: Mapping[str, Any]) -> str:
    marks = [word for word in ("file", "required") if parameter[word]]
    return f" ({', '.join(marks)})" if marks else ""


def _about(parameter: Mapping[str, Any]) -> str:
    return f": {parameter['description']}" if parameter["description"] else ""


def _present(argument: Mapping[str, Any], present: Sequence[Any], seconds: float | None) -> str:
    """``seconds``: the present duration, which the workflow may hold as a number of frames."""
    if argument["argument"] == "duration" and seconds is not None:
        return f"{seconds:g} s"
    values = list(dict.fromkeys(_shown(value) for value in present))
    nodes = argument["nodes"]
    of_nodes = f" (nodes {', '.join(nodes)})" if len(nodes) > 1 else ""
    range_ = _readable(argument["range"]) if argument["argument"] != "seed" else ""
    return " | ".join(values[:MAX_VALUES]) + (f" [{range_}]" if range_ else "") + of_nodes


def _readable(range_: str) -> str:
    """``from 0.0 to 100.0`` as ``0 to 100``."""
    words = range_.removeprefix("from ").split()
    if any(len(word) > MAX_DIGITS for word in words):  # no limit but that of the number type
        return ""
    return " ".join(word.removesuffix(".0") for word in words)


def _node_lines(graph: Graph, full: bool, said: Collection[tuple[str, str]]) -> Iterator[str]:
    """``said``: inputs (node id, name) whose values stand above."""
    editable = [node for node in graph.nodes.values() if _value_inputs(node)]
    yield (
        "Nodes and their inputs; params sets any of them, and so does a key of the input's name if it "
        "occurs once" + (":" if full else ' ("detail": "full" lists each with its range):')
    )
    for node in editable if full else editable[:MAX_NODES]:
        if not full:
            inputs = (_with_value(node, name, said) for name in _value_inputs(node))
            yield f"- {node.label}: {', '.join(inputs)}"
            continue
        yield f"- {node.label}"
        yield from (f"    {_input_line(node, name)}" for name in _value_inputs(node))
    if not full and len(editable) > MAX_NODES:
        yield f"- and {len(editable) - MAX_NODES} more"


def _with_value(node: Node, name: str, said: Collection[tuple[str, str]]) -> str:
    """An input with its value, unless that stands above or is long."""
    value = node.inputs.get(name)
    short = not isinstance(value, (str, list, dict)) or len(str(value)) <= MAX_INLINE
    if (node.id, name) in said:
        return name
    spec = node.specs.get(name)
    if isinstance(value, str) and spec is not None and spec.options.get("multiline"):
        return f"{name} = {_shown(shorten(value, MAX_INLINE))}"
    return f"{name} = {_shown(value)}" if short else name


def _value_inputs(node: Node) -> list[str]:
    """The inputs that hold a value, not a link."""
    return [name for name, value in node.inputs.items() if not is_link(value)]


def _input_line(node: Node, name: str) -> str:
    spec, value = node.specs.get(name), node.inputs.get(name)
    if spec is None:
        return f"{name} = {_shown(value)}"
    kind = "file" if spec.takes_file else "choice" if spec.type == "COMBO" else spec.type.lower()
    line = f"{name} ({kind}{range_of(spec)}) = {_shown(value)}"
    return line + (f"; choices: {_choices(spec)}" if spec.type == "COMBO" else "")


def _choices(spec: InputSpec) -> str:
    return listed(spec.choices, most=MAX_CHOICES)


def _node(node: Node) -> dict[str, Any]:
    return {
        "id": node.id,
        "title": node.title,
        "class": node.class_type,
        "saves": node.is_output_node,
        "inputs": {name: node.inputs[name] for name in _value_inputs(node)},
    }


def _shown(value: Any) -> str:
    if value is None:
        return "(none yet)"
    text = " ".join((f'"{value}"' if isinstance(value, str) else str(value)).split())
    return shorten(text, MAX_VALUE_CHARACTERS)
