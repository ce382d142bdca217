"""The ComfyUI server of a call: the configured one, or one that is started for it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from comfyui_pipeline.errors import SettingsError
from comfyui_pipeline.settings import Settings

if TYPE_CHECKING:
    from comfyui_pipeline.engine.protocol import Engine


@contextmanager
def connect(settings: Settings, deadline: float) -> Iterator[Engine]:
    """The configured ComfyUI server; for ``embedded``, one that is started for this call only.

    ``deadline``: until when it may be waited for (``time.monotonic()``).
    """
    from comfyui_pipeline.engine.comfyui import ComfyUI
    from comfyui_pipeline.engine.server_url import Tls
    from comfyui_pipeline.engine.timeouts import Timeouts

    with _server(settings) as url:
        engine = ComfyUI(
            url,
            settings.client_prefix,
            headers=settings.auth,
            deadline=deadline,
            grace=settings.fetch_grace,
            tls=Tls(settings.ca_file, settings.insecure_tls),
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
            f"COMFYUI_BASE_URL is embedded, but the package {error.name} is not installed.",
            "Run `python3 run.py setup` in the plugin's folder, or set the URL of a ComfyUI server.",
        ) from error
    with server:
        yield server.url


def _to_stderr(text: str) -> None:
    print(text, file=sys.stderr)
