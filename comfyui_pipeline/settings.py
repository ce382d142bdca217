"""The plugin's settings: read once from ``config.env`` and the environment, then passed on.

The environment wins over the file; an empty value counts as absent. Names, defaults and ranges are
in ``settings_table``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from comfyui_pipeline.errors import SettingsError
from comfyui_pipeline.media import file_limits
from comfyui_pipeline.media.host_files import HostFiles
from comfyui_pipeline.media.image_memory import ImageMemory
from comfyui_pipeline.process.project import project_file
from comfyui_pipeline.process.time_limit import MANIFEST, fetch_grace, host_limit
from comfyui_pipeline.result_urls import ResultLinks
from comfyui_pipeline.settings_table import EMBEDDED, SETTINGS
from input_server.env_file import read_env_file
from input_server.errors import ConfigError
from input_server.light_dataclasses import dataclass, field, replace
from input_server.parse_values import parse_count
from input_server.settings_table import SETTINGS as FILE_SERVER
from input_server.settings_values import SettingsValues
from input_server.shared_settings import (
    base_url,
    is_http_url,
    results_mount,
    server_output_mount,
)

MAX_IDLE_MINUTES = 1440
HOST_FOLDER = "PROJECT_BASE_PATH"
"""Environment variable in which VCPToolBox passes its own folder."""
HOST_URL = "VarHttpUrl"
"""The one in which it passes the beginning of its URLs, without a port."""
RESPONSE_MARGIN = 20.0
"""Seconds by which the default of COMFYUI_TIMEOUT is below the host's limit."""
MIN_RESPONSE_MARGIN = 5.0
"""The same for the highest COMFYUI_TIMEOUT."""


@dataclass(frozen=True, slots=True)
class DefaultValues:
    """What is used for arguments that a call does not give (see ``complete``); "" for nothing."""

    checkpoint: str = ""
    vae: str = ""
    loras: tuple[str, ...] = ()
    negative_prompt: str = ""
    quality_tags: str = ""


@dataclass(frozen=True, slots=True)
class Settings:
    """The checked settings. Times in seconds."""

    base_url: str = field(repr=False)  # may contain a login: a user's, or a token in its query
    server_input_dir: Path | None
    server_output_dir: Path | None
    client_prefix: str
    links: ResultLinks
    mounts: tuple[tuple[str, Path], ...]
    output_dir: Path
    output_alias: str
    workflows_dir: Path
    cache_dir: Path
    attachments_dir: Path
    allowed_dirs: tuple[Path, ...]
    download_allow: tuple[str, ...]
    auth: Mapping[str, str] = field(repr=False)
    comfy_api_key: str = field(repr=False)
    timeout: float
    fetch_grace: float  # after the timeout, for fetching outputs and cancelling a job
    stall_timeout: float
    return_image: str
    defaults: DefaultValues = field(default_factory=DefaultValues)
    default_workflow: str = ""
    strip_metadata: bool = False
    ca_file: str = ""
    insecure_tls: bool = False
    free_after: float | None = None  # seconds without a job; 0 after each job, None for never
    memory: ImageMemory = field(default_factory=ImageMemory, compare=False)
    max_image_bytes: int = file_limits.MAX_IMAGE_BYTES
    max_file_bytes: int = file_limits.MAX_FILE_BYTES
    host: HostFiles | None = None
    download_proxy: str = field(default="", repr=False)
    download_proxy_trusted: bool = False
    start_command: str = field(default="", repr=False)
    wake_mac: str = ""
    start_seconds: float = 120.0

    @property
    def embedded(self) -> bool:
        """Whether this call starts its own model-free server."""
        return self.base_url == EMBEDDED

    @property
    def server_output_mount(self) -> tuple[str, str] | None:
        """The mount that serves ComfyUI's output folder, and the path of that folder below the mount
        ("" or ending in a slash); None if COMFYUI_SERVER_OUTPUT_DIR is not set.
        """
        for alias, folder in self.mounts:
            if self.server_output_dir and self.server_output_dir.is_relative_to(folder):
                inside = self.server_output_dir.relative_to(folder).as_posix()
                return alias, "" if inside == "." else f"{inside}/"
        return None


