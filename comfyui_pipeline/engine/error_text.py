"""The server's errors in words for a reader: node, title, input, its value, what it accepts."""

from __future__ import annotations

from collections.abc import Mapping

from comfyui_pipeline.bounded.truncate import shorten
from comfyui_pipeline.engine.json_shape import as_object
from comfyui_pipeline.engine.protocol import Prompt
from comfyui_pipeline.engine.responses import ExecutionError, InputError, NodeErrors, Rejection
from comfyui_pipeline.workflow.node_label import node_label

LISTED = 10
SHOWN = 300


def label(prompt: Prompt, node_id: str, class_type: str = "") -> str:
    """``6 "Positive Prompt" (CLIPTextEncode)``"""
    node = prompt.get(node_id, {})
    title = as_object(node.get("_meta")).get("title")
    kind = class_type or node.get("class_type") or "?"
    return node_label(node_id, str(title or ""), str(kind))


def rejection(prompt: Prompt, rejected: Rejection) -> str:
    """Why the server rejected the prompt."""
    reasons = [
        f"node {label(prompt, node_id)}: {reason}"
        for node_id, reason in node_errors(rejected.node_errors).items()
    ]
    if reasons:
        return "; ".join(reasons)
    parts = [part for part in (rejected.message, rejected.details) if part]
    if rejected.kind == "invalid_prompt" and rejected.node_id:
        node = label(prompt, rejected.node_id, rejected.class_type)
        parts.append(
            f"(node {node}; the server needs the pack of this node type, unless it exists only in the "
            "editor)"
        )
    return _short(" ".join(parts)) or "no reason given"


def node_errors(errors: Mapping[str, NodeErrors]) -> dict[str, str]:
    """node id -> why it cannot run."""
    return {node_id: _reasons(found) for node_id, found in errors.items()}


def _reasons(errors: NodeErrors) -> str:
    text = ", ".join(_reason(reason) for reason in errors.reasons) or "invalid"
    if errors.dependents:
        text += f" (so node {', '.join(errors.dependents)} returned nothing)"
    return text


def _reason(error: InputError) -> str:
    if not error.input_name:
        return _short(f"{error.message} {error.details}".strip())
    text = f"{error.message}: input {error.input_name!r}"
    if error.value is not None:
        text += f" is {shorten(error.value, 80)}"
    if error.kind == "value_not_in_list":
        return text + _choices(error)
    limits = [f"{key} {limit}" for key, limit in error.limits.items()]
    if limits and error.value is not None:
        return f"{text} ({', '.join(limits)})"
    if error.kind in ("custom_validation_failed", "return_type_mismatch"):
        return _short(f"{text} ({error.details})")
    return text


def _choices(error: InputError) -> str:
    choices = error.choices
    if choices is None:
        return f" ({_short(error.details)})" if error.details else ""
    if not choices:
        return "; the server has none"
    more = f" and {len(choices) - LISTED} more" if len(choices) > LISTED else ""
    return f"; it accepts {', '.join(choices[:LISTED])}{more}"


def execution_error(prompt: Prompt, error: ExecutionError) -> str:
    """Which node failed, and its message."""
    node = label(prompt, error.node_id, error.node_type)
    kind = error.exception_type.rpartition(".")[2]
    message = _short(" ".join((error.message or "no message").split()))
    return f"node {node} failed: {message}" + (f" ({kind})" if kind else "")


def _short(text: str) -> str:
    return shorten(text, SHOWN)
