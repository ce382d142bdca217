"""Settings: read once from ``config.env`` and the environment, checked, then only passed on.

The environment wins over the file; an empty value counts as absent. Errors name the key, the
value and what would be right; the access key's value is never part of one.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from comfyui_pipeline.errors import SettingsError
from comfyui_pipeline.media.image_memory import DEFAULT_MB, ImageMemory
from comfyui_pipeline.process.time_limit import MANIFEST, fetch_grace, host_limit
from comfyui_pipeline.result_urls import ResultLinks
from input_server.light_dataclasses import dataclass, field
from input_server.text_values import parse_boolean, parse_count

CONFIG_FILE = "config.env"
EMBEDDED = "embedded"
RETURN_IMAGE = ("preview", "full", "none")
DEFAULT_SILENCE = 300.0
SERVER_OUTPUT_ALIAS = "comfyui"
"""The mount of COMFYUI_SERVER_OUTPUT_DIR where no other holds that folder (input_server.settings too)."""
LEAST_MB, MOST_MB = 16, 65_536
ANSWER_MARGIN = 20.0
"""Seconds by which our own default limit stays below the host's."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that is set. Times in seconds."""

    base_url: str
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
    after: float  # seconds after it in which results may be fetched and a run be cancelled
    stall_timeout: float
    return_image: str
    debug: bool
    memory: ImageMemory = field(default_factory=ImageMemory, compare=False)

    @property
    def embedded(self) -> bool:
        """Whether this call brings its own model-free server."""
        return self.base_url == EMBEDDED

    @property
    def server_output_mount(self) -> tuple[str, str] | None:
        """Under which mount, and which folder of it ("" or ending in a slash), ComfyUI's own output
        folder is served; None when it is not on this machine.
        """
        for alias, folder in self.mounts:
            if self.server_output_dir and self.server_output_dir.is_relative_to(folder):
                inside = self.server_output_dir.relative_to(folder).as_posix()
                return alias, "" if inside == "." else f"{inside}/"
        return None


def load(plugin: Path, environ: Mapping[str, str]) -> Settings:
    """Read and check the settings of the plugin in folder ``plugin``. Raises SettingsError."""
    given = {**_file(plugin / CONFIG_FILE), **{k: v for k, v in environ.items() if v.strip()}}

    def value(key: str, default: str = "") -> str:
        return given.get(key, "").strip() or default

    host = value("PROJECT_BASE_PATH")
    attachments = value("COMFYUI_ATTACHMENTS_DIR")
    limit = host_limit(plugin)
    timeout = _seconds(value("COMFYUI_TIMEOUT"), limit)
    output = Path(value("COMFYUI_OUTPUT_DIR") or plugin / "output").expanduser()
    server_output = _folder("COMFYUI_SERVER_OUTPUT_DIR", value("COMFYUI_SERVER_OUTPUT_DIR"))
    return Settings(
        base_url=_server(value("COMFYUI_BASE_URL", "http://127.0.0.1:8188")),
        server_input_dir=_folder("COMFYUI_SERVER_INPUT_DIR", value("COMFYUI_SERVER_INPUT_DIR")),
        server_output_dir=server_output,
        client_prefix=_client(value("COMFYUI_CLIENT_ID", "comfyui-plugin")),
        mounts=_mounts(
            value("COMFYUI_MOUNTS"), value("COMFYUI_OUTPUT_MOUNT", "output"), output, server_output
        ),
        links=_links(value),
        output_dir=_output(plugin / output),
        output_alias=_alias(value("COMFYUI_OUTPUT_MOUNT", "output")),
        workflows_dir=plugin / "workflows",
        cache_dir=plugin / ".cache",
        attachments_dir=Path(attachments) if attachments else _attachments(plugin),
        allowed_dirs=_allowed(value("COMFYUI_ALLOWED_DIRS"), host),
        download_allow=tuple(_list(value("DOWNLOAD_ALLOW"))),
        auth=_auth(value("COMFYUI_AUTH")),
        comfy_api_key=value("COMFYUI_API_KEY"),
        timeout=timeout,
        after=fetch_grace(limit, timeout),
        stall_timeout=_silence(value("COMFYUI_SILENCE_TIMEOUT")),
        return_image=_word("COMFYUI_RETURN_IMAGE", value("COMFYUI_RETURN_IMAGE"), RETURN_IMAGE),
        debug=_yes("DebugMode", value("DebugMode", "false")),
        memory=ImageMemory(_image_memory(value("COMFYUI_IMAGE_MEMORY_MB"))),
    )


