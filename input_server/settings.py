"""What is served, to whom and how: the host's settings, the environment, ``config.env``."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from .auth.keys import Key, parse_keys
from .auth.lockout import LockoutPolicy
from .auth.networks import Network, parse_networks
from .errors import ConfigError
from .images.memory import DEFAULT_IMAGE_MB
from .mounts.table import ALIAS, RESERVED, Mount, MountTable, parse_mounts
from .numbers import parse_count
from .paths import expand_path

PACKAGE = Path(__file__).resolve().parent
DEFAULT_PORT = 5005
SERVER_OUTPUT_ALIAS = "comfyui"
EXAMPLE_KEYS = frozenset({"123456", "your_access_key", "your-access-key", "change-me", "changeme"})
"""Keys that stand in examples, the plugin's before this one among them: everybody knows them."""
ACCESS_KEY = "access key"
SHORT_KEY = 12
LOOPBACK = "127.0.0.0/8;::1"


@dataclass(frozen=True, slots=True)
class Config:
    """Checked settings. Keys are in no repr.

    ``head_seconds``: how long the whole head of a request may take, and a connection may be idle;
    ``stall_seconds``: how long nobody may take any of a body before its connection is given up.
    ``image_mb``: the memory that pictures may take while copies of them are rendered, in each worker.
    ``offload``: the prefix under which a server in front finds the files that it sends itself
    (``X-Accel-Redirect``); "" when there is none. ``results``: the mount that the pipeline's answers
    point to, whether it is among those that are served or not. ``base_url``, ``by_gate``: how the
    addresses that people are given begin, and whether they go through VCPToolBox's gate.
    """

    mounts: tuple[Mount, ...]
    mounts_file: Path
    keys: tuple[Key, ...] = field(repr=False)
    signing_key: str = field(repr=False)
    cache_dir: Path
    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    workers: int = 1
    access_log: bool = False
    cache_mb: int = 256
    image_mb: int = DEFAULT_IMAGE_MB
    head_seconds: int = 10
    stall_seconds: int = 60
    lockout: LockoutPolicy = field(default_factory=LockoutPolicy)
    deny_file: Path | None = None
    trusted: tuple[Network, ...] = ()
    offload: str = ""
    base_url: str = ""
    through_host_gate: bool = False
    results: Mount | None = None

    def table(self, log_line: Callable[[str], None]) -> MountTable:
        """The mounts as they are from now on; ``tell`` is told what is wrong with their file."""
        return MountTable(self.mounts, self.mounts_file, log_line)


