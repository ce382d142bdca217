"""Set up the project and run it; needs only Python 3.10 or newer.

    python3 run.py demo     make one tool call to the embedded server and show the result
    python3 run.py test     run all checks: ruff, mypy, ESLint and the tests
    python3 run.py serve    run the file server with the settings of config.env
    python3 run.py setup    create .venv with the packages of a tool call and of the servers
    python3 run.py bench    measure a tool call; `bench inputs`, `bench files` and others
    python3 run.py check-workflows   convert and change recorded workflows, and print the figures

Packages are installed into ``.venv`` next to this file, once.
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
PLATFORMS = ("linux", "darwin", "win32")
"""The systems that mypy checks the code for."""
COMMANDS = {
    "demo": "requirements-serve.txt",
    "test": "requirements-test.txt",
    "serve": "requirements-serve.txt",
    "bench": "requirements-serve.txt",
    "check-workflows": "requirements-test.txt",
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
        "serve": serve,
        "bench": lambda rest: run([python(), "-m", "benchmarks", *rest], cwd=PROJECT),
        "check-workflows": check_workflows,
        "setup": lambda rest: compile_bytecode(),
    }
    return actions[command](rest)


def python() -> str:
    """The ``.venv``'s Python."""
    return str(VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))


def run(command: Sequence[str], cwd: Path = PROJECT) -> int:
    """Run a child with our standard streams; return its exit status, 130 after Ctrl-C."""
    try:
        return subprocess.run(list(command), cwd=cwd, env=environment(), check=False).returncode
    except KeyboardInterrupt:
        return 130


def check_workflows(rest: list[str]) -> int:
    """Print how well workflows are converted and arguments are placed in them."""
    return run([python(), "-m", "devtools.check_workflows", *rest], cwd=PROJECT)


def serve(rest: list[str]) -> int:
    """Start the file server, or run one of its subcommands, which come without options before them."""
    command = [python(), "-m", "input_server", *rest]
    return run(command) if rest and not rest[0].startswith("-") else become(command)


def become(command: Sequence[str]) -> int:
    """Replace this process by a server, so that a supervisor's signals reach it.

    On Windows, which cannot replace a process, the server is a child that ends with this process.
    """
    if os.name == "posix":
        os.chdir(PROJECT)
        os.execve(command[0], list(command), environment())
    return run(command) if "--stop-with-stdin" in command else run_tied(command)


def run_tied(command: Sequence[str]) -> int:
    """Run a server whose stdin ends with this process, also when that is killed; return its status."""
    tied = [*command, "--stop-with-stdin"]
    with subprocess.Popen(tied, cwd=PROJECT, env=environment(), stdin=subprocess.PIPE) as child:
        while True:
            try:
                return child.wait()
            except KeyboardInterrupt:  # the console has sent it to the server too
                continue


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONUTF8": "1"}


def test(rest: list[str]) -> int:
    """Run every check and return the worst status; with arguments only pytest runs, with those."""
    checks = [
        ["-m", "ruff", "check", "."],
        ["-m", "ruff", "format", "--check", "."],
        *(["-m", "mypy", "--platform", platform] for platform in PLATFORMS),
    ]
    set_up_node()
    statuses = [] if rest else [*(run([python(), *check]) for check in checks), lint_javascript()]
    # More workers than processors, because half of the tests wait for processes and time limits.
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
    """Install what ``requirements`` lists into ``.venv``, unless it is installed already."""
    stamp = VENV / f".installed-{requirements}"
    fingerprint = _fingerprint()
    if Path(python()).exists() and stamp.is_file() and stamp.read_text("utf-8") == fingerprint:
        return True
    if not _create_venv():
        return False
    print(f"Installing what {requirements} lists into .venv (once)…", file=sys.stderr)
    pip = [python(), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if _quiet([*pip, "-r", str(PROJECT / requirements)]) != 0:
        print(
            "The packages could not be installed; pip's error is above. Check the network (set a mirror "
            "or proxy in pip's configuration if needed), then run this again.",
            file=sys.stderr,
        )
        return False
    stamp.write_text(fingerprint, "utf-8")
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
    """Install what ``tests/node/package.json`` lists, once.

    Without npm or a network the tests that need it are skipped.
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
    """Return a digest of all requirements files and the Python version."""
    parts = [str(sys.version_info[:2]).encode()]
    parts += [path.read_bytes() for path in sorted(PROJECT.glob("requirements*.txt"))]
    parts += [path.read_bytes() for path in sorted(PROJECT.glob("*/requirements*.txt"))]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def _create_venv() -> bool:
    """Create ``.venv``; replace one that does not run (moved, or of another Python version)."""
    if Path(python()).exists():
        version = f"import sys; sys.exit(sys.version_info[:2] != {sys.version_info[:2]})"
        if _quiet([python(), "-c", version]) == 0:
            return True
    shutil.rmtree(VENV, ignore_errors=True)
    print("Creating .venv (once)…", file=sys.stderr)
    if _quiet([sys.executable, "-m", "venv", str(VENV)]) == 0:
        return True
    shutil.rmtree(VENV, ignore_errors=True)
    name = f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"
    print(
        "This Python cannot create a virtual environment: its module venv or ensurepip is missing or "
        f"broken. On Debian and Ubuntu run `apt install {name}`, elsewhere install Python from "
        "python.org; then run this again.",
        file=sys.stderr,
    )
    return False


def _quiet(command: Sequence[str]) -> int:
    """Run a child with its stdout on our stderr; return its exit status."""
    try:
        return subprocess.run(list(command), stdout=sys.stderr, check=False).returncode
    except OSError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
