"""Record what a version of the project returns: ``python -m tests.compatibility.record FOLDER``.

FOLDER is a checkout of that version. The results replace the "answer" fields in
tests/data/previous_version; do this only to move the baseline to a newer release.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.compatibility import scenario
from tests.compatibility.comfyui import recording_comfyui


def main(version: Path) -> None:
    with tempfile.TemporaryDirectory() as folder, recording_comfyui() as (comfyui, recorder):
        installation = scenario.install(version, Path(folder))
        installation.values["comfyui"] = comfyui
        for name, perform in (
            ("calls", lambda case: scenario.make_call(installation, case, recorder)),
            ("commands", lambda case: scenario.run_command(installation, case)),
        ):
            cases = scenario.recorded(name)
            for case in cases:
                case["answer"] = perform(case)
            _write(name, cases)
        (installation.plugin / "config.env").unlink(missing_ok=True)
        cases = scenario.recorded("urls")
        for server, config in scenario.SERVERS.items():
            with scenario.file_server(installation, config) as port:
                for case in cases:
                    if case["server"] == server:
                        case["answer"] = installation.strip(scenario.fetch(port, case))
        _write("urls", cases)


def _write(name: str, cases: list[dict[str, Any]]) -> None:
    """One case per line, so that a change shows as one line."""
    lines = ",\n".join(json.dumps(case, ensure_ascii=False) for case in cases)
    (scenario.RECORDED / f"{name}.json").write_text(f"[\n{lines}\n]\n", "utf-8", newline="")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