def load(project: Path, environ: Mapping[str, str]) -> Settings:
    """Read and check the settings of the plugin in folder ``project``. Raises SettingsError."""
    try:
        file = read_env_file(project, {**FILE_SERVER, **SETTINGS})
        host = environ.get(HOST_FOLDER, "").strip() or file.get(HOST_FOLDER, "").strip()
        values = SettingsValues(SETTINGS, (_restored(environ, file), file))
        return replace(_settings(values, project, host), host=_host_files(environ, host))
    except ConfigError as error:
        raise SettingsError(str(error)) from None


def _restored(environ: Mapping[str, str], file: Mapping[str, str]) -> Mapping[str, str]:
    """The environment without values that a host has read from the file and cut at their ``#``."""
    cut = {
        name
        for name, value in file.items()
        if "#" in value and environ.get(name) == value.partition("#")[0].rstrip()
    }
    return {name: value for name, value in environ.items() if name not in cut} if cut else environ


def _settings(values: SettingsValues, project: Path, host: str) -> Settings:
    limit = host_limit(project)
    timeout = _timeout(values, limit)
    alias, output = results_mount(values, project)
    server_output = _existing_folder(values, "COMFYUI_SERVER_OUTPUT_DIR")
    values.boolean("DebugMode")
    return Settings(
        base_url=_server_url(values),
        server_input_dir=_existing_folder(values, "COMFYUI_SERVER_INPUT_DIR"),
        server_output_dir=server_output,
        client_prefix=_client_prefix(values),
        mounts=_mounts(values, project, (alias, output), server_output),
        links=_links(values),
        output_dir=_output_dir(values, output),
        output_alias=alias,
        workflows_dir=project_file(project, "workflows"),
        cache_dir=project / ".cache",
        attachments_dir=_attachments_dir(values, project),
        allowed_dirs=_allowed_dirs(values, host),
        download_allow=tuple(values.items("DOWNLOAD_ALLOW")),
        download_proxy=_download_proxy(values),
        download_proxy_trusted=values.boolean("DOWNLOAD_PROXY_TRUSTED"),
        auth=_auth_headers(values),
        comfy_api_key=values.secret("COMFYUI_API_KEY"),
        timeout=timeout,
        fetch_grace=fetch_grace(limit, timeout),
        stall_timeout=values.number("COMFYUI_SILENCE_TIMEOUT"),
        return_image=values.choice("COMFYUI_RETURN_IMAGE"),
        strip_metadata=values.choice("COMFYUI_METADATA") == "none",
        defaults=DefaultValues(
            checkpoint=values.text("COMFYUI_DEFAULT_CHECKPOINT"),
            vae=values.text("COMFYUI_DEFAULT_VAE"),
            loras=tuple(values.items("COMFYUI_DEFAULT_LORAS")),
            negative_prompt=values.text("COMFYUI_DEFAULT_NEGATIVE_PROMPT"),
            quality_tags=values.text("COMFYUI_QUALITY_TAGS"),
        ),
        default_workflow=values.text("COMFYUI_DEFAULT_WORKFLOW"),
        ca_file=_ca_file(values),
        free_after=_free_after(values),
        insecure_tls=values.boolean("COMFYUI_INSECURE_TLS"),
        memory=ImageMemory(values.integer("COMFYUI_IMAGE_MEMORY_MB") * 2**20),
        max_image_bytes=values.integer("COMFYUI_MAX_IMAGE_MB") * 2**20,
        max_file_bytes=values.integer("COMFYUI_MAX_FILE_MB") * 2**20,
        start_command=_start_text(values, "COMFYUI_START_COMMAND"),
        wake_mac=_start_text(values, "COMFYUI_WAKE_MAC"),
        start_seconds=values.number("COMFYUI_START_SECONDS"),
    )


def _download_proxy(values: SettingsValues) -> str:
    value = values.secret("DOWNLOAD_PROXY")
    if value:
        from comfyui_pipeline.media.proxies import check_setting

        check_setting(value)
    return value


