"""The result as the host wants it: text for the AI and its people, fields for programs.

All words of an answer that went well stand in ``TEXTS``. What is long is shortened here where that
can be done with sense; ``bounds`` then sees to it that no answer is too long.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from comfyui_pipeline.bounded import truncate
from comfyui_pipeline.text_result import text_result
from comfyui_pipeline.workflow.changes import Change, Origin
from input_server.light_dataclasses import asdict, dataclass, field

TEXTS: Mapping[str, str] = MappingProxyType(
    {
        "done": "Done: the workflow {workflow} ran in {seconds} s.",
        "partly": "PARTLY FAILED: of the workflow {workflow} not every output is here ({seconds} s).",
        "unfinished": (
            "NOT FINISHED within the time limit ({seconds} s): the workflow {workflow} is still "
            "running at ComfyUI (prompt id {prompt_id}). Get the rest with the command result. So far:"
        ),
        "stopped": (
            "NOT FINISHED within the time limit ({seconds} s), and cancelled, as asked: the workflow "
            "{workflow} (prompt id {prompt_id}). Until then:"
        ),
        "picture": "![{alt}]({url})",
        "file": "[{alt}]({url})",
        "unserved": "{path} (no URL: {why})",
        "no_key": "FILE_SERVER_ACCESS_KEY is not set",
        "more": "…and {count} more outputs{kinds}: {where}",
        "gallery": "[all files, newest first]({url})",
        "folder": "they are in the folder {folder}",
        "stored_text": "Text from node {node} ({what}): [{alt}]({url}), it begins: {text}",
        "more_facts": "…and {count} more",
        "from": "{what}, from node {node}{preview}",
        "preview": " (a preview, not saved at ComfyUI)",
        "text": "Text from node {node}: {text}",
        "changed": "Changed: {changes}.",
        "guessed": "Guessed: {guesses}.",
        "change": "{label}, {name} = {value}{link}",
        "link": " (was fed by a link)",
        "seed_kept": "Seed: {seeds} (as given).",
        "seed_drawn": 'Seed: {seeds} (drawn; give it as "seed" for the same result again).',
        "seed_as_is": "Seed: {seeds}.",
        "cached": "Nothing had changed since an earlier run, so ComfyUI gave its earlier result.",
        "failed_node": "Did not run: {node}: {reason}",
        "failed_output": "Is not here: {name}: {reason}",
        "warning": "Warning: {text}",
    }
)
SHOWN_VALUE = 160
SHOWN_TEXT = 1500
"""Characters of a text that a node gave; a longer one is also a file (``collect.LONG_TEXT``)."""
MOST_OUTPUTS = 20
"""Outputs that are listed one by one."""
OUTPUTS_BYTES = 7_000
FACT_BYTES = 1_500
"""Bytes of the text for outputs, and for all changes, guesses, seeds or warnings each."""


@dataclass(frozen=True, slots=True)
class ResultOutput:
    """One result as programs get it. ``path`` is on this machine; sizes in bytes and pixels.

    ``seconds``: how long it plays, for films, sounds and animated pictures. ``note``: what a reader
    should know of this file; ``no_url``: why it has no URL though there is a key.
    """

    node_id: str
    title: str
    kind: str
    file: str | None = None
    path: str | None = None
    url: str | None = None
    bytes: int | None = None
    width: int | None = None
    height: int | None = None
    frames: int | None = None
    seconds: float | None = None
    sha256: str | None = None
    text: str | None = None
    preview: bool = False
    note: str | None = None
    no_url: str | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """All that is to be told of one run.

    ``node_errors``: label of a node -> why it did not run; ``failed``: file -> why it is not here;
    ``stopped``: it was late, and is cancelled. ``gallery``: the URL of the page that shows the results,
    ``folder``: where they lie.
    """

    workflow: str
    prompt_id: str
    complete: bool
    outputs: tuple[ResultOutput, ...]
    changes: tuple[Change, ...]
    guesses: tuple[str, ...]
    seeds: Mapping[str, int]
    node_errors: Mapping[str, str]
    notes: tuple[str, ...]
    cached: bool
    stopped: bool = False
    failed: Mapping[str, str] = field(default_factory=dict)
    pictures: tuple[str, ...] = ()  # data: URIs for models that can see
    timings_ms: Mapping[str, int] = field(default_factory=dict)
    gallery: str | None = None
    folder: str = ""


def tell(report: Report) -> dict[str, Any]:
    """The host's ``result``: ``content`` for the AI, the rest for programs."""
    warnings = list(_warnings(report))
    lines = [
        _headline(report),
        *_output_lines(report),
        *(f"- {line}" for line in _facts(report)),
        *(f"- {TEXTS['warning'].format(text=text)}" for text in _first(warnings)),
    ]
    return {
        "content": [
            {"type": "text", "text": "\n".join(lines)},
            *({"type": "image_url", "image_url": {"url": uri}} for uri in report.pictures),
        ],
        "workflow": report.workflow,
        "prompt_id": report.prompt_id,
        "complete": report.complete and not report.node_errors and not report.failed,
        "outputs": [_fields(output) for output in report.outputs],
        "outputs_total": len(report.outputs),
        "seeds": dict(report.seeds),
        "changes": [
            {
                "node_id": c.target.node.id,
                "input": c.target.name,
                "value": c.value,
                "from": c.source,
            }
            for c in report.changes
        ],
        "guesses": list(report.guesses),
        "warnings": warnings,
        "timings_ms": dict(report.timings_ms),
    }


