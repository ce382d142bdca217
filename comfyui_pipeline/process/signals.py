"""Signals that stop a call: SIGTERM, Ctrl-C, a closed terminal.

Runs on older Pythons than the rest (see ``stdio``).
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator
    from types import FrameType

NAMES = ("SIGTERM", "SIGINT", "SIGHUP", "SIGBREAK")
"""SIGBREAK: Ctrl-Break on Windows, which has no SIGHUP."""

AGAIN_SECONDS = 0.1


class Stopped(BaseException):
    """A signal arrived. A BaseException, so that no ``except Exception`` catches it."""


class Signals:
    """Raises Stopped in the main thread at the first signal, or forwards it to a child process.

    Further signals are ignored, as the first one already cancels the job and ends the call. A signal
    that was ignored when the process started (nohup) stays ignored.
    """

    def __init__(self) -> None:
        self.received: int | None = None  # number of the first signal
        self._forwarding = False
        self._child: subprocess.Popen[bytes] | None = None
        self._wakeup = -1  # descriptor that Python writes signal numbers to
        if threading.current_thread() is not threading.main_thread():
            return
        for name in NAMES:
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._take)
        if hasattr(signal, "pthread_kill"):
            self._watch()

    def _watch(self) -> None:
        """Interrupt the main thread's system calls until it has handled the signal.

        Python runs signal handlers in the main thread between bytecode instructions. A signal that
        the kernel delivers to another thread, or just before a system call, would be handled only
        when that call returns (``signal.set_wakeup_fd``).
        """
        if sys.platform == "win32":  # has no pthread_kill(3)
            return
        read_end, self._wakeup = os.pipe()
        os.set_blocking(self._wakeup, False)
        signal.set_wakeup_fd(self._wakeup, warn_on_full_buffer=False)
        main = threading.main_thread().ident or 0

        def interrupt() -> None:
            number = os.read(read_end, 1)[0]
            while self.received is None:
                time.sleep(AGAIN_SECONDS)
                if self.received is None:
                    signal.pthread_kill(main, number)

        threading.Thread(target=interrupt, name="signals", daemon=True).start()

    def ignore(self) -> None:
        """Ignore signals from now on."""
        self.received = self.received or 0

    @contextlib.contextmanager
    def forwarded(self) -> Iterator[Callable[[subprocess.Popen[bytes]], None]]:
        """Forward signals to a child process within the ``with`` block. The yielded function sets the
        child; a signal that arrived before is sent to it then.
        """
        self._forwarding = True

        def to(child: subprocess.Popen[bytes]) -> None:
            self._child = child
            if self.received is not None:
                self._forward(self.received)

        try:
            yield to
        finally:
            self._forwarding, self._child = False, None

    def _take(self, number: int, _frame: FrameType | None) -> None:
        first = self.received is None
        self.received = number if first else self.received
        if first and self._forwarding:
            self._forward(number)
        elif first:
            raise Stopped

    def _forward(self, number: int) -> None:
        if self._child is not None:
            with contextlib.suppress(
                OSError, ValueError
            ):  # it has ended; Windows knows few signals
                self._child.send_signal(number)
