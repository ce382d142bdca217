"""The ComfyUI server of a call: the configured one, or one that is started for it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from comfyui_pipeline.errors import SettingsError
from comfyui_pipeline.settings import Settings

if TYPE_CHECKING:
    from comfyui_pipeline.engine.protocol import Engine
    from comfyui_pipeline.engine.server_start import ServerStart
    from comfyui_pipeline.engine.transport import Transport


@contextmanager
def connect(
    settings: Settings, deadline: float, around: Callable[[Transport], Transport] | None = None
) -> Iterator[Engine]:
    """The configured ComfyUI server; for ``embedded``, one that is started for this call only.

    ``deadline``: until when it may be waited for (``time.monotonic()``). ``around``: what is put
    around its transport, such as what starts a server that is asleep.
    """
    from comfyui_pipeline.engine.comfyui import RESPONSE_SECONDS, ComfyUI
    from comfyui_pipeline.engine.http import choose_transport
    from comfyui_pipeline.engine.server_url import Tls, parse
    from comfyui_pipeline.engine.timeouts import Timeouts

    tls = Tls(settings.ca_file, settings.insecure_tls)
    with _server(settings) as url:
        transport = None
        if around is not None:
            transport = around(choose_transport(parse(url, tls), settings.auth, RESPONSE_SECONDS))
        engine = ComfyUI(
            url,
            settings.client_prefix,
            headers=settings.auth,
            deadline=deadline,
            grace=settings.fetch_grace,
            tls=tls,
            timeouts=Timeouts(stall_timeout=settings.stall_timeout),
            transport=transport,
            log=_to_stderr,
        )
        try:
            yield engine
        finally:
            engine.close()


def server_start(settings: Settings) -> ServerStart | None:
    """What starts the server if it is asleep; None if no setting says how.

    The command gets no setting of ours in its environment: ComfyUI runs code of many authors.
    """
    if settings.embedded or not (settings.start_command or settings.wake_mac):
        return None
    from zlib import crc32

    from comfyui_pipeline.engine import server_start as starts
    from comfyui_pipeline.engine.server_url import parse
    from comfyui_pipeline.process.reexec import GUARD
    from comfyui_pipeline.settings_table import SETTINGS
    from input_server.settings_table import SETTINGS as FILE_SERVER

    ours = {GUARD, *SETTINGS, *FILE_SERVER}
    file = settings.cache_dir / f"server-start-{crc32(settings.base_url.encode()):08x}"
    return starts.ServerStart(
        parse(settings.base_url).shown,
        starts.start_command(settings.start_command) if settings.start_command else None,
        starts.wake_packet(settings.wake_mac) if settings.wake_mac else None,
        settings.start_seconds,
        starts.OneStart(file, settings.start_seconds),
        settings.cache_dir.parent,
        {name: value for name, value in os.environ.items() if name not in ours},
    )


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
            f"COMFYUI_BASE_URL is embedded, but the package {error.name} is not installed.",
            "Run `python3 run.py setup` in the plugin's folder, or set the URL of a ComfyUI server.",
        ) from error
    with server:
        yield server.url


def _to_stderr(text: str) -> None:
    print(text, file=sys.stderr)
