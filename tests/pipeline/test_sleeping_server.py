"""A server that is asleep: started by a command or a packet, and awaited within limits."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from comfyui_pipeline import settings
from comfyui_pipeline.engine.server_start import OneStart, wake_packet
from comfyui_pipeline.errors import SettingsError
from tests.conftest import Plugin
from tests.waiting import TIMEOUT

PROJECT = Path(__file__).resolve().parents[2]
LAUNCHER = """
import os, pathlib, sys
pathlib.Path(sys.argv[1]).open("a").write(f"{os.getpid()}\\n")
sys.path.insert(0, sys.argv[2])
from embedded_comfyui.__main__ import main
sys.argv = ["embedded_comfyui", "--port", sys.argv[3], "--base-directory", sys.argv[4]]
main()
"""
SECRET = "token-of-the-test"
EMPTY = {"width": 8, "height": 8, "batch_size": 1, "color": 255}
TINY = {
    "1": {"class_type": "EmptyImage", "inputs": EMPTY},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "a"}},
}


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


class Asleep:
    """A server that is not running, and the command that starts it."""

    def __init__(self, folder: Path) -> None:
        self.port = closed_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.starts = folder / "starts.txt"
        script = folder / "launch the server.py"
        script.write_text(LAUNCHER, "utf-8")
        self.command = command_line(
            sys.executable, str(script), str(self.starts), str(PROJECT), str(self.port), str(folder)
        )

    @property
    def processes(self) -> list[int]:
        return [int(line) for line in self.starts.read_text().split()] if self.is_started else []

    @property
    def is_started(self) -> bool:
        return self.starts.exists()

    def environment(self, **more: str) -> dict[str, str]:
        return {
            "COMFYUI_BASE_URL": self.url,
            "COMFYUI_START_COMMAND": self.command,
            "COMFYUI_START_SECONDS": str(TIMEOUT / 2),
            **more,
        }


def command_line(*parts: str) -> str:
    return subprocess.list2cmdline(parts) if sys.platform == "win32" else shlex.join(parts)


@pytest.fixture
def asleep(tmp_path: Path) -> Iterator[Asleep]:
    server = Asleep(tmp_path)
    yield server
    for process in server.processes:
        os.kill(process, signal.SIGTERM)


NEVER = command_line(sys.executable, "-c", "import sys", SECRET)
FAILING = command_line(sys.executable, "-c", "import sys; sys.exit(3)", SECRET)


def test_a_call_starts_the_server_and_says_how_long_it_took(plugin: Plugin, asleep: Asleep) -> None:
    answered = plugin.call({"info": "queue"}, **asleep.environment())
    lines = answered.text.split("\n")
    assert lines[0] == "0 running, 0 waiting."
    assert lines[1].startswith(
        "Note: The ComfyUI server could not be reached; COMFYUI_START_COMMAND ("
    )
    assert "started it, which took " in lines[1]
    assert answered.result["notes"] == [lines[1].removeprefix("Note: ")]
    again = plugin.call({"info": "queue"}, **asleep.environment())
    assert again.text == "0 running, 0 waiting."  # it outlives the call that started it
    assert len(asleep.processes) == 1


def test_a_batch_starts_it_once_and_runs_all_its_jobs(plugin: Plugin, asleep: Asleep) -> None:
    name = plugin.workflow("tiny", TINY)
    answered = plugin.call({"workflow1": name, "workflow2": name}, **asleep.environment())
    assert [part["status"] for part in answered.result["parts"]] == ["success", "success"]
    assert answered.text.count("started it, which took") == 1
    assert len(asleep.processes) == 1


def test_two_calls_at_once_start_it_once(plugin: Plugin, asleep: Asleep) -> None:
    calls = [plugin.start({"info": "queue"}, **asleep.environment()) for _ in range(2)]
    answers = [json.loads(call.communicate(timeout=TIMEOUT)[0]) for call in calls]
    assert [answer["status"] for answer in answers] == ["success", "success"]
    assert len(asleep.processes) == 1


def test_a_server_that_never_comes_is_awaited_for_the_set_time(plugin: Plugin) -> None:
    url = f"http://127.0.0.1:{closed_port()}"
    environment = {"COMFYUI_BASE_URL": url, "COMFYUI_START_COMMAND": NEVER}
    answered = plugin.call({"info": "queue"}, COMFYUI_START_SECONDS="1", **environment)
    assert answered.json["code"] == "server_unreachable"
    assert answered.error.startswith(f"ComfyUI at {url} cannot be reached: COMFYUI_START_COMMAND (")
    assert "has not answered within 1 s. It may still be starting" in answered.error
    assert SECRET not in answered.error + answered.stderr
    again = plugin.call({"info": "queue"}, COMFYUI_START_SECONDS="1", **environment)
    assert "was tried" in again.error  # the first wait is over


def test_the_wait_ends_with_the_call_and_goes_on_for_the_next_one(plugin: Plugin) -> None:
    url = f"http://127.0.0.1:{closed_port()}"
    environment = {"COMFYUI_BASE_URL": url, "COMFYUI_START_COMMAND": NEVER}
    limited = plugin.call({"info": "queue"}, COMFYUI_TIMEOUT="1", **environment)
    assert "was tried, and it has not answered" in limited.error
    assert "COMFYUI_START_SECONDS is how long a call waits (120)" in limited.error
    call = {"workflow": plugin.workflow("tiny", TINY), "timeout": "1"}  # the caller's own limit
    assert "another call started it " in plugin.call(call, **environment).error


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        (FAILING, r"\) ended with exit status 3\. Run the command in a terminal"),
        (f"/nowhere/start-comfyui --token {SECRET}", r"COMMAND \(start-comfyui\) failed: .*shell"),
        (f"TOKEN={SECRET} start-comfyui", r"COMMAND \(TOKEN\) failed"),
    ],
)
def test_a_command_that_fails_is_an_error_at_once(
    plugin: Plugin, command: str, problem: str
) -> None:
    url = f"http://127.0.0.1:{closed_port()}"
    for _ in range(2):  # nothing is left that the second call would wait for
        answered = plugin.call(
            {"info": "queue"},
            COMFYUI_BASE_URL=url,
            COMFYUI_START_COMMAND=command,
            COMFYUI_START_SECONDS="500",
        )
        assert answered.json["code"] == "server_unreachable"
        assert re.search(problem, answered.error), answered.error
        assert SECRET not in answered.error + answered.stderr


@pytest.mark.parametrize("call", [{"command": "free"}, {"command": "cancel", "prompt_id": "x"}])
def test_what_needs_no_running_server_does_not_start_it(
    plugin: Plugin, asleep: Asleep, call: dict[str, str]
) -> None:
    answered = plugin.call(call, **asleep.environment())
    assert "refuses the connection" in answered.error
    assert not asleep.is_started


def test_the_list_of_workflows_and_a_server_that_runs_start_nothing(
    plugin: Plugin, asleep: Asleep, comfyui: Any
) -> None:
    plugin.call({"info": "workflows"}, **asleep.environment())
    plugin.call({"info": "queue"}, **asleep.environment(COMFYUI_BASE_URL=comfyui.url))
    assert not asleep.is_started


@pytest.mark.skipif(sys.platform == "win32", reason="a shell for POSIX")
def test_the_command_gets_no_settings_of_ours(plugin: Plugin, tmp_path: Path) -> None:
    environment_file = tmp_path / "environment.txt"
    command = command_line(
        "sh", "-c", f"env > {shlex.quote(str(environment_file))}; read line || exit 3"
    )
    url = f"http://127.0.0.1:{closed_port()}"
    answered = plugin.call(
        {"info": "queue"},
        COMFYUI_BASE_URL=url,
        COMFYUI_START_COMMAND=command,
        COMFYUI_AUTH=f"bearer {SECRET}",
    )
    assert "exit status 3" in answered.error  # its input is empty
    assert "PATH=" in environment_file.read_text()
    assert SECRET not in environment_file.read_text()


def test_a_packet_wakes_the_machine(plugin: Plugin) -> None:
    from embedded_comfyui import serve_in_thread

    port = closed_port()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as machine:
        machine.bind(("127.0.0.1", 0))
        machine.settimeout(TIMEOUT)
        call = plugin.start(
            {"info": "queue"},
            COMFYUI_BASE_URL=f"http://127.0.0.1:{port}",
            COMFYUI_WAKE_MAC=f"00:11:22:aa:BB:ff@127.0.0.1:{machine.getsockname()[1]}",
            COMFYUI_START_SECONDS=str(TIMEOUT / 2),
        )
        packet = machine.recv(1000)
        with serve_in_thread(port=port):
            answer = json.loads(call.communicate(timeout=TIMEOUT)[0])
    assert packet == b"\xff" * 6 + bytes.fromhex("001122aabbff") * 16
    assert len(packet) == 102
    assert "the packet of COMFYUI_WAKE_MAC to 127.0.0.1:" in answer["result"]["notes"][0]


def test_packets_go_to_the_broadcast_address_by_default() -> None:
    packet = wake_packet("00-11-22-33-44-55")
    assert (packet.address, packet.port) == ("255.255.255.255", 9)
    assert wake_packet("001122334455@192.168.1.255").address == "192.168.1.255"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("COMFYUI_WAKE_MAC", "00:11:22:33:44"),
        ("COMFYUI_WAKE_MAC", "00:11:22:33:44:55@"),
        ("COMFYUI_WAKE_MAC", "00:11:22:33:44:55@host:0"),
        ("COMFYUI_WAKE_MAC", "00:11-22:33:44:55"),
        ("COMFYUI_START_COMMAND", "# systemctl start comfyui"),
        ("COMFYUI_START_SECONDS", "4000"),
    ],
)
def test_invalid_settings_are_named(tmp_path: Path, name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name):
        settings.load(tmp_path, {name: value})


@pytest.mark.skipif(sys.platform == "win32", reason="CreateProcess takes any text")
def test_an_open_quote_is_an_error_without_the_command(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="quotes are closed") as raised:
        settings.load(tmp_path, {"COMFYUI_START_COMMAND": f"sh -c '{SECRET}"})
    assert SECRET not in str(raised.value)


def test_a_start_is_claimed_again_when_it_has_ended_or_its_wait_is_over(tmp_path: Path) -> None:
    file = tmp_path / "cache" / "start"
    first, second = OneStart(file, 60), OneStart(file, 0)
    assert first.claim() is None
    other = second.claim()
    assert other is not None
    assert 0 <= other.since <= 60 - other.left + 0.01
    first.release()
    assert second.is_released
    assert second.claim() is None  # for no time at all
    assert first.claim() is None
    file.write_text("tomorrow", "ascii")
    assert first.claim() is None
