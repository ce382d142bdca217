"""Bring the caller's files to the server. The counterpart of ``outputs.py``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from comfyui_pipeline.call_context import CallContext
from comfyui_pipeline.media import file_limits, upload
from comfyui_pipeline.media.allowed_folders import AllowedFolders, ServedFolder
from comfyui_pipeline.media.download import DownloadPolicy
from comfyui_pipeline.media.file_types import InputKind
from comfyui_pipeline.media.sources import ServerFile, Source, Url, parse_source
from comfyui_pipeline.process.parallel import run_parallel
from comfyui_pipeline.settings import Settings
from comfyui_pipeline.workflow.changes import Change, with_value
from input_server.light_dataclasses import dataclass

MAX_PARALLEL_UPLOADS = 10
"""Files that are downloaded and uploaded at the same time."""


def download_policy(settings: Settings, accepts: InputKind = "image") -> DownloadPolicy:
    """Which hosts URLs of the caller may reach, and how much may be downloaded."""
    cache_dir = settings.cache_dir / "downloads"
    is_image = accepts in file_limits.IMAGES
    max_bytes = settings.max_image_bytes if is_image else settings.max_file_bytes
    return DownloadPolicy(settings.download_allow, max_bytes=max_bytes, cache_dir=cache_dir)


def allowed_folders(settings: Settings) -> AllowedFolders:
    """Folders of this machine that may be read, among them those of our own file server."""
    own = tuple(
        ServedFolder(prefix, folder, authorizes)
        for alias, folder in settings.mounts
        for prefix, authorizes in settings.links.own_prefixes(alias)
    )
    return AllowedFolders(settings.attachments_dir, settings.allowed_dirs, own)


def place_files(changes: Sequence[Change], context: CallContext) -> tuple[list[Change], list[str]]:
    """Upload each file that a change names, several at a time.

    Returns the changes with the names that the files have at the server, and what was done to the
    files. Raises MediaError, DownloadRefused and EngineError's children.
    """
    uploads = _Uploads(context, _sources(changes, context.settings))
    files = list(dict.fromkeys(_file_of(change) for change in changes if change.needs_file))
    placed = dict(zip(files, run_parallel(uploads.file, files, MAX_PARALLEL_UPLOADS), strict=True))
    named = [with_value(c, placed[_file_of(c)].value) if c.needs_file else c for c in changes]
    masked = [change for change in named if change.mask is not None]
    masks = run_parallel(uploads.mask, masked, MAX_PARALLEL_UPLOADS)
    with_mask = {id(c): with_value(c, m.value) for c, m in zip(masked, masks, strict=True)}
    notes = [note for file in [*placed.values(), *masks] for note in file.notes]
    return [with_mask.get(id(change), change) for change in named], notes


def check_files(changes: Sequence[Change], context: CallContext) -> tuple[list[Change], list[str]]:
    """The same without an upload or a download: notes on what ``place_files`` would do.

    Raises MediaError for a file that is neither on this machine nor on the server.
    """
    sources = _sources(changes, context.settings)
    run_parallel(
        lambda source: _check(source, context), list(sources.values()), MAX_PARALLEL_UPLOADS
    )
    notes = [
        f"{'Would be downloaded and uploaded' if isinstance(source, Url) else 'Would be uploaded'}: "
        f"{source.shown}."
        for source in sources.values()
        if not isinstance(source, ServerFile)
    ]
    return list(changes), notes


def _check(source: Source, context: CallContext) -> None:
    if isinstance(source, ServerFile):
        upload.place(source, context.engine.files, download_policy(context.settings))


def _sources(changes: Sequence[Change], settings: Settings) -> dict[str, Source]:
    """Each file value of the call, parsed once."""
    folders = allowed_folders(settings)
    values = [change.value for change in changes if change.needs_file]
    masks = [change.mask for change in changes if change.mask is not None]
    distinct = list(dict.fromkeys([*values, *masks]))
    parsed = run_parallel(
        lambda value: parse_source(value, folders), distinct, MAX_PARALLEL_UPLOADS
    )
    return dict(zip(distinct, parsed, strict=True))


@dataclass(frozen=True, slots=True)
class _Uploads:
    """Uploads of one call, under its limits."""

    context: CallContext
    sources: Mapping[str, Source]

    def file(self, requested: tuple[str, InputKind]) -> upload.PlacedFile:
        value, kind = requested
        settings = self.context.settings
        return upload.place(
            self.sources[value],
            self.context.engine.files,
            download_policy(settings, kind),
            accepts=kind,
            max_side=self.context.call.max_side,
            input_dir=settings.server_input_dir,
            deadline=self.context.deadline,
            memory=settings.memory,
        )

    def mask(self, change: Change) -> upload.PlacedFile:
        settings = self.context.settings
        return upload.place_masked(
            self.sources[change.mask or ""],
            str(change.value),
            self.context.engine.files,
            download_policy(settings),
            self.context.deadline,
            settings.memory,
            same_file=change.mask == change.given,
        )


def _file_of(change: Change) -> tuple[str, InputKind]:
    """The file that a change names, and the kind of file that its input takes."""
    return change.value, change.file_kind
