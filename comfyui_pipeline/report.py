"""Word the response: text for the AI and the user, fields for programs.

``TEXTS`` holds every sentence of a successful response. Long values are shortened here where that
makes sense; ``bounded.response_size`` then enforces the size limit of every response.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from types import MappingProxyType
from typing import Any

from comfyui_pipeline import change_texts
from comfyui_pipeline.bounded.truncate import json_size, shorten, truncate
from comfyui_pipeline.errors import JobFailed, JobTimeout, ToolError
from comfyui_pipeline.media.previews import Previews
from comfyui_pipeline.outcome import Ending, Outcome
from comfyui_pipeline.outputs import ResultOutput
from comfyui_pipeline.text_result import text_result
from input_server.light_dataclasses import asdict

TEXTS: Mapping[str, str] = MappingProxyType(
    {
        "complete": "Done: {subject} finished{time}.",
        "partial": (
            "PARTLY FAILED: {subject} finished{time}, but some outputs are missing{prompt_id}."
        ),
        "time": " in {seconds} s",
        "run_time": " (ran in {seconds} s)",
        "id": " (prompt id {prompt_id})",
        "workflow": "workflow {workflow}",
        "earlier": "workflow {workflow} (prompt id {prompt_id})",
        "unnamed": "the job with prompt id {prompt_id}",
        "late": (
            "NOT FINISHED within the time limit ({seconds} s): {of_workflow} is still running at "
            "ComfyUI (prompt id {prompt_id}). Get the remaining outputs with the command result. "
            "Outputs so far:"
        ),
        "cancelled": (
            "NOT FINISHED within the time limit ({seconds} s), and cancelled as requested: "
            "{of_workflow} (prompt id {prompt_id}). Outputs so far:"
        ),
        "image": "![{alt}]({url})",
        "file": "[{alt}]({url})",
        "no_url": "{path} (no URL: {why})",
        "no_key": "FILE_SERVER_ACCESS_KEY is not set",
        "more_outputs": "…and {count}{kinds}: {where}",
        "gallery": "[all files, newest first]({url})",
        "folder": "see the folder {folder}",
        "more": "…and {count} more",
        "output": "{link} {properties}, from node {node}{preview}",
        "preview": " (preview, not saved by the workflow)",
        "text": "Text from node {node}: {text}",
        "long_text": "Text from node {node} ({properties}): [{alt}]({url}), it begins: {text}",
        "changed": "Changed: {changes}.",
        "guesses": "Understood as: {guesses}.",
        "from_cache": (
            "An earlier job was exactly the same, so ComfyUI returned the results of that one."
        ),
        "node_error": "Node did not run: {node}: {reason}",
        "failed": "Output is missing: {name}: {reason}",
        "skipped_previews": ('{count} left out; pass "previews": "true" to get them as well.'),
        "reduced": "{count} in this response reduced, because of its size limit.",
        "no_preview": "no preview of {name}: {reason}.",
        "not_shown": "{count} not shown in this response; open the links.",
        "note": "Note: {text}",
        "warning": "Warning: {text}",
    }
)
LONG_WAIT = 2.0
"""Seconds for which a call lasted longer than its job ran, before both times are given."""
SHOWN_TEXT = 1500
"""Characters of a node's text; a longer one is a file as well (``outputs.LONG_TEXT``)."""
MAX_LISTED_OUTPUTS = 20
"""Outputs that are listed one by one."""
OUTPUTS_BYTES = 7_000
"""Bytes of the lines of outputs."""
FACT_BYTES = 1_500
"""Bytes of all changes, all guesses, all warnings, and all notes each."""
NO_PREVIEWS = Previews(())
NO_TIMINGS: Mapping[str, int] = MappingProxyType({})


def build_result(
    outcome: Outcome, previews: Previews = NO_PREVIEWS, timings_ms: Mapping[str, int] = NO_TIMINGS
) -> dict[str, Any]:
    """Return the host's ``result``: ``content`` for the AI, the other fields for programs."""
    warnings = [*_warnings(outcome), *_failed_previews(outcome, previews)]
    notes = [*_notes(outcome), *_preview_notes(previews)]
    lines = [
        _headline(outcome, timings_ms.get("total", 0)),
        *(TEXTS["note"].format(text=text) for text in _first(outcome.important)),
        *_output_lines(outcome),
        *(f"- {line}" for line in facts(outcome)),
        *(f"- {TEXTS['warning'].format(text=text)}" for text in _first(warnings)),
        *(f"- {TEXTS['note'].format(text=text)}" for text in _first(notes)),
    ]
    return {
        "content": [
            {"type": "text", "text": "\n".join(lines)},
            *({"type": "image_url", "image_url": {"url": uri}} for uri in previews.uris),
        ],
        "workflow": outcome.workflow,
        "prompt_id": outcome.prompt_id,
        "complete": outcome.ending is Ending.COMPLETE,
        "outputs": [_fields(output) for output in outcome.outputs],
        "outputs_total": len(outcome.outputs),
        "seeds": dict(outcome.seeds),
        "changes": [change_texts.fields(change) for change in outcome.changes],
        "guesses": list(outcome.guesses),
        "warnings": [*outcome.important, *warnings, *notes],
        "notes": [*outcome.important, *notes],
        "timings_ms": dict(timings_ms),
    }


