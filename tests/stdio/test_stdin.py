"""Reading the call from stdin."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comfyui_pipeline.process import stdout
from comfyui_pipeline.process.stdin import CallReader, IncompleteCall, ObjectScanner
from tests.stdio.processes import (
    INFO,
    PROJECT,
    bounded,
    posix,
    response_of,
    set_host_limit,
    start_process,
    write_stdin,
)
from tests.waiting import with_more_time


@pytest.mark.parametrize("behind", [b"", b"\n", b" \r\n\t"])
def test_a_complete_object_is_processed_while_stdin_stays_open(plugin: Any, behind: bytes) -> None:
    process = start_process(plugin)
    write_stdin(process, INFO + behind)
    assert response_of(process)["status"] == "success"


@posix
def test_an_object_in_pieces_is_processed_once_it_is_complete(plugin: Any) -> None:
    """Each piece is written once the one before has been read."""
    read_end, write_end = os.pipe()
    process = start_process(plugin, stdin=read_end)
    for byte in b'\xef\xbb\xbf{"info": "workflows", "x": "}\\"]"}':
        os.write(write_end, bytes([byte]))
        while select.select([read_end], [], [], 0)[0]:
            pass
    os.close(read_end)
    assert response_of(process)["status"] == "success"
    os.close(write_end)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"", "Nothing arrived on stdin"),
        (b" \n", "Nothing arrived on stdin"),
        (b'{"info": "workflows"', "(} is missing)"),
        (b'{"info": "work', '("} is missing)'),
        (b'{"params": [{"a": [1', "(]}]} is missing)"),
        (b"draw a fox", "not JSON"),
    ],
)
def test_the_error_of_an_incomplete_call_names_what_is_missing(
    plugin: Any, text: bytes, expected: str
) -> None:
    set_host_limit(plugin, 6)
    process = start_process(plugin)
    write_stdin(process, text)
    error = response_of(process)["error"]
    assert expected in error
    assert '{"workflow"' in error


def test_a_second_object_is_an_error(plugin: Any) -> None:
    process = start_process(plugin)
    write_stdin(process, INFO + b"\n" + INFO)
    assert "Extra data at line 2" in response_of(process)["error"]


def reader(text: bytes) -> tuple[CallReader, int]:
    read_end, write_end = os.pipe()
    os.write(write_end, text)
    return CallReader(read_end), write_end


def test_an_incomplete_call_ends_after_a_pause() -> None:
    waiting, write_end = reader(b'{"a": ')
    with pytest.raises(IncompleteCall, match="6 bytes arrived, nothing came any more"):
        waiting.read(float("inf"), quiet=0.2)
    os.close(write_end)


def test_an_incomplete_call_ends_at_the_time_limit() -> None:
    def check(seconds: float) -> None:
        waiting, write_end = reader(b'{"a": ')
        with pytest.raises(IncompleteCall, match="within this call's time limit"):
            waiting.read(time.monotonic() + seconds, quiet=600)
        os.close(write_end)

    with_more_time(check, 0.1, 3, 30)


def pieces(text: bytes, cuts: list[int]) -> bool:
    """Return whether the scanner finds the end of the split text, and not before it."""
    scanner, there = ObjectScanner(), bytearray()
    for begin_at, end in zip([0, *cuts], [*cuts, len(text)], strict=True):
        there += text[begin_at:end]
        if scanner.complete(there):
            return end == len(text)
    return False


VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text('a"\\{}[]é', max_size=5), inner)
    ),
    max_leaves=6,
)


@bounded
@given(st.dictionaries(st.text(max_size=5), VALUES), st.lists(st.floats(0, 1), max_size=9))
def test_the_end_of_an_object_is_found_however_it_is_split(value: Any, where: list[float]) -> None:
    text = json.dumps(value, ensure_ascii=False).encode()
    cuts = sorted({int(at * (len(text) - 1)) for at in where})
    assert pieces(text, cuts)
    assert not ObjectScanner().complete(bytearray(text[:-1]))


def test_finding_the_end_takes_linear_time() -> None:
    """5 MB in 5,000 pieces, scanned after each: rescanning everything each time would take hours."""
    scanner, there = ObjectScanner(), bytearray(b'{"a": "')
    for _ in range(5_000):
        there += b"x\\\\{}" * 200
        assert not scanner.complete(there)
    there += b'"}'
    assert scanner.complete(there)


@bounded
@given(
    st.binary(max_size=80)
    | st.builds(lambda value: json.dumps(value).encode(), VALUES)
    | st.builds(
        lambda value, cut: json.dumps({"workflow": value}).encode()[:cut],
        VALUES,
        st.integers(0, 60),
    )
    | st.builds(lambda before, after: before + INFO + after, st.binary(max_size=9), st.binary())
    | st.builds(
        lambda key, value: json.dumps({key: value}).encode(),
        st.sampled_from(
            ["workflow", "params", "seed", "info", "command", "images", "workflow_json"]
        ),
        VALUES,
    )
)
def test_any_bytes_give_one_object_and_no_internal_error(raw: bytes) -> None:
    """One child processes all of them (`test_calls` starts a process for each)."""
    from comfyui_pipeline.call import parse
    from comfyui_pipeline.errors import CallError

    try:
        parse(raw)
    except CallError as error:
        document = json.loads(json.dumps(stdout.failure(str(error), error.code), allow_nan=False))
        assert set(document) == {"status", "error", "code"}


@settings(bounded, max_examples=12)
@given(st.binary(max_size=60) | st.builds(lambda value: json.dumps(value).encode(), VALUES))
def test_any_bytes_on_stdin_give_one_object_and_status_0(raw: bytes) -> None:
    done = subprocess.run(
        [sys.executable, "comfyui_plugin.py"],
        cwd=PROJECT,
        input=raw,
        capture_output=True,
        env={**os.environ, "COMFYUI_BASE_URL": "http://127.0.0.1:9"},
        check=False,
    )
    document = json.loads(done.stdout)
    assert done.returncode == 0
    assert document.get("code") != "internal_error"


@posix
def test_a_nonblocking_stdin_is_waited_for(plugin: Any) -> None:
    read_end, write_end = os.pipe()
    os.set_blocking(read_end, False)
    process = start_process(plugin, stdin=read_end)
    os.close(read_end)
    assert process.stderr is not None
    select.select([process.stderr], [], [], 1.0)  # stdin must be empty when the process reads it
    os.write(write_end, INFO)
    os.close(write_end)
    assert response_of(process)["status"] == "success"