def read(given: Mapping[str, Any], base: Path | None = None) -> Config:
    """``given`` wins over the environment, and that over ``config.env`` (here, then the project's).

    ``base``: where relative mounts begin; None means ``INPUT_SERVER_BASE``, or the project's folder.
    ``COMFYUI_ACCESS_KEY`` falls back to ``FILE_SERVER_ACCESS_KEY``. Raises ConfigError.
    """
    project = _project()
    told = {key: str(value) for key, value in given.items() if value is not None}
    sources = (told, dict(os.environ), _file(PACKAGE), _file(project))

    def value(key: str) -> str:
        return next((s[key].strip() for s in sources if s.get(key, "").strip()), "")

    def path(key: str) -> Path | None:
        return expand_path(value(key), project, key) if value(key) else None

    key = value("COMFYUI_ACCESS_KEY") or value("FILE_SERVER_ACCESS_KEY")
    keys = parse_keys(value("COMFYUI_KEYS"), project)
    if any(_is_comment(secret) for secret in (key, value("INPUT_SERVER_SIGNING_KEY"))):
        raise ConfigError(
            "No access key is set: in its place, or in that of INPUT_SERVER_SIGNING_KEY, stands a "
            "comment. Put the comment on a line of its own in config.env, and choose a long key."
        )
    if not key and not keys:
        raise ConfigError(
            "No access key is set. Put a long COMFYUI_ACCESS_KEY or FILE_SERVER_ACCESS_KEY into "
            "config.env; without one everybody could read the files."
        )
    debug = value("DebugMode").lower() in ("true", "1", "yes")
    results = _of_results(value, project)
    return Config(
        mounts=_mounts(value, results, base or Path(value("INPUT_SERVER_BASE") or project)),
        results=results,
        mounts_file=path("COMFYUI_MOUNTS_FILE") or project / "mounts.json",
        keys=(Key(ACCESS_KEY, key), *keys) if key else keys,
        signing_key=value("INPUT_SERVER_SIGNING_KEY") or key,
        cache_dir=path("INPUT_SERVER_CACHE_DIR") or project / ".cache" / "input_server",
        host=value("INPUT_SERVER_HOST") or "127.0.0.1",
        port=_whole(value, "FILE_SERVER_PORT", DEFAULT_PORT, 1, 65535),
        workers=_whole(value, "INPUT_SERVER_WORKERS", 1, 1, 64),
        access_log=debug or _yes(value, "INPUT_SERVER_ACCESS_LOG"),
        cache_mb=_whole(value, "INPUT_SERVER_CACHE_MB", 256, 0, 1_000_000),
        image_mb=_whole(value, "INPUT_SERVER_IMAGE_MB", DEFAULT_IMAGE_MB, 1, 1_000_000),
        head_seconds=_whole(value, "INPUT_SERVER_HEAD_SECONDS", 10, 1, 3600),
        stall_seconds=_whole(value, "INPUT_SERVER_STALL_SECONDS", 60, 1, 3600),
        lockout=_lockout(value),
        deny_file=path("INPUT_SERVER_DENY_FILE"),
        trusted=parse_networks(
            value("INPUT_SERVER_TRUSTED_PROXIES"), "INPUT_SERVER_TRUSTED_PROXIES"
        ),
        offload=_offload(value("INPUT_SERVER_OFFLOAD")),
        base_url=_base_url(value),
        through_host_gate=value("FILE_SERVER_URL_STYLE").lower() == "host",
    )


def _is_comment(secret: str) -> bool:
    """What python-dotenv before 1.2.4 makes of ``KEY=   # words``."""
    return secret.startswith("#") or " #" in secret


def refuse_example_keys(config: Config, host: str) -> None:
    """Refuse to be reachable from elsewhere under a secret that everybody knows. Raises ConfigError."""
    known = [name for name, secret in _secrets(config) if secret in EXAMPLE_KEYS]
    if known and not is_loopback(host):
        raise ConfigError(
            f"The {known[0]} is one that stands in examples, so everybody knows it, and {host} can be "
            "reached from elsewhere. Choose a long key of your own in config.env."
        )


def results_mount_warning(config: Config) -> str:
    """Why the addresses in the pipeline's answers will not open; "" where they will."""
    results = config.results
    if results is None or _project() == PACKAGE:
        return ""
    served = config.table(lambda _: None).get(results.alias)
    if served is not None and served.folder == results.folder:
        return ""
    return f"No mount {results.alias} serves {results.folder}, so the addresses of results do not open."


def short_key_warnings(config: Config) -> list[str]:
    """A warning for each key, and each secret that signs, which could be guessed."""
    return [
        f"Warning: the {name} is short; a long one cannot be guessed."
        for name, secret in _secrets(config)
        if len(secret) < SHORT_KEY
    ]


def _secrets(config: Config) -> Iterator[tuple[str, str]]:
    """Whatever opens files, and what to call it."""
    for key in config.keys:
        yield (key.name if key.name == ACCESS_KEY else f"key of {key.name}"), key.key
        if key.signature:
            yield f"signature of {key.name}", key.signature
    if config.signing_key and config.signing_key not in (key.key for key in config.keys):
        yield "signing key", config.signing_key


