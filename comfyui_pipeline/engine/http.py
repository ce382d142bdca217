"""HTTP to one ComfyUI server: tries again what may be tried again, and words what goes wrong."""

from __future__ import annotations

import ipaddress
import random
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter

from comfyui_pipeline.errors import EngineError, ServerUnreachable

TRIES = 3
FIRST_WAIT = 0.25
"""Seconds before the second try; each further wait is twice as long, and jittered by half."""
BUSY = frozenset({502, 503, 504})
SIDE_BY_SIDE = 8
SET_IT = "Start ComfyUI there, or correct COMFYUI_BASE_URL in config.env."


class Http:
    """One server. Loopback addresses are never reached through a proxy."""

    def __init__(
        self,
        base_url: str,
        timeout: float,
        log: Callable[[str], None],
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self._timeout = timeout
        self._log = log
        self._session = requests.Session()
        self._session.trust_env = not is_loopback(base_url)
        self._session.headers["Accept-Encoding"] = "identity"
        self._session.headers.update(headers or {})
        if headers and "Authorization" in headers:
            self._session.trust_env = False  # or ~/.netrc would take the header's place
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(pool_maxsize=SIDE_BY_SIDE))

    @property
    def shown(self) -> str:
        """The address without a user's name and password."""
        parts = urlsplit(self.base_url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

    def get(self, path: str, *, stream: bool = False, **kind: Any) -> requests.Response:
        """GET, tried again when the server cannot be reached or is busy; any status but a busy one."""
        for attempt in range(TRIES):
            try:
                answer = self.once("GET", path, stream=stream, **kind)
            except ServerUnreachable:
                if attempt == TRIES - 1:
                    raise
            else:
                if answer.status_code not in BUSY or attempt == TRIES - 1:
                    return answer
            pause(attempt)
        raise AssertionError

    def once(self, method: str, path: str, **kind: Any) -> requests.Response:
        """One request, one try. Raises Refused, or LostReply when it may have arrived."""
        kind.setdefault("timeout", (min(5.0, self._timeout), self._timeout))
        kind.setdefault("allow_redirects", False)  # a login's header goes to this server alone
        try:
            return self._session.request(method, self.base_url + path, **kind)
        except requests.RequestException as error:
            raise self._unreachable(error) from error

    def json(self, answer: requests.Response, path: str) -> Any:
        """The JSON in a 200. Raises ServerUnreachable when it is something else."""
        if answer.status_code != 200:
            raise self.odd(answer, path)
        try:
            return answer.json()
        except ValueError:
            raise self.odd(answer, path) from None

    def odd(self, answer: requests.Response, path: str) -> EngineError:
        """What to say of an answer that ComfyUI does not give."""
        if answer.status_code in (401, 403):
            return ServerUnreachable(
                f"The server at {self.shown} refuses access ({answer.status_code} for {path}).",
                "A login stands before it: set COMFYUI_AUTH in config.env, or correct it.",
            )
        if 300 <= answer.status_code < 400:
            return ServerUnreachable(
                f"The server at {self.shown} sends {path} elsewhere ({answer.status_code}), to a "
                "login page or another address.",
                "Set COMFYUI_AUTH for a login, or the final address as COMFYUI_BASE_URL.",
            )
        if answer.status_code >= 500:
            return EngineError(
                f"ComfyUI at {self.shown} failed on {path} ({answer.status_code}).",
                "Its own console says why.",
            )
        return ServerUnreachable(
            f"What answers at {self.shown} is not ComfyUI ({answer.status_code} for {path}).",
            SET_IT,
        )

    def close(self) -> None:
        self._session.close()

    def _unreachable(self, error: requests.RequestException) -> ServerUnreachable:
        if isinstance(error, requests.ConnectTimeout | requests.exceptions.SSLError) or refused(
            error
        ):
            why = "refuses the connection" if refused(error) else "cannot be reached"
            return Refused(f"ComfyUI at {self.shown} {why}.", SET_IT)
        if isinstance(error, requests.Timeout):
            return LostReply(
                f"ComfyUI at {self.shown} takes connections but does not answer.",
                "It hangs or is overloaded; restart it if that stays so.",
            )
        return LostReply(f"ComfyUI at {self.shown} broke off the connection.", SET_IT)


class Refused(ServerUnreachable):
    """Nobody takes connections there, so the request cannot have arrived."""


class LostReply(ServerUnreachable):
    """The request may have arrived, its answer did not."""


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


def string_map(value: Any) -> Mapping[str, Any]:
    """A JSON object, or an empty one where the server sent something else."""
    return value if isinstance(value, dict) else {}
