"""The file server's settings: from the host, the environment and ``config.env``, checked.

Names, types, defaults and ranges are in ``settings_table``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from .auth.keys import Key, parse_keys
from .auth.lockout import LockoutPolicy
from .auth.networks import Network, parse_networks
from .env_file import read_env_file
from .errors import ConfigError
from .mounts.mount import Mount
from .mounts.mounts_setting import parse_mounts
from .mounts.table import MountTable
from .origins import parse_origin
from .parse_values import parse_boolean
from .plugin_settings import PLUGIN_SETTINGS
from .settings_table import SETTINGS
from .settings_values import SettingsValues
from .shared_settings import base_url, results_mount, server_output_mount

PACKAGE = Path(__file__).resolve().parent
EXAMPLE_KEYS = frozenset({"123456", "your_access_key", "your-access-key", "change-me", "changeme"})
"""Published keys: those of our examples and of the plugin that this one replaces."""
ACCESS_KEY = "access key"
SHORT_KEY = 12
"""Characters below which a key is reported as short."""


def _default(name: str) -> int:
    return int(SETTINGS[name].default)


@dataclass(frozen=True, slots=True)
class Config:
    """The checked settings. Keys are in no repr.

    ``image_mb``: memory for decoding images, per worker. ``head_seconds``: timeout of a request's
    header and of idle connections. ``stall_seconds``: timeout of a client that reads nothing.
    ``cors_origins``: pages whose scripts may read responses.
    ``offload``: prefix of ``X-Accel-Redirect`` paths; "" if files are sent here. ``base_url``,
    ``through_host_gate``: how links are written. ``results``: the mount that links of results name,
    whether it is served or not; None if there is no plugin next to this folder.
    """

    mounts: tuple[Mount, ...]
    mounts_file: Path
    keys: tuple[Key, ...] = field(repr=False)
    signing_key: str = field(repr=False)
    cache_dir: Path
    host: str = SETTINGS["INPUT_SERVER_HOST"].default
    port: int = _default("FILE_SERVER_PORT")
    workers: int = _default("INPUT_SERVER_WORKERS")
    access_log: bool = False
    cache_mb: int = _default("INPUT_SERVER_CACHE_MB")
    image_mb: int = _default("INPUT_SERVER_IMAGE_MB")
    head_seconds: int = _default("INPUT_SERVER_HEAD_SECONDS")
    stall_seconds: int = _default("INPUT_SERVER_STALL_SECONDS")
    lockout: LockoutPolicy = field(
        default_factory=lambda: LockoutPolicy(
            _default("INPUT_SERVER_LOCK_AFTER"), _default("INPUT_SERVER_LOCK_SECONDS")
        )
    )
    deny_file: Path | None = None
    trusted_proxies: tuple[Network, ...] = ()
    cors_origins: frozenset[str] = frozenset()
    offload: str = ""
    base_url: str = ""
    through_host_gate: bool = False
    results: Mount | None = None

    def table(self, log_line: Callable[[str], None]) -> MountTable:
        """Return the current mounts; ``log_line`` reports problems of their file."""
        return MountTable(self.mounts, self.mounts_file, log_line)


def read(
    given: Mapping[str, Any], base: Path | None = None, *, package: Path | None = None
) -> Config:
    """Read the settings: ``given`` wins over the environment, and that over ``config.env`` (in
    ``package``, then in the project folder).

    ``base``: where relative mounts start; None means INPUT_SERVER_BASE, or the project folder.
    ``package``: the folder of this package, unless it is another copy. Raises ConfigError.
    """
    package = package or PACKAGE
    project = _project(package)
    host_settings = {name: str(value) for name, value in given.items() if value is not None}
    values = SettingsValues(
        SETTINGS,
        (host_settings, os.environ, *(_file(folder) for folder in (package, project))),
    )
    key, keys = _keys(values, project)
    results = Mount(*results_mount(values, project))
    return Config(
        mounts=_mounts(values, results, base or Path(values.text("INPUT_SERVER_BASE") or project)),
        results=results if project != package else None,
        mounts_file=values.path("COMFYUI_MOUNTS_FILE", project) or project / "mounts.json",
        keys=keys,
        signing_key=values.secret("INPUT_SERVER_SIGNING_KEY") or key,
        cache_dir=values.path("INPUT_SERVER_CACHE_DIR", project)
        or project / ".cache" / "input_server",
        host=values.text("INPUT_SERVER_HOST"),
        port=values.integer("FILE_SERVER_PORT"),
        workers=values.integer("INPUT_SERVER_WORKERS"),
        # hosts pass a DebugMode of their own, so that an unknown word is not an error here
        access_log=values.boolean("INPUT_SERVER_ACCESS_LOG")
        or bool(parse_boolean(values.text("DebugMode"))),
        cache_mb=values.integer("INPUT_SERVER_CACHE_MB"),
        image_mb=values.integer("INPUT_SERVER_IMAGE_MB"),
        head_seconds=values.integer("INPUT_SERVER_HEAD_SECONDS"),
        stall_seconds=values.integer("INPUT_SERVER_STALL_SECONDS"),
        lockout=_lockout(values),
        deny_file=values.path("INPUT_SERVER_DENY_FILE", project),
        trusted_proxies=_networks(values, "INPUT_SERVER_TRUSTED_PROXIES"),
        cors_origins=_origins(values),
        offload=_offload(values),
        base_url=base_url(values, _listening(values)),
        through_host_gate=values.choice("FILE_SERVER_URL_STYLE") == "host",
    )


def refuse_example_keys(config: Config, host: str) -> None:
    """Raise ConfigError if other machines can reach ``host`` and a key is a published example."""
    published = [name for name, secret in _secrets(config) if secret in EXAMPLE_KEYS]
    if published and not is_loopback(host):
        raise ConfigError(
            f"The {published[0]} is a published example key, and {host} can be reached from other "
            "machines. Choose a long key of your own in config.env."
        )


def results_mount_warning(config: Config) -> str:
    """Return why the links of the plugin's results do not work; "" if they do."""
    results = config.results
    if results is None:
        return ""
    served = config.table(lambda _: None).get(results.alias)
    if served is not None and served.folder == results.folder:
        return ""
    return (
        f"No mount {results.alias} serves {results.folder}, so the links of results do not work. Add "
        f"{results.alias}:{results.folder} to COMFYUI_MOUNTS."
    )


