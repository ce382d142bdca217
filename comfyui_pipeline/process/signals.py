"""What ends a call from outside: SIGTERM, Ctrl-C, a terminal that is closed.

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
    """A signal arrived. A BaseException, so that no library's ``except Exception`` swallows it."""


class Signals:
    """Raises Stopped in the main thread at the first signal, or passes it on to a child process.

    Further signals are ignored: the first one is being answered, and its job cancelled. A signal
    that was ignored when the process began (nohup) stays ignored.
    """

    def __init__(self) -> None:
        self.received: int | None = None  # number of the first signal
        self._forwarding = False
        self._child: subprocess.Popen[bytes] | None = None
        self._wakeup = -1  # what Python writes the numbers of signals to
        if threading.current_thread() is not threading.main_thread():
            return
        for name in NAMES:
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._take)
        if hasattr(signal, "pthread_kill"):
            self._watch()

    def _watch(self) -> None:
        """Interrupt what the main thread waits for, as often as it takes until it has the signal.

        Python runs handlers in the main thread between two steps. A signal that the kernel gives to
        another thread, or that comes just before a system call, would be heard only when that call
        ends (``signal.set_wakeup_fd``).
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
        """From now on a signal has no effect: the answer is being written."""
        self.received = self.received or 0

    @contextlib.contextmanager
    def forwarded(self) -> Iterator[Callable[[subprocess.Popen[bytes]], None]]:
        """Within the ``with`` block signals go to a child process: the one that is given to the
        function that this yields. One that arrives before is sent as soon as the child is there.
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
