"""The code of every error: unique, documented, never changed."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from comfyui_pipeline import errors
from comfyui_pipeline.errors import DETAIL_CODES, PatchError, ToolError

PACKAGE = Path(errors.__file__).parent
CODES = {
    "ToolError": "tool_error",
    "CallError": "invalid_call",
    "IncompleteCall": "incomplete_call",
    "TooDeep": "too_deep",
    "CallStopped": "call_stopped",
    "SettingsError": "invalid_settings",
    "PackagesMissing": "packages_missing",
    "WorkflowError": "invalid_workflow",
    "PatchError": "invalid_change",
    "MediaError": "file_error",
    "DownloadRefused": "download_refused",
    "EngineError": "server_error",
    "ServerUnreachable": "server_unreachable",
    "PromptRejected": "prompt_rejected",
    "JobFailed": "job_failed",
    "JobStalled": "job_stalled",
    "JobLost": "job_lost",
    "OutputMissing": "output_missing",
    "JobTimeout": "job_timeout",
    "BatchFailed": "batch_failed",
    "DeadlineExceeded": "deadline_exceeded",
    "InternalError": "internal_error",
}
"""Programs branch on these: adding one is fine, changing one breaks them."""


def classes(base: type[ToolError] = ToolError) -> Iterator[type[ToolError]]:
    yield base
    for derived in base.__subclasses__():
        if derived.__module__.startswith("comfyui_pipeline."):
            yield from classes(derived)


def sources() -> Iterator[tuple[Path, ast.AST]]:
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            yield path, node


def test_every_class_has_its_own_code_and_no_code_has_changed() -> None:
    own = [error for error in classes() if error.__module__ == errors.__name__]
    assert {error.__name__: error.code for error in own} == CODES
    assert all("code" in vars(error) for error in own)
    assert len(set(CODES.values())) == len(CODES)
    assert not set(CODES.values()) & set(DETAIL_CODES)


def test_a_class_defined_elsewhere_has_the_code_of_its_base_class() -> None:
    for path in PACKAGE.rglob("*.py"):
        importlib.import_module(".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts))
    elsewhere = [error for error in classes() if error.__module__ != errors.__name__]
    assert elsewhere
    assert not [error for error in elsewhere if "code" in vars(error)]


def test_the_docstring_lists_every_class_with_its_code_and_every_detail_code() -> None:
    doc = errors.__doc__ or ""
    documented = dict(re.findall(r"(?:^    |── )([A-Z]\w+) {2,}(\w+) {2,}", doc, re.MULTILINE))
    assert documented == CODES
    assert all(f"``{code}``" in doc for code in DETAIL_CODES)


def test_codes_given_where_an_error_is_raised_are_detail_codes() -> None:
    given = [
        (path.name, keyword.value.value)
        for path, node in sources()
        if isinstance(node, ast.Call)
        for keyword in node.keywords
        if keyword.arg == "code" and isinstance(keyword.value, ast.Constant)
    ]
    assert {code for _, code in given} == set(DETAIL_CODES)


def test_an_error_has_the_code_of_its_class_unless_given_another() -> None:
    assert (PatchError("a", "b").code, PatchError("a", code="ambiguous").code) == (
        "invalid_change",
        "ambiguous",
    )
    assert (str(PatchError("a.", "b.")), str(PatchError("a."))) == ("a. b.", "a.")


def test_an_unexpected_exception_names_its_place_and_keeps_its_text_to_stderr(
    capsys: pytest.CaptureFixture[str],
) -> None:
    try:
        raise KeyError("s3cret")
    except KeyError as caught:
        error = errors.unexpected(caught)
    assert re.match(r"Internal error \(KeyError in test_error_codes\.py, line \d+\)\.", str(error))
    assert "s3cret" not in str(error)
    assert "KeyError: 's3cret'" in capsys.readouterr().err
    assert str(errors.unexpected(KeyError())).startswith("Internal error (KeyError).")


@pytest.mark.parametrize(
    ("call", "code"),
    [
        ("not json", "invalid_call"),
        ('{"workflow": "invert_image", "steps": "many"}', "invalid_call"),
        ('{"workflow": "no such workflow"}', "workflow_not_found"),
        ('{"workflow": "invert_image", "image": "data:x"}', "file_error"),
        (
            '{"workflow": "invert_image", "params": [{"node_id": "99", "inputs": {"a": 1}}]}',
            "unknown_node",
        ),
        (
            '{"workflow": "invert_image", "params": [{"node_id": "1", "inputs": {"zz": 1}}]}',
            "unknown_input",
        ),
    ],
)
def test_a_response_has_the_code_next_to_the_text(ready: Any, call: str, code: str) -> None:
    response = ready.call(call.encode()).json
    assert set(response) == {"status", "error", "code"}
    assert (response["status"], response["code"]) == ("error", code), response["error"]
