"""The table of commands: what a call names -> the function that does it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from comfyui_pipeline.arguments import ToolCall
from comfyui_pipeline.bounded.response_size import bound_response
from comfyui_pipeline.bounded.truncate import MAX_RESPONSE_BYTES
from comfyui_pipeline.call_record import CallRecord
from comfyui_pipeline.errors import SettingsError
from comfyui_pipeline.settings import Settings

if TYPE_CHECKING:
    from comfyui_pipeline.engine.protocol import Engine

Command = Callable[[ToolCall, Settings, float, CallRecord], Mapping[str, Any]]
ANSWERS = "answers"
"""Folder, below that of results, of what was too long for an answer."""


def perform(
    call: ToolCall,
    settings: Settings,
    started: float,
    record: CallRecord,
    most: int = MAX_RESPONSE_BYTES,
) -> Mapping[str, Any]:
    """Do what the call asks; gives the host's ``result``, of at most ``most`` bytes beside its pictures.

    ``record`` is told of every job and file. Raises ToolError's children.
    """
    if call.parts:
        from comfyui_pipeline.batch import batch

        share = most // len(call.parts)
        return bound_response(
            batch(call.parts, partial(_part, settings, started, share), record),
            partial(_save, settings),
            most,
        )
    result = COMMANDS[call.command](call, settings, started, record)
    return bound_response(result, partial(_save, settings), most)


def _part(
    settings: Settings, started: float, most: int, call: ToolCall, record: CallRecord
) -> Mapping[str, Any]:
    return perform(call, settings, started, record, most)


def _save(settings: Settings, content: bytes) -> str:
    """Keep all fields of an answer as JSON; gives its URL, or its path without one. Raises MediaError."""
    import hashlib

    from comfyui_pipeline.media import result_files
    from comfyui_pipeline.result_urls import url_for_file

    name = f"answer {hashlib.sha256(content).hexdigest()[:12]}.json"
    kept = result_files.store([content], settings.output_dir, ANSWERS, name)
    url = url_for_file(settings.links, settings.output_alias, kept.relative, kept.path, "text")
    return url or str(kept.path)


def _run(
    call: ToolCall, settings: Settings, started: float, record: CallRecord
) -> Mapping[str, Any]:
    from comfyui_pipeline.pipeline import run

    with _engine(settings, started) as engine:
        return run(call, settings, engine, started, record)


def _later(
    call: ToolCall, settings: Settings, started: float, record: CallRecord
) -> Mapping[str, Any]:
    from comfyui_pipeline import jobs

    if settings.embedded:
        raise SettingsError(
            "The embedded server ends with the call, so no run outlives it.",
            'Use "run", or set COMFYUI_BASE_URL to a ComfyUI.',
        )
    with _engine(settings, started) as engine:
        return jobs.COMMANDS[call.command](call, settings, engine, started, record)


def _describe(
    call: ToolCall, settings: Settings, started: float, _record: CallRecord
) -> Mapping[str, Any]:
    from comfyui_pipeline.info import describe

    with _engine(settings, started) as engine:
        return describe(call, settings, engine, started)


def _info(
    call: ToolCall, settings: Settings, started: float, _record: CallRecord
) -> Mapping[str, Any]:
    from comfyui_pipeline import info

    if call.info == "workflows":
        return info.workflows(settings.workflows_dir)
    with _engine(settings, started) as engine:
        return info.ask(call.info, engine)


@contextmanager
def _engine(settings: Settings, started: float) -> Iterator[Engine]:
    """The ComfyUI that the settings name; for ``embedded`` one of our own for this call alone."""
    from comfyui_pipeline.engine.comfyui import ComfyUI
    from comfyui_pipeline.engine.timeouts import Timeouts

    with _server(settings) as url:
        engine = ComfyUI(
            url,
            settings.client_prefix,
            headers=settings.auth,
            deadline=started + settings.timeout,
            grace=settings.fetch_grace,
            timeouts=Timeouts(stall_timeout=settings.stall_timeout),
            log=_to_stderr,
        )
        try:
            yield engine
        finally:
            engine.close()


@contextmanager
def _server(settings: Settings) -> Iterator[str]:
    if not settings.embedded:
        yield settings.base_url
        return
    from embedded_comfyui import serve_in_thread

    try:
        server = serve_in_thread()
    except ImportError as error:
        raise SettingsError(
            f"COMFYUI_BASE_URL is embedded, but its package {error.name} is not installed.",
            "Run `python3 run.py setup` in the plugin's folder, or set the address of a ComfyUI.",
        ) from error
    with server:
        yield server.url


def _to_stderr(text: str) -> None:
    import sys

    print(text, file=sys.stderr)


COMMANDS: Mapping[str, Command] = MappingProxyType(
    {
        "run": _run,
        "submit": _later,
        "status": _later,
        "result": _later,
        "cancel": _later,
        "describe": _describe,
        "info": _info,
    }
)
