"""Bring the caller's files to the server. The counterpart of ``outputs.py``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from comfyui_pipeline.call_context import CallContext
from comfyui_pipeline.engine import server_url
from comfyui_pipeline.engine.protocol import Engine
from comfyui_pipeline.media import file_limits, upload
from comfyui_pipeline.media.allowed_folders import AllowedFolders, ServedFolder
from comfyui_pipeline.media.download import DownloadPolicy
from comfyui_pipeline.media.file_types import InputKind
from comfyui_pipeline.media.server_files import ServerAddress
from comfyui_pipeline.media.sources import LocalFile, ServerFile, Source, Url, parse_source
from comfyui_pipeline.process.parallel import run_parallel
from comfyui_pipeline.settings import Settings
from comfyui_pipeline.workflow.changes import Change, with_value
from input_server.light_dataclasses import dataclass, replace

MAX_PARALLEL_UPLOADS = 10
"""Files that are downloaded and uploaded at the same time."""
_MASK: InputKind = "mask"


def download_policy(settings: Settings, accepts: InputKind = "image") -> DownloadPolicy:
    """Which hosts URLs of the caller may reach, and how much may be downloaded."""
    cache_dir = settings.cache_dir / "downloads"
    is_image = accepts in file_limits.IMAGES
    max_bytes = settings.max_image_bytes if is_image else settings.max_file_bytes
    return DownloadPolicy(
        settings.download_allow,
        settings.download_proxy,
        settings.download_proxy_trusted,
        max_bytes=max_bytes,
        cache_dir=cache_dir,
    )


def allowed_folders(settings: Settings) -> AllowedFolders:
    """Folders of this machine that may be read, among them those of our own file server."""
    own = tuple(
        ServedFolder(prefix, folder, authorizes)
        for alias, folder in settings.mounts
        for prefix, authorizes in settings.links.own_prefixes(alias)
    )
    host = settings.host
    hosts = (host.images, *host.attachments) if host else ()
    outputs = (settings.output_dir, settings.server_output_dir, *hosts)
    return AllowedFolders(
        settings.attachments_dir,
        settings.allowed_dirs,
        shown=tuple(folder for folder in outputs if folder is not None),
        served=own,
        host=host,
        server=_server_address(settings),
    )


def _server_address(settings: Settings) -> ServerAddress | None:
    """Where the ComfyUI server is; None for the embedded one, which has no address of its own."""
    if settings.embedded:
        return None
    try:
        url = server_url.parse(settings.base_url)
    except ValueError:
        return None
    return ServerAddress(url.scheme, url.host, url.port, url.path)


def place_files(changes: Sequence[Change], context: CallContext) -> tuple[list[Change], list[str]]:
    """Upload each file that a change names, several at a time.

    Returns the changes with the names that the files have at the server, and what was done to the
    files. Raises MediaError, DownloadRefused and EngineError's children.
    """
    sources, notes = _sources(changes, context)
    uploads = _Uploads(context, sources)
    files = list(dict.fromkeys(_file_of(change) for change in changes if change.needs_file))
    placed = dict(zip(files, run_parallel(uploads.file, files, MAX_PARALLEL_UPLOADS), strict=True))
    named = [with_value(c, placed[_file_of(c)].value) if c.needs_file else c for c in changes]
    masked = [change for change in named if change.mask is not None]
    masks = run_parallel(uploads.mask, masked, MAX_PARALLEL_UPLOADS)
    with_mask = {id(c): with_value(c, m.value) for c, m in zip(masked, masks, strict=True)}
    notes += [note for file in [*placed.values(), *masks] for note in file.notes]
    return [with_mask.get(id(change), change) for change in named], notes


def check_files(changes: Sequence[Change], context: CallContext) -> tuple[list[Change], list[str]]:
    """The same without an upload or a download: notes on what ``place_files`` would do.

    Raises MediaError for a file that is neither on this machine nor on the server.
    """
    sources, notes = _sources(changes, context)
    would = [
        f"{'Would be downloaded and uploaded' if isinstance(source, Url) else 'Would be uploaded'}: "
        f"{source.shown}."
        for source in sources.values()
        if not (isinstance(source, ServerFile) and not source.fetched)
    ]
    return list(changes), [*notes, *dict.fromkeys(would)]


def _sources(
    changes: Sequence[Change], context: CallContext
) -> tuple[dict[tuple[str, InputKind], Source], list[str]]:
    """Each file value of the call, parsed once and located for each kind of input that takes it.

    Also says which result a value means.
    """
    folders = allowed_folders(context.settings)
    masks = [(change.mask, _MASK) for change in changes if change.mask is not None]
    files = list(dict.fromkeys([*(_file_of(c) for c in changes if c.needs_file), *masks]))
    distinct = list(dict.fromkeys(value for value, _ in files))
    parsed = dict(
        zip(
            distinct,
            run_parallel(
                lambda value: parse_source(value, folders), distinct, MAX_PARALLEL_UPLOADS
            ),
            strict=True,
        )
    )
    settings, engine, deadline = context.settings, context.engine, context.deadline
    located = run_parallel(
        lambda file: locate(parsed[file[0]], file[1], settings, engine, deadline),
        files,
        MAX_PARALLEL_UPLOADS,
    )
    sources = {file: source for file, (source, _) in zip(files, located, strict=True)}
    return sources, list(dict.fromkeys(note for _, note in located if note))


def locate(
    source: Source, kind: InputKind, settings: Settings, engine: Engine, deadline: float
) -> tuple[Source, str]:
    """The source itself, or for a name that the server's input folder lacks the result that it
    means, with a note where the name does not say it. Raises MediaError for a name of nothing.
    """
    if not isinstance(source, ServerFile) or source.fetched:
        return source, ""
    if engine.files.input_size(source.name) is not None:
        return replace(source, exists=True), ""
    from comfyui_pipeline.own_results import Results

    found = Results(settings, engine, deadline).find(source.name, source.shown, kind)
    if found is None:
        raise upload.not_there(source)
    return found.source, found.note


def name_of(source: Source) -> str:
    """The name of a located file, without its folders."""
    if isinstance(source, LocalFile):
        return source.path.name
    return source.name.rpartition("/")[2] if isinstance(source, ServerFile) else source.shown


@dataclass(frozen=True, slots=True)
class _Uploads:
    """Uploads of one call, under its limits."""

    context: CallContext
    sources: Mapping[tuple[str, InputKind], Source]

    def file(self, requested: tuple[str, InputKind]) -> upload.PlacedFile:
        settings = self.context.settings
        kind = requested[1]
        return upload.place(
            self.sources[requested],
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
            self.sources[change.mask or "", _MASK],
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
