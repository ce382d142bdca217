"""Pipes, signals, limits and Pythons as hosts have them: one JSON object comes, whatever happens."""

from __future__ import annotations

import ast
import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from comfyui_pipeline.process import reexec, stdout, time_limit
from comfyui_pipeline.process.stdin import CallReader, IncompleteCall, ObjectScanner
from tests.waiting import wait_until, with_more_time

PROJECT = Path(__file__).resolve().parents[2]
INFO = b'{"info": "workflows"}'
ENDS = signal.Signals
posix = pytest.mark.skipif(os.name != "posix", reason="a matter of POSIX")
bounded = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


def begin(plugin: Any, *argv: str, **how: Any) -> subprocess.Popen[bytes]:
    env = {**plugin.environment, **how.pop("env", {})}
    how = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **how}
    command = argv or (sys.executable, "comfyui_plugin.py")
    process = subprocess.Popen(command, cwd=plugin.folder, env=env, **how)
    BEGUN.append(process)
    return process


BEGUN: list[subprocess.Popen[bytes]] = []


@pytest.fixture(autouse=True)
def nothing_runs_on() -> Iterator[None]:
    """A test that fails in between leaves no process."""
    yield
    while BEGUN:
        process = BEGUN.pop()
        process.kill()
        process.wait()


def write(process: subprocess.Popen[bytes], text: bytes) -> None:
    assert process.stdin is not None
    process.stdin.write(text)
    process.stdin.flush()


def answered(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    """The answer that comes while stdin is still open."""
    assert process.stdout is not None
    with process:
        out = process.stdout.read()
        assert process.wait() == 0
    document: dict[str, Any] = json.loads(out)
    return document


def hurried(plugin: Any, seconds: float) -> None:
    """Let the host's limit be so many seconds."""
    path = plugin.folder / "plugin-manifest.json"
    manifest = json.loads(path.read_text("utf-8"))
    manifest["communication"]["timeout"] = seconds * 1000
    path.write_text(json.dumps(manifest), "utf-8")


# -- stdin ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("behind", [b"", b"\n", b" \r\n\t"])
def test_a_complete_object_is_answered_while_stdin_stays_open(plugin: Any, behind: bytes) -> None:
    process = begin(plugin)
    write(process, INFO + behind)
    assert answered(process)["status"] == "success"


@posix
def test_an_object_in_pieces_is_answered_once_it_is_complete(plugin: Any) -> None:
    """Each piece is written once the one before has been read."""
    read_end, write_end = os.pipe()
    process = begin(plugin, stdin=read_end)
    for byte in b'\xef\xbb\xbf{"info": "workflows", "x": "}\\"]"}':
        os.write(write_end, bytes([byte]))
        while select.select([read_end], [], [], 0)[0]:
            pass
    os.close(read_end)
    assert answered(process)["status"] == "success"
    os.close(write_end)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"", "Nothing arrived on stdin"),
        (b" \n", "Nothing arrived on stdin"),
        (b'{"info": "workflows"', "(} is missing)"),
        (b'{"info": "work', '("} is missing)'),
        (b'{"params": [{"a": [1', "(]}]} is missing)"),
        (b"draw a fox", "not JSON"),
    ],
)
def test_a_call_that_stays_incomplete_is_answered_with_what_is_missing(
    plugin: Any, text: bytes, told: str
) -> None:
    hurried(plugin, 6)
    process = begin(plugin)
    write(process, text)
    error = answered(process)["error"]
    assert told in error
    assert '{"workflow"' in error


def test_another_object_behind_the_first_is_named_as_a_fault(plugin: Any) -> None:
    process = begin(plugin)
    write(process, INFO + b"\n" + INFO)
    assert "Extra data at line 2" in answered(process)["error"]


def reader(text: bytes) -> tuple[CallReader, int]:
    read_end, write_end = os.pipe()
    os.write(write_end, text)
    return CallReader(read_end), write_end


