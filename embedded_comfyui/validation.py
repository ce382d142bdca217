"""Validate a prompt with the same results and errors as ComfyUI's execution.py."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from embedded_comfyui.bodies import Reason, error
from embedded_comfyui.nodes.base import Folders, Node

LONG_LIST = 20
ITERATIVE_NODES = 100
"""From this number of nodes upstream of an output they are validated sources first, because
validating a node validates its sources, and a long chain would exceed the recursion limit.
"""
NEEDS_FULL = " This embedded server runs no models; this node needs a full ComfyUI."


@dataclass(frozen=True, slots=True)
class Verdict:
    """``outputs``: the output nodes that can run. ``error`` is set if there is none."""

    outputs: tuple[str, ...] = ()
    error: Reason | None = None
    node_errors: Mapping[str, Any] = field(default_factory=dict)


def validate(
    prompt: Any, nodes: Mapping[str, Node], folders: Folders, targets: Collection[str] | None
) -> Verdict:
    """Validate a prompt; plain values in it are converted to the types of their inputs.

    Raises TypeError or AttributeError if it is not a mapping of nodes (the response is then 500).
    """
    outputs = []
    for node_id, node in prompt.items():
        if not isinstance(node, dict) or "class_type" not in node:
            return _invalid(
                "Cannot execute because a node is missing the class_type property.", node_id
            )
        kind = node["class_type"]
        if not isinstance(kind, str) or kind not in nodes:
            text = f"Cannot execute because node {kind} does not exist."
            return _invalid(text, node_id, NEEDS_FULL)
        if nodes[kind].schema.get("output_node") and (targets is None or node_id in targets):
            outputs.append(node_id)
    if not outputs:
        return Verdict(error=error("prompt_no_outputs", "Prompt has no outputs"))
    validator = _Validator(prompt, nodes, folders)
    valid = tuple(node_id for node_id in outputs if validator.output(node_id))
    if valid:
        return Verdict(valid, None, validator.node_errors)
    failed = error("prompt_outputs_failed_validation", "Prompt outputs failed validation")
    return Verdict((), failed, validator.node_errors)


def _invalid(text: str, node_id: str, more: str = "") -> Verdict:
    return Verdict(error=error("invalid_prompt", text + more, f"Node ID '#{node_id}'"))


class _Validator:
    """Validates one output node after the other; the results of shared nodes are cached."""

    def __init__(self, prompt: Any, nodes: Mapping[str, Node], folders: Folders) -> None:
        self._prompt = prompt
        self._nodes = nodes
        self._folders = folders
        self._known: dict[str, tuple[bool, list[Reason]]] = {}
        self._active: set[str] = set()
        self.node_errors: dict[str, Any] = {}

    def output(self, node_id: str) -> bool:
        """Whether this output node can run; adds the reasons to ``node_errors`` if not."""
        self._sources_first(node_id)
        try:
            valid = self._node(node_id)
        except Exception as problem:
            valid = False
            text = "Exception when validating node"
            reason = error("exception_during_validation", text, str(problem), **_exception(problem))
            self._known[node_id] = (False, [reason])
        if valid:
            return True
        for other, (fine, reasons) in self._known.items():
            if not fine and reasons:
                kind = self._prompt[other]["class_type"]
                entry = {"errors": reasons, "dependent_outputs": [], "class_type": kind}
                self.node_errors.setdefault(other, entry)["dependent_outputs"].append(node_id)
        return False

    def _sources_first(self, output: str) -> None:
        """Validate distant sources of an output; errors raised here are reported at the linked input."""
        order: list[str] = []
        inside: set[str] = set()
        seen: set[str] = set()
        waiting = [(output, False)]
        loops: list[str] = []
        while waiting:
            node_id, done = waiting.pop()
            if done:
                inside.discard(node_id)
                order.append(node_id)
            elif node_id in inside:
                loops.append(node_id)
            elif node_id not in seen and node_id not in self._known:
                seen.add(node_id)
                inside.add(node_id)
                waiting.append((node_id, True))
                waiting += [(source, False) for source in self._sources(node_id)]
        if len(order) < ITERATIVE_NODES:
            return
        self._known.update({node_id: (False, []) for node_id in loops})
        for node_id in order:
            try:
                self._node(node_id)
            except Exception:  # noqa: S112 - reported at the input that links to it
                continue

    def _sources(self, node_id: str) -> list[str]:
        inputs = self._prompt[node_id].get("inputs")
        values = inputs.values() if isinstance(inputs, dict) else ()
        first = [value[0] for value in values if isinstance(value, list) and len(value) == 2]
        return [source for source in first if isinstance(source, str) and source in self._prompt]

    def _node(self, node_id: str) -> bool:
        """A circular link is invalid without a reason, as in ComfyUI."""
        if node_id in self._known:
            return self._known[node_id][0]
        if node_id in self._active:
            return False
        self._active.add(node_id)
        try:
            valid, reasons = self._inputs(node_id)
        finally:
            self._active.discard(node_id)
        self._known[node_id] = (valid, reasons)
        return valid

    def _inputs(self, node_id: str) -> tuple[bool, list[Reason]]:
        entry = self._prompt[node_id]
        node, inputs = self._nodes[entry["class_type"]], entry["inputs"]
        info = node.object_info(self._folders)["input"]
        valid, reasons = True, []
        for group in ("required", "optional"):
            for name, config in (info.get(group) or {}).items():
                if name not in inputs:
                    found = (
                        error(
                            "required_input_missing",
                            "Required input is missing",
                            name,
                            input_name=name,
                        )
                        if group == "required"
                        else None
                    )
                elif isinstance(inputs[name], list):
                    fine, found = self._link(inputs[name], name, config)
                    valid = valid and fine
                else:
                    found = _plain(inputs, name, config)
                if found is not None:
                    reasons.append(found)
        plain = {name: value for name, value in inputs.items() if not isinstance(value, list)}
        reason = node.validate(plain, self._folders)
        if reason is not None:
            reasons.append(_custom(reason))
        return valid and not reasons, reasons

    def _link(self, value: list[Any], name: str, config: Any) -> tuple[bool, Reason | None]:
        if len(value) != 2:
            text = "Bad linked input, must be a length-2 list of [node_id, slot_index]"
            extra = {"input_config": _config(config), "received_value": value}
            return False, error("bad_linked_input", text, name, input_name=name, **extra)
        source, slot = value
        outputs = self._nodes[self._prompt[source]["class_type"]].schema["output"]
        received, wanted = tuple(outputs)[slot], config[0]
        if not _fits(received, wanted):
            details = f"{name}, received_type({received}) mismatch input_type({wanted})"
            extra = {
                "input_config": _config(config),
                "received_type": received,
                "linked_node": value,
            }
            text = "Return type mismatch between linked nodes"
            return False, error("return_type_mismatch", text, details, input_name=name, **extra)
        try:
            return self._node(source), None
        except Exception as problem:
            text = "Exception when validating inner node"
            extra = {"input_config": _config(config), **_exception(problem), "linked_node": value}
            kind = "exception_during_inner_validation"
            reason = error(kind, text, str(problem), input_name=name, **extra)
            self._known[source] = (False, [reason])
            return False, None


def _exception(problem: Exception) -> dict[str, Any]:
    return {
        "exception_message": str(problem),
        "exception_type": type(problem).__name__,
        "traceback": [],
    }


def _custom(reason: str) -> Reason:
    text, name = "Custom validation failed for node", "image"
    return error("custom_validation_failed", text, f"{name} - {reason}", input_name=name)


def _config(config: Any) -> list[Any]:
    return [config[0], config[1] if len(config) > 1 else {}]


def _fits(received: str, wanted: Any) -> bool:
    """Types match if they are equal, one is ``*``, or lists of them overlap."""
    if not isinstance(wanted, str) or "*" in (received, wanted):
        return True
    return bool(set(received.split(",")) & set(wanted.split(",")))


def _plain(inputs: dict[str, Any], name: str, config: Any) -> Reason | None:
    """Convert a plain value to the input's type, and check its range or choices."""
    value, kind = inputs[name], config[0]
    options = config[1] if len(config) > 1 else {}
    try:
        if isinstance(value, dict) and "__value__" in value:
            value = value["__value__"]
        if isinstance(kind, str) and kind in TYPES:
            value = TYPES[kind](value)
        inputs[name] = value
    except Exception as problem:
        text = f"Failed to convert an input value to a {kind} value"
        details = f"{name}, {value}, {problem}"
        extra = {"input_config": _config(config), "received_value": value}
        extra["exception_message"] = str(problem)
        return error("invalid_input_type", text, details, input_name=name, **extra)
    if options.get("image_upload"):
        return None
    extra = {"input_config": _config(config), "received_value": value}
    if "min" in options and value < options["min"]:
        text = f"Value {value} smaller than min of {options['min']}"
        return error("value_smaller_than_min", text, name, input_name=name, **extra)
    if "max" in options and value > options["max"]:
        text = f"Value {value} bigger than max of {options['max']}"
        return error("value_bigger_than_max", text, name, input_name=name, **extra)
    choices = (
        kind if isinstance(kind, list) else options.get("options") if kind == "COMBO" else None
    )
    if choices is None or value in choices:
        return None
    long = len(choices) > LONG_LIST
    listed = f"(list of length {len(choices)})" if long else str(choices)
    extra["input_config"] = None if long else extra["input_config"]
    details = f"{name}: '{value}' not in {listed}"
    return error("value_not_in_list", "Value not in list", details, input_name=name, **extra)


TYPES: Mapping[str, type] = {"INT": int, "FLOAT": float, "STRING": str, "BOOLEAN": bool}
