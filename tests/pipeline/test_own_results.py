"""Results of earlier calls are accepted as inputs, in each form in which an answer gives them."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from comfyui_pipeline import job_results
from comfyui_pipeline.job_records import JobRecords
from tests.conftest import png
from tests.workflow.offline_calls import PROMPT, prepare_call, settings_in


def first(ready: Any, **call: Any) -> dict[str, Any]:
    """The result of a call that makes an image of its own size."""
    nodes = {
        "1": {
            "class_type": "EmptyImage",
            "inputs": {"width": 17, "height": 9, "batch_size": 1, "color": 4711},
        },
        "2": {
            "class_type": "SaveImage",
            "inputs": {"images": ["1", 0], "filename_prefix": "own/lake"},
        },
    }
    result: dict[str, Any] = ready.call({"workflow": ready.workflow("own", nodes), **call}).result
    return result


def size_of(answer: Any) -> tuple[int, int]:
    output = answer.result["outputs"][0]
    return output["width"], output["height"]


def given(made: dict[str, Any], form: str, comfyui: str) -> str:
    """A result as an answer gives it, or as people write it."""
    (output,) = made["outputs"]
    folder, _, name = output["file"].rpartition("/")
    text = made["content"][0]["text"]
    link = re.search(r"!\[[^\]]*\]\([^)]*\)", text)
    view = f"/view?filename={name}&subfolder={folder}&type=output"
    return {
        "path": output["path"],
        "file URL": Path(output["path"]).as_uri(),
        "file": output["file"],
        "name": name,
        "Markdown": link[0] if link else "",
        "URL": output["url"],
        "prompt id": made["prompt_id"],
        "last": "last",
        "最近": "最近",
        "view": comfyui + view,
        "api view": f"{comfyui}/api{view}&rand=0.5",
        "annotated": f"{output['file']} [output]",
    }[form]


FORMS = [
    *("path", "file URL", "file", "name", "Markdown", "URL", "prompt id", "last", "最近"),
    *("view", "api view", "annotated"),
]


@pytest.mark.parametrize("form", FORMS)
def test_a_result_is_an_image(ready: Any, comfyui: Any, form: str) -> None:
    made = first(ready)
    value = given(made, form, comfyui.url)
    answer = ready.call({"workflow": "invert_image", "image": value})
    assert size_of(answer) == (17, 9)


@pytest.mark.parametrize("form", ["name", "prompt id", "last", "view"])
def test_a_result_that_is_not_on_this_machine_is_fetched(
    ready: Any, comfyui: Any, form: str
) -> None:
    made = first(ready)
    value = given(made, form, comfyui.url)
    if form == "name":
        value = made["outputs"][0]["file"]
    shutil.rmtree(ready.output)
    assert size_of(ready.call({"workflow": "invert_image", "image": value})) == (17, 9)


@pytest.mark.parametrize("form", ["path", "name", "prompt id", "last", "view", "Markdown"])
def test_a_result_is_a_workflow(ready: Any, comfyui: Any, form: str) -> None:
    made = first(ready)
    answer = ready.call({"workflow": given(made, form, comfyui.url)})
    assert size_of(answer) == (17, 9)


def image_with(prompt: dict[str, Any]) -> str:
    """A PNG as ComfyUI saves it, as a ``data:`` URI."""
    texts = PngInfo()
    texts.add_text("prompt", json.dumps(prompt))
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG", pnginfo=texts)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def test_the_seed_of_an_image_that_is_a_workflow_is_said(tmp_path: Path) -> None:
    prompt = json.loads(json.dumps({n: PROMPT[n] for n in PROMPT if n not in ("10", "11")}))
    prompt["8"] = {"class_type": "VAEEncode", "inputs": {"pixels": ["4", 0], "vae": ["1", 2]}}
    prompt["2"]["inputs"]["text"] = "a fox"
    prompt["5"]["inputs"]["seed"] = 2**63 + 1
    chosen = settings_in(tmp_path)
    call = {"workflow": image_with(prompt), "image": image_with({})}
    ready = prepare_call(call, chosen)
    said = f'was made with the seed {2**63 + 1}; pass "seed": "{2**63 + 1}" and change nothing else'
    assert any(said in note for note in ready.notes), ready.notes
    (chosen.workflows_dir / "plain.json").write_text(json.dumps(prompt), "utf-8")
    ready = prepare_call({**call, "workflow": "plain"}, chosen)
    assert not any("was made with" in note for note in ready.notes)


def test_the_answer_says_which_result_was_meant(ready: Any) -> None:
    made = first(ready)
    file = made["outputs"][0]["file"]
    name = Path(file).name
    what = f"a result of workflow own (prompt id {made['prompt_id']})"
    for value, says in (
        ("last", f'"last" is {name}, {what}.'),
        (made["prompt_id"], f"is {name}, {what}."),
        (name, f'"{name}" is the result {file}.'),
        (file, ""),
    ):
        call = {"workflow": "invert_image", "image": value, "dry_run": "true"}
        text = ready.call(call).text
        assert (says in text) if says else (" is the result" not in text), text


def test_the_newest_of_several_results_of_a_name_is_taken(ready: Any) -> None:
    for number, (side, at) in enumerate(((8, 2000), (16, 3000), (24, 1000))):
        folder = ready.output / f"day {number}"
        folder.mkdir(parents=True)
        (folder / "a.png").write_bytes(png(side, side))
        os.utime(folder / "a.png", (at, at))
    answer = ready.call({"workflow": "invert_image", "image": "a.png"})
    assert size_of(answer) == (16, 16)
    assert "the result day 1/a.png, the newest of 3 with this name" in answer.text


def test_attachments_come_before_the_servers_input_and_that_before_results(
    ready: Any, comfyui: Any, tmp_path: Path
) -> None:
    attachments = tmp_path / "attachments"
    attachments.mkdir()
    ready.output.mkdir(parents=True)
    name = f"order_{tmp_path.name}.png"
    (ready.output / name).write_bytes(png(8, 8))
    call = {"workflow": "invert_image", "image": name}
    env = {"COMFYUI_ATTACHMENTS_DIR": str(attachments)}
    assert size_of(ready.call(call, **env)) == (8, 8)
    (comfyui.folders.input / name).write_bytes(png(16, 16))
    assert size_of(ready.call(call, **env)) == (16, 16)
    (attachments / name).write_bytes(png(24, 24))
    assert size_of(ready.call(call, **env)) == (24, 24)


def test_a_result_is_a_mask_and_one_of_several_images(ready: Any) -> None:
    path = first(ready)["outputs"][0]["path"]
    call = {"workflow": "paste_with_mask", "images": [path, "last"], "mask": "last"}
    answer = ready.call({**call, "dry_run": "true"})
    assert '"last" is ' in answer.text, answer.text
    assert size_of(ready.call(call)) == (17, 9)


def test_a_job_that_is_not_known_is_named(ready: Any) -> None:
    error = ready.call({"workflow": "invert_image", "image": "last"}).error
    assert "no last job" in error
    unknown = "0" * 8 + "-0000-4000-8000-" + "0" * 12
    assert unknown in ready.call({"workflow": "invert_image", "image": unknown}).error
    assert unknown in ready.call({"workflow": unknown}).error


@pytest.mark.parametrize(
    "name", [".secret.png", ".incoming/a.png", "../config.env", "link.png", "sub/link.png"]
)
def test_hidden_files_and_links_out_of_the_output_folder_are_not_results(
    ready: Any, tmp_path: Path, name: str
) -> None:
    outside = tmp_path / "outside.png"
    outside.write_bytes(png(8, 8))
    for hidden in (".secret.png", ".incoming/a.png"):
        (ready.output / hidden).parent.mkdir(parents=True, exist_ok=True)
        (ready.output / hidden).write_bytes(png(8, 8))
    (ready.output / "sub").mkdir()
    for link in ("link.png", "sub/link.png"):
        try:
            (ready.output / link).symlink_to(outside)
        except OSError:
            pytest.skip("links need a privilege here")
    for value in (name, str(ready.output / name), f"file://{ready.output / name}"):
        answer = ready.call({"workflow": "invert_image", "image": value}).json
        assert answer["status"] == "error", value


def test_kept_results_are_read_again(tmp_path: Path) -> None:
    records = JobRecords(tmp_path)
    file = job_results.ResultFile("/x/a.png", "image")
    for number in range(job_results.MAX_JOBS + 5):
        job_results.keep(records, f"id {number}", [file])
    assert job_results.files_of(records, "id 100") == [file]
    assert job_results.files_of(records, "id 0") == []
    assert records.newest_first() == []
    for broken in (b"", b"[]", b'{"prompt_id": "id 104"}', json.dumps({"prompt_id": 3}).encode()):
        newest = sorted(tmp_path.glob("*.files"))[-1]
        newest.write_bytes(broken)
        assert job_results.files_of(records, "id 104") == []
