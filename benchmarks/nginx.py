"""nginx with the example configuration in front of a running file server."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from devtools.isolated import PROJECT
from devtools.servers import NotReady

EXAMPLE = PROJECT / "input_server" / "nginx.conf.example"
MAX_CACHED = 8388608
"""X-Offload-Keeps in the example."""
READY_SECONDS = 60.0
BARE = """
server {{
    listen 127.0.0.1:{port};
    sendfile on;
    tcp_nopush on;
    open_file_cache max=2000 inactive=20s;
    open_file_cache_valid 1s;
    location /m/ {{ alias {mount}/; }}
}}
"""


@contextmanager
def nginx_in_front(
    base: Path, mount: Path, behind: str, max_cached: int = MAX_CACHED
) -> Iterator[tuple[str, str]]:
    """Run nginx for the mount ``m``; yields its URL, and one of the same files without access control.

    ``behind``: URL of the file server, whose cache is next to the mount. ``max_cached``: up to how many
    bytes nginx caches a response. Raises NotReady.
    """
    config = base / "nginx.conf"
    with (
        socket.create_server(("127.0.0.1", 0)) as first,
        socket.create_server(("127.0.0.1", 0)) as second,
    ):
        port, bare = first.getsockname()[1], second.getsockname()[1]
        config.write_text(_configuration(base, mount, behind, port, bare, max_cached), "utf-8")
        listening = (first.fileno(), second.fileno())
        child = subprocess.Popen(
            ["nginx", "-p", str(base), "-c", str(config)],
            pass_fds=listening,
            # it takes over these sockets as from an older nginx (ngx_add_inherited_sockets)
            env={**os.environ, "NGINX": "".join(f"{number};" for number in listening)},
        )
    try:
        _await(child, base)
        yield f"http://127.0.0.1:{port}", f"http://127.0.0.1:{bare}"
    finally:
        child.terminate()
        child.wait(READY_SECONDS)


def _configuration(
    base: Path, mount: Path, behind: str, port: int, bare: int, max_cached: int
) -> str:
    text = EXAMPLE.read_text("utf-8")
    for mark, value in (
        ("server 127.0.0.1:5005;", f"server 127.0.0.1:{urlsplit(behind).port};"),
        ("listen 8080;", f"listen 127.0.0.1:{port};"),
        ("/protected/output/", "/protected/m/"),
        ("/path/to/output/", f"{mount}/"),
        ("/path/to/.cache/input_server/", f"{mount.parent}/copies/"),
        ("/var/cache/nginx/comfyui", f"{base}/cache"),
        (f"X-Offload-Keeps {MAX_CACHED};", f"X-Offload-Keeps {max_cached};"),
    ):
        if mark not in text:
            raise NotReady(f"{EXAMPLE.name} no longer has {mark!r}")
        text = text.replace(mark, value)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = "".join(f"{kind}_temp_path {base}/{kind}; " for kind in kinds)
    user = "user root; " if hasattr(os, "geteuid") and os.geteuid() == 0 else ""
    return (
        f"{user}daemon off; pid {base}/pid; error_log {base}/error.log; worker_processes 1;\n"
        "events { worker_connections 1024; }\n"
        f"http {{ access_log off; keepalive_requests 10000000; {places}\n{text}\n"
        f"{BARE.format(port=bare, mount=mount)} }}\n"
    )


def _await(child: subprocess.Popen[bytes], base: Path) -> None:
    """Wait for the pid file, which nginx writes once it listens."""
    end = time.monotonic() + READY_SECONDS
    while time.monotonic() < end and child.poll() is None:
        if (base / "pid").is_file():
            return
        time.sleep(0.05)
    log = base / "error.log"
    raise NotReady(log.read_text("utf-8") if log.is_file() else "nginx did not start")
