"""Readers of the settings that the file server and the plugin share: result folders and base URL."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .mount_names import is_alias

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from .settings_values import SettingsValues

RESULTS_FOLDER = "output"
SERVER_OUTPUT_ALIAS = "comfyui"
"""The mount of COMFYUI_SERVER_OUTPUT_DIR unless another mount contains that folder."""


def results_mount(values: SettingsValues, project: Path) -> tuple[str, Path]:
    """Return alias and folder of the results. Raises ConfigError."""
    alias = values.text("COMFYUI_OUTPUT_MOUNT")
    if not is_alias(alias):
        raise values.invalid(
            "COMFYUI_OUTPUT_MOUNT", "a mount's name of up to 64 letters, digits, - and _"
        )
    return alias, values.path("COMFYUI_OUTPUT_DIR", project) or project / RESULTS_FOLDER


def server_output_mount(mounts: Mapping[str, Path], folder: Path | None) -> tuple[str, Path] | None:
    """Return alias and folder of the extra mount for ComfyUI's output ``folder``; None if it needs
    none, because one of ``mounts`` contains it or has that alias.
    """
    if folder is None or SERVER_OUTPUT_ALIAS in mounts:
        return None
    if any(folder.is_relative_to(served) for served in mounts.values()):
        return None
    return SERVER_OUTPUT_ALIAS, folder


def base_url(values: SettingsValues, listening: str = "") -> str:
    """Return scheme, host, port and path prefix of links, without a trailing slash.

    ``listening``: the host to use if FILE_SERVER_PUBLIC_IP is not set. Raises ConfigError.
    """
    url = values.given("FILE_SERVER_BASE_URL")
    if not url:
        host = values.given("FILE_SERVER_PUBLIC_IP") or listening
        host = host or values.text("FILE_SERVER_PUBLIC_IP")
        port = values.integer("FILE_SERVER_PORT")
        return f"http://{_url_host(host, values)}:{port}"
    if not is_http_url(url) or re.search(r"[()<>]", url):
        raise values.invalid(
            "FILE_SERVER_BASE_URL", "a base URL like https://files.example.com:8443, or empty"
        )
    return url.rstrip("/")


def is_http_url(text: str) -> bool:
    """Whether a text is an http(s) URL with a host and without query, fragment or spaces."""
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(text)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return valid and not parts.query and not parts.fragment and not re.search(r"\s", text)


def _url_host(host: str, values: SettingsValues) -> str:
    """A host as it is written in a URL, IPv6 addresses in brackets. Raises ConfigError."""
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if bare.count(":") >= 2 and re.fullmatch(r"[0-9A-Fa-f:.]*", bare):
        return f"[{bare}]"
    if not re.fullmatch(r"[\w.-]+", host):
        raise values.invalid(
            "FILE_SERVER_PUBLIC_IP", "an IP address like 192.168.1.5 or a host name, without a port"
        )
    return host