def minimal_result(outcome: Outcome, error: Exception) -> dict[str, Any]:
    """Return the bare ``result`` for when ``build_result`` raised ``error``: places of the outputs."""
    why = f"The response could not be written ({type(error).__name__}); please report this."
    places = [str(output.url or output.path or output.text) for output in outcome.outputs]
    return text_result(
        "\n".join(
            [
                f"The job has ended (prompt id {outcome.prompt_id}). {why}",
                *places[:MAX_LISTED_OUTPUTS],
            ]
        ),
        prompt_id=outcome.prompt_id,
        complete=False,
        outputs=[_fields(output) for output in outcome.outputs],
        outputs_total=len(outcome.outputs),
        warnings=[why],
    )


def no_output_error(outcome: Outcome) -> ToolError:
    """Return the error for a job without any output, whatever status the server gave it."""
    if outcome.failed:
        return next(iter(outcome.failed.values()))
    if not outcome.finished:
        return _late_error(outcome)
    if outcome.node_errors:
        reasons = "; ".join(f"{node}: {why}" for node, why in outcome.node_errors.items())
        return JobFailed(f"The job has no output: {reasons}.", "Correct this and call again.")
    return JobFailed(
        "The job ended without an error but returned no output.",
        "The saving node may be muted or get an empty batch; check the workflow in ComfyUI.",
    )


def _late_error(outcome: Outcome) -> JobTimeout:
    prompt_id = f"(prompt id {outcome.prompt_id})"
    command = f'{{"command": "result", "prompt_id": "{outcome.prompt_id}"}}'
    state = "is still running" if outcome.started else "is still waiting in the queue"
    if outcome.cancelled:
        return JobTimeout(
            f"The job did not end within this call's time limit and was cancelled as requested "
            f"{prompt_id}.",
            "Request a smaller or simpler image.",
        )
    if outcome.cancel_requested:
        return JobTimeout(
            "The job did not end within this call's time limit. ComfyUI was asked to cancel it, but "
            f"it {state} {prompt_id}.",
            "ComfyUI stops a job between two sampling steps only; check it with "
            f"{command.replace('result', 'status', 1)}.",
        )
    facts = "".join(f" {sentence}" for sentence in outcome.important)
    return JobTimeout(
        f"The job {state} at ComfyUI after this call's time limit {prompt_id}; it has no output "
        f"yet.{facts}",
        f'Get the result later with {command}, or cancel it with "cancel" instead of "result".',
    )


def _headline(outcome: Outcome, milliseconds: int) -> str:
    names = {"workflow": outcome.workflow, "prompt_id": outcome.prompt_id}
    seconds = f"{milliseconds / 1000:.1f}"
    ran, key = outcome.seconds, "workflow"
    time = "" if outcome.earlier else TEXTS["time"].format(seconds=seconds)
    if ran is not None and (outcome.earlier or milliseconds / 1000 - ran >= LONG_WAIT):
        time += TEXTS["run_time"].format(seconds=f"{ran:.1f}")
    partial = outcome.ending is Ending.PARTIAL
    if outcome.earlier:  # the time of this call is not that of its job
        key = "earlier" if outcome.named else "unnamed"
    shown_id = "" if outcome.earlier else TEXTS["id"].format(**names)
    return TEXTS[outcome.ending.value].format(
        subject=TEXTS[key].format(**names),
        of_workflow=TEXTS["workflow"].format(**names) if outcome.named else "the job",
        time=time,
        seconds=seconds,
        prompt_id=shown_id if partial else outcome.prompt_id,
    )


def _fields(output: ResultOutput) -> dict[str, Any]:
    fields = asdict(output)
    return {
        k: v for k, v in fields.items() if v is not None or k not in ("note", "no_url", "shown_as")
    }


