"""Files that a workflow in the call names itself: URLs, ``data:`` URIs, paths, attachments.

They are fetched and uploaded as if an argument had given them. Workflows of the installation are left
as they are: their values name files of the server.
"""

from __future__ import annotations

from collections.abc import Sequence

from comfyui_pipeline.errors import MediaError
from comfyui_pipeline.media import allowed_folders, inline_data
from comfyui_pipeline.media.allowed_folders import AllowedFolders
from comfyui_pipeline.media.redact import shown_value
from comfyui_pipeline.media.sources import is_explicit
from comfyui_pipeline.media.written_sources import bare_source
from comfyui_pipeline.workflow import validate
from comfyui_pipeline.workflow.changes import Change, Origin
from comfyui_pipeline.workflow.graph import Graph, Target

MIN_BASE64 = 100
"""Characters; no name of a file is base64 of that length."""


def changes(graph: Graph, planned: Sequence[Change], folders: AllowedFolders) -> list[Change]:
    """A change for each such value at the nodes that run, unless the call sets it anyway."""
    taken = {(change.target.node.id, change.target.name) for change in planned}
    found = []
    for node in validate.needed_nodes(graph):
        for spec in node.specs.values():
            value = node.inputs.get(spec.name)
            if not spec.takes_file or (node.id, spec.name) in taken or value in spec.choices:
                continue
            if isinstance(value, str) and _is_file_of_the_call(value, folders):
                found.append(Change(Target(node, spec.name), value, Origin.PARAMS))
    return found


def _is_file_of_the_call(value: str, folders: AllowedFolders) -> bool:
    bare = bare_source(value.strip())
    if is_explicit(bare):
        return True
    if len(bare) >= MIN_BASE64 and inline_data.decode_base64_file(bare) is not None:
        return True
    try:
        found = allowed_folders.find_attachment(bare, shown_value(bare), folders)
    except MediaError:
        return False
    return found is not None
