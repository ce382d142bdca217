"""nginx with the sample configuration, before a running file server."""

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

SAMPLE = PROJECT / "input_server" / "nginx.conf.example"
KEEPS = 8388608
"""As in the sample."""
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
    base: Path, mount: Path, behind: str, keeps: int = KEEPS
) -> Iterator[tuple[str, str]]:
    """Run nginx for the mount ``m``; gives its address and that of the same files without a guard.

    ``behind``: the file server, whose copies lie beside the mount. ``keeps``: up to how many bytes
    nginx keeps an answer. Raises NotReady.
    """
    config = base / "nginx.conf"
    with (
        socket.create_server(("127.0.0.1", 0)) as first,
        socket.create_server(("127.0.0.1", 0)) as second,
    ):
        port, bare = first.getsockname()[1], second.getsockname()[1]
        config.write_text(_whole(base, mount, behind, port, bare, keeps), "utf-8")
        listening = (first.fileno(), second.fileno())
        child = subprocess.Popen(
            ["nginx", "-p", str(base), "-c", str(config)],
            pass_fds=listening,
            # sockets that it takes over, as from an older nginx (ngx_add_inherited_sockets)
            env={**os.environ, "NGINX": "".join(f"{number};" for number in listening)},
        )
    try:
        _await(child, base)
        yield f"http://127.0.0.1:{port}", f"http://127.0.0.1:{bare}"
    finally:
        child.terminate()
        child.wait(READY_SECONDS)


def _whole(base: Path, mount: Path, behind: str, port: int, bare: int, keeps: int) -> str:
    text = SAMPLE.read_text("utf-8")
    for mark, value in (
        ("server 127.0.0.1:5005;", f"server 127.0.0.1:{urlsplit(behind).port};"),
        ("listen 8080;", f"listen 127.0.0.1:{port};"),
        ("/protected/output/", "/protected/m/"),
        ("/path/to/output/", f"{mount}/"),
        ("/path/to/.cache/input_server/", f"{mount.parent}/copies/"),
        ("/var/cache/nginx/comfyui", f"{base}/kept"),
        (f"X-Offload-Keeps {KEEPS};", f"X-Offload-Keeps {keeps};"),
    ):
        if mark not in text:
            raise NotReady(f"{SAMPLE.name} no longer has {mark!r}")
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
    """Wait for the file with its process id, which it writes once it listens."""
    end = time.monotonic() + READY_SECONDS
    while time.monotonic() < end and child.poll() is None:
        if (base / "pid").is_file():
            return
        time.sleep(0.05)
    log = base / "error.log"
    raise NotReady(log.read_text("utf-8") if log.is_file() else "nginx did not start")