def _output_lines(outcome: Outcome) -> Iterator[str]:
    """The first outputs one by one, the others in one line that says where to find them."""
    room, listed = OUTPUTS_BYTES, 0
    for output in outcome.outputs[:MAX_LISTED_OUTPUTS]:
        line = _output_line(output)
        room -= json_size(line)
        if room < 0 and listed:
            break
        yield line
        listed += 1
    left = outcome.outputs[listed:]
    if left:
        where = TEXTS["folder"].format(folder=outcome.folder)
        if outcome.gallery:
            where = TEXTS["gallery"].format(url=outcome.gallery)
        counts = Counter(output.kind for output in left)
        kinds = ", ".join(
            _counted(count, kind, "audio" if kind == "audio" else "")
            for kind, count in counts.most_common()
        )
        yield TEXTS["more_outputs"].format(
            count=_counted(len(left), "more output"), kinds=f" ({kinds})", where=where
        )


def _first(texts: Sequence[str], room: int = FACT_BYTES) -> Iterator[str]:
    """As many texts as fit into ``room`` bytes, at least one, and the number of the others."""
    for place, text in enumerate(texts):
        room -= json_size(text)
        if room < 0 and place:
            yield TEXTS["more"].format(count=len(texts) - place)
            return
        yield truncate(text, FACT_BYTES)


def _output_line(output: ResultOutput) -> str:
    node, alt = _node(output), _link_text((output.file or "").rpartition("/")[2])
    if output.text is not None:
        return TEXTS["text" if output.url is None else "long_text"].format(
            node=node,
            properties=_properties(output),
            alt=alt,
            url=output.url,
            text=shorten(output.text, SHOWN_TEXT),
        )
    if output.url is None:
        why = output.no_url or TEXTS["no_key"]
        link = TEXTS["no_url"].format(path=output.path, why=why)
    else:
        kind = "image" if output.kind == "image" and output.shown_as is None else "file"
        link = TEXTS[kind].format(alt=alt, url=output.url)
    preview = TEXTS["preview"] if output.preview else ""
    return TEXTS["output"].format(
        link=link, properties=_properties(output), node=node, preview=preview
    )


def _node(output: ResultOutput) -> str:
    return f'{output.node_id} "{output.title}"' if output.title else output.node_id


def _link_text(name: str) -> str:
    """A file name without characters that would end the text of a Markdown link."""
    return "".join(" " if letter in "[]\\`\r\n" else letter for letter in name)


def _properties(output: ResultOutput) -> str:
    size = output.bytes or 0
    parts = [f"{output.width}×{output.height}" if output.width else output.kind]
    if output.frames and output.frames > 1:
        parts.append(f"{output.frames} frames")
    if output.seconds:
        parts.append(f"{output.seconds:.1f} s")
    parts.append(f"{size / 2**20:.1f} MB" if size >= 2**20 else f"{max(1, round(size / 1024))} KB")
    return ", ".join(parts)


def facts(outcome: Outcome) -> Iterator[str]:
    """What a call has changed, how it was understood, and the seeds."""
    changed = outcome.changed or change_texts.sentences(outcome.changes)
    if changed:
        yield TEXTS["changed"].format(changes="; ".join(_first(changed)))
    if outcome.guesses:
        yield TEXTS["guesses"].format(guesses="; ".join(_first(outcome.guesses)))
    if outcome.seeds:
        origin = outcome.seed_origin or change_texts.seed_origin(outcome.changes)
        yield change_texts.seed_sentence(outcome.seeds, origin, outcome.batch)
    if outcome.from_cache:
        yield TEXTS["from_cache"]


def _warnings(outcome: Outcome) -> Iterator[str]:
    for node, reason in outcome.node_errors.items():
        yield TEXTS["node_error"].format(node=node, reason=reason)
    for name, error in outcome.failed.items():
        yield TEXTS["failed"].format(name=name, reason=error)
    for output in outcome.outputs:
        if output.note:
            yield f"{output.file or _node(output)}: {output.note}"


def _notes(outcome: Outcome) -> Iterator[str]:
    yield from outcome.notes
    if outcome.skipped_previews:
        yield TEXTS["skipped_previews"].format(
            count=_counted(outcome.skipped_previews, "preview was", "previews were")
        )


def _failed_previews(outcome: Outcome, previews: Previews) -> Iterator[str]:
    """Images that the response lacks. A file with a note of its own is not named twice."""
    noted = {(output.path or "") for output in outcome.outputs if output.note}
    for path, reason in previews.failed.items():
        if path not in noted:
            yield TEXTS["no_preview"].format(name=PurePath(path).name, reason=reason)


def _preview_notes(previews: Previews) -> Iterator[str]:
    if previews.reduced:
        yield TEXTS["reduced"].format(count=_counted(previews.reduced, "image was", "images were"))
    not_shown = previews.left_out - len(previews.failed)
    if not_shown > 0:
        yield TEXTS["not_shown"].format(count=_counted(not_shown, "image is", "images are"))


def _counted(count: int, one: str, several: str = "") -> str:
    """A number of things: ``1 image``, ``2 images``."""
    return f"{count} {one if count == 1 else several or f'{one}s'}"
