"""Requests to the ComfyUI server: time limits, retries, bounds, and errors in words.

``transport`` says how the bytes travel.
"""

from __future__ import annotations

import json
import math
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import urlencode

from comfyui_pipeline.engine import server_url
from comfyui_pipeline.engine.json_shape import MAX_VALUES, check_depth, count_values
from comfyui_pipeline.engine.server_url import USUAL_TLS, ServerUrl, Tls
from comfyui_pipeline.engine.time_limited import OutOfTime
from comfyui_pipeline.engine.transport import (
    NO_TLS,
    PIECE,
    InvalidResponse,
    NotConnected,
    Request,
    Response,
    Transport,
)
from comfyui_pipeline.errors import EngineError, ServerUnreachable
from comfyui_pipeline.process.time_limit import FETCH_GRACE
from input_server.light_dataclasses import dataclass, field
from input_server.parse_values import parse_count

TRIES = 3
FIRST_WAIT = 0.25
"""Seconds before the second try; each further wait is twice as long. Random by half."""
LONGEST_WAIT = 5.0
"""Seconds of a ``Retry-After`` that are waited at most."""
TOO_MANY = 429
"""What a proxy that limits requests answers (RFC 6585 4)."""
GATEWAY = frozenset({502, 503, 504, 530}) | frozenset(range(520, 528))
"""What a proxy answers when ComfyUI behind it does not: RFC 9110 15.6, and Cloudflare's 52x, 530."""
BUSY = frozenset({TOO_MANY, 502, 503, 504})
"""Statuses after which the same GET is tried again."""
LOCAL_PORTS = (8188, 8000)
"""Default ports of ComfyUI and of ComfyUI Desktop."""
MAX_PARALLEL_REQUESTS = 8
MAX_BODY = 64 * 2**20
"""Bytes of one JSON response, decompressed. The largest known, ``/object_info`` of a server with
hundreds of custom nodes, has about 20 MB."""
DEPTH_CHECKED = 4 * 2**20
"""Bytes up to which the depth is checked: only a complete ``/object_info`` is larger."""
T = TypeVar("T")
ACCESS_HINTS = {
    401: "It requires a login: set or correct COMFYUI_AUTH in config.env, such as `bearer TOKEN`, or "
    "append ?token=… to COMFYUI_BASE_URL if its web page is opened that way. COMFYUI_API_KEY is no "
    "login: it pays for partner nodes.",
    403: "If it requires a login, set or correct COMFYUI_AUTH in config.env (COMFYUI_API_KEY is no "
    "login). ComfyUI itself refuses requests whose Origin header differs from Host, as a proxy in "
    "front of it may cause: let the proxy pass both on or remove Origin, or start ComfyUI with "
    "--enable-cors-header.",
}
"""What to do about a refused request; ComfyUI's own 403 comes from ``create_origin_only_middleware``
(server.py)."""
TRUST_IT = (
    "Set COMFYUI_CA_FILE in config.env to that certificate, or to the one of its CA, as a PEM file. "
    "COMFYUI_INSECURE_TLS=true accepts any certificate; use it only where you trust the network."
)
CHECK_BASE_URL = "Start ComfyUI there, or correct COMFYUI_BASE_URL in config.env."


