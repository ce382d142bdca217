"""Calls as shells send them: encodings, quotes, and the command lines of the READMEs."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from comfyui_pipeline.call import read
from comfyui_pipeline.errors import CallError
from comfyui_pipeline.process.stdin import ObjectScanner
from tests.stdio.processes import posix, response_of, start_process, write_stdin

PROJECT = Path(__file__).resolve().parents[2]
CALL = '{"workflow": "x", "prompt": "雪地里的 \\"红\\" 狐狸 \\\\ {∀}"}'
PROMPT = json.loads(CALL)["prompt"]
INFO = '{"info": "workflows"}'

SENT = {
    "PowerShell >, UTF-16 with BOM": b"\xff\xfe" + f"{CALL}\r\n".encode("utf-16-le"),
    "big-endian UTF-16 with BOM": b"\xfe\xff" + f"{CALL}\r\n".encode("utf-16-be"),
    "PowerShell with Unicode as $OutputEncoding": f"{CALL}\r\n".encode("utf-16-le"),
    "big-endian UTF-16": f" {CALL}".encode("utf-16-be"),
    "PowerShell, UTF-8 with BOM": f"{CALL}\r\n".encode("utf-8-sig"),
    "cmd echo {…}": f"{CALL} \r\n".encode(),
    "cmd echo '…'": f"'{CALL}' \r\n".encode(),
    'cmd echo "…"': f'"{CALL}" \r\n'.encode(),
    "a JSON string": json.dumps(CALL).encode(),
    "a JSON string in single quotes": f"'{json.dumps(CALL, ensure_ascii=False)}'".encode(),
}


@pytest.mark.parametrize("raw", SENT.values(), ids=SENT)
def test_a_call_is_read_whatever_the_shell_makes_of_it(raw: bytes) -> None:
    assert read(raw).shortcuts["prompt"] == PROMPT
    assert not read(raw).ignored


@pytest.mark.parametrize(
    "line", ['{\\"info\\": \\"workflows\\"}', '"{\\"info\\": \\"workflows\\"}"']
)
@pytest.mark.parametrize("around", ["", "'"])
def test_escaped_quotes_are_read(line: str, around: str) -> None:
    assert read(f"{around}{line}{around} \r\n".encode()).info == "workflows"


def test_gbk_as_a_chinese_cmd_sends_it_is_read_and_reported(plugin: Any) -> None:
    raw = '{"info": "workflows", "备注": "雪地里的红狐狸"} \r\n'.encode("gbk")
    text = plugin.call(raw).text
    assert "read as GBK" in text.split("text2img_api")[0]
    call = read(
        '{"workflow1": "x", "prompt1": "红", "workflow2": "y", "prompt2": "b"}'.encode("gbk")
    )
    assert [part.shortcuts["prompt"] for part in call.parts] == ["红", "b"]
    assert ["GBK" in str(part.ignored) for part in call.parts] == [True, False]


UNREADABLE = {
    "Latin-1": '{"workflow": "x", "prompt": "déjà vu"}'.encode("latin-1"),
    "broken UTF-16": b"\xff\xfe{\x00\x00\xd8{\x00",
    "PowerShell 5.1 with ASCII": b'{"workflow": "x", "prompt": "?????? ??"}\r\n',
}


@pytest.mark.parametrize("raw", UNREADABLE.values(), ids=UNREADABLE)
def test_a_call_whose_characters_are_lost_gets_a_command_that_works(raw: bytes) -> None:
    with pytest.raises(CallError) as caught:
        read(raw)
    for command in ("python3 comfyui_plugin.py < call.json", 'cmd /c "py comfyui_plugin.py <'):
        assert command in str(caught.value)


@pytest.mark.parametrize("prompt", ["?", "why??", "一个？？", "??一"])
def test_question_marks_of_the_caller_are_kept(prompt: str) -> None:
    raw = json.dumps({"workflow": "x", "prompt": prompt}, ensure_ascii=False).encode()
    assert read(raw).shortcuts["prompt"] == prompt


@pytest.mark.parametrize("text", ["'draw a fox'", '"x"', "'[1]'", "'{'", "''"])
def test_quotes_around_something_else_stay_an_error(text: str) -> None:
    with pytest.raises(CallError):
        read(text.encode())


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_a_utf_16_call_is_complete_while_stdin_stays_open(plugin: Any, encoding: str) -> None:
    process = start_process(plugin)
    write_stdin(process, f"\ufeff{INFO}\r\n".encode(encoding))
    assert response_of(process)["status"] == "success"


def test_the_end_of_a_utf_16_call_is_not_found_too_early() -> None:
    from comfyui_pipeline.process.encoding import as_utf8

    raw = bytearray(f"\ufeff{CALL}".encode("utf-16-le"))
    scanner = ObjectScanner()
    ends = [size for size in range(len(raw) + 1) if scanner.complete(as_utf8(raw[:size]))]
    assert ends == [len(raw)]


def lines_of(language: str) -> list[str]:
    """The lines for a shell in both READMEs."""
    texts = [(PROJECT / name).read_text("utf-8") for name in ("README.md", "README.zh-CN.md")]
    found = [line for text in texts for line in re.findall(rf"```{language}\n(.*)\n```", text)]
    assert len(found) == 2
    return found


@posix
def test_the_line_for_bash_in_the_readmes_works(plugin: Any) -> None:
    for line in lines_of("bash"):
        done = subprocess.run(
            ["bash", "-c", line.replace("python3", shlex.quote(sys.executable))],
            cwd=plugin.folder,
            env={**os.environ, **plugin.environment},
            capture_output=True,
            check=True,
        )
        assert json.loads(done.stdout)["status"] == "success"


def test_what_the_lines_for_cmd_and_powershell_send_is_read(plugin: Any) -> None:
    """cmd sends what stands between ``echo`` and ``|``, PowerShell the string in single quotes."""
    for line in lines_of("bat"):
        sent = re.fullmatch(r"echo (\{.*\} )\| py comfyui_plugin\.py", line)
        assert sent is not None
        assert plugin.call(f"{sent[1]}\r\n".encode("cp936")).result
    for line in lines_of("powershell"):
        start = "$OutputEncoding = [Text.UTF8Encoding]::new(); "
        sent = re.fullmatch(re.escape(start) + r"'([^']*)' \| py comfyui_plugin\.py", line)
        assert sent is not None
        assert plugin.call(f"{sent[1]}\r\n".encode()).result
