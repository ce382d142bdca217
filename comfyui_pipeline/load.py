"""From what a call names to a prompt beside the server's classes: load, convert, fill templates."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from comfyui_pipeline.call import ToolCall
from comfyui_pipeline.engine.protocol import Engine
from comfyui_pipeline.engine.schema_cache import SchemaCache, file_for
from comfyui_pipeline.errors import WorkflowError
from comfyui_pipeline.media import file_types, upload
from comfyui_pipeline.media.download import DownloadPolicy
from comfyui_pipeline.media.sources import AllowedFolders, ServedFolder, describe
from comfyui_pipeline.settings import Settings
from comfyui_pipeline.workflow import files, validate
from comfyui_pipeline.workflow import graph as graphs
from comfyui_pipeline.workflow.convert import document as ui_format
from comfyui_pipeline.workflow.convert import prompt as convert
from comfyui_pipeline.workflow.graph import Graph
from input_server.light_dataclasses import dataclass, replace

LONGEST_CLASS = 300
"""Characters of a class name that is asked for; an address holds about 8,000 bytes."""
MAX_CLASSES = 2000
"""Different classes of one workflow, each of which is a request."""


@dataclass(frozen=True, slots=True)
class LoadedWorkflow:
    """A workflow ready to be looked at or changed.

    ``prompt``: in prompt format; ``ui``: the editor's document where there is one; ``schemas``: the
    server's classes, of which ``remembered`` come from an earlier call.
    """

    name: str
    prompt: Mapping[str, Mapping[str, Any]]
    ui: Mapping[str, Any] | None
    schemas: Mapping[str, Mapping[str, Any]]
    from_cache: frozenset[str]
    notes: tuple[str, ...]
    origin: validate.Origin

    @property
    def graph(self) -> Graph:
        return graphs.build(self.prompt, self.schemas)


def find(call: ToolCall, settings: Settings, deadline: float) -> files.Workflow:
    """The workflow that a call names or holds. Raises WorkflowError and MediaError."""
    if call.workflow_json is not None:
        return files.from_document(files.INLINE_NAME, call.workflow_json)
    if files.is_external(settings.workflows_dir, call.workflow):
        places = allowed_folders(settings)
        policy = download_policy(settings)
        if _may_be_read(call.workflow, places):
            content = upload.read(call.workflow, places, policy, deadline)
            return files.from_bytes(describe(call.workflow), content)
    return files.load(settings.workflows_dir, call.workflow)


def download_policy(
    settings: Settings, max_bytes: int = file_types.MAX_PICTURE_BYTES
) -> DownloadPolicy:
    """What may be fetched from addresses that a call names; what has not changed is kept."""
    kept = settings.cache_dir / "downloads"
    return DownloadPolicy(settings.download_allow, max_bytes=max_bytes, cache_dir=kept)


def allowed_folders(settings: Settings) -> AllowedFolders:
    """Where files may be read from on this machine, our own file server's folders among them."""
    own = tuple(
        ServedFolder(beginning, folder, opens)
        for alias, folder in settings.mounts
        for beginning, opens in settings.links.own_prefixes(alias)
    )
    return AllowedFolders(settings.attachments_dir, settings.allowed_dirs, own)


def _may_be_read(value: str, places: AllowedFolders) -> bool:
    """A bare name is one of the attachments folder, or else a workflow's that is not there."""
    name = value.strip().lower()
    if name.startswith(("http://", "https://", "data:", "file:", "/", "\\")) or name[1:2] == ":":
        return True
    return places.attachments is not None and upload.is_attachment(value, places)


def read(found: files.Workflow, settings: Settings, engine: Engine, *, seed: int) -> LoadedWorkflow:
    """Convert what is in the editor's format; ``seed`` decides random choices in its texts."""
    cache = schemas_of(engine, settings)
    if found.nodes is not None:
        known = cache.get(_classes(found.nodes.values()))
        prompt, notes = found.nodes, tuple[str, ...]()
    else:
        document = found.ui or {}
        known = cache.get(_askable(ui_format.read(document).class_types()))
        converted = convert.convert(document, known.schemas, seed=seed)
        prompt, notes = converted.prompt, converted.notes
    origin = validate.origin_of(found.ui)
    return LoadedWorkflow(
        found.name, prompt, found.ui, known.schemas, known.from_cache, notes, origin
    )


def with_fresh_schemas(
    opened: LoadedWorkflow, classes: Collection[str], settings: Settings, engine: Engine
) -> LoadedWorkflow:
    """The same beside classes asked for anew."""
    fresh = schemas_of(engine, settings).refresh(classes)
    kept = {name: s for name, s in opened.schemas.items() if name not in classes}
    return replace(opened, schemas={**kept, **fresh}, from_cache=opened.from_cache - set(classes))


def schemas_of(engine: Engine, settings: Settings) -> SchemaCache:
    """What this server's classes are; the embedded one's are not kept, it lives for one call."""
    file: Path | None = None
    if not settings.embedded:
        file = file_for(settings.cache_dir, settings.base_url)
    return SchemaCache(file, engine.schemas)


def _classes(nodes: Iterable[Mapping[str, Any]]) -> set[str]:
    return _askable({node["class_type"] for node in nodes})


def _askable(classes: Iterable[str]) -> set[str]:
    """Without names that cannot stand in ``/object_info/<class>``: no server has such a class."""
    found = {
        name
        for name in classes
        if 0 < len(name) <= LONGEST_CLASS and name not in (".", "..") and name.isprintable()
    }
    if len(found) > MAX_CLASSES:
        raise WorkflowError(
            f"The workflow has nodes of {len(found)} classes; at most {MAX_CLASSES} are taken."
        )
    return found
