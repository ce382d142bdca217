"""Start a ComfyUI server that cannot be reached: a command, a Wake-on-LAN packet, a bounded wait.

Imported only where COMFYUI_START_COMMAND or COMFYUI_WAKE_MAC is set.
"""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from comfyui_pipeline.engine.http import BUSY, GATEWAY, NotStarted
from comfyui_pipeline.engine.transport import (
    CONNECT_SECONDS,
    NotConnected,
    Request,
    Response,
    Transport,
)
from input_server.atomic import file_lock
from input_server.light_dataclasses import dataclass, field
from input_server.parse_values import parse_count

POLL_SECONDS = 0.25
WAKE_PORT = 9
BROADCAST = "255.255.255.255"
MAC = re.compile(r"[0-9a-f]{2}(?:([:-])[0-9a-f]{2}(?:\1[0-9a-f]{2}){4}|[0-9a-f]{10})")
ADDRESS = re.compile(r"[A-Za-z0-9.-]{1,253}")


@dataclass(frozen=True, slots=True)
class WakePacket:
    """A Wake-on-LAN packet and where it is sent."""

    content: bytes = field(repr=False)
    address: str
    port: int

    def send(self) -> None:
        """Raises OSError."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            sender.sendto(self.content, (self.address, self.port))


def wake_packet(text: str) -> WakePacket:
    """The packet for ``MAC`` or ``MAC@address:port``. Raises ValueError."""
    mac, at, where = text.partition("@")
    address, colon, number = where.partition(":")
    port = parse_count(number, at_most=65535) if colon else WAKE_PORT
    if not MAC.fullmatch(mac.lower()) or not port or (at and not ADDRESS.fullmatch(address)):
        raise ValueError("no MAC address")
    digits = bytes.fromhex(re.sub("[:-]", "", mac))
    return WakePacket(b"\xff" * 6 + digits * 16, address or BROADCAST, port)


@dataclass(frozen=True, slots=True)
class StartCommand:
    """A program and its arguments, which may be secret; on Windows one text (CreateProcess)."""

    arguments: Sequence[str] | str = field(repr=False)
    name: str

    def run(self, folder: Path, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
        """Start it without input and output, so that it outlives this process. Raises OSError."""
        flags: dict[str, Any] = {"start_new_session": True}
        if sys.platform == "win32":
            new = subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP
            flags = {"creationflags": new}
        return subprocess.Popen(
            self.arguments,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            close_fds=True,
            **flags,
        )


def start_command(text: str) -> StartCommand:
    """Raises ValueError for a comment and for a quote that is not closed."""
    if text.startswith("#"):
        raise ValueError("a comment")
    if sys.platform == "win32":
        quoted = re.match(r'"([^"]+)"', text)
        first, arguments = quoted[1] if quoted else text.split()[0], text
    else:
        import shlex

        arguments = shlex.split(text)
        first = arguments[0]
    return StartCommand(arguments, re.split(r"[/\\]", first.partition("=")[0])[-1][:60])


@dataclass(frozen=True, slots=True)
class OtherStart:
    """Another call starts the server: ``since`` seconds ago, and for ``left`` more."""

    since: float
    left: float


CHECKS: Mapping[str, tuple[Callable[[str], object], str]] = {
    "COMFYUI_START_COMMAND": (
        start_command,
        "a command whose quotes are closed, without a comment",
    ),
    "COMFYUI_WAKE_MAC": (
        wake_packet,
        "a MAC address such as 00:11:22:33:44:55, or with @ and a broadcast address "
        "(00:11:22:33:44:55@192.168.1.255)",
    ),
}
"""Setting -> what raises ValueError for an invalid value, and what is valid."""


class OneStart:
    """Lets only one process of several start the server, until its wait is over.

    ``file``: when it was started and until when it is awaited; gone when that succeeded or failed.
    """

    def __init__(self, file: Path, seconds: float) -> None:
        self._file = file
        self._seconds = seconds

    def claim(self) -> OtherStart | None:
        """None when this process is to start it. Without a usable folder every call starts it."""
        try:
            with file_lock(self._file):
                other = self._other()
                if other is None:
                    now = time.time()
                    self._file.write_text(f"{now:.3f} {now + self._seconds:.3f}", "ascii")
                return other
        except OSError as error:
            print(f"no lock in {self._file.parent.name}: {error.strerror}", file=sys.stderr)
            return None

    def release(self) -> None:
        with suppress(OSError), file_lock(self._file):
            self._file.unlink()

    @property
    def is_released(self) -> bool:
        return not self._file.exists()

    def _other(self) -> OtherStart | None:
        try:
            begun, end = map(float, self._file.read_text("ascii")[:60].split())
        except (OSError, ValueError):
            return None
        now = time.time()  # which may have been set back
        return OtherStart(now - begun, end - now) if begun <= now < end else None


class ServerStart:
    """What starts the server of one call, at most once, also for all parts of a batch; thread-safe.

    ``shown``: the server's URL in messages. ``folder`` and ``environment``: of the command.
    """

    def __init__(
        self,
        shown: str,
        command: StartCommand | None,
        packet: WakePacket | None,
        seconds: float,
        only: OneStart,
        folder: Path,
        environment: Mapping[str, str],
    ) -> None:
        self._shown = shown
        self._command = command
        self._packet = packet
        self._seconds = seconds
        self._only = only
        self._folder = folder
        self._environment = environment
        self._lock = threading.Lock()
        self._failure: NotStarted | None = None
        self.is_awake = False
        self.note = ""
        """A sentence for the answer; empty when the server was reached at once."""

    def around(self, transport: Transport, deadline: float) -> Transport:
        """``transport``, at whose first connection the server is started if it cannot be reached.

        The wait ends at ``deadline`` (``time.monotonic()``) in any case.
        """
        return StartingTransport(transport, self, deadline)

    def start(self, transport: Transport, deadline: float) -> None:
        """Start the server unless that has been done; return when it answers. Raises NotStarted."""
        with self._lock:
            if self.is_awake:
                return
            if self._failure is None:
                try:
                    self._start(transport, deadline)
                except NotStarted as failure:
                    self._failure = failure
            if self._failure is not None:
                raise self._failure
            self.is_awake = True

    def _start(self, transport: Transport, deadline: float) -> None:
        begun = time.monotonic()
        other = self._only.claim()
        if other is not None:
            what = f"another call started it {other.since:.0f} s before"
            end = min(begun + other.left, deadline)
            self._wait(transport, what, end, lambda: self._only.is_released)
        else:
            self._start_and_wait(transport, min(begun + self._seconds, deadline))
        seconds = time.monotonic() - begun + (other.since if other else 0)
        who = "another call" if other else " and ".join(self._means)
        self.note = f"The ComfyUI server could not be reached; {who} started it, which took {seconds:.0f} s."

    def _start_and_wait(self, transport: Transport, end: float) -> None:
        """Raises NotStarted."""
        process: subprocess.Popen[bytes] | None = None
        means = " and ".join(self._means)
        try:
            if self._packet:
                self._packet.send()
            if self._command:
                process = self._command.run(self._folder, self._environment)
        except (OSError, ValueError) as error:  # ValueError: a null character
            self._only.release()
            raise NotStarted(
                f"ComfyUI at {self._shown} cannot be reached, and {means} failed: "
                f"{getattr(error, 'strerror', None) or type(error).__name__}.",
                "Start ComfyUI by hand, and correct this setting in config.env. No shell reads the "
                "command: give the full path of a program, or of a shell and its script.",
            ) from None

        def has_failed() -> bool:
            return self._packet is None and bool(process and process.poll())

        try:
            self._wait(transport, f"{means} was tried", end, has_failed)
        except NotStarted:
            status = process.poll() if process else None
            if not status:
                raise  # it may come yet, so that another call does not start it meanwhile
            self._only.release()
            raise NotStarted(
                f"ComfyUI at {self._shown} cannot be reached, and {means} ended with exit status "
                f"{status}.",
                "Run the command in a terminal to see why, or start ComfyUI by hand.",
            ) from None
        else:
            self._only.release()
        finally:
            if process:
                process.returncode = 0  # it outlives this process, which must not warn about that

    @property
    def _means(self) -> list[str]:
        """What is tried, without the arguments of the command."""
        packet = self._packet and (
            f"the packet of COMFYUI_WAKE_MAC to {self._packet.address}:{self._packet.port}"
        )
        command = self._command and f"COMFYUI_START_COMMAND ({self._command.name})"
        return [means for means in (packet, command) if means]

    def _wait(
        self, transport: Transport, what: str, end: float, has_failed: Callable[[], bool]
    ) -> None:
        """Until the server answers. Raises NotStarted at ``end``, or when the start has failed."""
        begun = time.monotonic()
        while True:
            now = time.monotonic()
            is_over = now >= end or has_failed()
            if _answers(transport, min(now + CONNECT_SECONDS, max(end, now + POLL_SECONDS))):
                return
            if is_over:
                break
            time.sleep(max(0.0, min(POLL_SECONDS, end - time.monotonic())))
        raise NotStarted(
            f"ComfyUI at {self._shown} cannot be reached: {what}, and it has not answered within "
            f"{time.monotonic() - begun:.0f} s.",
            "It may still be starting: call again in a minute. If it never comes, start it by hand and "
            "check COMFYUI_BASE_URL and the settings that start it. COMFYUI_START_SECONDS is how long "
            f"a call waits ({self._seconds:g}), within its own time limit.",
        )


class StartingTransport:
    """Implements ``transport.Transport``."""

    def __init__(self, transport: Transport, start: ServerStart, deadline: float) -> None:
        self._transport = transport
        self._start = start
        self._deadline = deadline

    def open(self, request: Request, until: float) -> Response:
        """As ``transport`` does. Raises NotStarted too."""
        was_awake, begun = self._start.is_awake, time.monotonic()
        try:
            response = self._transport.open(request, until)
        except NotConnected as problem:
            if was_awake or problem.certificate:
                raise
        except Exception:  # something is there
            self._start.is_awake = True
            raise
        else:
            self._start.is_awake = True
            return response
        self._start.start(self._transport, self._deadline)
        waited = time.monotonic() - begun
        return self._transport.open(request, max(until, min(until + waited, self._deadline)))

    def close(self) -> None:
        self._transport.close()


def _answers(transport: Transport, until: float) -> bool:
    """Whether ComfyUI answers, or anything else that the call's own request will show."""
    try:
        response = transport.open(Request("GET", "/system_stats"), until)
    except NotConnected as problem:
        return bool(problem.certificate)
    except Exception:  # it does not answer yet
        return False
    response.close()
    return response.status not in BUSY | GATEWAY
