"""How a job ended, by its history entry: a failure is raised; outputs are put in order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from comfyui_pipeline.engine import error_text
from comfyui_pipeline.engine.protocol import Output, Prompt
from comfyui_pipeline.engine.responses import HistoryEntry
from comfyui_pipeline.errors import JobFailed


def ordered(prompt: Prompt, by_node: Mapping[str, tuple[Output, ...]]) -> tuple[Output, ...]:
    """Every output, in the order of the prompt's nodes."""
    order = [node for node in prompt if node in by_node]
    order += [node for node in by_node if node not in prompt]
    return tuple(output for node in order for output in by_node[node])


def ending_of(entry: HistoryEntry) -> Literal["success", "cancelled", "failed"]:
    """How a job ended.

    ``status_str`` is not reliable: a cycle found at run time ends as ``success`` (execution.py), an
    interruption as ``error``. So ``execution_success`` has to be among the events.
    """
    if "execution_success" in entry.events or (not entry.events and entry.status == "success"):
        return "success"
    return "cancelled" if "execution_interrupted" in entry.events else "failed"


def check_end(prompt: Prompt, entry: HistoryEntry) -> None:
    """Raise JobFailed unless the history entry says that the job succeeded."""
    ending = ending_of(entry)
    if ending == "success":
        return
    if ending == "cancelled":
        raise JobFailed(
            "The job was cancelled before its end; the workflow itself did not fail.",
            "The command cancel did so, or somebody in ComfyUI's editor, or another program. Call "
            "again with the same arguments if that was not intended.",
        )
    if "execution_error" in entry.events:
        from comfyui_pipeline.engine.failure_hints import hint_for  # many regular expressions

        raise JobFailed(
            f"The job failed: {error_text.execution_error(prompt, entry.error)}.",
            hint_for(f"{entry.error.exception_type} {entry.error.message}", prompt),
        )
    raise JobFailed(
        f"The job ended at ComfyUI with the status {entry.status or 'unknown'} and no error message.",
        "Look for the cause in ComfyUI's console.",
    )
