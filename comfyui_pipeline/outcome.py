"""What happened to a job and what its response holds. ``report.py`` puts it into words."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from pathlib import Path

from comfyui_pipeline.call_context import CallContext
from comfyui_pipeline.engine.protocol import JobResult
from comfyui_pipeline.errors import ToolError
from comfyui_pipeline.outputs import FetchedOutputs, ResultOutput
from comfyui_pipeline.prepared_job import PreparedJob
from comfyui_pipeline.result_urls import unreachable_host
from comfyui_pipeline.settings import Settings
from comfyui_pipeline.workflow.changes import Change
from comfyui_pipeline.workflow.graph import Graph
from input_server.light_dataclasses import dataclass, field


class Ending(Enum):
    """How the job stood when the call had to return."""

    COMPLETE = "complete"
    """It ended, and every output was fetched."""
    PARTIAL = "partial"
    """It ended, but a node did not run or an output could not be fetched."""
    LATE = "late"
    """It was still queued or running at the call's time limit."""
    CANCELLED = "cancelled"
    """The same, and it was cancelled as the call requested."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What happened to one job.

    ``finished``: the job ended before the call's time limit; ``started``: any node had run by then;
    ``seconds``: how long it ran, where that is known.
    ``cancel_requested``, ``cancelled``: whether the call requested to cancel a late job, and whether
    that job has stopped. ``failed``: file -> why it could not be fetched. ``node_errors``: label of a
    node -> why it did not run. ``important``: sentences for the first lines of the response; ``notes``:
    others. ``changed``: ``changes`` in words; ``seed_origin``: ``random``, ``given`` or ""; ``batch``:
    images that share a seed. ``earlier``: the job was queued by an earlier call, and ``named`` when
    the name of its workflow is known. ``skipped_previews``: previews left on the server. ``gallery``: URL of
    the page that shows the results; ``folder``: the folder that holds them.
    """

    workflow: str
    prompt_id: str
    finished: bool
    seconds: float | None = None
    started: bool = True
    cancel_requested: bool = False
    cancelled: bool = False
    outputs: tuple[ResultOutput, ...] = ()
    failed: Mapping[str, ToolError] = field(default_factory=dict)
    node_errors: Mapping[str, str] = field(default_factory=dict)
    skipped_previews: int = 0
    from_cache: bool = False
    changes: tuple[Change, ...] = ()
    guesses: tuple[str, ...] = ()
    seeds: Mapping[str, int] = field(default_factory=dict)
    important: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    seed_origin: str = ""
    batch: int = 1
    earlier: bool = False
    named: bool = True
    gallery: str | None = None
    folder: str = ""

    @property
    def ending(self) -> Ending:
        if not self.finished:
            return Ending.CANCELLED if self.cancelled else Ending.LATE
        return Ending.PARTIAL if self.node_errors or self.failed else Ending.COMPLETE

    @property
    def images_to_show(self) -> list[Path]:
        """Image files to show in the response: saved ones, or previews when nothing was saved."""
        images = [o for o in self.outputs if o.kind == "image" and o.path and not o.shown_as]
        saved = [output for output in images if not output.preview]
        return [Path(output.path or "") for output in saved or images]


def describe_outcome(
    context: CallContext,
    ready: PreparedJob,
    result: JobResult,
    fetched: FetchedOutputs,
    *,
    cancelled: bool,
) -> Outcome:
    """Return the outcome of a job. ``cancelled``: the job was late and has been cancelled."""
    settings = context.settings
    errors = {_label(ready.graph, node_id): why for node_id, why in result.node_errors.items()}
    folder, alias = _results_folder(fetched, settings)
    return Outcome(
        workflow=ready.name,
        prompt_id=result.prompt_id,
        finished=result.complete,
        seconds=result.seconds,
        started=result.started,
        cancel_requested=context.call.cancel_on_timeout,
        cancelled=cancelled,
        outputs=fetched.outputs,
        failed=fetched.failed,
        node_errors={**errors, **ready.skipped_outputs},
        skipped_previews=fetched.skipped_previews,
        from_cache=bool(result.cached) and all(o.node_id in result.cached for o in result.outputs),
        changes=ready.changes,
        guesses=ready.guesses,
        seeds=ready.seeds,
        important=(*ready.important, *_silence(result)),
        notes=(*ready.notes, *_doubtful_links(fetched, settings)),
        changed=ready.changed,
        seed_origin=ready.seed_origin,
        batch=ready.batch,
        earlier=ready.earlier,
        named=ready.named,
        gallery=settings.links.gallery(alias),
        folder=str(folder),
    )


def _results_folder(fetched: FetchedOutputs, settings: Settings) -> tuple[Path | None, str]:
    """The folder that holds the results, and the mount alias under which it is served.

    It is our own output folder, unless all results are in the server's output folder on this machine.
    """
    own = any(Path(o.path or "").is_relative_to(settings.output_dir) for o in fetched.outputs)
    if own or not settings.server_output_mount:
        return settings.output_dir, settings.output_alias
    return settings.server_output_dir, settings.server_output_mount[0] or settings.output_alias


def _doubtful_links(fetched: FetchedOutputs, settings: Settings) -> list[str]:
    """Whether the links name a host that only containers know."""
    host = unreachable_host(settings.links.base, settings.base_url)
    if not host or not any(output.url for output in fetched.outputs):
        return []
    return [
        f"The links name the host {host}, which readers outside its container network cannot open: set "
        "FILE_SERVER_BASE_URL in config.env to the file server's URL as readers reach it."
    ]


def _silence(result: JobResult) -> list[str]:
    """What a long silence of a job that still runs can mean."""
    if not result.silent:
        return []
    return [
        f"ComfyUI lists the job as running but has reported no progress for {result.silent:.0f} s: a "
        "model may still be loading, or the node works without reporting; if its console shows an "
        "error, restart it."
    ]


def _label(graph: Graph, node_id: str) -> str:
    node = graph.nodes.get(node_id)
    return node.label if node else node_id
