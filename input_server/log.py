"""The file server's log: lines with the local time on stderr."""

from __future__ import annotations

import sys
from datetime import datetime


def log_line(text: str) -> None:
    """Log a line. It must not contain a key."""
    moment = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M:%S%z")
    print(moment, text, file=sys.stderr, flush=True)
