"""No text of a call or a workflow may take quadratic time.

Each group of cases runs in a separate process: a pattern that backtracks would hold the interpreter
for minutes, and the limit of the test ends it. The last line of the output names the case.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
PACKAGES = ("comfyui_pipeline", "input_server", "embedded_comfyui")
CPU_SECONDS = 40
"""The limit of a test program; it needs a few seconds, and minutes if a pattern backtracks."""
LIMITED = """
import runpy, sys
try:
    import resource
    resource.setrlimit(resource.RLIMIT_CPU, (int(sys.argv[1]), int(sys.argv[1])))
except ImportError:  # Windows: the limit of the test counts
    pass
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
pytestmark = pytest.mark.timeout(300)  # on a busy machine; the processor time is what is limited


def run(program: str, *arguments: str, cpu: int = CPU_SECONDS) -> tuple[bool, str]:
    """Return whether a test program ended within its CPU time, and the end of its output."""
    command = [sys.executable, "-c", LIMITED, str(cpu), program, *arguments]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, check=False)
    output = done.stdout.decode("utf-8", "replace") + done.stderr.decode("utf-8", "replace")[-2000:]
    return done.returncode == 0, output[-3000:]


@pytest.mark.parametrize("shard", range(6))
@pytest.mark.parametrize("group", ["arguments", "beginnings", "prompt texts", "editor texts"])
def test_long_texts_are_read_in_linear_time(group: str, shard: int) -> None:
    ended, output = run("tests/workflow/long_texts.py", group, "40000", str(shard), "6")
    assert ended, output


@pytest.mark.parametrize(
    "case",
    [
        "image of spaces",
        "mask of spaces",
        "widget of comments",
        "title of marks",
        "prompt of marks",
    ],
)
def test_a_million_characters_of_the_worst_kinds_are_processed(case: str) -> None:
    ended, output = run("tests/workflow/long_texts.py", "--one", case, "1000000")
    assert ended, output


# -- patterns --------------------------------------------------------------------------------------

FUNCTIONS = {
    "compile",
    "match",
    "search",
    "sub",
    "subn",
    "split",
    "fullmatch",
    "findall",
    "finditer",
}


def patterns() -> Iterator[tuple[str, str, list[str]]]:
    """The location of each literal pattern of the product, the pattern, and how it is matched."""
    paths = [path for package in PACKAGES for path in sorted((PROJECT / package).rglob("*.py"))]
    trees = {path: ast.parse(path.read_text("utf-8")) for path in paths}
    used: dict[tuple[Path | None, str], set[str]] = {}  # without a path: `module.NAME.search(…)`
    for path, tree in trees.items():
        for one in ast.walk(tree):
            if isinstance(one, ast.Attribute) and one.attr in FUNCTIONS:
                owner = one.value
                if isinstance(owner, ast.Attribute):
                    used.setdefault((None, owner.attr), set()).add(one.attr)
                elif isinstance(owner, ast.Name):
                    used.setdefault((path, owner.id), set()).add(one.attr)
    for path, tree in trees.items():
        for line, pattern, way in _literals(tree):
            known = used.get((path, way), set()) | used.get((None, way), set())
            ways = {way} if way in FUNCTIONS else known or {"search", "fullmatch"}
            yield f"{path.relative_to(PROJECT).as_posix()}:{line}", pattern, sorted(ways)


def _literals(tree: ast.AST) -> Iterator[tuple[int, str, str]]:
    """First arguments of ``re.…(…)``, and every text in a table that such a call reads from; with the
    function, or the name that a compiled pattern gets. In an f-string constants of the module may
    stand.
    """
    constants = _constants(tree)
    names = {
        id(one.value): target.id
        for one in ast.walk(tree)
        if isinstance(one, ast.Assign)
        for target in one.targets
        if isinstance(target, ast.Name)
    }
    for call in _calls(tree):
        assert isinstance(call.func, ast.Attribute)
        first, way = call.args[0], call.func.attr
        text = _text(first, constants)
        if text is not None:
            yield call.lineno, text, names.get(id(call), "") if way == "compile" else way
        elif isinstance(first, ast.Name):
            yield from ((line, text, "") for line, text in _table(tree, first.id))


