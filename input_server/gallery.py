"""The page to look at a mount, and the answers that it asks for."""

from __future__ import annotations

from collections.abc import Mapping

from .access import Grant
from .mounts import MountTable
from .reply import Reply, plain
from .urls import Route


class Gallery:
    """Answers below ``…/gallery/<alias>/``."""

    def __init__(self, mounts: MountTable, signing_key: str) -> None:
        self._mounts = mounts
        self._signing_key = signing_key

    def answer(self, route: Route, query: Mapping[str, str], grant: Grant) -> Reply:
        return plain(404, "Not found.", "no such page")
