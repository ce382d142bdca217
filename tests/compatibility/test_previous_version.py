"""The settings, calls, URLs and command lines of the previous version work unchanged.

tests/data/previous_version holds what that version returned (see record.py). New fields may be
added to an answer; recorded ones stay as they are. Only wording may differ.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from tests.compatibility import scenario
from tests.compatibility.comfyui import Recorder, recording_comfyui

PROJECT = Path(__file__).resolve().parents[2]
COMMANDS = scenario.recorded("commands")
MOUNTS = [case for case in COMMANDS if case["name"].startswith("mounts")]
"""Each of these works on what the one before left in mounts.json."""


@pytest.fixture(scope="module")
def current(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[scenario.Installation, Recorder]]:
    """The current version, installed beside a ComfyUI that records what it receives."""
    with recording_comfyui() as (url, recorder):
        installation = scenario.install(PROJECT, tmp_path_factory.mktemp("current"))
        installation.values["comfyui"] = url
        yield installation, recorder


def named(cases: list[dict[str, Any]]) -> Any:
    return pytest.mark.parametrize("case", cases, ids=[case["name"] for case in cases])


MASK = "a mask is written for every channel that a loader may read"
ZERO = "0 counts as unset where it has no meaning, as panels of hosts save it"
DELIBERATE: Mapping[str, str] = {
    "cancel": "a job that has succeeded by its history is not called cancelled",
    "a download from an allowed host": "a /view URL of the ComfyUI server is fetched with its login",
    "embedded paste_with_mask": MASK,
    "image and mask": MASK,
    "error: no workflow": "a suitable workflow is chosen",
    "error: params no list": "an empty object changes nothing",
    "result that waits": "the end of the wait is an answer with the state of the job",
    "seed random and wide digits": "one side of a size keeps the ratio",
    "workflow_json as a string": "example.png does not count as a given image",
    **{f"error: setting {name}": ZERO for name in ("FILE_SERVER_PORT", "FILE_SERVER_URL_HOURS")},
    **{
        f"setting {name}": ZERO
        for name in (
            "FILE_SERVER_PORT",
            "INPUT_SERVER_HEAD_SECONDS",
            "INPUT_SERVER_IMAGE_MB",
            "INPUT_SERVER_LOCK_SECONDS",
            "INPUT_SERVER_WORKERS",
        )
    },
}
"""Calls and command lines that are answered differently on purpose, and why."""


def differences(before: Any, now: Any, at: str = "answer") -> Iterator[str]:
    """Where ``now`` lacks something of ``before``.

    More fields, sentences and links are no difference, nor is the order of changes, nor are more
    parameters in the gallery's addresses.
    """
    field = at.rpartition(".")[2]
    if field in scenario.TEXTS and isinstance(before, int) and isinstance(now, int):
        if now < before:
            yield f"{at} was {before!r} and is {now!r}"
    elif field == "links" and isinstance(before, list) and isinstance(now, list):
        yield from (f"{at} lacks {link!r}" for link in before if link not in now)
    elif field == "changes" and isinstance(before, list) and isinstance(now, list):
        yield from differences(_in_order(before), _in_order(now), f"{at} in order")
    elif field in ("url", "thumb", "view") and str(before).startswith("../") and now:
        old, new = urlsplit(before), urlsplit(now)
        more = set(parse_qsl(old.query)) <= set(parse_qsl(new.query))
        if old.path != new.path or not more:
            yield f"{at} was {before!r} and is {now!r}"
    elif isinstance(before, dict) and isinstance(now, dict):
        for key, value in before.items():
            if key in now:
                yield from differences(value, now[key], f"{at}.{key}")
            else:
                yield f"{at}.{key} is missing; it was {value!r}"
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        for place, (old, new) in enumerate(zip(before, now, strict=True)):
            yield from differences(old, new, f"{at}[{place}]")
    elif before != now:
        yield f"{at} was {before!r} and is {now!r}"


def _in_order(changes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(changes, key=lambda change: (change["node_id"], change["input"]))


def check(case: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Everything in which one case differs from what was recorded."""
    before = dict(case["answer"])
    found = []
    if "names" in before:
        missing = set(before.pop("names")) - set(now.get("names", ()))
        found = [f"the text no longer names {name!r}" for name in sorted(missing)]
    return [f"{case['name']}: {line}" for line in (*found, *differences(before, now))]


@named(scenario.recorded("calls"))
def test_a_call_of_the_previous_version(
    current: tuple[scenario.Installation, Recorder], case: dict[str, Any]
) -> None:
    found = check(case, scenario.make_call(current[0], case, current[1]))
    assert bool(found) == (case["name"] in DELIBERATE), "\n".join(found)


@named([case for case in COMMANDS if case not in MOUNTS])
def test_a_command_line_of_the_previous_version(
    current: tuple[scenario.Installation, Recorder], case: dict[str, Any]
) -> None:
    found = check(case, scenario.run_command(current[0], case))
    assert bool(found) == (case["name"] in DELIBERATE), "\n".join(found)


def test_the_mounts_commands_of_the_previous_version(
    current: tuple[scenario.Installation, Recorder],
) -> None:
    found = [
        line for case in MOUNTS for line in check(case, scenario.run_command(current[0], case))
    ]
    assert found == []


@pytest.mark.parametrize("server", scenario.SERVERS)
def test_the_urls_of_the_previous_version(
    current: tuple[scenario.Installation, Recorder], server: str
) -> None:
    installation, _ = current
    cases = [case for case in scenario.recorded("urls") if case["server"] == server]
    with scenario.file_server(installation, scenario.SERVERS[server]) as port:
        answers = [installation.strip(scenario.fetch(port, case)) for case in cases]
    assert [line for pair in zip(cases, answers, strict=True) for line in check(*pair)] == []