@dataclass(frozen=True, slots=True)
class Reply:
    """A response that was read to its end; the names of ``headers`` ignore case."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class StreamedReply:
    """A response whose body is read from ``pieces``: decompressed, at most PIECE bytes each.

    The pieces raise EngineError when the body breaks off or takes too long.
    """

    status: int
    headers: Mapping[str, str]
    pieces: Iterator[bytes]


Answer = TypeVar("Answer", Reply, Response)


class Http:
    """Requests to one server.

    ``timeout``: seconds until a response has to begin. ``deadline``: when the call has to be over
    (``time.monotonic()``): no request lasts beyond it, or beyond ``grace`` seconds after it when it
    begins after the deadline. ``transport``: given by tests; else the lightest one that can reach
    the server. ``local_ports``: where a ComfyUI of this machine may be instead of a closed port.
    """

    def __init__(
        self,
        base_url: str,
        timeout: float,
        headers: Mapping[str, str] | None = None,
        deadline: float = math.inf,
        grace: float = FETCH_GRACE,
        transport: Transport | None = None,
        local_ports: Sequence[int] = LOCAL_PORTS,
        tls: Tls = USUAL_TLS,
    ) -> None:
        self.url = server_url.parse(base_url, tls)
        self._local_ports = local_ports
        self._timeout = timeout
        self._deadline = deadline
        self._grace = grace
        self._transport = transport or choose_transport(self.url, headers or {}, timeout)

    @property
    def shown(self) -> str:
        """The server's URL without user name and password."""
        return self.url.shown

    def get(self, path: str) -> Reply:
        """GET with retries when the server cannot be reached or is busy; any other status returns."""
        return self._retried(lambda: self.once("GET", path))

    def once(
        self,
        method: str,
        path: str,
        *,
        json_body: Any = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        seconds: float = math.inf,
    ) -> Reply:
        """One request without retries, of at most ``seconds`` and MAX_BODY bytes of response.

        Raises Refused, LostReply when the request may have arrived, or EngineError for a body that is
        too large.
        """
        fields = dict(headers or {})
        if json_body is not None:
            body = json.dumps(json_body, allow_nan=False).encode()
            fields["Content-Type"] = "application/json"
        end = self.end(seconds)
        response = self._open(Request(method, path, fields, body), end)
        try:
            content = bytearray()
            for piece in self._pieces(response, path, end):
                content += piece
                if len(content) > MAX_BODY:
                    raise self._too_large(path, f"{MAX_BODY >> 20} MB")
        finally:
            response.close()
        return Reply(response.status, response.headers, bytes(content))

    @contextmanager
    def stream(
        self, path: str, params: Mapping[str, str], headers: Mapping[str, str] | None = None
    ) -> Iterator[StreamedReply]:
        """GET a file that may be larger than memory, until ``grace`` seconds after the deadline.

        Opening it is retried as in ``get``.
        """
        end = self._deadline + self._grace
        request = Request("GET", f"{path}?{urlencode(params)}", headers or {})
        response = self._retried(lambda: self._open(request, end))
        try:
            pieces = self._pieces(response, path, end)
            yield StreamedReply(response.status, response.headers, pieces)
        finally:
            response.close()

    @property
    def is_late(self) -> bool:
        """Whether the deadline is too close for another try."""
        return time.monotonic() + FIRST_WAIT >= self._deadline

    def end(self, seconds: float) -> float:
        """When a request that begins now has to be over, given its own limit."""
        now = time.monotonic()
        last = self._deadline if now < self._deadline else self._deadline + self._grace
        return min(now + seconds, last)

    def json(self, reply: Reply, path: str) -> Any:
        """The JSON in a 200. Raises ServerUnreachable or EngineError when it is something else."""
        if reply.status != 200:
            raise self.unexpected(reply.status, path)
        return self.document(reply, path)

    def value(self, reply: Reply, path: str, parse: Callable[[Any], T]) -> T:
        """What ``parse`` makes of the JSON in a 200. Raises as ``json`` does, and when ``parse`` raises."""
        document = self.json(reply, path)
        try:
            return parse(document)
        except ValueError as error:
            raise self.unexpected(reply.status, path, str(error)) from None

    def document(self, reply: Reply, path: str) -> Any:
        """The JSON of a response, whatever its status. Raises as ``json`` does."""
        try:
            if count_values(reply.body) > MAX_VALUES:
                raise self._too_large(path, f"{MAX_VALUES} values")
            document = json.loads(reply.body)
            if len(reply.body) <= DEPTH_CHECKED:
                check_depth(document)
        except RecursionError:
            raise EngineError(
                f"ComfyUI at {self.shown} responds to {path} with JSON that is nested too deeply.",
                "Check what runs there; a custom node or a queued workflow may be the cause.",
            ) from None
        except ValueError:
            what = "a web page" if b"<html" in reply.body[:2000].lower() else "no JSON"
            raise self.unexpected(reply.status, path, what) from None
        return document

    def unexpected(self, status: int, path: str, detail: str = "") -> EngineError:
        """The error for a response that ComfyUI does not send; ``detail``: what is wrong with it."""
        if status in (401, 403):
            return ServerUnreachable(
                f"The server at {self.shown} refuses access ({status} for {path}).",
                ACCESS_HINTS[status],
            )
        if 300 <= status < 400:
            return ServerUnreachable(
                f"The server at {self.shown} redirects {path} elsewhere ({status}), to a login page "
                "or another URL.",
                "Set COMFYUI_AUTH for a login, or the final URL as COMFYUI_BASE_URL.",
            )
        if status in GATEWAY:
            return Gateway(
                f"The proxy in front of ComfyUI at {self.shown} gets no response from it ({status} "
                f"for {path}).",
                "Check that ComfyUI is running behind it, then call again.",
            )
        if status == TOO_MANY:
            return Limited(
                f"The proxy in front of ComfyUI at {self.shown} accepts no more requests for now "
                f"({status} for {path}).",
                "Call again in a minute, or raise its limit for this client.",
            )
        if status >= 500:
            return EngineError(
                f"ComfyUI at {self.shown} failed on {path} ({status}).",
                "Look for the cause in its console.",
            )
        why = f"{status} for {path}" + (f": {detail}" if detail else "")
        return ServerUnreachable(
            f"The server at {self.shown} is not ComfyUI ({why}).", CHECK_BASE_URL
        )

    def close(self) -> None:
        self._transport.close()

    def _retried(self, request: Callable[[], Answer]) -> Answer:
        for attempt in range(TRIES):
            last, retry_after = attempt == TRIES - 1, ""
            try:
                response = request()
            except (BadCertificate, NotStarted):
                raise
            except ServerUnreachable as error:
                if last or self.is_late:
                    raise self._with_other_port(error) from error
            else:
                if response.status not in BUSY or last:
                    return response
                retry_after = response.headers.get("Retry-After", "")
                if not isinstance(response, Reply):
                    response.close()
            pause(attempt, retry_after)
        raise AssertionError

    def _with_other_port(self, error: ServerUnreachable) -> ServerUnreachable:
        """The error, naming another port of this machine if a ComfyUI answers there."""
        if not isinstance(error, Refused) or not error.refused or not self.url.is_loopback:
            return error
        from comfyui_pipeline.engine.nearby_server import other_port

        port = other_port(self.url, self._local_ports)
        if port is None:
            return error
        found = f"{self.url.scheme}://{self.url.with_port(port).authority}"
        return Refused(
            f"{error.message} A ComfyUI answers at {found}.",
            f"Set COMFYUI_BASE_URL to {found} in config.env if that is the one, or start yours.",
        )

    def _open(self, request: Request, end: float) -> Response:
        """A response whose head was read. Raises Refused, LostReply."""
        path = request.target.partition("?")[0]
        try:
            return self._transport.open(request, min(end, time.monotonic() + self._timeout))
        except NotConnected as error:
            if error.certificate:
                raise self._bad_certificate(error.certificate) from error
            why = "refuses the connection" if error.refused else "cannot be reached"
            raise Refused(
                f"ComfyUI at {self.shown} {why}.", CHECK_BASE_URL, refused=error.refused
            ) from error
        except OutOfTime:
            raise LostReply(
                f"ComfyUI at {self.shown} accepts connections but does not respond.",
                "It hangs or is overloaded; restart it if this persists.",
            ) from None
        except InvalidResponse as error:
            raise LostReply(
                f"The server at {self.shown} does not speak HTTP ({error} for {path}).",
                CHECK_BASE_URL,
            ) from error
        except NotStarted:
            raise
        except Exception as error:  # Disconnected, and what a library may raise
            raise LostReply(
                f"ComfyUI at {self.shown} closed the connection ({path}).", CHECK_BASE_URL
            ) from error

    def _bad_certificate(self, problem: str) -> BadCertificate:
        if problem == NO_TLS:
            plain = f"http{self.shown.removeprefix('https')}"
            return BadCertificate(
                f"The server at {self.shown} does not use TLS.",
                f"Set COMFYUI_BASE_URL to {plain} in config.env.",
            )
        named = "Use a host name of the certificate in COMFYUI_BASE_URL. "
        return BadCertificate(
            f"The certificate of {self.shown} is refused ({problem}).",
            (named if "mismatch" in problem.lower() else "") + TRUST_IT,
        )

    def _pieces(self, response: Response, path: str, end: float) -> Iterator[bytes]:
        """The body, decompressed, in pieces of at most PIECE bytes. Raises LostReply, EngineError."""
        encoding = response.headers.get("Content-Encoding", "").strip().lower()
        started = time.monotonic()
        received = iter(lambda: response.read(end), b"")
        try:
            if encoding in ("", "identity"):
                yield from received
            elif encoding in ("gzip", "x-gzip", "deflate"):
                yield from _decompressed(received)
            else:
                raise EngineError(
                    f"ComfyUI at {self.shown} sends {path} compressed ({encoding[:20]!r}), which was "
                    "not requested.",
                    "A proxy in front of it does this; turn it off there.",
                )
        except (EngineError, GeneratorExit):
            raise
        except OutOfTime:
            raise LostReply(
                f"ComfyUI at {self.shown} sends too slowly: {path} was incomplete after "
                f"{time.monotonic() - started:.0f} s.",
                "It hangs or is overloaded; restart it if this persists.",
            ) from None
        except Exception as error:  # connection errors, bad chunks, bad gzip data
            raise LostReply(
                f"ComfyUI at {self.shown} did not complete its response to {path} "
                f"({type(error).__name__}).",
                "Call again.",
            ) from error

    def _too_large(self, path: str, limit: str) -> EngineError:
        return EngineError(
            f"The server at {self.shown} sends more than {limit} for {path}.",
            "ComfyUI never does that; check COMFYUI_BASE_URL and what runs there.",
        )