def _host_files(environ: Mapping[str, str], host: str) -> HostFiles | None:
    """The files of the host, by the variables that VCPToolBox passes to its plugins (Plugin.js).

    VCPChat lies around the node that runs plugins for it, or beside VCPToolBox.
    """
    if not host:
        return None
    folder = Path(host)
    chats = (folder.parent, folder.parent / "VCPChat")
    try:
        name = urlsplit(environ.get(HOST_URL, "").strip()).hostname or ""
    except ValueError:
        name = ""
    return HostFiles(
        folder,
        name,
        parse_count(environ.get("SERVER_PORT", "").strip(), at_most=65535) or 0,
        environ.get("IMAGESERVER_IMAGE_KEY", "").strip(),
        environ.get("IMAGESERVER_FILE_KEY", "").strip(),
        tuple(chat / "AppData" / "UserData" / "attachments" for chat in chats),
    )


def _server_url(values: SettingsValues) -> str:
    name = "COMFYUI_BASE_URL"
    url = values.given(name)
    if not url:
        return values.text(name)
    if url.lower() == EMBEDDED:
        return EMBEDDED
    page = url.partition("#")[0]  # as copied from a browser
    base, mark, query = page.partition("?")
    if not is_http_url(base) or re.search(r"[^!-~]", query):
        expected = f'a URL like {SETTINGS[name].default}, or "{EMBEDDED}" for the demo server'
        raise values.invalid(
            name, expected, re.sub(r"//[^/@]*@", "//…@", base) + mark + "…" * bool(mark)
        )
    return base.rstrip("/") + (f"?{query}" if query else "")


def _free_after(values: SettingsValues) -> float | None:
    name = "COMFYUI_FREE_MEMORY"
    word = values.text(name).lower()
    if word in ("never", "job"):
        return 0.0 if word == "job" else None
    minutes = float(word) if re.fullmatch(r"\d{1,4}(\.\d{1,3})?", word, re.ASCII) else 0
    if not 0 < minutes <= MAX_IDLE_MINUTES:
        raise values.invalid(
            name, f"never, job (after each job), or idle minutes up to {MAX_IDLE_MINUTES}"
        )
    return minutes * 60


def _start_text(values: SettingsValues, name: str) -> str:
    """How a server that is asleep is started."""
    text = values.text(name)
    if text:
        from comfyui_pipeline.engine.server_start import CHECKS

        check, expected = CHECKS[name]
        try:
            check(text)
        except ValueError:
            raise values.invalid(name, expected) from None
    return text


def _ca_file(values: SettingsValues) -> str:
    text = values.text("COMFYUI_CA_FILE")
    path = Path(text).expanduser()
    if text and not (path.is_absolute() and path.is_file()):
        raise values.invalid("COMFYUI_CA_FILE", "the full path of an existing PEM file, or empty")
    return str(path) if text else ""


def _existing_folder(values: SettingsValues, name: str) -> Path | None:
    text = values.text(name)
    if not text:
        return None
    path = Path(text).expanduser()
    if not path.is_absolute() or not path.is_dir():
        raise values.invalid(name, "the full path of an existing folder, or empty")
    return path


def _output_dir(values: SettingsValues, path: Path) -> Path:
    if path.exists() and not path.is_dir():
        raise values.invalid("COMFYUI_OUTPUT_DIR", "a folder, not a file", str(path))
    return path


def _client_prefix(values: SettingsValues) -> str:
    prefix = values.text("COMFYUI_CLIENT_ID")
    if not re.fullmatch(r"[\w.-]{1,64}", prefix, re.ASCII):
        raise values.invalid("COMFYUI_CLIENT_ID", "1 to 64 letters, digits, dots and dashes")
    return prefix


def _links(values: SettingsValues) -> ResultLinks:
    """How the URLs of results are written."""
    key = _access_key(values)
    return ResultLinks(
        base=base_url(values),
        style=values.choice("FILE_SERVER_URL_STYLE"),
        access_key=key,
        signing_key=values.secret("INPUT_SERVER_SIGNING_KEY") or key,
        signed=values.choice("FILE_SERVER_URL_AUTH") == "signed",
        seconds=3600 * values.number("FILE_SERVER_URL_HOURS"),
        quality=_quality(values),
    )


def _access_key(values: SettingsValues) -> str:
    name = next(
        (n for n in ("FILE_SERVER_ACCESS_KEY", "COMFYUI_ACCESS_KEY") if values.given(n)), ""
    )
    key = values.secret(name) if name else ""
    if any(ord(letter) < 33 or letter == "/" for letter in key):
        raise values.invalid(name, "a key of letters, digits, - and _, without spaces and slashes")
    return key


