"""Composes the file server from its parts, for the standalone server and for a host's registry."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from .gallery.routes import Gallery
from .http.handler import FileServer
from .mounts.disk_usage import cached_usage
from .mounts.open_files import OpenFileCache, descriptor_limit
from .settings import Config

if TYPE_CHECKING:
    from .http.asgi import App
    from .http.send_limits import NativeBodies

MIN_NATIVE_DESCRIPTORS = 1024
"""With fewer descriptors native code sends nothing: it opens files again, and takes a failure for 404."""
MIN_NATIVE_BODIES = 8


def create_file_server(config: Config, *, by_asgi: bool = False) -> FileServer:
    """Return a file server with the gallery."""
    _create_results_folder(config)
    server = FileServer(config, by_asgi=by_asgi)
    server.pages["gallery"] = Gallery(server.mounts, config.signing_key, server.variants.memory)
    return server


def _create_results_folder(config: Config) -> None:
    """Create the folder that the plugin creates with its first result, so that it is not called missing.

    Not its parents: a drive that is not plugged in has none.
    """
    if config.results in config.mounts and config.results is not None:
        with suppress(OSError):
            config.results.folder.mkdir()


def create_app(config: Config, bridge_secret: str = "") -> App:
    """Return the ASGI application of one worker, with metrics."""
    from .http.asgi import App
    from .http.asgi_send import ResponseSender
    from .http.metrics import Metrics
    from .http.send_limits import ChunkedBodies

    server = create_file_server(config, by_asgi=True)
    metrics = Metrics(cached_usage(server.mounts))
    server.variants.on_variant = metrics.record_variant
    server.pages["metrics"] = metrics
    sender = ResponseSender(
        ChunkedBodies(config.workers),
        _native_bodies(config, server.files),
        config.stall_seconds,
        to_bridge=bool(bridge_secret),
    )
    return App(server, metrics, sender, access_log=config.access_log, bridge_secret=bridge_secret)


def _native_bodies(config: Config, files: OpenFileCache) -> NativeBodies | None:
    """Return the limit of bodies that native code may send in a worker, None if it may not."""
    from .http.send_limits import MAX_NATIVE_BODIES, NativeBodies

    if descriptor_limit() < MIN_NATIVE_DESCRIPTORS:
        return None
    limit = max(MIN_NATIVE_BODIES, MAX_NATIVE_BODIES // config.workers)
    return NativeBodies(limit, lambda: files.count)
