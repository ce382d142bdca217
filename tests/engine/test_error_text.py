"""The text of ComfyUI's validation errors."""

from __future__ import annotations

import pytest

from comfyui_pipeline.engine import error_text, responses


@pytest.mark.parametrize(("count", "more"), [(10, ""), (11, " and 1 more")])
def test_ten_choices_are_listed_and_the_others_counted(count: int, more: str) -> None:
    error = {
        "type": "value_not_in_list",
        "message": "m",
        "extra_info": {"input_name": "n", "input_config": [[str(i) for i in range(count)]]},
    }
    text = error_text.node_errors(
        responses.node_errors({"node_errors": {"1": {"errors": [error]}}})
    )["1"]
    assert text.endswith("it accepts 0, 1, 2, 3, 4, 5, 6, 7, 8, 9" + more)


@pytest.mark.parametrize(("length", "shown"), [(300, 300), (301, 301)])
def test_a_long_text_is_truncated_after_300_characters(length: int, shown: int) -> None:
    errors = {"1": {"errors": [{"message": "x" * length}]}}
    found = responses.node_errors({"node_errors": errors})
    text = error_text.node_errors(found)["1"]
    assert len(text) == shown
    assert text.endswith("…") is (length > 300)
