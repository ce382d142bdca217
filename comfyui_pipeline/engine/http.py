"""HTTP to one ComfyUI server: in time, bounded, tried again where allowed; errors in words."""

from __future__ import annotations

import ipaddress
import json
import math
import random
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, TypeVar
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter

from comfyui_pipeline.engine.timeouts import Late, within
from comfyui_pipeline.errors import EngineError, ServerUnreachable
from comfyui_pipeline.process.time_limit import FETCH_GRACE_SECONDS
from input_server.light_dataclasses import dataclass, field

TRIES = 3
FIRST_WAIT = 0.25
"""Seconds before the second try; each further wait is twice as long, and jittered by half."""
BUSY = frozenset({502, 503, 504})
GATEWAY = BUSY | frozenset(range(520, 528)) | {530}
"""What a proxy answers when ComfyUI behind it does not: RFC 9110 15.6, and Cloudflare's 52x, 530."""
MAX_PARALLEL = 8
CONNECT_SECONDS = 5.0
MAX_BODY = 64 * 2**20
"""Bytes of one JSON response, decompressed. The largest known, ``/object_info`` of a server with
hundreds of custom nodes, has about 20 MB."""
MAX_VALUES = 2_000_000
"""Values in one JSON response: each takes about 100 bytes here, so that 64 MB of ``[],[],…`` would
need more than a gigabyte."""
MAX_DEPTH = 200
"""Levels of lists and objects in one JSON response; a history entry with its workflow has about 20."""
DEPTH_CHECKED = 4 * 2**20
"""Bytes up to which the depth is looked at: beyond there is only ``/object_info`` as a whole."""
PIECE = 2**18
T = TypeVar("T")
SET_IT = "Start ComfyUI there, or correct COMFYUI_BASE_URL in config.env."


