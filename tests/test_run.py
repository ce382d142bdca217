"""``run.py serve`` as a supervisor has it, but with the packages of the test's own Python."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from demo import apart
from tests.waiting import TIMEOUT

PROJECT = Path(__file__).resolve().parent.parent
SERVE = """
import sys, run
run.set_up, run.python = (lambda _: True), (lambda: sys.executable)
sys.exit(run.main(["serve", "--port", "0", "--stop-with-stdin"]))
"""


@pytest.mark.skipif(os.name != "posix", reason="Windows has no signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_served_port_is_free_again_when_run_py_is_ended(
    tmp_path: Path, number: signal.Signals
) -> None:
    checkout = apart.install(tmp_path / "checkout")
    shutil.copy(PROJECT / "run.py", checkout)
    with subprocess.Popen(
        [sys.executable, "-c", SERVE],
        cwd=checkout,
        env={**os.environ, "FILE_SERVER_ACCESS_KEY": "key-of-the-test"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    ) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline().rpartition(":")[2])
        assert requests.get(f"http://127.0.0.1:{port}/healthz", timeout=TIMEOUT).text == "ok"
        process.send_signal(number)
        assert process.wait(TIMEOUT) == 0
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), TIMEOUT)
