"""The server's node types for a workflow, and those that it replaces by others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from comfyui_pipeline.engine.protocol import Engine
from comfyui_pipeline.engine.schema_cache import SchemaCache
from comfyui_pipeline.errors import WorkflowError
from comfyui_pipeline.workflow import files
from comfyui_pipeline.workflow.editor_nodes import VIRTUAL_TYPES
from input_server.light_dataclasses import dataclass, replace

if TYPE_CHECKING:
    from comfyui_pipeline.workflow.replacements import Replacements

MAX_CLASS_CHARACTERS = 300
"""A longer name does not fit into a URL: servers accept about 8,000 bytes after percent-encoding."""
MAX_CLASSES = 2000
"""Different node types of one workflow; each is a request."""


@dataclass(frozen=True, slots=True)
class KnownTypes:
    """``schemas``: of the types that the server has, of which ``from_cache`` come from an earlier call;
    ``replacements``: of types that it lacks; their new types are among ``schemas``.
    """

    schemas: Mapping[str, Mapping[str, Any]]
    from_cache: frozenset[str]
    replacements: Replacements


def class_types(found: files.Workflow) -> set[str]:
    """The node types of a workflow. Raises WorkflowError for a document that cannot be read."""
    if found.nodes is not None:
        return {node["class_type"] for node in found.nodes.values()}
    from comfyui_pipeline.workflow.convert.document import read_document

    return read_document(found.ui or {}).class_types()


def ask(classes: Iterable[str], cache: SchemaCache, engine: Engine) -> KnownTypes:
    """Ask for these node types; for replacements only where one is missing.

    As at the server, a type whose replacement is missing too is not replaced.
    """
    wanted = _queryable(classes)
    known = cache.get(wanted)
    missing = wanted - known.schemas.keys() - VIRTUAL_TYPES
    found = engine.replacements() if missing else {}
    found = {old: one for old, one in found.items() if old in missing}
    if not found:
        return KnownTypes(known.schemas, known.from_cache, {})
    more = cache.get(_queryable(one.new for one in found.values()))
    return KnownTypes(
        {**known.schemas, **more.schemas},
        known.from_cache | more.from_cache,
        {old: one for old, one in found.items() if one.new in more.schemas},
    )


def with_replacements(found: files.Workflow, known: KnownTypes) -> files.Workflow:
    """The workflow with the node types that the server has in place of missing ones, and notes on it."""
    if not known.replacements:
        return found
    from comfyui_pipeline.workflow import replacements

    document, notes = found.ui, tuple[str, ...]()
    if document is not None:
        document, notes = replacements.in_document(document, known.replacements, known.schemas)
    nodes = found.nodes
    if nodes is not None:
        nodes, notes = replacements.in_prompt(nodes, known.replacements)
    return replace(found, nodes=nodes, ui=document, notes=(*found.notes, *notes))


def is_queryable(name: str) -> bool:
    """Whether a name can be part of ``/object_info/<class>``: else no server has such a type."""
    return 0 < len(name) <= MAX_CLASS_CHARACTERS and name not in (".", "..") and name.isprintable()


def _queryable(classes: Iterable[str]) -> set[str]:
    found = {name for name in classes if is_queryable(name)}
    if len(found) > MAX_CLASSES:
        raise WorkflowError(
            f"The workflow has {len(found)} different node types; the limit is {MAX_CLASSES}.",
            "Split it into several workflows.",
        )
    return found