def _quality(values: SettingsValues) -> str:
    word = values.text("FILE_SERVER_QUALITY").lower()
    is_percent = word.isascii() and word.isdigit() and 1 <= int(word[:4]) <= 100
    if word not in ("", "auto") and not is_percent:
        raise values.invalid("FILE_SERVER_QUALITY", "a number from 1 to 100, auto, or empty")
    return word


def _timeout(values: SettingsValues, limit: float) -> float:
    name = "COMFYUI_TIMEOUT"
    if not values.given(name):
        return max(MIN_RESPONSE_MARGIN, limit - RESPONSE_MARGIN)
    highest = limit - MIN_RESPONSE_MARGIN
    reason = f" (the host ends the tool after {limit:g} s, communication.timeout in {MANIFEST})"
    return values.number(name, high=highest, reason=reason)


def _mounts(
    values: SettingsValues,
    project: Path,
    results: tuple[str, Path],
    server_output: Path | None,
) -> tuple[tuple[str, Path], ...]:
    """The file server's mounts, results first. Invalid entries are left to the file server, which
    refuses them when it starts.
    """
    mounts = dict([results])
    for entry in values.items("COMFYUI_MOUNTS"):
        alias, _, folder = (part.strip() for part in entry.partition(":"))
        if folder:
            mounts[alias] = project / folder
    extra = server_output_mount(mounts, server_output)
    return (*mounts.items(), *([extra] if extra else []))


def _attachments_dir(values: SettingsValues, project: Path) -> Path:
    """By default ``AppData/UserData/attachments``, three levels above the plugin's folder."""
    text = values.text("COMFYUI_ATTACHMENTS_DIR")
    if text:
        return Path(text)
    host = project.parents[min(2, len(project.parents) - 1)]
    return host / "AppData" / "UserData" / "attachments"


def _allowed_dirs(values: SettingsValues, host: str) -> tuple[Path, ...]:
    """Folders that a call may read: those set, and the host's cache of files that it fetched.

    That is ``.file_cache`` under PROJECT_BASE_PATH (VCPToolBox FileFetcherServer.js).
    """
    folders = []
    for entry in values.items("COMFYUI_ALLOWED_DIRS"):
        path = Path(entry).expanduser()
        if not path.is_absolute():
            raise values.invalid(
                "COMFYUI_ALLOWED_DIRS", "full paths of folders, separated by ;", entry
            )
        folders.append(path)
    if host:
        folders.append(Path(host) / ".file_cache")
    return tuple(folders)


def _auth_headers(values: SettingsValues) -> dict[str, str]:
    """Headers of ``bearer …``, ``basic user:password``, ``cookie name=value`` or ``Header: value``,
    several separated by `` | ``.
    """
    headers: dict[str, str] = {}
    for entry in (part.strip() for part in values.text("COMFYUI_AUTH").split(" | ")):
        if not entry:
            continue
        header = _auth_header(entry)
        if header is None:
            raise values.invalid(
                "COMFYUI_AUTH",
                "`bearer TOKEN`, `basic USER:PASSWORD`, `cookie NAME=VALUE` or `Header: value`, several "
                "separated by ` | `",
            )
        headers[header[0]] = header[1]
    if any(ord(c) < 32 or ord(c) > 126 for text in headers.values() for c in text):
        raise values.invalid("COMFYUI_AUTH", "printable ASCII characters")
    return headers


def _auth_header(entry: str) -> tuple[str, str] | None:
    kind, _, rest = entry.partition(" ")
    name, colon, text = entry.partition(":")
    if kind.lower() == "bearer" and rest:
        return "Authorization", f"Bearer {rest.strip()}"
    if kind.lower() == "basic" and ":" in rest:
        import base64

        login = base64.b64encode(rest.strip().encode()).decode()
        return "Authorization", f"Basic {login}"
    if kind.lower() == "cookie" and "=" in rest:
        return "Cookie", rest.strip()
    if colon and re.fullmatch(r"[A-Za-z0-9-]+", name) and text.strip():
        return name, text.strip()
    return None
