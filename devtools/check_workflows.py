"""``python3 run.py check-workflows``: figures of conversion and of the inputs that arguments change.

Conversion is compared with what the editor exported (digests in tests/data/conversion). Arguments are
given to the tool itself, one process for each workflow, with a server that only keeps what is queued;
expected is what tests/data/roles says. Prints figures and, with ``-v``, what is wrong; ends with 1 if
any figure is below its goal.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from comfyui_pipeline import prompt_ids
from devtools import recording_server, role_targets
from devtools.role_targets import Ask, Prompt, Recorded
from input_server.light_dataclasses import dataclass

PROJECT = Path(__file__).resolve().parents[1]
GOALS: Mapping[str, float] = {
    "prompt": 0.99,
    "negative": 0.99,
    "crossed": 1,
    "size": 0.98,
    "images": 1,
}
"""The share of the workflows without doubt that has to be right."""
PICTURES = 24
SECONDS = 300


@dataclass(frozen=True, slots=True)
class Verdict:
    """One expectation of one workflow; ``wrong``: "" if it is met."""

    about: str
    name: str
    doubtful: bool
    wrong: str


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="run.py check-workflows", description=__doc__)
    parser.add_argument("-v", "--verbose", action="store_true", help="list what is wrong")
    parser.add_argument("--only", default="", help="workflows whose name contains this")
    options = parser.parse_args(argv)
    verdicts = list(check(options.only))
    reached = report(verdicts, verbose=options.verbose)
    conversion = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:randomly",
        "tests/workflow/test_convert.py",
    ]
    print("\nconversion, against the digests of what the editor exported:", flush=True)
    converted = subprocess.run(conversion, cwd=PROJECT, check=False).returncode
    return 0 if reached and converted == 0 else 1


def check(only: str) -> Iterator[Verdict]:
    """Every expectation, each workflow in a process of the tool."""
    workflows = [one for one in role_targets.recorded() if only in one.name]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for found in pool.map(_verdicts, workflows):
            yield from found


def _verdicts(one: Recorded) -> list[Verdict]:
    asks = role_targets.asks(one)
    found = []
    for ask, got in zip(asks, queued(one, asks), strict=True):
        found.append(
            Verdict(ask.about, one.name, one.doubtful, role_targets.judge(one, ask.about, got))
        )
        if ask.about == "prompt":
            found.append(Verdict("crossed", one.name, one.doubtful, role_targets.crossed(one, got)))
    return found


def queued(one: Recorded, asks: Sequence[Ask]) -> list[Prompt | None]:
    """What the tool queues for each call of one batch; None for a call that it refuses."""
    with tempfile.TemporaryDirectory() as folder, recording_server.running() as server:
        server.schemas = one.schemas
        root = Path(folder)
        _write_pictures(root)
        text = json.dumps(one.workflow)
        parts: dict[str, str] = {}
        for number, ask in enumerate(asks, start=1):
            call = {
                "command": "submit",
                "workflow_json": text,
                "job_id": ask.about,
                **ask.arguments,
            }
            parts |= {f"{key}{number}": value for key, value in call.items()}
        _call(json.dumps(parts), root, server.url)
        return [server.prompts.get(prompt_ids.of_job_id(ask.about)) for ask in asks]


def _write_pictures(folder: Path) -> None:
    from PIL import Image

    for number in range(1, PICTURES + 1):
        colour = (number * 10 + 5, 40, 40)
        Image.new("RGB", (64, 64), colour).save(folder / role_targets.IMAGE.format(number))


def _call(text: str, folder: Path, url: str) -> None:
    environment = {
        **os.environ,
        "COMFYUI_BASE_URL": url,
        "COMFYUI_ATTACHMENTS_DIR": str(folder),
        "COMFYUI_OUTPUT_DIR": str(folder / "output"),
    }
    subprocess.run(
        [sys.executable, str(PROJECT / "comfyui_plugin.py")],
        input=text.encode(),
        capture_output=True,
        env=environment,
        cwd=folder,
        timeout=SECONDS,
        check=True,
    )


def report(verdicts: Sequence[Verdict], *, verbose: bool) -> bool:
    """Print the figures; whether all goals are reached."""
    right: Counter[tuple[str, bool]] = Counter()
    total: Counter[tuple[str, bool]] = Counter()
    wrong: dict[str, list[Verdict]] = defaultdict(list)
    for verdict in verdicts:
        total[verdict.about, verdict.doubtful] += 1
        right[verdict.about, verdict.doubtful] += not verdict.wrong
        if verdict.wrong:
            wrong[verdict.about].append(verdict)
    reached = True
    print("arguments (in brackets: workflows where the reader was not sure)")
    for about in dict.fromkeys(verdict.about for verdict in verdicts):
        sure, unsure = (about, False), (about, True)
        enough = right[sure] >= GOALS.get(about, 0) * total[sure]
        reached = reached and enough
        goal = f"  goal {GOALS[about]:.0%}{'' if enough else ' MISSED'}" if about in GOALS else ""
        share = right[sure] / total[sure] if total[sure] else 1
        print(
            f"  {about:9} {right[sure]:4} of {total[sure]:4}  {share:.1%}  "
            f"({right[unsure]} of {total[unsure]}){goal}"
        )
    if verbose:
        for about, found in wrong.items():
            for verdict in sorted(found, key=lambda one: one.name):
                doubt = " [not sure]" if verdict.doubtful else ""
                print(f"{about}: {verdict.name}{doubt}: {verdict.wrong}")
    return reached


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
