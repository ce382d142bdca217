"""Writing the response to stdout, with any state of the descriptors."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfyui_pipeline.process import stdout
from tests.stdio.processes import INFO, bounded, posix, start_process


@posix
def test_a_nonblocking_stdout_gets_a_complete_long_response(plugin: Any) -> None:
    """The pipe is full when the response is written, and is read in small pieces."""
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    filled = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            filled += os.write(write_end, b" " * 4096)
    process = start_process(plugin, stdout=write_end)
    os.close(write_end)
    with process, os.fdopen(read_end, "rb") as out:
        assert process.stdin is not None
        process.stdin.write(INFO)
        process.stdin.close()
        process.stdin = None
        assert process.stderr is not None
        select.select([process.stderr], [], [], 1.0)  # time to reach the full pipe
        document = b"".join(iter(lambda: out.read(1000), b""))
    assert len(document) > filled + 1000
    assert json.loads(document[filled:])["status"] == "success"
    assert process.returncode == 0


@posix
@pytest.mark.parametrize("closed", ["2>&-", "0<&-", "0<&- 2>&-"])
def test_a_closed_stdin_or_stderr_does_not_change_the_response(plugin: Any, closed: str) -> None:
    script = f'exec "{sys.executable}" comfyui_plugin.py {closed}'
    done = subprocess.run(
        ["sh", "-c", script], cwd=plugin.folder, input=INFO, stdout=subprocess.PIPE, check=False
    )
    assert done.returncode == 0
    document = json.loads(done.stdout)
    assert document["status"] == ("error" if "0<&-" in closed else "success")


@posix
def test_a_broken_stderr_pipe_is_ignored(plugin: Any) -> None:
    noisy = plugin.folder / "comfyui_pipeline" / "info.py"
    lines = "\nimport sys\nprint('x' * 9000, file=sys.stderr, flush=True)\nraise ValueError\n"
    noisy.write_text(noisy.read_text("utf-8") + lines, "utf-8")
    read_end, write_end = os.pipe()
    os.close(read_end)
    process = start_process(plugin, stderr=write_end)
    os.close(write_end)
    out, _ = process.communicate(INFO)
    assert json.loads(out)["code"] == "internal_error"
    assert process.returncode == 0


@posix
def test_with_closed_stderr_prints_of_libraries_are_not_in_the_response(plugin: Any) -> None:
    noisy = plugin.folder / "comfyui_pipeline" / "info.py"
    lines = "\nimport os\nos.write(1, b'one')\nos.write(2, b'two')\nprint('three', flush=True)\n"
    noisy.write_text(noisy.read_text("utf-8") + lines, "utf-8")
    done = subprocess.run(
        ["sh", "-c", f'exec "{sys.executable}" comfyui_plugin.py 2>&-'],
        cwd=plugin.folder,
        input=INFO,
        stdout=subprocess.PIPE,
        check=False,
    )
    assert json.loads(done.stdout)["status"] == "success"


@bounded
@given(st.binary(max_size=40), st.binary(max_size=40), st.text(max_size=20))
def test_the_last_response_is_found_among_other_lines(
    before: bytes, after: bytes, text: str
) -> None:
    envelope = {"status": "error", "error": text + '{"status": "success"}'}
    printed = before + b"\n" + json.dumps(envelope).encode() + b"\n" + after
    assert stdout.last_response(printed) == envelope
    assert stdout.last_response(before) is None


def test_of_two_responses_the_last_one_counts() -> None:
    first, last = (
        stdout.failure("first", "internal_error"),
        stdout.failure("last", "internal_error"),
    )
    printed = json.dumps(first).encode() + b"\n" + json.dumps(last).encode() + b"\n"
    assert stdout.last_response(printed) == last
