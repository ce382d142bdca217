"""Load the workflow of a call: find it, convert it, and get the server's node types for it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comfyui_pipeline import inputs, known_types, prompt_ids
from comfyui_pipeline.call import ToolCall, together
from comfyui_pipeline.engine.protocol import Engine
from comfyui_pipeline.engine.schema_cache import SchemaCache, file_for
from comfyui_pipeline.errors import CallError, EngineError, JobLost, MediaError, WorkflowError
from comfyui_pipeline.media import upload
from comfyui_pipeline.media.sources import (
    ServerFile,
    is_explicit,
    parse_source,
    parse_workflow_source,
)
from comfyui_pipeline.media.written_sources import bare_source
from comfyui_pipeline.settings import Settings
from comfyui_pipeline.workflow import editor_nodes, files, roles, switches, validate
from comfyui_pipeline.workflow import graph as graphs
from comfyui_pipeline.workflow.graph import Graph
from comfyui_pipeline.workflow.switches import Chosen, Switch
from input_server.light_dataclasses import dataclass, replace

if TYPE_CHECKING:
    from comfyui_pipeline.workflow.convert.prompt import Converted
    from comfyui_pipeline.workflow_catalog import Entry

MAX_SHOWN = 100
"""Characters of an image's name in a sentence."""
MAX_SEEDS = 8
"""Seeds of one image that a sentence lists."""


@dataclass(frozen=True, slots=True)
class LoadedWorkflow:
    """A workflow with the node types that it uses.

    ``prompt``: in prompt format; ``ui``: the editor's document if there is one; ``schemas``: the
    server's node types, of which ``from_cache`` come from an earlier call. ``chosen``: why it is this
    workflow, where the caller named no or no exact name. ``converted``: the conversion of ``ui`` from
    which ``prompt`` comes; ``switched``: the nodes that the call bypasses, mutes or enables.
    """

    name: str
    prompt: Mapping[str, Mapping[str, Any]]
    ui: Mapping[str, Any] | None
    schemas: Mapping[str, Mapping[str, Any]]
    from_cache: frozenset[str]
    notes: tuple[str, ...]
    origin: validate.Origin
    chosen: str = ""
    converted: Converted | None = None
    switched: Chosen = Chosen()

    @property
    def unplaced(self) -> tuple[str, ...]:
        """What of the editor's document has no place on this server."""
        return self.converted.important if self.converted is not None else ()

    @property
    def graph(self) -> Graph:
        return graphs.build(self.prompt, self.schemas)


def find(
    call: ToolCall, settings: Settings, deadline: float, engine: Engine | None = None
) -> files.Workflow:
    """The workflow that a call names or contains, or the one that suits its arguments.

    ``engine``: is asked which workflows run, where that decides. Raises WorkflowError, MediaError
    and CallError. The mistakes in the call's values are raised too, together with that in the
    workflow's name.
    """
    try:
        found = _find(call, settings, deadline, engine)
    except (WorkflowError, MediaError, CallError) as error:
        if call.problems:
            others = together(call.problems)
            raise type(error)(f"{error} {others.message}", others.hint, code=error.code) from None
        raise
    if call.problems:
        raise together(call.problems)
    return found


def _find(
    call: ToolCall, settings: Settings, deadline: float, engine: Engine | None
) -> files.Workflow:
    if call.workflow_json is not None:
        return files.from_document(files.INLINE_NAME, call.workflow_json)
    name = call.workflow or settings.default_workflow
    if not name:
        from comfyui_pipeline import workflow_choice

        chosen, sentence = workflow_choice.by_default(
            call.shortcuts, lambda: entries(settings, engine)
        )
        return replace(files.load(settings.workflows_dir, chosen.name), chosen=sentence)
    found = _named(name, call, settings, deadline, engine)
    if call.workflow:
        return found
    return replace(found, chosen=f"No workflow was named: {found.name} was used, the default one.")


def _named(
    name: str, call: ToolCall, settings: Settings, deadline: float, engine: Engine | None
) -> files.Workflow:
    """The workflow of a name: a file of the folder, a source, or one that the name fits."""
    folder = settings.workflows_dir
    if is_explicit(source := bare_source(name)):  # such as a Markdown link of an image
        name = source
    if not is_explicit(name):
        if call.strict or files.exists(folder, name):
            if files.exists(folder, name) or not files.has_suffix(name):
                return files.load(folder, name)
        elif len(same := files.meant(folder, name, same=True)) == 1:
            return files.load(folder, same[0])
    if is_explicit(name) or files.has_suffix(name):
        given = parse_workflow_source(name, inputs.allowed_folders(settings))
        if given is not None:
            server = engine.files if engine else None
            policy = inputs.download_policy(settings, "file")
            content = upload.read(given, policy, deadline, server, accepts="file")
            return files.from_bytes(given.shown, content)
    if engine is not None and (found := _result(name, settings, deadline, engine)) is not None:
        return found
    if call.strict:
        return files.load(folder, name)
    chosen = _fitting(name, call, settings, engine)
    return replace(
        files.load(folder, chosen), chosen=f'The workflow {chosen} was used for "{name[:100]}".'
    )


