"""``python -m input_server link …``: print a signed link."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from functools import partial

from .auth import signing
from .auth.keys import Key
from .errors import ConfigError
from .mounts.resolve import Refused, check_names
from .settings import Config
from .urls import Route, build_target

MOST_HOURS = signing.MAX_LIFETIME // 3600 - 24


def add_arguments(link: argparse.ArgumentParser) -> None:
    """Add the arguments of the subcommand."""
    link.add_argument("alias", help="name of a mount")
    link.add_argument(
        "path", nargs="?", default="", help="path of a file below the mount (default: the gallery)"
    )
    link.add_argument(
        "--hours",
        type=_hours,
        default=24.0,
        metavar="N",
        help="hours until it expires (default 24)",
    )
    link.add_argument(
        "--base", default="", metavar="URL", help="base URL (default FILE_SERVER_BASE_URL)"
    )
    link.add_argument(
        "--key", default="", metavar="NAME", help="a key of COMFYUI_KEYS that requires a signature"
    )


def _hours(text: str) -> float:
    hours = float(text)
    if not 0 < hours <= MOST_HOURS:
        raise argparse.ArgumentTypeError(f"must be above 0 and at most {MOST_HOURS} (a year)")
    return hours


def run(chosen: argparse.Namespace, config: Config) -> int:
    """Print the link; return the exit status. Raises ConfigError for a link that could never work."""
    key = _signing_with(chosen.key, config)
    secret = key.signature if key else config.signing_key
    if not secret:
        raise ConfigError(
            "No key to sign links with is set. Set COMFYUI_ACCESS_KEY or INPUT_SERVER_SIGNING_KEY."
        )
    names = tuple(part for part in chosen.path.split("/") if part)
    _check_there(chosen.alias, names, config)
    route = Route(
        "files" if names else "gallery",
        key.key if key else None,
        chosen.alias,
        names or ("",),
        config.through_host_gate,
    )
    expires = int(time.time() + chosen.hours * 3600)
    query = signing.query(secret, route.resource, route.alias, names, expires)
    print(f"{chosen.base.rstrip('/') or config.base_url}{build_target(route)}?{query}")
    return 0


def _signing_with(name: str, config: Config) -> Key | None:
    """Return the key whose signing secret to use; None for the server's. Raises ConfigError."""
    if not name:
        return None
    key = next((key for key in config.keys if key.name == name), None)
    if key is None or not key.signature:
        raise ConfigError(f"COMFYUI_KEYS has no key {name!r} that requires a signature.")
    return key


def _check_there(alias: str, names: Sequence[str], config: Config) -> None:
    """Raise ConfigError for a path that is never served; warn if there is no such file yet."""
    table = config.table(partial(print, file=sys.stderr))
    mount = table.get(alias)
    if mount is None:
        known = ", ".join(mount.alias for mount in table)
        raise ConfigError(f"There is no mount {alias!r}. The mounts are: {known}.")
    try:
        if names:
            check_names(names)
    except Refused:
        raise ConfigError(f"{'/'.join(names)!r} is never served, because of its name.") from None
    if not mount.folder.joinpath(*names).exists():
        print(f"Warning: {'/'.join(names) or mount.folder} does not exist yet.", file=sys.stderr)