def test_silence_in_an_incomplete_call_ends_it_before_the_limit() -> None:
    waiting, write_end = reader(b'{"a": ')
    with pytest.raises(IncompleteCall, match="6 bytes arrived, nothing came any more"):
        waiting.read(float("inf"), quiet=0.2)
    os.close(write_end)


def test_the_limit_ends_an_incomplete_call_before_the_silence() -> None:
    def check(seconds: float) -> None:
        waiting, write_end = reader(b'{"a": ')
        with pytest.raises(IncompleteCall, match="within this call's time limit"):
            waiting.read(time.monotonic() + seconds, quiet=600)
        os.close(write_end)

    with_more_time(check, 0.1, 3, 30)


def pieces(text: bytes, cuts: list[int]) -> bool:
    """Whether the scanner finds the end in text that comes in these pieces, and not before."""
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
def test_the_end_of_an_object_is_found_in_any_pieces(value: Any, where: list[float]) -> None:
    text = json.dumps(value, ensure_ascii=False).encode()
    cuts = sorted({int(at * (len(text) - 1)) for at in where})
    assert pieces(text, cuts)
    assert not ObjectScanner().complete(bytearray(text[:-1]))


def test_looking_for_the_end_takes_time_in_proportion_to_the_length() -> None:
    """5 MB in 5,000 pieces with a look after each: looking at it all each time takes hours."""
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
    """Without a process for each: one child answers them all (`test_calls` has real processes)."""
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


# -- descriptors ---------------------------------------------------------------------------------


@posix
def test_a_stdin_that_does_not_block_is_waited_for(plugin: Any) -> None:
    read_end, write_end = os.pipe()
    os.set_blocking(read_end, False)
    process = begin(plugin, stdin=read_end)
    os.close(read_end)
    assert process.stderr is not None
    select.select([process.stderr], [], [], 1.0)  # a byte that comes at once would prove nothing
    os.write(write_end, INFO)
    os.close(write_end)
    assert answered(process)["status"] == "success"


@posix
def test_a_stdout_that_does_not_block_gets_all_of_a_long_answer(plugin: Any) -> None:
    """The pipe is full when the answer is written, and is read a little at a time."""
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    filled = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            filled += os.write(write_end, b" " * 4096)
    process = begin(plugin, stdout=write_end)
    os.close(write_end)
    with process, os.fdopen(read_end, "rb") as out:
        assert process.stdin is not None
        process.stdin.write(INFO)
        process.stdin.close()
        process.stdin = None
        assert process.stderr is not None
        select.select([process.stderr], [], [], 1.0)  # until it has met the full pipe
        document = b"".join(iter(lambda: out.read(1000), b""))
    assert len(document) > filled + 1000
    assert json.loads(document[filled:])["status"] == "success"
    assert process.returncode == 0


@posix
@pytest.mark.parametrize("closed", ["2>&-", "0<&-", "0<&- 2>&-"])
def test_a_closed_descriptor_changes_neither_answer_nor_status(plugin: Any, closed: str) -> None:
    script = f'exec "{sys.executable}" comfyui_plugin.py {closed}'
    done = subprocess.run(
        ["sh", "-c", script], cwd=plugin.folder, input=INFO, stdout=subprocess.PIPE, check=False
    )
    assert done.returncode == 0
    document = json.loads(done.stdout)
    assert document["status"] == ("error" if "0<&-" in closed else "success")


@posix
def test_a_stderr_that_nobody_reads_any_more_breaks_nothing(plugin: Any) -> None:
    noisy = plugin.folder / "comfyui_pipeline" / "info.py"
    lines = "\nimport sys\nprint('x' * 9000, file=sys.stderr, flush=True)\nraise ValueError\n"
    noisy.write_text(noisy.read_text("utf-8") + lines, "utf-8")
    read_end, write_end = os.pipe()
    os.close(read_end)
    process = begin(plugin, stderr=write_end)
    os.close(write_end)
    out, _ = process.communicate(INFO)
    assert json.loads(out)["code"] == "internal_error"
    assert process.returncode == 0


@posix
def test_with_closed_stderr_what_libraries_print_stays_out_of_the_answer(plugin: Any) -> None:
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