@dataclass(frozen=True, slots=True)
class Reply:
    """A response that was read to its end; ``headers`` ignores case."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Streamed:
    """A response whose body is still to come, decompressed, in pieces of at most PIECE bytes.

    The pieces raise EngineError when the body breaks off or does not come in time.
    """

    status: int
    headers: Mapping[str, str]
    pieces: Iterator[bytes]


class Http:
    """One server. Loopback addresses are never reached through a proxy.

    ``timeout``: seconds until a response has to begin. ``deadline``: when the call has to be over
    (``time.monotonic()``): no request lasts beyond it, or beyond ``after`` seconds after it
    where it is begun later than that.
    """

    def __init__(
        self,
        base_url: str,
        timeout: float,
        log: Callable[[str], None],
        headers: Mapping[str, str] | None = None,
        deadline: float = math.inf,
        after: float = FETCH_GRACE_SECONDS,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self._timeout = timeout
        self._log = log
        self._deadline = deadline
        self._after = after
        self._session = requests.Session()
        self._session.trust_env = not is_loopback(base_url)
        self._session.headers["Accept-Encoding"] = "identity"
        self._session.headers.update(headers or {})
        if headers and "Authorization" in headers:
            self._session.trust_env = False  # or ~/.netrc would take the header's place
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(pool_maxsize=MAX_PARALLEL))

    @property
    def shown(self) -> str:
        """The address without a user's name and password."""
        parts = urlsplit(self.base_url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

    def get(self, path: str, **kind: Any) -> Reply:
        """GET, tried again when the server cannot be reached or is busy; any status but a busy one."""
        return self._repeated(lambda: self.once("GET", path, **kind), lambda reply: reply.status)

    def once(self, method: str, path: str, *, seconds: float = math.inf, **kind: Any) -> Reply:
        """One request, one try, at most MAX_BODY and so many seconds.

        Raises Refused, LostReply when it may have arrived, or EngineError for a body that is too
        large.
        """
        end = self.end(seconds)
        response = self._open(method, path, end, kind)
        try:
            body = self._timed(end, path, response, lambda: self._body(response, path))
        finally:
            _hang_up(response)
        return Reply(response.status_code, response.headers, body)

    @contextmanager
    def stream(self, path: str, **kind: Any) -> Iterator[Streamed]:
        """GET a file: the response, whose body may be larger than what fits into memory.

        Opening it is tried again as with ``get``. It may take until ``after`` seconds after the deadline.
        """
        end = self._deadline + self._after
        response = self._repeated(
            lambda: self._open("GET", path, end, kind), lambda response: response.status_code
        )
        try:
            pieces = self._pieces(response, path)

            def piece() -> bytes:
                return self._timed(end, path, response, lambda: next(pieces, b""))

            yield Streamed(response.status_code, response.headers, iter(piece, b""))
        finally:
            _hang_up(response)

    @property
    def is_late(self) -> bool:
        """Whether there is no time before the deadline to try anything once more."""
        return time.monotonic() + FIRST_WAIT >= self._deadline

    def end(self, seconds: float) -> float:
        """When a request that begins now has to be over, given its own limit."""
        now = time.monotonic()
        last = self._deadline if now < self._deadline else self._deadline + self._after
        return min(now + seconds, last)

    def json(self, reply: Reply, path: str) -> Any:
        """The JSON in a 200. Raises ServerUnreachable or EngineError when it is something else."""
        if reply.status != 200:
            raise self.odd(reply.status, path)
        return self.document(reply, path)

    def value(self, reply: Reply, path: str, read: Callable[[Any], T]) -> T:
        """What ``read`` makes of the JSON in a 200. Raises as ``json`` does, and where it raises."""
        document = self.json(reply, path)
        try:
            return read(document)
        except ValueError as error:
            raise self.odd(reply.status, path, str(error)) from None

    def document(self, reply: Reply, path: str) -> Any:
        """The JSON of a response, whatever its status. Raises as ``json`` does."""
        try:
            if _values(reply.body) > MAX_VALUES:
                raise self._too_large(path, f"{MAX_VALUES} values")
            document = json.loads(reply.body)
            if len(reply.body) <= DEPTH_CHECKED:
                check_depth(document)
        except RecursionError:
            raise EngineError(
                f"ComfyUI at {self.shown} answers {path} with JSON that is nested too deeply.",
                "Look at what answers there; a custom node or a queued workflow may be the cause.",
            ) from None
        except ValueError:
            raise self.odd(reply.status, path) from None
        return document

    def odd(self, status: int, path: str, what: str = "") -> EngineError:
        """What to say of an answer that ComfyUI does not give; ``what``: what is wrong with it."""
        if status in (401, 403):
            return ServerUnreachable(
                f"The server at {self.shown} refuses access ({status} for {path}).",
                "A login stands before it: set COMFYUI_AUTH in config.env, or correct it.",
            )
        if 300 <= status < 400:
            return ServerUnreachable(
                f"The server at {self.shown} sends {path} elsewhere ({status}), to a "
                "login page or another address.",
                "Set COMFYUI_AUTH for a login, or the final address as COMFYUI_BASE_URL.",
            )
        if status in GATEWAY:
            return Gateway(
                f"The proxy before ComfyUI at {self.shown} gets no answer from it ({status} for "
                f"{path}).",
                "Look whether ComfyUI runs behind it; call again.",
            )
        if status >= 500:
            return EngineError(
                f"ComfyUI at {self.shown} failed on {path} ({status}).",
                "Its own console says why.",
            )
        detail = f"{status} for {path}" + (f": {what}" if what else "")
        return ServerUnreachable(f"What answers at {self.shown} is not ComfyUI ({detail}).", SET_IT)

    def close(self) -> None:
        self._session.close()

    # -- reading -----------------------------------------------------------------------------

    def _repeated(self, request: Callable[[], T], status: Callable[[T], int]) -> T:
        for attempt in range(TRIES):
            last = attempt == TRIES - 1
            try:
                answer = request()
            except ServerUnreachable:
                if last or self.is_late:
                    raise
            else:
                if status(answer) not in BUSY or last:
                    return answer
                if isinstance(answer, requests.Response):
                    _hang_up(answer)
            pause(attempt)
        raise AssertionError

    def _open(
        self, method: str, path: str, end: float, kind: Mapping[str, Any]
    ) -> requests.Response:
        """A response whose head has been read."""
        left = max(0.01, min(self._timeout, end - time.monotonic()))
        options = {
            "timeout": (min(CONNECT_SECONDS, self._timeout), self._timeout),
            "allow_redirects": False,  # a login's header goes to this server alone
            **kind,
            "stream": True,
        }
        try:
            return within(
                left,
                lambda: self._session.request(method, self.base_url + path, **options),
                discard=_hang_up,
            )
        except Late:
            raise self._silent() from None
        except requests.RequestException as error:
            raise self._unreachable(error) from error
        except (
            Exception
        ) as error:  # the HTTP libraries raise all kinds at a server that speaks none
            raise self._no_http(path, error) from error

    def _timed(
        self, end: float, path: str, response: requests.Response, work: Callable[[], bytes]
    ) -> bytes:
        begun = time.monotonic()
        try:
            return within(end - begun, work, interrupt=lambda: _cut(response))
        except Late:
            raise LostReply(
                f"ComfyUI at {self.shown} sends too slowly: {path} had not arrived after "
                f"{time.monotonic() - begun:.0f} s.",
                "It hangs or is overloaded; restart it if that stays so.",
            ) from None

    def _body(self, response: requests.Response, path: str) -> bytes:
        body = bytearray()
        for piece in self._pieces(response, path):
            body += piece
            if len(body) > MAX_BODY:
                raise self._too_large(path, f"{MAX_BODY >> 20} MB")
        return bytes(body)

    def _pieces(self, response: requests.Response, path: str) -> Iterator[bytes]:
        """The body, decompressed here, as the library's own way has no limit to what comes out."""
        encoding = response.headers.get("Content-Encoding", "").strip().lower()
        sent = response.raw.stream(PIECE, decode_content=False)
        try:
            if encoding in ("", "identity"):
                yield from sent
            elif encoding in ("gzip", "x-gzip", "deflate"):
                yield from _inflated(sent)
            else:
                raise EngineError(
                    f"ComfyUI at {self.shown} answers {path} compressed ({encoding[:20]!r}), which it "
                    "was not asked for.",
                    "A proxy before it does that; turn it off there.",
                )
        except (EngineError, GeneratorExit):
            raise
        except Exception as error:  # as in _open
            raise self._broken(path, error) from error

    # -- wording -----------------------------------------------------------------------------

    def _too_large(self, path: str, limit: str) -> EngineError:
        return EngineError(
            f"What answers at {self.shown} sends more than {limit} for {path}.",
            "ComfyUI never does; look at COMFYUI_BASE_URL, and at what runs there.",
        )

    def _unreachable(self, error: requests.RequestException) -> ServerUnreachable:
        if isinstance(error, requests.ConnectTimeout | requests.exceptions.SSLError) or refused(
            error
        ):
            why = "refuses the connection" if refused(error) else "cannot be reached"
            return Refused(f"ComfyUI at {self.shown} {why}.", SET_IT)
        if isinstance(error, requests.Timeout):
            return self._silent()
        return LostReply(f"ComfyUI at {self.shown} broke off the connection.", SET_IT)

    def _silent(self) -> LostReply:
        return LostReply(
            f"ComfyUI at {self.shown} takes connections but does not answer.",
            "It hangs or is overloaded; restart it if that stays so.",
        )

    def _no_http(self, path: str, error: Exception) -> LostReply:
        return LostReply(
            f"What answers at {self.shown} does not speak HTTP ({type(error).__name__} for {path}).",
            SET_IT,
        )

    def _broken(self, path: str, error: Exception) -> LostReply:
        return LostReply(
            f"ComfyUI at {self.shown} broke off its answer to {path} ({type(error).__name__}).",
            "Call again.",
        )


class Refused(ServerUnreachable):
    """Nobody takes connections there, so the request cannot have arrived."""


class LostReply(ServerUnreachable):
    """The request may have arrived, its answer did not."""


class Gateway(EngineError):
    """A proxy answered in place of ComfyUI, of which nothing is known then."""


def refused(error: BaseException) -> bool:
    """Whether no connection came about at all, so that nothing can have arrived."""
    from urllib3.exceptions import NewConnectionError

    seen: BaseException | None = error
    for _ in range(6):
        reason = getattr(seen, "reason", None) or (seen.args[0] if seen and seen.args else None)
        if isinstance(reason, NewConnectionError):
            return True
        seen = reason if isinstance(reason, BaseException) else None
    return False


def pause(attempt: int) -> None:
    """Wait before the next try: growing, and jittered so that many callers do not come at once."""
    time.sleep(FIRST_WAIT * 2**attempt * random.uniform(0.5, 1.5))


def is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def as_object(value: Any) -> Mapping[str, Any]:
    """A JSON object, or an empty one where the server sent something else."""
    return value if isinstance(value, dict) else {}


def as_list(value: Any) -> list[Any]:
    """A JSON list, or an empty one where the server sent something else."""
    return value if isinstance(value, list) else []


def _hang_up(response: requests.Response) -> None:
    """Close it: a connection whose body was read to its end can be used again."""
    response.close()


def _cut(response: requests.Response) -> None:
    """End the read that another thread is in: only then can the response be closed."""
    with suppress(Exception):
        response.raw.shutdown()


def _inflated(sent: Iterator[bytes]) -> Iterator[bytes]:
    """What gzip or zlib packed (RFC 9110 8.4.1), in pieces of at most PIECE bytes."""
    unpack = zlib.decompressobj(zlib.MAX_WBITS | 32)
    for packed in sent:
        while packed:
            if unpack.eof:  # a further gzip member
                unpack = zlib.decompressobj(zlib.MAX_WBITS | 32)
            if piece := unpack.decompress(packed, PIECE):
                yield piece
            packed = unpack.unconsumed_tail or unpack.unused_data
    while not unpack.eof:
        piece = unpack.decompress(unpack.unconsumed_tail, PIECE)
        if not piece:
            raise EOFError("the compressed body ends too early")
        yield piece


def _values(body: bytes) -> int:
    """At least as many as the values in a JSON text."""
    return sum(body.count(mark) for mark in (b",", b"[", b"{"))


def check_depth(document: Any) -> None:
    """Raise RecursionError when it has more than MAX_DEPTH levels; without recursion itself."""
    level = [document]
    for _ in range(MAX_DEPTH):
        level = (
            [
                inner
                for outer in level
                for inner in (outer.values() if isinstance(outer, dict) else outer)
                if isinstance(inner, (dict, list))
            ]
            if level and isinstance(level[0], (dict, list))
            else []
        )
        if not level:
            return
    raise RecursionError
