"""A call on stdin gives exactly one JSON object on stdout."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

INVALID_CALLS = {
    "empty": (b"", "Nothing arrived"),
    "blank": (b" \n\t ", "Nothing arrived"),
    "not JSON": (b"draw me a fox", "not JSON"),
    "half an object": (b'{"workflow": "x"', "not JSON"),
    "a list": (b"[1, 2]", "not a list"),
    "a string": (b'"x"', "not a string"),
    "a number": (b"7", "not a number"),
    "not UTF-8": (b'{"workflow": "\xff\xfe"}', "UTF-8"),
    "NaN": (b'{"workflow": "x", "seed": NaN}', "NaN"),
    "deep": (b"[" * 200_000, "nested"),
    "huge number": (b'{"seed": ' + b"9" * 9000 + b"}", "digits"),
    "a list as workflow": (b'{"workflow": ["x"]}', '"workflow" is a list'),
    "an object as seed": (b'{"workflow": "x", "seed": {}}', '"seed" is an object'),
    "true as seed": (b'{"workflow": "x", "seed": true}', '"seed" is true or false'),
    "a word as width": (b'{"workflow": "x", "width": "wide"}', '"width"'),
    "no workflow": (b'{"max_side": "64"}', '"workflow" is missing'),
    "unknown command": (b'{"command": "dance"}', "dance"),
    "a lone surrogate": (
        b'{"workflow": "x", "prompt": "\\ud800"}',
        '"prompt" contains a lone surrogate',
    ),
    "a NUL": (b'{"workflow": "a\\u0000b"}', '"workflow" contains a NUL'),
    "a NUL in params": (
        b'{"workflow": "x", "params": [{"node_id": "1", "inputs": {"a": "\\u0000"}}]}',
        '"params" contains a NUL',
    ),
    "params as a number": (b'{"workflow": "x", "params": 5}', '"params" is a number'),
    "params that name no node": (
        b'{"workflow": "x", "params": [{"inputs": {"a": 1}}]}',
        "names no node",
    ),
    "params in a broken string": (b'{"workflow": "x", "params": "[{"}', "not a JSON list"),
}


@pytest.mark.parametrize(("raw", "expected"), INVALID_CALLS.values(), ids=INVALID_CALLS)
def test_an_invalid_call_is_an_error_with_a_correct_example(
    plugin: Any, raw: bytes, expected: str
) -> None:
    response = plugin.call(raw)
    assert expected in response.error
    assert "{" in response.error
    assert response.status == 0
    assert "Traceback" not in response.error


def test_a_call_of_50_mb_is_read_completely_and_refused(plugin: Any) -> None:
    raw = b'{"workflow": "x", "image": "' + b"A" * 50_000_000 + b'"}'
    assert "larger than" in plugin.call(raw).error


def test_an_empty_stdin_is_an_error(plugin: Any) -> None:
    done = subprocess.run(
        [sys.executable, "comfyui_plugin.py"],
        cwd=plugin.folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    assert "Nothing arrived" in json.loads(done.stdout)["error"]
    assert done.returncode == 0


def test_exit_code_sets_the_status_of_an_error(plugin: Any) -> None:
    assert plugin.call({"info": "weather"}, "--exit-code").status == 1
    assert plugin.call({"info": "workflows"}, "--exit-code").status == 0


def test_a_byte_order_mark_and_the_keys_of_the_host_are_ignored(plugin: Any) -> None:
    call = {
        "info": "workflows",
        "maid": "小克",
        "valet": "",
        "tool_password": "x",
        "vref_files": [],
    }
    response = plugin.call(b"\xef\xbb\xbf" + json.dumps(call).encode())
    assert "text2img_api" in response.text


def test_a_typo_in_a_key_is_reported(ready: Any, image_uri: str) -> None:
    response = ready.call({"workflow": "invert_image", "image": image_uri, "promt": "a fox"})
    assert response.result["warnings"] == [
        '"promt" was ignored: it has no effect here. Did you mean "prompt"?'
    ]


NOISE = """
import os as _os, subprocess as _subprocess, sys as _sys, warnings as _warnings
print("a library's own words")
_os.write(1, b"straight to the descriptor")
_subprocess.run([_sys.executable, "-c", "print('a child speaks')"])
_warnings.warn("a warning")
_sys.stdout.flush()
"""


def test_prints_of_libraries_go_to_stderr_and_never_to_stdout(plugin: Any) -> None:
    noisy = plugin.folder / "comfyui_pipeline" / "info.py"
    noisy.write_text(noisy.read_text("utf-8") + NOISE, "utf-8")
    response = plugin.call({"info": "workflows"})
    assert response.json["status"] == "success"
    for words in ("own words", "straight to", "a child speaks", "a warning"):
        assert words in response.stderr


def test_an_internal_error_has_a_short_message_and_a_traceback_on_stderr(
    plugin: Any,
) -> None:
    broken = plugin.folder / "comfyui_pipeline" / "info.py"
    broken.write_text(broken.read_text("utf-8") + "\nraise ValueError('/a/secret/path')\n", "utf-8")
    response = plugin.call({"info": "workflows"})
    assert response.json["code"] == "internal_error"
    assert "secret" not in response.error
    assert "/a/secret/path" in response.stderr
