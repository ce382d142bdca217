"""What the server says to whoever looks after it: one line each, with the time, on stderr."""

from __future__ import annotations

import sys
from datetime import datetime


def log_line(text: str) -> None:
    """Say it, in the local time. Nothing that is said here may hold a key."""
    moment = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M:%S%z")
    print(moment, text, file=sys.stderr, flush=True)