def _file(path: Path) -> dict[str, str]:
    try:
        text = path.read_text("utf-8-sig")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        kind = "is not UTF-8" if isinstance(error, UnicodeDecodeError) else "cannot be read"
        raise SettingsError(f"{CONFIG_FILE} {kind}.", "Save it as UTF-8 text.") from None
    import io

    from dotenv import dotenv_values

    read = dotenv_values(stream=io.StringIO(text), interpolate=False)
    given = {key: value for key, value in read.items() if value and value.strip()}
    for key, value in given.items():
        if re.match(r"#(\s|$)", value.strip()):
            raise _comment(key)
    return given


def _wrong(key: str, value: str, right: str) -> SettingsError:
    return SettingsError(
        f"The setting {key} is {value!r}.", f"It has to be {right}. Correct it in {CONFIG_FILE}."
    )


def _server(value: str) -> str:
    if value.lower() == EMBEDDED:
        return EMBEDDED
    right = 'an address like http://127.0.0.1:8188, or "embedded" for the model-free demo server'
    try:
        parts = urlsplit(value)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or re.search(r"\s", value) or parts.query or parts.fragment:
        raise _wrong("COMFYUI_BASE_URL", re.sub(r"//[^/@]*@", "//…@", value), right)
    return value.rstrip("/")


def _folder(key: str, value: str) -> Path | None:
    if not value:
        return None
    path = Path(value).expanduser()
    if not path.is_absolute() or not path.is_dir():
        raise _wrong(key, value, "the full path of a folder that exists, or empty")
    return path


def _output(path: Path) -> Path:
    if path.exists() and not path.is_dir():
        raise _wrong("COMFYUI_OUTPUT_DIR", str(path), "a folder, not a file")
    return path


def _client(value: str) -> str:
    if not re.fullmatch(r"[\w.-]{1,64}", value, re.ASCII):
        raise _wrong("COMFYUI_CLIENT_ID", value, "up to 64 letters, digits, dots, dashes")
    return value


def _address(value: str) -> str:
    """A host name or an address, as it stands between ``http://`` and the port."""
    bare = value[1:-1] if value.startswith("[") and value.endswith("]") else value
    if bare.count(":") >= 2 and re.fullmatch(r"[0-9A-Fa-f:.]*", bare):
        return f"[{bare}]"
    if not re.fullmatch(r"[\w.-]+", value):
        raise _wrong(
            "FILE_SERVER_PUBLIC_IP", value, "an address like 192.168.1.5 or a host name, no port"
        )
    return value


def _port(key: str, value: str) -> int:
    if not (value.isascii() and value.isdigit() and 0 < int(value[:6]) < 65536):
        raise _wrong(key, value, "a port number from 1 to 65535")
    return int(value)


def _comment(key: str) -> SettingsError:
    """python-dotenv before 1.2.4 takes the words of ``KEY=   # words`` for the value."""
    return SettingsError(
        f"The setting {key} is empty but for a comment, which counts as its value.",
        f"Put the comment on a line of its own in {CONFIG_FILE}.",
    )


