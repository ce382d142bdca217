"""Sets the project up and runs it, with nothing but Python 3.10 or newer.

    python3 run.py demo     one real tool call against the embedded server; shows where the picture is
    python3 run.py test     ruff, mypy and the whole test suite
    python3 run.py serve    the file server, with the settings of config.env
    python3 run.py setup    only makes .venv, with what a tool call and the servers need
    python3 run.py bench    times a tool call; `bench inputs`, `bench files` the rest

Everything lands in ``.venv`` beside this file; a second run finds it there and starts at once.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

PROJECT = Path(__file__).resolve().parent
VENV = PROJECT / ".venv"
NODE = PROJECT / "tests" / "node"
COMMANDS = {
    "demo": "requirements-serve.txt",
    "test": "requirements-test.txt",
    "serve": "requirements-serve.txt",
    "bench": "requirements-serve.txt",
    "setup": "requirements-serve.txt",
}


def main(argv: Sequence[str]) -> int:
    if sys.version_info < (3, 10):  # noqa: UP036 - an older Python is what this line is for
        print("This project needs Python 3.10 or newer.", file=sys.stderr)
        return 2
    if not argv or argv[0] not in COMMANDS:
        print(__doc__, file=sys.stderr)
        return 2
    command, rest = argv[0], list(argv[1:])
    if not set_up(COMMANDS[command]):
        return 1
    actions: dict[str, Callable[[list[str]], int]] = {
        "demo": lambda rest: run([python(), "-m", "demo", *rest], cwd=PROJECT),
        "test": test,
        "serve": lambda rest: become([python(), "-m", "input_server", *rest]),
        "bench": lambda rest: run([python(), "-m", "benchmarks", *rest], cwd=PROJECT),
        "setup": lambda rest: compile_bytecode(),
    }
    return actions[command](rest)


def python() -> str:
    """The ``.venv``'s Python."""
    return str(VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))


def run(command: Sequence[str], cwd: Path = PROJECT) -> int:
    """Run a child with our own streams; gives its exit status. Ctrl-C ends it and us quietly."""
    try:
        return subprocess.run(list(command), cwd=cwd, env=environment(), check=False).returncode
    except KeyboardInterrupt:
        return 130


def become(command: Sequence[str]) -> int:
    """Run a server that others may end: it takes the place of this process, so that their signals
    reach it. Windows knows no such thing; there it is a child.
    """
    if os.name == "posix":
        os.chdir(PROJECT)
        os.execve(command[0], list(command), environment())
    return run(command)


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONUTF8": "1"}


def test(rest: list[str]) -> int:
    """Style, types, then the suite; arguments go to pytest. Every check runs, the worst decides."""
    checks = [
        ["-m", "ruff", "check", "."],
        ["-m", "ruff", "format", "--check", "."],
        ["-m", "mypy"],
    ]
    set_up_node()
    statuses = [] if rest else [*(run([python(), *check]) for check in checks), lint_javascript()]
    # Half of the tests wait for processes and for limits of time, so there are more than processors;
    # a worker that has done its share takes some of another's.
    workers = ["-n", str(2 * (os.cpu_count() or 1)), "--dist", "worksteal"]
    workers = [] if any(arg.startswith("-n") for arg in rest) else workers
    statuses.append(run([python(), "-m", "pytest", *workers, *rest]))
    return max(statuses)


def lint_javascript() -> int:
    """Run ESLint if ``set_up_node`` could install it; return its exit status."""
    npm = shutil.which("npm")
    if npm is None or not (NODE / "node_modules" / "eslint").is_dir():
        return 0
    return run([npm, "run", "--silent", "--prefix", str(NODE), "lint"])


def set_up(requirements: str) -> bool:
    """Make ``.venv`` hold what ``requirements`` lists; does nothing when it already does."""
    stamp = VENV / f".installed-{requirements}"
    wanted = _fingerprint()
    if Path(python()).exists() and stamp.is_file() and stamp.read_text("utf-8") == wanted:
        return True
    if not _make_venv():
        return False
    print(f"Installing what {requirements} lists into .venv (once)…", file=sys.stderr)
    pip = [python(), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if _quiet([*pip, "-r", str(PROJECT / requirements)]) != 0:
        print(
            "The packages could not be installed; pip's reason stands above. Check the network (a "
            "mirror or proxy can be set in pip's own configuration), then run this again.",
            file=sys.stderr,
        )
        return False
    stamp.write_text(wanted, "utf-8")
    return True


def compile_bytecode() -> int:
    """Compile what a tool call imports. A plugin folder that is read-only, or a host that sets
    PYTHONDONTWRITEBYTECODE, would compile it again in every call: 1.6 times the CPU time of a list.
    """
    code = ["comfyui_plugin.py", "comfyui_pipeline", "input_server", "embedded_comfyui"]
    paths = [str(PROJECT / name) for name in code if (PROJECT / name).exists()]
    _quiet([python(), "-m", "compileall", "-qq", *paths, str(VENV)])
    return 0  # without it the tool is slower, nothing else


def set_up_node() -> None:
    """Install what ``tests/node/package.json`` lists, once. Tests that need it skip where it is not
    there, so that a machine without npm, or without a network, can run all others.
    """
    stamp = NODE / "node_modules" / ".installed"
    wanted = hashlib.sha256((NODE / "package.json").read_bytes()).hexdigest()
    npm = shutil.which("npm")
    if npm is None or (stamp.is_file() and stamp.read_text("utf-8") == wanted):
        return
    print("Installing what tests/node/package.json lists (once)…", file=sys.stderr)
    quietly = ["--no-package-lock", "--no-audit", "--no-fund", "--silent", "--fetch-retries=1"]
    if _quiet([npm, "install", "--prefix", str(NODE), *quietly]) == 0 and stamp.parent.is_dir():
        stamp.write_text(wanted, "utf-8")
    else:
        print(
            "npm could not install it; tests of the bridge and ESLint will be skipped.",
            file=sys.stderr,
        )


def _fingerprint() -> str:
    """Changes with any requirements file and with the version of Python."""
    parts = [str(sys.version_info[:2]).encode()]
    parts += [path.read_bytes() for path in sorted(PROJECT.glob("requirements*.txt"))]
    parts += [path.read_bytes() for path in sorted(PROJECT.glob("*/requirements*.txt"))]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def _make_venv() -> bool:
    """A ``.venv`` with a pip that runs; an unusable one (moved, another Python) is made anew."""
    if Path(python()).exists():
        version = f"import sys; sys.exit(sys.version_info[:2] != {sys.version_info[:2]})"
        if _quiet([python(), "-c", version]) == 0:
            return True
    shutil.rmtree(VENV, ignore_errors=True)
    print("Making .venv (once)…", file=sys.stderr)
    if _quiet([sys.executable, "-m", "venv", str(VENV)]) == 0:
        return True
    shutil.rmtree(VENV, ignore_errors=True)
    name = f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"
    print(
        "This Python cannot make a virtual environment: its modules venv or ensurepip are missing "
        f"or broken. On Debian and Ubuntu install them with `apt install {name}`, elsewhere install "
        "Python from its own installer; then run this again.",
        file=sys.stderr,
    )
    return False


def _quiet(command: Sequence[str]) -> int:
    """Run a child whose stdout goes to stderr, so that a command's own output stays clean."""
    try:
        return subprocess.run(list(command), stdout=sys.stderr, check=False).returncode
    except OSError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