def _result(
    name: str, settings: Settings, deadline: float, engine: Engine
) -> files.Workflow | None:
    """The workflow in an image of the server's folders, by its name or its job; None for neither."""
    if not files.has_image_suffix(name) and not prompt_ids.may_be_job(name):
        return None
    folders = inputs.allowed_folders(settings)
    try:
        source = parse_source(name, folders)
        if not isinstance(source, ServerFile):
            return None
        located, note = inputs.locate(source, "image", settings, engine, deadline)
    except (MediaError, JobLost):
        if prompt_ids.is_last(name) or prompt_ids.is_complete(name):
            raise
        return None
    policy = inputs.download_policy(settings, "file")
    content = upload.read(located, policy, deadline, engine.files, accepts="file")
    return replace(files.from_bytes(inputs.name_of(located), content), chosen=note)


def _fitting(name: str, call: ToolCall, settings: Settings, engine: Engine | None) -> str:
    """The one workflow that a name or a purpose fits. Raises WorkflowError."""
    from comfyui_pipeline.workflow import purpose_words

    folder = settings.workflows_dir
    fitting = files.meant(folder, purpose_words.translated(name) or name)
    if len(fitting) == 1:
        return fitting[0]
    if kind := purpose_words.kind_of(name):
        from comfyui_pipeline import workflow_choice

        known = entries(settings, engine)
        among = [entry for entry in known if entry.name in fitting] or known
        if chosen := workflow_choice.best(among, [kind]):
            return chosen.name
    if call.command_word:
        from comfyui_pipeline.command_names import unknown_command

        raise unknown_command(call.command_word)
    raise files.not_found(folder, name, fitting)


def entries(settings: Settings, engine: Engine | None) -> Sequence[Entry]:
    """All workflows of the folder, with their purposes and what the server lacks for them."""
    from comfyui_pipeline import workflow_catalog

    def ask(classes: Collection[str]) -> known_types.KnownTypes:
        if engine is None:
            raise EngineError("no server was asked")
        return known_types.ask(classes, schemas_of(engine, settings), engine)

    return workflow_catalog.read(settings, ask).entries


def read(
    found: files.Workflow,
    settings: Settings,
    engine: Engine,
    *,
    seed: int,
    wanted: Sequence[Switch] = (),
    strict: bool = False,
) -> LoadedWorkflow:
    """Convert a workflow in the editor's format; ``seed`` decides random choices in its texts.

    ``wanted``: the nodes that the call bypasses, mutes or enables. Raises PatchError for an unknown
    one, and where others need it.
    """
    classes = known_types.class_types(found)
    known = known_types.ask(classes, schemas_of(engine, settings), engine)
    found = known_types.with_replacements(found, known)
    switched = Chosen()
    if found.nodes is not None:
        converted, prompt, notes = None, found.nodes, tuple[str, ...]()
        if wanted:
            from comfyui_pipeline.workflow import node_modes

            graph = graphs.build(prompt, known.schemas)
            prompt, switched = node_modes.apply(prompt, graph, wanted, strict=strict)
    else:
        # imported here: 3 ms that a workflow in API format does not need
        from comfyui_pipeline.workflow.convert.prompt import convert

        choose = partial(switches.choose, switches=wanted, strict=strict) if wanted else None
        converted = convert(found.ui or {}, known.schemas, seed=seed, choose=choose)
        prompt, notes, switched = converted.prompt, converted.notes, converted.chosen
    if switched.broken:
        from comfyui_pipeline.workflow import lost_nodes

        graph = graphs.build(prompt, known.schemas)
        prompt, switched = lost_nodes.without(prompt, graph, switched)
    origin = validate.origin_of(found.ui)
    if converted is not None:
        origin = replace(origin, editor_types=origin.editor_types | converted.passing)
    prompt, left_out = editor_nodes.without(prompt, known.schemas, origin.editor_types)
    notes = (*found.notes, *notes, *left_out)
    if found.in_image:
        notes = (*notes, *seed_note(found.name, graphs.build(prompt, known.schemas)))
    return LoadedWorkflow(
        found.name,
        prompt,
        found.ui,
        known.schemas,
        known.from_cache,
        notes,
        origin,
        found.chosen,
        converted,
        switched,
    )


def seed_note(name: str, graph: Graph) -> list[str]:
    """With which seed the image was made that holds this workflow."""
    seeds = {t.node.id: t.node.inputs.get(t.name) for t in roles.seeds(graph)}
    known = {node: seed for node, seed in seeds.items() if type(seed) is int}
    if not known:
        return []
    values = list(dict.fromkeys(known.values()))
    image = f"The image {name[:MAX_SHOWN]} was made with"
    if len(values) == 1:
        same = f'pass "seed": "{values[0]}" and change nothing else to get the same image'
        return [f"{image} the seed {values[0]}; {same}."]
    listed = ", ".join(f"{seed} in node {node}" for node, seed in list(known.items())[:MAX_SEEDS])
    return [f'{image} the seeds {listed}; set them with "params" to get the same image.']


def with_fresh_schemas(
    loaded: LoadedWorkflow, classes: Collection[str], settings: Settings, engine: Engine
) -> LoadedWorkflow:
    """The same workflow with these node types requested from the server again."""
    fresh = schemas_of(engine, settings).refresh(classes)
    others = {name: s for name, s in loaded.schemas.items() if name not in classes}
    return replace(loaded, schemas={**others, **fresh}, from_cache=loaded.from_cache - set(classes))


def schemas_of(engine: Engine, settings: Settings) -> SchemaCache:
    """The server's node types. Those of the embedded server, which ends with the call, are not
    cached on disk.
    """
    file: Path | None = None
    if not settings.embedded:
        file = file_for(settings.cache_dir, settings.base_url)
    return SchemaCache(file, engine.schemas)