def is_loopback(host: str) -> bool:
    """Whether an address to listen on is reached from this machine alone."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


Value = Callable[[str], str]


def _project() -> Path:
    """The project's folder: above, or beside as the plugin ``comfyui`` of a host; else this package's
    own, where it was copied by itself.
    """
    places = (PACKAGE.parent, PACKAGE.parent / "comfyui")
    return next((place for place in places if (place / "comfyui_plugin.py").is_file()), PACKAGE)


def _mounts(value: Value, results: Mount, base: Path) -> tuple[Mount, ...]:
    given = value("COMFYUI_MOUNTS")
    mounts = parse_mounts(given, base) if given else (results,)
    return _with_server_output(mounts, value("COMFYUI_SERVER_OUTPUT_DIR"))


def _of_results(value: Value, project: Path) -> Mount:
    """Where the pipeline puts results, by the alias that it writes into their addresses."""
    alias = value("COMFYUI_OUTPUT_MOUNT") or "output"
    if not ALIAS.fullmatch(alias) or alias in RESERVED:
        raise ConfigError(
            f"COMFYUI_OUTPUT_MOUNT is {alias!r}. It has to be of letters, digits, - and _."
        )
    return Mount(
        alias, expand_path(value("COMFYUI_OUTPUT_DIR") or "output", project, "COMFYUI_OUTPUT_DIR")
    )


def _with_server_output(mounts: tuple[Mount, ...], folder: str) -> tuple[Mount, ...]:
    """ComfyUI's own output folder, where results are not copied, under an alias of its own."""
    path = expand_path(folder, Path(), "COMFYUI_SERVER_OUTPUT_DIR")
    held = any(path.is_relative_to(mount.folder) for mount in mounts)
    if not folder or held or any(mount.alias == SERVER_OUTPUT_ALIAS for mount in mounts):
        return mounts
    return (*mounts, Mount(SERVER_OUTPUT_ALIAS, path))


def _file(folder: Path) -> dict[str, str]:
    path = folder / "config.env"
    try:
        text = path.read_text("utf-8-sig")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError):
        raise ConfigError(f"{path} cannot be read as UTF-8 text.") from None
    from dotenv import dotenv_values

    read = dotenv_values(stream=io.StringIO(text), interpolate=False)
    # "# words": a comment behind an empty value, by python-dotenv before 1.2.4
    return {k: v for k, v in read.items() if v and (_may_be_key(k) or not re.match(r"#\s", v))}


def _may_be_key(name: str) -> bool:
    """A comment in the place of a key is refused, not passed over."""
    return name.endswith("_KEY")


def _whole(value: Value, key: str, default: int, least: int, most: int) -> int:
    text = value(key)
    if not text:
        return default
    found = parse_count(text)
    if found is None or not least <= found <= most:
        raise ConfigError(f"{key} is {text!r}. It has to be a number from {least} to {most}.")
    return found


def _yes(value: Value, key: str) -> bool:
    text = value(key).lower()
    if text not in ("", "true", "1", "yes", "false", "0", "no"):
        raise ConfigError(f"{key} is {text!r}. It has to be true or false.")
    return text in ("true", "1", "yes")


def _lockout(value: Value) -> LockoutPolicy:
    return LockoutPolicy(
        limit=_whole(value, "INPUT_SERVER_LOCK_AFTER", 10, 0, 100_000),
        seconds=_whole(value, "INPUT_SERVER_LOCK_SECONDS", 600, 1, 10_000_000),
        exempt=parse_networks(
            value("INPUT_SERVER_LOCK_EXEMPT") or LOOPBACK, "INPUT_SERVER_LOCK_EXEMPT"
        )
        if value("INPUT_SERVER_LOCK_EXEMPT").lower() != "none"
        else (),
    )


def _base_url(value: Value) -> str:
    """Scheme, host and port, as the pipeline writes them into the addresses of results."""
    listening = value("INPUT_SERVER_HOST") or "127.0.0.1"
    everywhere = listening in ("0.0.0.0", "::")  # noqa: S104 - compared, not bound
    host = value("FILE_SERVER_PUBLIC_IP") or ("127.0.0.1" if everywhere else listening)
    shown = f"[{host}]" if ":" in host and not host.startswith("[") else host
    port = value("FILE_SERVER_PORT") or str(DEFAULT_PORT)
    return value("FILE_SERVER_BASE_URL").rstrip("/") or f"http://{shown}:{port}"


def _offload(text: str) -> str:
    way, _, prefix = text.partition(":")
    if text and not (way == "x-accel" and prefix.startswith("/") and not prefix.endswith("/")):
        raise ConfigError(
            f"INPUT_SERVER_OFFLOAD is {text!r}. It has to be x-accel:/prefix, or empty."
        )
    return prefix
