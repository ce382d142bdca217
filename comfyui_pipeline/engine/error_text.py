"""The server's own errors in words for a reader: node, title, input, what it got, what it takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from comfyui_pipeline.engine.http import as_list, as_object
from comfyui_pipeline.engine.protocol import Prompt
from comfyui_pipeline.workflow.node_label import node_label

LISTED = 10
SHOWN = 300


def label(prompt: Prompt, node_id: str, class_type: str = "") -> str:
    """``6 "Positive Prompt" (CLIPTextEncode)``"""
    node = prompt.get(node_id, {})
    title = as_object(node.get("_meta")).get("title")
    kind = class_type or node.get("class_type") or "?"
    return node_label(node_id, str(title or ""), str(kind))


def rejection(prompt: Prompt, body: Mapping[str, Any]) -> str:
    """What a 400 of ``POST /prompt`` says (ComfyUI server.py, execution.py validate_prompt)."""
    error = as_object(body.get("error"))
    reasons = [
        f"node {label(prompt, node_id)}: {reason}"
        for node_id, reason in node_errors(body.get("node_errors")).items()
    ]
    if reasons:
        return "; ".join(reasons)
    told = [str(part) for part in (error.get("message"), error.get("details")) if part]
    extra = as_object(error.get("extra_info"))
    if error.get("type") == "invalid_prompt" and extra.get("node_id"):
        node = label(prompt, str(extra["node_id"]), str(extra.get("class_type") or ""))
        told.append(
            f"(node {node}; install its custom node on the server, or use another workflow)"
        )
    return cut(" ".join(told)) or "it gave no reason"


def node_errors(found: Any) -> dict[str, str]:
    """node id -> its reasons, from the ``node_errors`` of a 400 or of a 200."""
    reasons = {}
    for node_id, entry in as_object(found).items():
        errors = as_list(as_object(entry).get("errors"))
        words = ", ".join(_reason(as_object(error)) for error in errors) or "not valid"
        lost = [
            str(o) for o in as_list(as_object(entry).get("dependent_outputs")) if str(o) != node_id
        ]
        reasons[str(node_id)] = words + (
            f" (so node {', '.join(lost)} gave nothing)" if lost else ""
        )
    return reasons


def _reason(error: Mapping[str, Any]) -> str:
    extra = as_object(error.get("extra_info"))
    message = str(error.get("message") or error.get("type") or "not valid")
    name = extra.get("input_name")
    if not name:
        return cut(f"{message} {error.get('details') or ''}".strip())
    told = f"{message}: input {name!r}"
    if "received_value" in extra:
        told += f" is {cut(repr(extra['received_value']), 80)}"
    if error.get("type") == "value_not_in_list":
        return told + _choices(extra.get("input_config"), str(error.get("details") or ""))
    config = extra.get("input_config")
    options = as_object(config[1]) if isinstance(config, list) and len(config) > 1 else {}
    limits = [f"{key} {options[key]}" for key in ("min", "max") if key in options]
    if limits and "received_value" in extra:
        return f"{told} ({', '.join(limits)})"
    if error.get("type") in ("custom_validation_failed", "return_type_mismatch"):
        return cut(f"{told} ({error.get('details')})")
    return told


def _choices(config: Any, details: str) -> str:
    """The choices of a combo; the server leaves them out of ``input_config`` when there are many."""
    listed = config[0] if isinstance(config, list) and config else None
    if listed == "COMBO":
        listed = as_object(config[1]).get("options")
    if not isinstance(listed, list):
        return f" ({cut(details)})" if details else ""
    if not listed:
        return "; the server has none"
    more = f" and {len(listed) - LISTED} more" if len(listed) > LISTED else ""
    return f"; it takes {', '.join(str(choice) for choice in listed[:LISTED])}{more}"


def execution_error(prompt: Prompt, data: Mapping[str, Any]) -> str:
    """An ``execution_error`` without its traceback and its inputs, which can hold keys."""
    node = label(prompt, str(data.get("node_id")), str(data.get("node_type") or ""))
    kind = str(data.get("exception_type") or "").rpartition(".")[2]
    message = cut(" ".join(str(data.get("exception_message") or "no message").split()))
    return f"node {node} failed: {message}" + (f" ({kind})" if kind else "")


def cut(text: str, length: int = SHOWN) -> str:
    return text if len(text) <= length else text[:length] + "…"