def _calls(tree: ast.AST) -> Iterator[ast.Call]:
    """Every ``re.…(pattern, …)``."""
    for call in ast.walk(tree):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute):
            owner = call.func.value
            if isinstance(owner, ast.Name) and owner.id == "re" and call.func.attr in FUNCTIONS:
                yield call


def _constants(tree: ast.AST) -> dict[str, str]:
    """The named strings and f-strings of a module, in source order."""
    constants: dict[str, str] = {}
    for one in ast.iter_child_nodes(tree):
        if isinstance(one, ast.Assign) and isinstance(one.targets[0], ast.Name):
            text = _text(one.value, constants)
            if text is not None:
                constants[one.targets[0].id] = text
    return constants


def _text(value: ast.expr, constants: dict[str, str]) -> str | None:
    """The value of a literal or an f-string of constants; None for anything else."""
    if isinstance(value, ast.Constant):
        spelled = value.value
        return spelled.decode("latin-1") if isinstance(spelled, bytes) else _str(spelled)
    if isinstance(value, ast.Name):
        return constants.get(value.id)
    if not isinstance(value, ast.JoinedStr):
        return None
    parts = [
        _text(part.value if isinstance(part, ast.FormattedValue) else part, constants)
        for part in value.values
    ]
    return "".join(part for part in parts if part) if None not in parts else None


def _str(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _table(tree: ast.AST, name: str) -> Iterator[tuple[int, str]]:
    """The strings that a comprehension names: ``for pattern, advice in ((…, …), …)``."""
    for one in ast.walk(tree):
        if isinstance(one, ast.comprehension) and isinstance(one.target, ast.Tuple):
            names = [part.id for part in one.target.elts if isinstance(part, ast.Name)]
            if name in names and isinstance(one.iter, ast.Tuple):
                for row in one.iter.elts:
                    if isinstance(row, ast.Tuple):
                        text = ast.literal_eval(row.elts[names.index(name)])
                        yield row.lineno, text


def test_no_pattern_of_the_product_backtracks(tmp_path: Path) -> None:
    """Match every literal pattern against long texts built from its own parts."""
    found = list(patterns())
    assert len(found) > 40
    listed = tmp_path / "patterns.txt"
    listed.write_text("\n".join(repr(one) for one in found), "utf-8")
    ended, output = run("tests/workflow/long_texts_for_patterns.py", str(listed))
    assert ended, output


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit of processor time")
@pytest.mark.parametrize(
    "careless", [r"[A-Za-z0-9\s]+={0,2}\s*", r"/\*.*?\*/", r"[a:]*:[a:]*:[a:]*", r"(a+)+b"]
)
def test_a_backtracking_pattern_is_detected(careless: str, tmp_path: Path) -> None:
    listed = tmp_path / "patterns.txt"
    listed.write_text(repr(("here", careless, ["search", "fullmatch"])), "utf-8")
    ended, _ = run("tests/workflow/long_texts_for_patterns.py", str(listed), cpu=2)
    assert not ended


def test_every_pattern_is_a_literal() -> None:
    """A pattern built at run time would not be tested."""
    seen = {where for where, _, _ in patterns()}
    unseen = set()
    for package in PACKAGES:
        for path in sorted((PROJECT / package).rglob("*.py")):
            short = path.relative_to(PROJECT).as_posix()
            tree = ast.parse(path.read_text("utf-8"))
            for call in _calls(tree):
                first = call.args[0]
                by_table = isinstance(first, ast.Name) and any(_table(tree, first.id))
                if f"{short}:{call.lineno}" not in seen and not by_table:
                    unseen.add(short)
    assert unseen == set()
