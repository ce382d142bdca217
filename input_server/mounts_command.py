"""``python -m input_server mounts …``: list, add, remove, measure and clean mounts."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from .atomic import file_lock
from .errors import ConfigError
from .expand_path import expand_path
from .mounts.disk_usage import measure
from .mounts.mount import DEFAULT_CACHE_SECONDS, CleanRules, Mount
from .mounts.mounts_file import mount_to_json, parse_mount, read_mounts_file, write_mounts_file
from .mounts.removal import apply_plan
from .mounts.resolve import Missing
from .mounts.retention import plans
from .mounts.table import MountTable
from .settings import Config


def add_arguments(mounts: argparse.ArgumentParser) -> None:
    """Add the actions of the subcommand, and their arguments."""
    actions = mounts.add_subparsers(dest="action", required=True)
    actions.add_parser("list", help="list mounts and their rules").add_argument(
        "--json", action="store_true"
    )
    actions.add_parser("usage", help="number and size of files per mount").add_argument(
        "--json", action="store_true"
    )
    _add_parser(actions.add_parser("add", help="add or change a mount"))
    actions.add_parser("remove", help="remove a mount; its files stay").add_argument("alias")
    clean = actions.add_parser("clean", help="delete files by the rules of mounts now")
    clean.add_argument("alias", nargs="*", help="default: every mount")
    clean.add_argument("--dry-run", action="store_true", help="list what would be deleted, and why")


def _add_parser(add: argparse.ArgumentParser) -> None:
    add.add_argument("alias", help="name of the mount in URLs")
    add.add_argument("folder")
    add.add_argument(
        "--cache-seconds",
        type=int,
        default=DEFAULT_CACHE_SECONDS,
        metavar="N",
        help="how long browsers may cache a file (default %(default)s; 0: always revalidate)",
    )
    add.add_argument(
        "--private", action="store_true", help="let browsers cache files, but not shared caches"
    )
    add.add_argument("--no-compress", action="store_true", help="send text files uncompressed")
    add.add_argument(
        "--quota-mb", type=float, metavar="MB", help="warning threshold of `mounts usage`"
    )
    add.add_argument("--older-than-days", type=float, metavar="DAYS", help="delete older files")
    add.add_argument(
        "--total-mb", type=float, metavar="MB", help="delete the oldest files above this total"
    )
    add.add_argument(
        "--most-files", type=int, metavar="N", help="delete the oldest files above this number"
    )
    add.add_argument(
        "--keep-newest",
        type=int,
        default=0,
        metavar="N",
        help="never delete this many newest files",
    )
    add.add_argument("--read-only", action="store_true", help="never delete files")


def run(chosen: argparse.Namespace, config: Config) -> int:
    """Run the chosen action; return the exit status. Raises ConfigError."""
    return ACTIONS[chosen.action](chosen, config)


def _list(chosen: argparse.Namespace, config: Config) -> int:
    mounts = list(_table(config))
    if chosen.json:
        _print_json([_details(mount) for mount in mounts])
        return 0
    for mount in mounts:
        there = "" if mount.folder.is_dir() else "  (missing)"
        print(f"{mount.alias:16} {mount.folder}{there}")
        for line in _rules(mount):
            print(f"{'':16} {line}")
    return 0


def _usage(chosen: argparse.Namespace, config: Config) -> int:
    rows = [(mount, _measured(mount)) for mount in _table(config)]
    if chosen.json:
        details = {
            mount.alias: {
                "files": measured[0] if measured else 0,
                "bytes": measured[1] if measured else 0,
                "quota_mb": mount.quota_mb,
                "exists": measured is not None,
            }
            for mount, measured in rows
        }
        _print_json(details)
        return 0
    for mount, measured in rows:
        if measured is None:
            print(f"{mount.alias:16} {_absence(mount)}")
            continue
        files, size = measured
        over = mount.quota_mb is not None and size > mount.quota_mb * 2**20
        quota = f" of {mount.quota_mb:g} MB" if mount.quota_mb is not None else ""
        note = "  OVER ITS QUOTA" if over else ""
        print(f"{mount.alias:16} {files:8} files {size / 2**20:10.1f} MB{quota}{note}")
    return 0


def _print_json(value: object) -> None:
    """Print JSON with escapes for what the code page of stdout may lack."""
    escaped = (sys.stdout.encoding or "").lower().replace("-", "") != "utf8"
    print(json.dumps(value, ensure_ascii=escaped, indent=2))


def _measured(mount: Mount) -> tuple[int, int] | None:
    """The number of files and their bytes; None if the folder is not there or may not be read."""
    try:
        return measure(mount)
    except Missing:
        return None


def _absence(mount: Mount) -> str:
    what = "may not be read" if mount.folder.is_dir() else "is not there"
    return f"the folder {mount.folder} {what}"


def _add(chosen: argparse.Namespace, config: Config) -> int:
    details = Mount(
        chosen.alias,
        expand_path(chosen.folder, Path.cwd(), "mounts add"),
        cache_seconds=chosen.cache_seconds,
        public=not chosen.private,
        quota_mb=chosen.quota_mb,
        compress=not chosen.no_compress,
        read_only=chosen.read_only,
        clean=CleanRules(
            chosen.older_than_days, chosen.total_mb, chosen.most_files, chosen.keep_newest
        ),
    )
    mount = parse_mount(mount_to_json(details), config.mounts_file)
    if not mount.folder.is_dir():
        raise ConfigError(f"{mount.folder} is not a folder. Create it first.")
    with file_lock(config.mounts_file):
        known = [
            other for other in read_mounts_file(config.mounts_file) if other.alias != mount.alias
        ]
        write_mounts_file(config.mounts_file, [*known, mount])
    print(f"{mount.alias} is now served: {mount.folder}")
    return 0


def _remove(chosen: argparse.Namespace, config: Config) -> int:
    with file_lock(config.mounts_file):
        known = read_mounts_file(config.mounts_file)
        rest = [mount for mount in known if mount.alias != chosen.alias]
        if len(rest) == len(known):
            elsewhere = any(mount.alias == chosen.alias for mount in config.mounts)
            hint = " It is set in COMFYUI_MOUNTS: remove it there." if elsewhere else ""
            raise ConfigError(f"{config.mounts_file} has no mount {chosen.alias!r}.{hint}")
        write_mounts_file(config.mounts_file, rest)
    print(f"{chosen.alias} is no longer served; its files were not deleted.")
    return 0


def _clean(chosen: argparse.Namespace, config: Config) -> int:
    mounts = {mount.alias: mount for mount in _table(config)}
    unknown = [alias for alias in chosen.alias if alias not in mounts]
    if unknown:
        raise ConfigError(f"There is no mount {unknown[0]!r}. The mounts are: {', '.join(mounts)}.")
    for mount in mounts.values():
        if mount.alias not in (chosen.alias or mounts):
            continue
        try:
            (planned,) = plans([mount], time.time(), mounts.values())
        except Missing:
            print(f"{mount.alias}: nothing deleted, as {_absence(mount)}")
            continue
        megabytes = planned.size / 2**20
        if chosen.dry_run:
            for removal in planned.removals:
                print(f"would delete {mount.alias}/{removal.entry.path}: {removal.reason}")
            print(
                f"{mount.alias}: {len(planned.removals)} files, {megabytes:.1f} MB would be deleted"
            )
        else:
            files, freed = apply_plan(planned, print)
            print(f"{mount.alias}: {files} files, {freed / 2**20:.1f} MB deleted")
    return 0


def _table(config: Config) -> MountTable:
    return config.table(partial(print, file=sys.stderr))


def _details(mount: Mount) -> dict[str, object]:
    return {**asdict(mount), "folder": str(mount.folder), "exists": mount.folder.is_dir()}


def _rules(mount: Mount) -> Sequence[str]:
    rules = mount.clean
    details = [
        f"cached {mount.cache_seconds} s, {'public' if mount.public else 'private'}",
        f"quota {mount.quota_mb:g} MB" if mount.quota_mb is not None else "",
        "read only" if mount.read_only else "",
        f"deletes files older than {rules.older_than_days:g} days"
        if rules.older_than_days is not None
        else "",
        f"deletes the oldest files above {rules.total_mb:g} MB"
        if rules.total_mb is not None
        else "",
        f"deletes the oldest files above {rules.most_files} files"
        if rules.most_files is not None
        else "",
        f"never deletes the newest {rules.keep_newest}" if rules.keep_newest else "",
    ]
    return [line for line in details if line]


ACTIONS: Mapping[str, Callable[[argparse.Namespace, Config], int]] = {
    "list": _list,
    "usage": _usage,
    "add": _add,
    "remove": _remove,
    "clean": _clean,
}