class Refused(ServerUnreachable):
    """There was no connection, so the request cannot have arrived.

    ``refused``: the machine answered that nothing listens there.
    """

    def __init__(self, message: str, hint: str = "", *, refused: bool = False) -> None:
        super().__init__(message, hint)
        self.refused = refused


class BadCertificate(Refused):
    """The server's certificate is not trusted, so that nothing was sent."""


class NotStarted(Refused):
    """There is no connection, and what was to start the server did not help (``server_start``)."""


class LostReply(ServerUnreachable):
    """The request may have arrived; its response did not."""


class Gateway(EngineError):
    """A proxy responded in place of ComfyUI, whose state is unknown then."""


class Limited(Gateway):
    """A proxy accepts no more requests for now, so this one did not reach ComfyUI."""


def choose_transport(url: ServerUrl, headers: Mapping[str, str], timeout: float) -> Transport:
    """Plain sockets where they are enough: importing requests takes longer than a short call."""
    if server_url.is_direct(url, headers):
        from comfyui_pipeline.engine.socket_http import SocketTransport

        return SocketTransport(url, headers, timeout, MAX_PARALLEL_REQUESTS)
    from comfyui_pipeline.engine.requests_http import RequestsTransport

    return RequestsTransport(url, headers, timeout, MAX_PARALLEL_REQUESTS)


def pause(attempt: int, retry_after: str = "") -> None:
    """Wait before the next try: longer each time, and at random, so that callers spread.

    ``retry_after``: the server's own wish in seconds (RFC 9110 10.2.3).
    """
    import random  # only a retry needs it

    wished = min(float(parse_count(retry_after) or 0), LONGEST_WAIT)
    time.sleep(max(wished, FIRST_WAIT * 2**attempt * random.uniform(0.5, 1.5)))


def _decompressed(received: Iterator[bytes]) -> Iterator[bytes]:
    """Gzip or zlib data (RFC 9110 8.4.1), in pieces of at most PIECE bytes."""
    unpack = zlib.decompressobj(zlib.MAX_WBITS | 32)
    for packed in received:
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