# -- signals -------------------------------------------------------------------------------------


def python_to_use_instead(plugin: Any, script: str) -> None:
    """A `.venv` whose Python is this shell script, as one of another version is."""
    python = plugin.folder / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f"#!/bin/sh\n{script}\n", "utf-8")
    python.chmod(0o755)


RUN = {"2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "a"}}}
RUN["1"] = {"class_type": "EmptyImage", "inputs": {"width": 8}}


@posix
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP"])
@pytest.mark.parametrize("relayed", [False, True], ids=["itself", "by the .venv's Python"])
def test_a_signal_in_a_run_cancels_it_and_is_answered(
    plugin: Any, fake: Any, name: str, relayed: bool
) -> None:
    fake.script.never_ends = True
    call = json.dumps({"workflow": plugin.workflow("it", RUN)}).encode()
    python = [sys.executable]
    if relayed:
        python_to_use_instead(plugin, f'exec "{sys.executable}" "$@"')
        python = [sys.executable, "-I", "-S"]
    env = {"COMFYUI_BASE_URL": fake.url}
    process = begin(plugin, *python, "comfyui_plugin.py", env=env)
    write(process, call)
    assert fake.script.release.wait(50)  # it is queued
    process.send_signal(getattr(signal, name))
    process.send_signal(signal.SIGTERM)  # a second one does not break off what the first began
    error = answered(process)["error"]
    (posted,) = fake.script.posted
    assert "stopped" in error
    assert posted["prompt_id"] in error
    assert posted["prompt_id"] in fake.script.cancelled


@posix
@pytest.mark.parametrize("relayed", [False, True], ids=["itself", "by the .venv's Python"])
@pytest.mark.parametrize("refused", [False, True], ids=["cancelled", "refused"])
@pytest.mark.parametrize("parts", [1, 3])
def test_a_stopped_call_says_of_each_run_whether_it_was_cancelled(
    plugin: Any, fake: Any, relayed: bool, refused: bool, parts: int
) -> None:
    fake.script.never_ends = True
    if refused:
        fake.script.broken = {"/interrupt": (500, b""), "/api/jobs": (500, b"")}
    name = plugin.workflow("it", RUN)
    call = {f"workflow{n}": name for n in range(1, parts + 1)} if parts > 1 else {"workflow": name}
    python = [sys.executable]
    if relayed:
        python_to_use_instead(plugin, f'exec "{sys.executable}" "$@"')
        python = [sys.executable, "-I", "-S"]
    process = begin(plugin, *python, "comfyui_plugin.py", env={"COMFYUI_BASE_URL": fake.url})
    write(process, json.dumps(call).encode())
    wait_until(lambda: fake.script.requested_paths.count("/queue") >= parts)
    process.send_signal(signal.SIGTERM)
    error = answered(process)["error"]
    for posted in fake.script.posted:
        assert posted["prompt_id"] in error
    assert error.count("was cancelled") == (0 if refused else parts)
    assert error.count("still be running") == (parts if refused else 0)


@posix
def test_a_signal_that_was_ignored_from_the_start_stays_ignored(plugin: Any) -> None:
    process = begin(plugin, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    write(process, INFO[:-1])
    process.send_signal(signal.SIGHUP)
    write(process, INFO[-1:])
    assert answered(process)["status"] == "success"


# -- Pythons -------------------------------------------------------------------------------------


@posix
@pytest.mark.parametrize(
    "around",
    [
        "echo hello; {}",
        "printf hello; {}",
        "{}; echo bye",
        "echo '{{'; {}; echo '}}'",
        "echo '[1]'; {}",
    ],
)
def test_what_that_python_prints_around_its_answer_is_passed_over(plugin: Any, around: str) -> None:
    python_to_use_instead(plugin, around.format(f'"{sys.executable}" "$@"'))
    answered = plugin.call({"workflow": "no such"}, python=(sys.executable, "-I", "-S"))
    assert "no workflow" in answered.error


@bounded
@given(st.binary(max_size=40), st.binary(max_size=40), st.text(max_size=20))
def test_the_last_answer_is_found_among_other_lines(before: bytes, after: bytes, text: str) -> None:
    envelope = {"status": "error", "error": text + '{"status": "success"}'}
    printed = before + b"\n" + json.dumps(envelope).encode() + b"\n" + after
    assert stdout.last_response(printed) == envelope
    assert stdout.last_response(before) is None


def test_that_python_counts_the_time_that_was_used_before_it(monkeypatch: Any) -> None:
    for value, seconds in [("1", 1.0), ("7.5", 7.5), ("x", 0), ("nan", 0), ("-3", 0), ("1e999", 0)]:
        monkeypatch.setenv(reexec.GUARD, value)
        assert reexec.seconds_before_start() == seconds
        assert reexec.is_child()
    monkeypatch.delenv(reexec.GUARD)
    assert reexec.seconds_before_start() == 0
    assert not reexec.is_child()


FOR_OLD_PYTHONS = [
    "bounded/numbers",
    "bounded/encoded_files",
    "bounded/truncate",
    "call_record",
    "errors",
    "process/dependencies",
    "process/project",
    "process/reexec",
    "process/signals",
    "process/stdin",
    "process/stdout",
    "process/time_limit",
    "stdio",
]


@pytest.mark.parametrize("name", [*FOR_OLD_PYTHONS, "comfyui_plugin"])
def test_what_is_imported_first_can_be_read_by_an_old_python(name: str) -> None:
    folder = PROJECT if name == "comfyui_plugin" else PROJECT / "comfyui_pipeline"
    text = (folder / f"{name}.py").read_text("utf-8")
    tree = ast.parse(text, feature_version=(3, 8))
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword):
            assert node.arg not in ("slots", "kw_only", "strict")


OLD = """
import runpy, sys
sys.version_info = (3, 9, 2, "final", 0)
sys.argv = ["comfyui_plugin.py"]
class Refuse:
    def find_spec(self, name, path=None, target=None):
        known = {names}
        if name.startswith("comfyui_pipeline.") and name.partition(".")[2] not in known:
            raise ImportError("an old Python cannot import " + name)
sys.meta_path.insert(0, Refuse())
runpy.run_path("comfyui_plugin.py", run_name="__main__")
"""


@posix
def test_an_old_python_lets_the_venvs_answer_or_says_what_is_needed(plugin: Any) -> None:
    """One that is really old where there is one; everywhere one that takes itself for it."""
    modules = [name.replace("/", ".") for name in FOR_OLD_PYTHONS]
    known = repr([*modules, "bounded", "process"])
    claimed = (sys.executable, "-c", OLD.replace("{names}", known))
    found = [shutil.which(f"python3.{minor}") for minor in (8, 9)]
    olds = [(old, "comfyui_plugin.py") for old in found if old and _runs(old)]
    for old in [claimed, *olds]:
        process = begin(plugin, *old)
        write(process, INFO)
        assert "Python 3.10 or newer" in answered(process)["error"]
    python_to_use_instead(plugin, f'exec "{sys.executable}" "$@"')
    for old in [claimed, *olds]:
        process = begin(plugin, *old)
        write(process, INFO)
        assert answered(process)["status"] == "success"


def _runs(python: str) -> bool:
    return subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode == 0


@posix
@pytest.mark.parametrize("name", ["websocket", "dotenv", "PIL", "requests", "tqdm"])
def test_another_package_of_a_needed_name_is_named_with_its_place(plugin: Any, name: str) -> None:
    other = plugin.folder / "other" / name
    other.mkdir(parents=True)
    (other / "__init__.py").write_text('__version__ = "0.2.1"\n', "utf-8")
    own = sysconfig.get_paths()["purelib"]
    env = {"PYTHONPATH": f"{other.parent}{os.pathsep}{own}"}
    (plugin.folder / "config.env").write_text("DebugMode=false\n", "utf-8")
    error = plugin.call({"info": "queue"}, python=(sys.executable, "-S"), **env).error
    assert f"called {name!r}" in error
    assert str(other) in error
    assert "run.py setup" in error
    # the .venv's own comes first where its Python is this one
    lib = plugin.folder / ".venv" / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}"
    lib.mkdir(parents=True)
    (lib / "site-packages").symlink_to(own)
    text = plugin.call({"info": "queue"}, python=(sys.executable, "-S"), **env).error
    assert "refuses the connection" in text


