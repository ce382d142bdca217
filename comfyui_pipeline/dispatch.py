"""A call -> its command's function, with the server that it needs; then the bounds of the response."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from comfyui_pipeline.arguments import RUN
from comfyui_pipeline.bounded.response_size import bound_response
from comfyui_pipeline.bounded.truncate import MAX_RESPONSE_BYTES
from comfyui_pipeline.call import ToolCall
from comfyui_pipeline.call_record import CallRecord
from comfyui_pipeline.commands import COMMANDS
from comfyui_pipeline.errors import QueuedBefore, SettingsError, ToolError
from comfyui_pipeline.ignored_keys import in_first_lines
from comfyui_pipeline.settings import Settings

if TYPE_CHECKING:
    from comfyui_pipeline.engine.protocol import Engine
    from comfyui_pipeline.engine.server_start import ServerStart

FIELDS_FOLDER = "answers"
"""Subfolder of the results for what did not fit into a response."""


def perform(
    call: ToolCall,
    settings: Settings,
    started: float,
    record: CallRecord,
    max_bytes: int = MAX_RESPONSE_BYTES,
) -> Mapping[str, Any]:
    """Do what the call asks and return the host's ``result``, of at most ``max_bytes`` without images.

    Jobs and files are noted in ``record``. Raises ToolError's children.
    """
    start = _server_start(settings)
    try:
        result = _result(call, settings, started, start, record, max_bytes)
    except ToolError as error:
        if start is not None and start.note:
            error.hint = f"{error.hint} {start.note}".strip()
        raise
    if start is not None and start.note:
        result = in_first_lines(result, {"": start.note})
    return bound_response(result, partial(_store, settings), max_bytes)


def _result(
    call: ToolCall,
    settings: Settings,
    started: float,
    start: ServerStart | None,
    record: CallRecord,
    max_bytes: int,
) -> Mapping[str, Any]:
    if call.parts:
        from comfyui_pipeline.batch import batch

        share = max_bytes // len(call.parts)

        def perform_part(part: ToolCall, own: CallRecord) -> Mapping[str, Any]:
            result = _result(part, settings, started, start, own, share)
            return bound_response(result, partial(_store, settings), share)

        return batch(call.parts, perform_part, record)
    result = _one(call, settings, started, start, record)
    if call.command not in RUN or result.get("repeated"):  # a job's answer has them already
        return in_first_lines(result, call.ignored)
    return result


def _server_start(settings: Settings) -> ServerStart | None:
    """What starts a server that is asleep; nothing by default."""
    if not (settings.start_command or settings.wake_mac):
        return None
    from comfyui_pipeline.server_connection import server_start

    return server_start(settings)


def _one(
    call: ToolCall,
    settings: Settings,
    started: float,
    start: ServerStart | None,
    record: CallRecord,
) -> Mapping[str, Any]:
    command = COMMANDS[call.command]
    module, _, name = command.function.partition(":")
    function = getattr(import_module(module), name)
    if not call.needs_server:
        return function(call, settings, None, started, record)  # type: ignore[no-any-return]
    if command.needs_persistent_server and settings.embedded:
        raise SettingsError(
            f'The command "{command.name}" needs a ComfyUI server that keeps running after '
            "the call, but COMFYUI_BASE_URL is embedded.",
            'Use "run", or set COMFYUI_BASE_URL to the URL of a ComfyUI server.',
        )
    from comfyui_pipeline.server_connection import connect

    limit = min(settings.timeout, call.timeout or settings.timeout)
    around = None
    if start is not None and command.starts_server:
        around = partial(start.around, deadline=started + limit)
    with connect(settings, started + settings.timeout, around) as engine:
        if call.job_id and call.command in RUN and not (call.dry_run or settings.embedded):
            from comfyui_pipeline import repeated_job

            repeated = repeated_job.answer(call, settings, engine, started, record)
            if repeated is not None:
                return repeated
        try:
            with _freed_afterwards(call, settings, engine):
                return function(call, settings, engine, started, record)  # type: ignore[no-any-return]
        except QueuedBefore as before:  # by another call at the same time
            from comfyui_pipeline import repeated_job

            first = before.prompt_id
            return repeated_job.about_first(call, settings, engine, started, record, first)


def _freed_afterwards(
    call: ToolCall, settings: Settings, engine: Engine
) -> AbstractContextManager[None]:
    """What COMFYUI_FREE_MEMORY requests; nothing by default."""
    if settings.free_after is None:
        return nullcontext()
    from comfyui_pipeline.free_memory import freed_afterwards

    return freed_afterwards(call, settings, engine)


def _store(settings: Settings, content: bytes) -> str:
    """Store all fields of a result as JSON; returns its URL, or its path. Raises MediaError."""
    import hashlib

    from comfyui_pipeline.media import result_files
    from comfyui_pipeline.result_urls import url_for_file

    name = f"answer {hashlib.sha256(content).hexdigest()[:12]}.json"
    stored = result_files.store([content], settings.output_dir, FIELDS_FOLDER, name)
    url = url_for_file(settings.links, settings.output_alias, stored.relative, stored.path, "text")
    return url or str(stored.path)
