"""The file server's response to a request, whichever server received it and sends the response."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from ..auth.access import Access, Client, Denied, Grant
from ..auth.deny_list import DenyList
from ..auth.lockout import LockoutTracker
from ..auth.loopback import LoopbackAccess
from ..auth.networks import client_address
from ..images.memory import MemoryBudget
from ..images.render_queue import RenderQueue, Requester
from ..images.variant_request import VariantError
from ..images.variants import NotCached, VariantCache
from ..log import log_line
from ..mounts.mount import Mount
from ..mounts.open_files import MAX_CACHED, OpenFile, OpenFileCache
from ..mounts.resolve import Missing, Refused, check_names, is_exhausted
from ..settings import Config
from ..urls import Route
from .cors import Cors
from .file_response import file_response
from .offload import Offload
from .representation import choose_representation, may_need_rendering
from .request import HttpRequest
from .response import HttpResponse, text_response


class Page(Protocol):
    """Answers a route that is not a file. May raise Refused and Missing."""

    def answer(self, route: Route, query: Mapping[str, str], grant: Grant) -> HttpResponse: ...


class FileServer:
    """Serves the mounts of one configuration. Thread-safe.

    ``by_asgi``: ``asgi.py`` sends the responses; it can send several ranges of a file, and files that
    stay open. ``pages``: what serves the resources other than files.
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
        self.pages: dict[str, Page] = {}
        self._access = Access(
            config.keys,
            config.signing_key,
            LockoutTracker(config.lockout, log_line),
            DenyList(config.deny_file, log_line),
        )
        self._loopback = LoopbackAccess(config.host, config.base_url)
        self._trusted = config.trusted_proxies
        self._offload = _offload(config)
        self._by_asgi = by_asgi
        self._cors = Cors(config.cors_origins)

    def close(self) -> None:
        """Close the open files."""
        self.files.close()

    def client_address(self, peer: str, headers: Mapping[str, str]) -> str:
        """Return the address of the client, which may be behind a trusted proxy."""
        return client_address(peer, headers, self._trusted)

    def may_block(self, request: HttpRequest) -> bool:
        """Return whether ``answer`` may take long, so that it should run in a thread."""
        return request.route.resource != "files" or may_need_rendering(request)

    def answer(self, request: HttpRequest, *, may_render: bool = True) -> HttpResponse:
        """Return the response. Its ``file`` has to be released (``files.release``) once sent.

        Raises NotCached if a variant has to be rendered first and ``may_render`` is False; the caller
        then waits for a turn of ``renders`` and calls again. No other request raises anything.
        """
        if request.route.resource == "metrics":
            return self._answer(request, may_render=may_render)
        preflight = self._cors.preflight(request.method, request.headers)
        response = preflight or self._answer(request, may_render=may_render)
        return self._cors.allowed(response, request.headers)

    def _answer(self, request: HttpRequest, *, may_render: bool) -> HttpResponse:
        if request.method not in ("GET", "HEAD"):
            return text_response(405, "Only GET and HEAD are allowed.", "method", Allow="GET, HEAD")
        address = self.client_address(request.peer, request.headers)
        try:
            grant = self._authenticate(
                request.route, request.query, Client(address, request.headers)
            )
            if request.route.resource == "files":
                return self._file(request, grant, may_render)
            return self._page(request, grant)
        except NotCached as error:
            error.requester = Requester(address, grant.holder)
            raise
        except Denied as error:
            retry = {"Retry_After": str(error.retry_after)} if error.retry_after else {}
            return text_response(error.status, error.text, error.reason, error.delay, **retry)
        except Refused:
            return text_response(403, "Forbidden.", "refused path")
        except Missing:
            return text_response(404, "Not found.", "missing")
        except (OSError, MemoryError) as error:
            if not is_exhausted(error):
                raise
            text = "The server is out of file descriptors or memory. Try again later."
            return text_response(503, text, "short", Retry_After="5")

    def _authenticate(self, route: Route, query: Mapping[str, str], client: Client) -> Grant:
        """Return the grant of a request. Metrics need no key on this machine. Raises Denied."""
        if route.resource == "metrics" and route.key is None and self._loopback.applies_to(client):
            if self._loopback.is_own_host(client):
                return Grant("loopback")
            if "authorization" not in client.headers:
                raise Denied(421, "This server does not serve this host name.", "foreign host")
        return self._access.authenticate(route, query, client)

    def _page(self, request: HttpRequest, grant: Grant) -> HttpResponse:
        page = self.pages.get(request.route.resource)
        if page is None:
            return text_response(404, "Not found.", "no such page")
        return page.answer(request.route, request.query, grant)

    def _file(self, request: HttpRequest, grant: Grant, may_render: bool) -> HttpResponse:
        names = request.route.names
        if not any(names):
            return text_response(400, "The URL has no file name.", "no name")
        check_names(names)
        mount = self.mounts.get(request.route.alias)
        if mount is None:
            raise Missing
        file = self.files.acquire(mount, names)
        return self._release_unless_sent(
            file, lambda: self._represent(request, grant, mount, file, may_render)
        )

    def _represent(
        self, request: HttpRequest, grant: Grant, mount: Mount, file: OpenFile, may_render: bool
    ) -> HttpResponse:
        try:
            chosen = choose_representation(
                self.variants, mount, file, request, grant, may_render=may_render
            )
        except VariantError as error:
            return text_response(error.status, str(error), "no variant")

        def respond() -> HttpResponse:
            return file_response(request, chosen, self._offload, multipart=self._by_asgi)

        return respond() if chosen.file is file else self._release_unless_sent(chosen.file, respond)

    def _release_unless_sent(
        self, file: OpenFile, respond: Callable[[], HttpResponse]
    ) -> HttpResponse:
        """Return ``respond()``, and release the file unless the response sends it."""
        try:
            response = respond()
        except BaseException:
            self.files.release(file)
            raise
        if response.file is not file:
            self.files.release(file)
        return response


def _offload(config: Config) -> Offload | None:
    by_address = config.deny_file is not None or any(key.networks for key in config.keys)
    return Offload(config.offload, not by_address) if config.offload else None
