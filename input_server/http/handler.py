"""The handler: what a request is answered with. It knows nothing of who sends it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import quote

from ..auth.access import Access, Client, Denied, Grant, client_address
from ..auth.lockout import DenyList, LockoutTracker
from ..content_type import may_be_compressible
from ..images.memory import MemoryBudget
from ..images.render_queue import RenderQueue, Requester
from ..images.variant_request import VariantError, parse_variant_request
from ..images.variants import NotCached, VariantCache
from ..log import log_line
from ..mounts.open_files import MAX_CACHED, OpenFile, OpenFileCache
from ..mounts.resolve import Missing, Refused, check_names, is_exhausted
from ..mounts.table import Mount
from ..settings import Config
from ..text_values import parse_count
from ..urls import Route
from .accept_encoding import accepts_gzip
from .ranges import RangeNotSatisfiable, parse_range, precondition
from .response import SAFE, HttpResponse, Piece, plain, several

KEEPS = "x-offload-keeps"
"""The header in which a server in front says up to how many bytes it keeps a body for a moment. Those
come with the body; of larger files it gets the place (``X-Accel-Redirect``) and sends them itself."""
PROXY_CACHE_SECONDS = 5
"""How long it may keep one, where a yes does not depend on who asks (``X-Accel-Expires``)."""
OWN_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
"""What this machine is called on itself. ``FILE_SERVER_BASE_URL`` and ``INPUT_SERVER_HOST`` add theirs."""
CACHE = "_cache"
"""The alias under which a server in front finds copies."""


class Page(Protocol):
    """What answers a route that is no file. May raise Refused and Missing, as a file's path may."""

    def answer(self, route: Route, query: Mapping[str, str], grant: Grant) -> HttpResponse: ...


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One request. ``peer``: the address that the connection comes from; names in lower case."""

    method: str
    route: Route
    query: Mapping[str, str]
    headers: Mapping[str, str]
    peer: str


class FileServer:
    """Answers requests for the mounts of one configuration; thread-safe.

    ``by_asgi``: whether its replies are sent by ``asgi.py``, which puts several pieces of a file
    together and sends what is held open.
    """

    def __init__(self, config: Config, *, by_asgi: bool = False) -> None:
        self.mounts = config.table(log_line)
        self.files = OpenFileCache(MAX_CACHED if by_asgi else 0, config.stall_seconds)
        self.variants = VariantCache(
            config.cache_dir,
            config.cache_mb,
            0o755 if config.offload else 0o700,
            memory=MemoryBudget(config.image_mb * 2**20),
        )
        self.renders = RenderQueue()
        self.guard = LockoutTracker(config.lockout, log_line)
        self.deny = DenyList(config.deny_file, log_line)
        self.access = Access(config.keys, config.signing_key, self.guard, self.deny)
        self.pages: dict[str, Page] = {}
        self._offload = config.offload
        self._depends_on_address = config.deny_file is not None or any(
            key.networks for key in config.keys
        )
        self._trusted = config.trusted_proxies
        configured = config.base_url.partition("://")[2].partition("/")[0]
        self._own_names = OWN_NAMES | {config.host.strip("[]").lower(), host_name(configured)}
        self._by_asgi = by_asgi

    def close(self) -> None:
        """Close what is held open."""
        self.files.close()

    def may_block(self, asked: HttpRequest) -> bool:
        """Whether answering could take long, so that it should not hold others up."""
        if asked.route.resource != "files" or parse_variant_request(asked.query) is not None:
            return True
        return _takes_gzip(asked) and may_be_compressible(
            asked.route.names[-1] if asked.route.names else ""
        )

    def answer(self, asked: HttpRequest, *, make: bool = True) -> HttpResponse:
        """Never raises for anything that a client can send; only Unmade, where a copy would have to be
        rendered first and ``make`` is False. Whoever asks then waits for a turn of ``renders``.
        """
        if asked.method not in ("GET", "HEAD"):
            return plain(405, "Only GET and HEAD.", "method", Allow="GET, HEAD")
        address = client_address(asked.peer, asked.headers, self._trusted)
        asker = Client(address, asked.headers)
        try:
            if not self._is_open(asked, asker):
                grant = self.access.admit(asked.route, asked.query, asker)
            elif not self._is_misdirected(asked):
                grant = Grant("loopback")
            elif "authorization" in asked.headers:
                grant = self.access.admit(asked.route, asked.query, asker)
            else:
                return plain(421, "This host name is not this server's.", "foreign host")
        except Denied as denied:
            extra = {"Retry_After": str(denied.retry_after)} if denied.retry_after else {}
            return plain(denied.status, denied.text, denied.reason, denied.delay, **extra)
        page = self.pages.get(asked.route.resource)
        if asked.route.resource != "files" and page is None:
            return plain(404, "Not found.", "no such page")
        try:
            if page:
                return page.answer(asked.route, asked.query, grant)
            return self._file(asked, make, grant)
        except NotCached as unmade:
            unmade.requester = Requester(address, grant.holder)
            raise
        except Refused:
            return plain(403, "Forbidden.", "refused path")
        except Missing:
            return plain(404, "Not found.", "missing")
        except (OSError, MemoryError) as problem:
            if not is_exhausted(problem):
                raise
            return plain(503, "The server is short of files or memory.", "short", Retry_After="5")

    def _is_open(self, asked: HttpRequest, asker: Client) -> bool:
        """Figures are for everybody on this machine; behind a proxy nobody is known to be."""
        return (
            asked.route.resource == "metrics"
            and asked.route.key is None
            and asker.address in ("127.0.0.1", "::1")
            and "x-forwarded-for" not in asked.headers
            and "forwarded" not in asked.headers
        )

    def _is_misdirected(self, asked: HttpRequest) -> bool:
        """Whether a page in a browser here asks under a name of its own that it has turned to this
        machine (DNS rebinding): then the name is none of ours (RFC 9110, 7.4).
        """
        name = host_name(asked.headers.get("host", ""))
        return not name or name not in self._own_names

    def _file(self, asked: HttpRequest, make: bool, grant: Grant) -> HttpResponse:
        names = asked.route.names
        if not any(names):
            return plain(400, "No file name.", "no name")
        check_names(names)
        mount = self.mounts.get(asked.route.alias)
        if mount is None:
            raise Missing
        file = self.files.acquire(mount, names)
        return self._lent(file, lambda: self._of(mount, file, names, asked, make, grant))

    def _lent(self, file: OpenFile, answer: Callable[[], HttpResponse]) -> HttpResponse:
        """An answer; its file is given back here unless the answer carries it."""
        try:
            reply = answer()
        except BaseException:
            self.files.release(file)
            raise
        if reply.file is not file:
            self.files.release(file)
        return reply

    def _of(
        self,
        mount: Mount,
        file: OpenFile,
        names: Sequence[str],
        asked: HttpRequest,
        make: bool,
        grant: Grant,
    ) -> HttpResponse:
        """The file as it is, or the variant that is asked for: what an address does not sign (its size
        and quality) is taken in steps there.
        """
        extra: dict[str, str] = {"Cache-Control": mount.cache_control}
        wish = parse_variant_request(asked.query)
        if wish is not None and grant.expires is not None:
            wish = wish.rounded
        try:
            if wish is not None:
                made = self.variants.image(file, names[-1], wish, create=make)
            elif mount.compress and self.variants.is_compressible(file):
                extra["Vary"] = "Accept-Encoding"
                made = file
                if _takes_gzip(asked):
                    made = self.variants.gzipped(file, create=make)
                    extra["Content-Encoding"] = "gzip"
            else:
                made = file
        except VariantError as problem:
            return plain(problem.status, str(problem), "no variant")
        if asked.query.get("download") == "1":
            disposition = made.headers["Content-Disposition"]
            extra["Content-Disposition"] = disposition.replace("inline;", "attachment;", 1)
        if made is file:
            return self._send(file, asked, extra, mount.alias)
        return self._lent(made, lambda: self._send(made, asked, extra, CACHE))

    def _send(
        self, file: OpenFile, asked: HttpRequest, extra: Mapping[str, str], alias: str
    ) -> HttpResponse:
        """Conditions, parts, headers. ``alias``: what a server in front knows its folder by."""
        head = {**SAFE, **file.headers, **extra}
        if self._offload and file.size > _keeps(asked):
            for name in ("ETag", "Last-Modified", "Accept-Ranges"):
                del head[name]  # the server in front has its own
            where = quote(f"{self._offload}/{alias}/{_relative(file)}")
            return HttpResponse(
                200, {**head, "X-Accel-Redirect": where, "Content-Length": "0"}, file=file
            )
        status = precondition(asked.headers, file.etag, file.modified)
        if status == 304:
            kept = ("ETag", "Last-Modified", "Cache-Control", "Vary", *SAFE)
            return HttpResponse(
                304, {k: v for k, v in head.items() if k in kept}, reason="not modified"
            )
        if status == 412:
            return plain(412, "The file has changed.", "changed")
        try:
            wanted = None
            if asked.method == "GET":  # for other methods a Range means nothing (RFC 9110, 14.2)
                wanted = parse_range(asked.headers, file.size, file.etag, file.modified)
        except RangeNotSatisfiable:
            return plain(416, "No such part.", "no part", Content_Range=f"bytes */{file.size}")
        status, pieces = 200, _whole(file)
        if wanted is not None and (len(wanted) == 1 or self._by_asgi):
            status = 206
            pieces, told = _in_parts(wanted, file)
            head |= told
        elif self._offload and self._may_be_kept(head):
            head["X-Accel-Expires"] = str(PROXY_CACHE_SECONDS)
        length = sum(len(piece.before) + piece.length for piece in pieces)
        head["Content-Length"] = str(length)
        return HttpResponse(status, head, file=file, pieces=pieces)

    def _may_be_kept(self, head: Mapping[str, str]) -> bool:
        """Whether a server in front may keep the answer: the same for all who bring that key."""
        return not self._depends_on_address and head["Cache-Control"].startswith("public")


def host_name(host: str) -> str:
    """The name or address in a Host header (RFC 9110, 7.2), without port, brackets and final dot."""
    name, _, port = host.strip(" \t").rpartition(":")
    if not name or (port and parse_count(port, clamp=True) is None):
        name = host.strip(" \t")
    if name.startswith("["):
        return name[1:-1].lower() if name.endswith("]") else ""
    return name.removesuffix(".").lower()


def _takes_gzip(asked: HttpRequest) -> bool:
    """Whether a text may be sent compressed; a part of it is one of the text itself."""
    asks_for_part = asked.method == "GET" and "range" in asked.headers
    return not asks_for_part and accepts_gzip(asked.headers.get("accept-encoding", ""))


def _whole(file: OpenFile) -> tuple[Piece, ...]:
    return (Piece(b"", 0, file.size),)


def _in_parts(
    wanted: Sequence[tuple[int, int]], file: OpenFile
) -> tuple[tuple[Piece, ...], dict[str, str]]:
    """The pieces of a 206, and the headers that tell of them."""
    if len(wanted) > 1:
        pieces, kind = several(wanted, file.size, file.kind)
        return pieces, {"Content-Type": kind}
    start, length = wanted[0]
    told = f"bytes {start}-{start + length - 1}/{file.size}"
    return (Piece(b"", start, length),), {"Content-Range": told}


def _keeps(asked: HttpRequest) -> int:
    """The most bytes of a body that whoever is in front keeps; -1 for none, not even an empty one."""
    told = parse_count(asked.headers.get(KEEPS, ""), clamp=True)
    return -1 if told is None else told


def _relative(file: OpenFile) -> str:
    return os.path.relpath(file.path, file.root).replace(os.sep, "/")