@posix
def test_a_link_to_the_script_and_a_safe_path_are_no_trouble(plugin: Any, tmp_path: Path) -> None:
    link = tmp_path / "elsewhere.py"
    link.symlink_to(plugin.folder / "comfyui_plugin.py")
    for argv in ([str(link)], ["-I", str(link)]):
        process = begin(plugin, sys.executable, *argv, env={"PYTHONSAFEPATH": "1"})
        write(process, INFO)
        assert answered(process)["status"] == "success"


def test_files_that_are_missing_are_said_in_json(plugin: Any) -> None:
    shutil.rmtree(plugin.folder / "comfyui_pipeline")
    process = begin(plugin)
    assert "all of its files" in answered(process)["error"]


# -- limits --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stated", "seconds"),
    [(5000, 5.0), ("7000", 7.0), (0, 60.0), (-1, 60.0), ("x", 60.0), (None, 60.0), (1e999, 60.0)],
)
def test_the_hosts_limit_is_the_manifests(tmp_path: Path, stated: Any, seconds: float) -> None:
    manifest = {"communication": {"timeout": stated}}
    (tmp_path / time_limit.MANIFEST).write_text(json.dumps(manifest), "utf-8")
    assert time_limit.host_limit(tmp_path) == seconds


def test_a_manifest_that_is_none_means_the_hosts_own_limit(tmp_path: Path) -> None:
    assert time_limit.host_limit(tmp_path) == 60.0
    (tmp_path / time_limit.MANIFEST).write_text("[" * 99_999, "utf-8")
    assert time_limit.host_limit(tmp_path) == 60.0