def short_key_warnings(config: Config) -> list[str]:
    """Return a warning for each key and signing secret that could be guessed."""
    return [
        f"Warning: the {name} is short, so it could be guessed. Choose a longer one."
        for name, secret in _secrets(config)
        if len(secret) < SHORT_KEY
    ]


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a listening address."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _secrets(config: Config) -> Iterator[tuple[str, str]]:
    """Name and value of every secret that grants access."""
    for key in config.keys:
        yield (key.name if key.name == ACCESS_KEY else f"key of {key.name}"), key.key
        if key.signature:
            yield f"signature of {key.name}", key.signature
    if config.signing_key and config.signing_key not in (key.key for key in config.keys):
        yield "signing key", config.signing_key


def _file(folder: Path) -> dict[str, str]:
    return read_env_file(folder, SETTINGS, PLUGIN_SETTINGS)


def _project(package: Path) -> Path:
    """Return the plugin's folder, which is above ``package`` or, in a host, next to it; the current
    folder if pip has installed the plugin; ``package`` itself if there is no plugin.
    """
    if (package.parent / "comfyui_pipeline" / "project").is_dir():  # only setup.py makes that
        return Path.cwd()
    places = (package.parent, package.parent / "comfyui")
    return next((place for place in places if (place / "comfyui_plugin.py").is_file()), package)


def _keys(values: SettingsValues, project: Path) -> tuple[str, tuple[Key, ...]]:
    """Return the access key ("" without one) and all keys. Raises ConfigError if there is none."""
    key = values.secret("COMFYUI_ACCESS_KEY") or values.secret("FILE_SERVER_ACCESS_KEY")
    keys = parse_keys(values.text("COMFYUI_KEYS"), project)
    if not key and not keys:
        raise ConfigError(
            "No access key is set, so anybody could read the files. Put a long COMFYUI_ACCESS_KEY or "
            "FILE_SERVER_ACCESS_KEY into config.env."
        )
    return key, (Key(ACCESS_KEY, key), *keys) if key else keys


def _mounts(values: SettingsValues, results: Mount, base: Path) -> tuple[Mount, ...]:
    text = values.text("COMFYUI_MOUNTS")
    mounts = parse_mounts(text, base) if text else (results,)
    folders = {mount.alias: mount.folder for mount in mounts}
    extra = server_output_mount(folders, values.path("COMFYUI_SERVER_OUTPUT_DIR", Path()))
    return (*mounts, Mount(*extra)) if extra else mounts


def _networks(values: SettingsValues, name: str) -> tuple[Network, ...]:
    return parse_networks(values.text(name), name)


def _origins(values: SettingsValues) -> frozenset[str]:
    name = "INPUT_SERVER_CORS_ORIGINS"
    found = []
    for text in values.items(name):
        origin = parse_origin(text)
        if origin is None:
            raise values.invalid(
                name, "origins like https://app.example.com:8443, separated by ;, or *", text
            )
        found.append(origin)
    return frozenset(found)


def _lockout(values: SettingsValues) -> LockoutPolicy:
    exempt = "INPUT_SERVER_LOCK_EXEMPT"
    return LockoutPolicy(
        limit=values.integer("INPUT_SERVER_LOCK_AFTER"),
        seconds=values.integer("INPUT_SERVER_LOCK_SECONDS"),
        exempt=() if values.text(exempt).lower() == "none" else _networks(values, exempt),
    )


def _listening(values: SettingsValues) -> str:
    """Return the host for links: the listening address unless that is a wildcard."""
    host = values.text("INPUT_SERVER_HOST")
    wildcard = host in ("0.0.0.0", "::")  # noqa: S104 - compared, not bound
    return "" if wildcard else host


def _offload(values: SettingsValues) -> str:
    method, _, prefix = values.text("INPUT_SERVER_OFFLOAD").partition(":")
    if method and not (method == "x-accel" and prefix.startswith("/") and not prefix.endswith("/")):
        raise values.invalid("INPUT_SERVER_OFFLOAD", "x-accel:/prefix, or empty")
    return prefix
