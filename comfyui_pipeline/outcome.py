"""What happened to a job and what its response holds. ``report.py`` puts it into words."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from pathlib import Path

from comfyui_pipeline.errors import ToolError
from comfyui_pipeline.workflow.changes import Change
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
class ResultOutput:
    """One output as the response holds it: the fields are its JSON fields.

    ``path`` is on this machine; ``bytes``, ``width`` and ``height`` (pixels), ``seconds`` (duration
    of videos, audio and animated images) are None where unknown. ``note``: a remark on this file;
    ``no_url``: why it has no URL although an access key is set.
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
class Outcome:
    """What happened to one job.

    ``finished``: the job ended before the call's time limit; ``started``: any node had run by then.
    ``cancel_requested``, ``cancelled``: whether the call requested to cancel a late job, and whether
    that job has stopped. ``failed``: file -> why it could not be fetched. ``node_errors``: label of a
    node -> why it did not run. ``skipped_previews``: previews left on the server. ``gallery``: URL of
    the page that shows the results; ``folder``: the folder that holds them.
    """

    workflow: str
    prompt_id: str
    finished: bool
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
    notes: tuple[str, ...] = ()
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
        images = [output for output in self.outputs if output.kind == "image" and output.path]
        saved = [output for output in images if not output.preview]
        return [Path(output.path or "") for output in saved or images]