def _key(value: str, name: str = "FILE_SERVER_ACCESS_KEY") -> str:
    if value.startswith("#") or " #" in value:
        raise _comment(name)
    if any(ord(letter) < 33 or letter == "/" for letter in value):
        raise SettingsError(
            f"The setting {name} holds a space, a control character or a slash.",
            f"Choose a key of letters, digits, - and _ in {CONFIG_FILE}.",
        )
    return value


def _secret(value: str) -> str:
    if value.startswith("#") or " #" in value:
        raise _comment("INPUT_SERVER_SIGNING_KEY")
    return value


def _links(value: Callable[[str], str]) -> ResultLinks:
    """How the addresses of results are written."""
    address = _address(value("FILE_SERVER_PUBLIC_IP") or "127.0.0.1")
    port = _port("FILE_SERVER_PORT", value("FILE_SERVER_PORT") or "5005")
    name = "FILE_SERVER_ACCESS_KEY" if value("FILE_SERVER_ACCESS_KEY") else "COMFYUI_ACCESS_KEY"
    key = _key(value(name), name)
    auth = _word("FILE_SERVER_URL_AUTH", value("FILE_SERVER_URL_AUTH"), ("key", "signed"))
    style = _word("FILE_SERVER_URL_STYLE", value("FILE_SERVER_URL_STYLE"), ("server", "host"))
    return ResultLinks(
        base=_base(value("FILE_SERVER_BASE_URL")) or f"http://{address}:{port}",
        style=style,
        access_key=key,
        signing_key=_secret(value("INPUT_SERVER_SIGNING_KEY")) or key,
        signed=auth == "signed",
        seconds=3600 * _hours(value("FILE_SERVER_URL_HOURS") or "720"),
        quality=_quality(value("FILE_SERVER_QUALITY")),
    )


def _base(value: str) -> str:
    """Scheme, host, port and perhaps a path; no slash at its end."""
    right = "the beginning of an address, like https://files.example.com:8443, or empty"
    try:
        parts = urlsplit(value)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if value and (not good or parts.query or parts.fragment or re.search(r"[\s()<>]", value)):
        raise _wrong("FILE_SERVER_BASE_URL", value, right)
    return value.rstrip("/")


def _hours(value: str) -> float:
    try:
        hours = float(value)
    except ValueError:
        hours = 0.0
    if not 1 <= hours <= 8760:
        raise _wrong("FILE_SERVER_URL_HOURS", value, "a number of hours from 1 to 8760 (a year)")
    return hours


def _quality(value: str) -> str:
    word = value.lower()
    fits = word.isascii() and word.isdigit() and 1 <= int(word[:4]) <= 100
    if word not in ("", "auto") and not fits:
        raise _wrong("FILE_SERVER_QUALITY", value, "a number from 1 to 100, auto, or empty")
    return word


def _alias(value: str) -> str:
    if not re.fullmatch(r"[\w-]+", value):
        raise _wrong("COMFYUI_OUTPUT_MOUNT", value, "the name of a mount, letters and digits")
    return value


def _seconds(value: str, limit: float) -> float:
    if not value:
        return max(5.0, limit - ANSWER_MARGIN)
    highest = limit - 5
    try:
        seconds = float(value)
    except ValueError:
        seconds = 0.0
    if not 1 <= seconds <= highest:
        right = (
            f"a number of seconds from 1 to {highest:g} (the host ends the tool after {limit:g} s, "
            f"communication.timeout in {MANIFEST})"
        )
        raise _wrong("COMFYUI_TIMEOUT", value, right)
    return seconds


def _mounts(
    value: str, alias: str, output: Path, server_output: Path | None
) -> tuple[tuple[str, Path], ...]:
    """The file server's mounts as far as they can be read; it checks them itself when it starts.

    ComfyUI's own output folder is among them, under an alias of its own where no other holds it.
    """
    pairs = [entry.partition(":") for entry in _list(value)]
    named = {name.strip(): Path(folder.strip()) for name, _, folder in pairs if folder.strip()}
    mounts = {alias: output, **named}
    if server_output and not any(server_output.is_relative_to(f) for f in mounts.values()):
        mounts.setdefault(SERVER_OUTPUT_ALIAS, server_output)
    return tuple(mounts.items())


