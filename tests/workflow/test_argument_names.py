"""No plausible key of a call is ignored, and nearly all that mean something are applied."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.workflow import argument_names
from tests.workflow.argument_names import WORKFLOWS, installation, outcome, rows


def test_there_are_200_keys() -> None:
    assert len({key for key, _, _ in rows()}) >= 200


@pytest.mark.parametrize("letter", WORKFLOWS)
def test_every_key_is_applied_refused_or_reported(letter: str, tmp_path: Path) -> None:
    chosen = installation(tmp_path)
    found = {(key, value): outcome(key, value, letter, chosen)[0] for key, value, _ in rows()}
    assert [key for key, kind in found.items() if kind == "ignored"] == []
    meaningful = [(key, value) for key, value, letters in rows() if letter in letters]
    applied = [key for key in meaningful if found[key] == "applied"]
    print(f"{WORKFLOWS[letter]}: {len(applied)} of {len(meaningful)} applied")
    assert len(applied) >= 0.9 * len(meaningful)


def test_the_table_shows_what_became_of_a_key(tmp_path: Path) -> None:
    kind, sentence = outcome("mood", "happy", "T", installation(tmp_path))
    assert kind == "reported"
    row = ("mood", "happy", "", dict.fromkeys(WORKFLOWS, (kind, sentence)))
    assert "reported." in argument_names.printed([row])
