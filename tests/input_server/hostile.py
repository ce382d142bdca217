"""Replay the hostile requests of tests/data/hostile, and create the folder they expect."""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path
from typing import Any

from tests.waiting import TIMEOUT

PROJECT = Path(__file__).resolve().parents[2]
CORPUS = PROJECT / "tests" / "data" / "hostile" / "requests.jsonl"
KEY = "KEY"
ROUTE = f"/comfyui_server/pw={KEY}/files"
CANARY = "CANARY-SECRET"
LONG_AGO = 1_700_000_000
"""Modification time of the files. A date is a strong validator only a second later (RFC 9110, 8.8.2.2)."""


def folder(base: Path) -> Path:
    """Create a mount ``data`` with plain files, symlinks and pipes, and secrets next to it."""
    inside = base / "data"
    files = {
        "data/name.txt": "tobi",
        "data/nums.txt": "123456789",
        "data/empty.txt": "",
        "data/do..ts.txt": "...",
        "data/some thing.txt": "hey",
        "data/.hidden.txt": CANARY,
        "data/.mine/name.txt": CANARY,
        "data/sub/.hidden": CANARY,
        "data/sub/index.html": "<p>idx",
        "data/ملف.txt": "arabic",
        "data/50%off.txt": "half",
        "data/café.txt": "nfc",
        "data/noext": "<script>alert(1)</script>",
        "data/x.svg": '<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
        "data/x.html": "<script>alert(1)</script>",
        "data/x.xhtml": "<html xmlns='http://www.w3.org/1999/xhtml'/>",
        "data/x.xml": "<a/>",
        "data-secret/secret.txt": CANARY,
        "outside/secret.txt": CANARY,
        "name.dir/name.txt": CANARY,
    }
    for name, text in files.items():
        path = base / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        os.utime(path, (LONG_AGO, LONG_AGO))
    if sys.platform != "win32":
        (inside / "link_out.txt").symlink_to("../outside/secret.txt")
        (inside / "linkdir").symlink_to("../outside")
        (inside / "link_in.txt").symlink_to("name.txt")
        (inside / "loop").symlink_to("loop")
        (inside / "name.txt.gz").symlink_to("../outside/secret.txt")
        os.mkfifo(inside / "fifo")
    return inside


def exchange(port: int, method: str, target: str, headers: dict[str, str]) -> bytes:
    """Send a request byte for byte; HTTP clients would normalize the target."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = f"{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{lines}\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT) as wire:
        wire.sendall(head.encode("latin-1", "replace"))
        response = b""
        try:
            while chunk := wire.recv(65536):
                response += chunk
        except ConnectionResetError:
            pass
    return response


def fill_placeholders(text: str, base: str, etag: str, modified: str) -> str:
    encoded = "".join(f"%{ord(letter):02x}" for letter in KEY)
    for placeholder, value in (
        ("{P}", base + "/m"),
        ("{B}", base),
        ("pw=KEY", "pw=" + KEY),
        ("{KEYENC}", encoded),
        ("{ETAG}", etag),
        ("{LM}", modified),
    ):
        text = text.replace(placeholder, value)
    return text


def find_problem(row: dict[str, Any], response: bytes) -> str:
    """Return what is wrong with the response to a hostile request, "" if it is correct."""
    head, _, body = response.partition(b"\r\n\r\n")
    status = int(head.split()[1])
    lowered = head.lower()
    is_active = row["target"].rpartition(".")[2] in ("svg", "html", "xhtml", "xml")
    is_sandboxed = b"sandbox" in lowered or b"disposition: attachment" in lowered
    checks = {
        "leak": CANARY.encode() in body or b"root:x:" in body,
        "status": status not in row["ok"] or status == 500,
        "trace": any(mark in body for mark in (b"Traceback", b"/data-secret", b"    at ")),
        "active": is_active and status == 200 and not is_sandboxed,
    }
    return (
        ", ".join(name for name, wrong in checks.items() if wrong)
        and f"{row['id']} {status} {checks}"
    )


def replay(port: int, base: str, etag: str, modified: str, prefix: str = "") -> list[str]:
    """Send every row whose target has the prefix. Returns what is wrong with the responses.

    ``base``: URL path of the mounts; ``etag`` and ``modified``: the validators of ``nums.txt``.
    """
    rows = [json.loads(line) for line in CORPUS.read_text("utf-8").splitlines()]
    problems = []
    for row in rows:
        if row["id"] == "A101":  # tests may run as root, which can read a file of mode 000
            continue
        if not row["target"].startswith(prefix):
            continue
        target = fill_placeholders(row["target"], base, etag, modified)
        target = "".join(
            c if ord(c) < 256 else "".join(f"%{b:02X}" for b in c.encode()) for c in target
        )
        named = row["headers"].items()
        headers = {name: fill_placeholders(value, base, etag, modified) for name, value in named}
        response = exchange(port, row.get("method", "GET"), target, headers)
        if problem := find_problem(row, response):
            problems.append(problem)
    assert len(rows) == 185
    return problems