def _silence(value: str) -> float:
    try:
        seconds = float(value or DEFAULT_SILENCE)
    except ValueError:
        seconds = 0.0
    if not 5 <= seconds <= 86_400:
        raise _wrong("COMFYUI_SILENCE_TIMEOUT", value, "a number of seconds from 5 to 86400")
    return seconds


def _image_memory(value: str) -> int:
    """Bytes."""
    megabytes = parse_count(value or str(DEFAULT_MB), at_most=MOST_MB)
    if megabytes is None or megabytes < LEAST_MB:
        raise _wrong(
            "COMFYUI_IMAGE_MEMORY_MB", value, f"a whole number from {LEAST_MB} to {MOST_MB}"
        )
    return megabytes * 2**20


def _auth(value: str) -> dict[str, str]:
    """``bearer …``, ``basic user:password``, ``cookie name=value``, or headers with `` | `` between."""
    headers: dict[str, str] = {}
    for entry in (part.strip() for part in value.split(" | ")):
        kind, _, rest = entry.partition(" ")
        name, colon, text = entry.partition(":")
        if not entry:
            continue
        if kind.lower() == "bearer" and rest:
            headers["Authorization"] = f"Bearer {rest.strip()}"
        elif kind.lower() == "basic" and ":" in rest:
            login = base64.b64encode(rest.strip().encode()).decode()
            headers["Authorization"] = f"Basic {login}"
        elif kind.lower() == "cookie" and "=" in rest:
            headers["Cookie"] = rest.strip()
        elif colon and re.fullmatch(r"[A-Za-z0-9-]+", name) and text.strip():
            headers[name] = text.strip()
        else:
            raise SettingsError(
                "The setting COMFYUI_AUTH is in no form that is known (its value is not shown).",
                "It has to be `bearer TOKEN`, `basic USER:PASSWORD`, `cookie NAME=VALUE` or "
                f"`Header: value`, several with ` | ` between. Correct it in {CONFIG_FILE}.",
            )
    if any(ord(c) < 32 or ord(c) > 126 for text in headers.values() for c in text):
        raise SettingsError(
            "The setting COMFYUI_AUTH holds a character that no header may hold.",
            f"Correct it in {CONFIG_FILE}.",
        )
    return headers


def _word(key: str, value: str, choices: tuple[str, ...]) -> str:
    """One of a few words; the first is the default."""
    word = value.lower() or choices[0]
    if word not in choices:
        raise _wrong(key, value, f"one of {', '.join(choices)}")
    return word


def _yes(key: str, value: str) -> bool:
    chosen = parse_boolean(value)
    if chosen is None:
        raise _wrong(key, value, "true or false")
    return chosen


def _attachments(plugin: Path) -> Path:
    """``AppData/UserData/attachments``, three levels above the plugin's folder."""
    return plugin.parents[min(2, len(plugin.parents) - 1)] / "AppData" / "UserData" / "attachments"


def _allowed(value: str, host: str) -> tuple[Path, ...]:
    """Folders that a call may read from: those set, and the host's own copies of fetched files.

    ``.file_cache`` under PROJECT_BASE_PATH is where VCPToolBox puts what it fetched for a plugin
    (FileFetcherServer.js).
    """
    folders = []
    for entry in _list(value):
        path = Path(entry).expanduser()
        if not path.is_absolute():
            right = "full paths of folders, separated by ;"
            raise _wrong("COMFYUI_ALLOWED_DIRS", entry, right)
        folders.append(path)
    if host:
        folders.append(Path(host) / ".file_cache")
    return tuple(folders)


def _list(value: str) -> list[str]:
    return [entry.strip() for entry in value.split(";") if entry.strip()]
