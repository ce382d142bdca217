"""HTTP through requests: for TLS, proxies and logins from ~/.netrc."""

from __future__ import annotations

import ssl
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

import requests
from requests.adapters import HTTPAdapter
from urllib3 import disable_warnings
from urllib3.exceptions import InsecureRequestWarning, NewConnectionError

from comfyui_pipeline.engine.server_url import ServerUrl
from comfyui_pipeline.engine.time_limited import OutOfTime, within
from comfyui_pipeline.engine.transport import (
    CONNECT_SECONDS,
    NO_TLS,
    PIECE,
    Disconnected,
    InvalidResponse,
    NotConnected,
    Request,
)


class RequestsTransport:
    """Implements ``transport.Transport``. Loopback addresses are never reached through a proxy."""

    def __init__(
        self, url: ServerUrl, headers: Mapping[str, str], timeout: float, idle_connections: int
    ) -> None:
        self._url = url
        self._timeout = timeout
        self._session = requests.Session()
        has_login = any(name.lower() == "authorization" for name in headers)
        # With a header of ours ~/.netrc would replace it, so the environment is not read then.
        self._session.trust_env = not url.is_loopback and not has_login
        self._session.headers["Accept-Encoding"] = "identity"
        self._session.headers.update(headers)
        tls = url.tls
        self._verify: bool | str | None = False if tls.insecure else tls.ca_file or None
        if tls.insecure:  # or each request prints a warning
            disable_warnings(InsecureRequestWarning)
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(pool_maxsize=idle_connections))

    def open(self, request: Request, until: float) -> RequestsResponse:
        def send() -> requests.Response:
            return self._session.request(
                request.method,
                self._url.base + self._url.with_query(request.target),
                headers=dict(request.headers),
                data=request.body,
                timeout=(min(CONNECT_SECONDS, self._timeout), self._timeout),
                verify=self._verify,
                allow_redirects=False,  # the login goes to this server only
                stream=True,
            )

        try:
            left = max(0.01, until - time.monotonic())
            return RequestsResponse(within(left, send, discard=requests.Response.close))
        except OutOfTime:
            raise
        except requests.RequestException as error:
            raise _translated(error) from error
        except Exception as error:  # the libraries raise many kinds where a server speaks no HTTP
            raise InvalidResponse(type(error).__name__) from error

    def close(self) -> None:
        self._session.close()


class RequestsResponse:
    """Implements ``transport.Response``."""

    def __init__(self, response: requests.Response) -> None:
        self.status = response.status_code
        self.headers: Mapping[str, str] = response.headers
        self._response = response
        # Decompressed by the caller: the library has no limit for what comes out.
        self._pieces = response.raw.stream(PIECE, decode_content=False)

    def read(self, until: float) -> bytes:
        def read() -> bytes:
            piece: bytes = next(self._pieces, b"")
            return piece

        return within(until - time.monotonic(), read, interrupt=self._interrupt)

    def close(self) -> None:
        self._response.close()

    def _interrupt(self) -> None:
        """End the read that another thread is in: only then can the response be closed."""
        with suppress(Exception):
            self._response.raw.shutdown()


def _translated(error: requests.RequestException) -> Exception:
    causes = _causes(error)
    if any(isinstance(cause, NewConnectionError) for cause in causes):
        return NotConnected(refused=True)
    if isinstance(error, requests.exceptions.SSLError):
        return NotConnected(refused=False, certificate=_certificate_problem(causes))
    if isinstance(error, requests.ConnectTimeout):
        return NotConnected(refused=False)
    if isinstance(error, requests.Timeout):
        return OutOfTime()
    return Disconnected(type(error).__name__)


def _causes(error: BaseException) -> list[BaseException]:
    """The error and what it was raised for: urllib3 nests the reason a few levels deep."""
    found = [error]
    for _ in range(6):
        current = found[-1]
        first = current.args[0] if current.args else None
        reason = getattr(current, "reason", None) or first
        if not isinstance(reason, BaseException):
            break
        found.append(reason)
    return found


def _certificate_problem(causes: Sequence[BaseException]) -> str:
    """OpenSSL's words for it; "no TLS" where the server answers something else."""
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return cause.verify_message.rstrip(".") or "not valid"
        if isinstance(cause, ssl.SSLError) and cause.reason == "WRONG_VERSION_NUMBER":
            return NO_TLS
    return "the TLS handshake failed"
