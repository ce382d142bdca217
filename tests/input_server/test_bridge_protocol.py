"""The protocol between bridge.js and the server."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import requests

from tests.input_server.gallery_harness import KEY
from tests.input_server.hosts import Host, needs_node
from tests.input_server.served import FILES
from tests.project_copy import project
from tests.waiting import TIMEOUT

ECHO = """
import json, os, socketserver, sys, threading
from http.server import BaseHTTPRequestHandler

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *_): pass
    def address_string(self): return ""
    def do_GET(self):
        body = json.dumps(dict(self.headers.items())).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Sendfile-Stamp", "a stamp")
        self.end_headers()
        self.wfile.write(body)

class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True

server = Server(sys.argv[sys.argv.index("--unix") + 1], Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
print("File server on a socket", flush=True)
while os.read(0, 4096): pass
"""
"""Replaces the Python server; responds with the headers of the request."""


@needs_node
@pytest.mark.skipif(os.name == "nt", reason="a shell script and a Unix socket")
def test_the_bridge_forwards_no_cookie_and_returns_no_sendfile_header(tmp_path: Path) -> None:
    (tmp_path / "echo.py").write_text(ECHO, "utf-8")
    python = tmp_path / "python"
    script = f"#!/bin/sh\nexec '{sys.executable}' '{tmp_path / 'echo.py'}' \"$@\"\n"
    python.write_text(script, "utf-8")
    python.chmod(0o755)
    with tempfile.TemporaryDirectory() as short:
        environment = {"TMPDIR": short}
        config = {"COMFYUI_ACCESS_KEY": KEY, "INPUT_SERVER_PYTHON": str(python)}
        with Host(tmp_path, config, environment=environment) as host:
            sent = {
                "Cookie": "session=s3cret",
                "X_Bridge_Client": "1.2.3.4",
                "X_Other": "forwarded",
            }
            answer = host.get(f"{FILES}/m/a.txt", **sent)
    received = {name.lower(): value for name, value in answer.json().items()}
    assert received["x-other"] == "forwarded"
    assert received["x-bridge-client"] == "127.0.0.1"
    assert "cookie" not in received
    assert received["x-bridge-secret"] not in str(answer.headers)
    assert not [name for name in answer.headers if name.lower().startswith("x-sendfile")]


def test_a_server_behind_a_bridge_requires_the_secret(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "a.txt").write_text("text", "utf-8")
    settings = {
        "COMFYUI_ACCESS_KEY": KEY,
        "COMFYUI_MOUNTS": f"m:{tmp_path / 'm'}",
        "COMFYUI_MOUNTS_FILE": str(tmp_path / "mounts.json"),
        "INPUT_SERVER_CACHE_DIR": str(tmp_path / "copies"),
    }
    command = ["-m", "input_server", "--bridge", "--port", "0", "--stop-with-stdin"]
    with subprocess.Popen(
        [sys.executable, *command],
        cwd=project(),
        env={**os.environ, **settings},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("the-secret\n")
        process.stdin.flush()
        base = process.stdout.readline().split()[-1]
        answers = {}
        for secret in ("", "the-secre", "the-secret2", "THE-SECRET", "the-secret"):
            headers = {"X-Bridge-Secret": secret, "X-Bridge-Client": "192.0.2.1"}
            answer = requests.get(f"{base}{FILES}/m/a.txt", headers=headers, timeout=TIMEOUT)
            answers[secret] = (answer.status_code, "X-Sendfile" in answer.headers)
        process.stdin.close()
        process.wait(TIMEOUT)
    assert answers.pop("the-secret") == (200, True)
    assert set(answers.values()) == {(403, False)}