def test_of_two_answers_the_last_one_counts() -> None:
    first, last = (
        stdout.failure("first", "internal_error"),
        stdout.failure("last", "internal_error"),
    )
    printed = json.dumps(first).encode() + b"\n" + json.dumps(last).encode() + b"\n"
    assert stdout.last_response(printed) == last


@pytest.mark.parametrize(
    ("limit", "timeout", "seconds"),
    [(60, 10, 12), (60, 45, 12), (60, 50, 7), (60, 55, 2), (5, 5, 0)],
)
def test_what_comes_after_the_deadline_ends_before_the_watchdog(
    limit: float, timeout: float, seconds: float
) -> None:
    assert time_limit.fetch_grace(limit, timeout) == seconds
    if timeout <= limit - 5:  # the highest that is taken
        assert timeout + seconds + time_limit.REPORT_SECONDS <= limit - time_limit.HOST_MARGIN


@pytest.mark.parametrize("slow", ["/api/jobs", "/view"])
def test_with_the_highest_timeout_the_pipeline_answers_and_not_the_watchdog(
    plugin: Any, fake: Any, slow: str
) -> None:
    """A server that is silent once the time is over: as the run is cancelled, or a result fetched."""
    name = plugin.workflow("it", RUN)

    def check(limit: float) -> None:
        fake.stop()
        fake.start()
        fake.script.slow = {slow: "silent"}
        fake.script.never_ends = slow != "/view"
        picture = {"filename": "a.png", "subfolder": "", "type": "output"}
        done = {"status_str": "success", "messages": [["execution_success", {}]]}
        outputs = {"2": {"images": [picture]}}
        fake.script.history = {"ID": {"outputs": outputs, "status": done}}
        hurried(plugin, limit)
        env = {"COMFYUI_BASE_URL": fake.url, "COMFYUI_TIMEOUT": f"{limit - 5:g}"}
        call = {"workflow": name, "on_timeout": "cancel"}
        error = plugin.call(call, **env).error
        assert "something on the way does not answer" not in error
        assert fake.script.posted[0]["prompt_id"] in error

    with_more_time(check, 10, 30, 60)