def _headline(report: Report) -> str:
    lacking = report.node_errors or report.failed
    key = "partly" if lacking else "done"
    if not report.complete:
        key = "stopped" if report.stopped else "unfinished"
    seconds = f"{report.timings_ms.get('total', 0) / 1000:.1f}"
    return TEXTS[key].format(workflow=report.workflow, seconds=seconds, prompt_id=report.prompt_id)


def plain(prompt_id: str, outputs: Sequence[ResultOutput], why: str) -> dict[str, Any]:
    """The result where ``tell`` failed (``why``): what there is, in its barest form."""
    places = [str(output.url or output.path or output.text) for output in outputs[:MOST_OUTPUTS]]
    lines = [f"The run has ended (prompt id {prompt_id}). {why}", *places]
    return text_result(
        "\n".join(lines),
        prompt_id=prompt_id,
        complete=False,
        outputs=[_fields(output) for output in outputs],
        outputs_total=len(outputs),
        warnings=[why],
    )


def _fields(output: ResultOutput) -> dict[str, Any]:
    fields = asdict(output)
    return {k: v for k, v in fields.items() if v is not None or k not in ("note", "no_url")}


def _output_lines(report: Report) -> Iterator[str]:
    """The first outputs one by one, the others in a line with a link to all of them."""
    room, listed = OUTPUTS_BYTES, 0
    for output in report.outputs[:MOST_OUTPUTS]:
        line = _output_line(output)
        room -= truncate.size(line)
        if room < 0 and listed:
            break
        yield line
        listed += 1
    left = report.outputs[listed:]
    if left:
        where = TEXTS["folder"].format(folder=report.folder)
        if report.gallery:
            where = TEXTS["gallery"].format(url=report.gallery)
        counts = Counter(output.kind for output in left)
        kinds = ", ".join(f"{count} {kind}" for kind, count in counts.most_common())
        yield TEXTS["more"].format(count=len(left), kinds=f" ({kinds})", where=where)


def _first(texts: Sequence[str], most: int = FACT_BYTES) -> Iterator[str]:
    """As many texts as fit, at least one, and how many more there are."""
    for place, text in enumerate(texts):
        most -= truncate.size(text)
        if most < 0 and place:
            yield TEXTS["more_facts"].format(count=len(texts) - place)
            return
        yield truncate.cut(text, FACT_BYTES)


def _output_line(output: ResultOutput) -> str:
    node = _node(output)
    if output.text is not None and output.url is not None:
        return TEXTS["stored_text"].format(
            node=node,
            what=_measure(output),
            alt=_plain((output.file or "").rpartition("/")[2]),
            url=output.url,
            text=_cut(output.text, SHOWN_TEXT),
        )
    if output.text is not None:
        return TEXTS["text"].format(node=node, text=_cut(output.text, SHOWN_TEXT))
    alt = _plain((output.file or "").rpartition("/")[2])
    if output.url is None:
        why = output.no_url or TEXTS["no_key"]
        link = TEXTS["unserved"].format(path=output.path, why=why)
    else:
        link = TEXTS["picture" if output.kind == "image" else "file"].format(
            alt=alt, url=output.url
        )
    preview = TEXTS["preview"] if output.preview else ""
    return f"{link} " + TEXTS["from"].format(what=_measure(output), node=node, preview=preview)


def _node(output: ResultOutput) -> str:
    return f'{output.node_id} "{output.title}"' if output.title else output.node_id


def _plain(name: str) -> str:
    """A file name that cannot end a Markdown link's text."""
    return "".join(" " if letter in "[]\\`\r\n" else letter for letter in name)


def _measure(output: ResultOutput) -> str:
    size = output.bytes or 0
    told = [f"{output.width}×{output.height}" if output.width else output.kind]
    if output.frames and output.frames > 1:
        told.append(f"{output.frames} frames")
    if output.seconds:
        told.append(f"{output.seconds:.1f} s")
    told.append(f"{size / 2**20:.1f} MB" if size >= 2**20 else f"{max(1, round(size / 1024))} KB")
    return ", ".join(told)


def _facts(report: Report) -> Iterator[str]:
    told = [_change(change) for change in report.changes if not change.is_seed]
    if told:
        yield TEXTS["changed"].format(changes="; ".join(_first(told)))
    if report.guesses:
        yield TEXTS["guessed"].format(guesses="; ".join(_first(report.guesses)))
    if report.seeds:
        yield _seed_line(report)
    if report.cached:
        yield TEXTS["cached"]


def _change(change: Change) -> str:
    value = change.value
    return TEXTS["change"].format(
        label=change.target.node.label,
        name=change.target.name,
        value=_cut(f'"{value}"' if isinstance(value, str) else str(value), SHOWN_VALUE),
        link=TEXTS["link"] if change.replaced_link else "",
    )


def _cut(shown: str, most: int) -> str:
    return shown if len(shown) <= most else shown[:most] + "…"


def _seed_line(report: Report) -> str:
    origins = {change.origin for change in report.changes}
    key = "seed_as_is"
    if Origin.RANDOM_SEED in origins:
        key = "seed_drawn"
    elif Origin.GIVEN_SEED in origins:
        key = "seed_kept"
    values = sorted(set(report.seeds.values()), key=str)
    if len(values) == 1:
        return TEXTS[key].format(seeds=values[0])
    each: Sequence[str] = [f"{seed} in node {node}" for node, seed in report.seeds.items()]
    return TEXTS[key].format(seeds=", ".join(_first(each)))


def _warnings(report: Report) -> Iterator[str]:
    for node, reason in report.node_errors.items():
        yield TEXTS["failed_node"].format(node=node, reason=reason)
    for name, reason in report.failed.items():
        yield TEXTS["failed_output"].format(name=name, reason=reason)
    for output in report.outputs:
        if output.note:
            yield f"{output.file or _node(output)}: {output.note}"
    yield from report.notes
