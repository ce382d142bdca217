"""Decisions around a call that a small change could reverse unnoticed: each has a test that notices."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from comfyui_pipeline import pipeline, report, settings
from comfyui_pipeline.bounded import response_size
from comfyui_pipeline.call import ToolCall
from comfyui_pipeline.call_context import CallContext
from comfyui_pipeline.call_record import CANCELLED, ENDED, NOT_AVAILABLE, QUEUED, SENT, CallRecord
from comfyui_pipeline.engine.protocol import Job, JobResult
from comfyui_pipeline.errors import MediaError
from comfyui_pipeline.media import previews
from comfyui_pipeline.media.image_memory import ImageMemory
from comfyui_pipeline.outcome import Outcome, ResultOutput
from comfyui_pipeline.outputs import FetchedOutputs
from comfyui_pipeline.prepare import PreparedJob
from comfyui_pipeline.result_urls import DAY, ResultLinks
from comfyui_pipeline.workflow import graph
from tests.conftest import png
from tests.pipeline.servers import Server, slow
from tests.pipeline.test_fault_matrix import WORKFLOW


def test_only_the_file_cache_of_the_hosts_folder_may_be_read(ready: Any, tmp_path: Path) -> None:
    host = tmp_path / "host"
    for name in (".file_cache/a.png", "secret.png", "Plugin/x/b.png"):
        (host / name).parent.mkdir(parents=True, exist_ok=True)
        (host / name).write_bytes(png(8, 8))
    call = {"workflow": "invert_image"}
    env = {"PROJECT_BASE_PATH": str(host)}
    taken = ready.call({**call, "image": str(host / ".file_cache" / "a.png")}, **env)
    assert taken.result["complete"] is True
    for name in ("secret.png", "Plugin/x/b.png"):
        refused = ready.call({**call, "image": str(host / name)}, **env)
        assert refused.json["status"] == "error", name


def test_the_environment_overrides_the_file_unless_it_is_empty(tmp_path: Path) -> None:
    text = "\ufeffCOMFYUI_TIMEOUT=7\nCOMFYUI_CLIENT_ID=file\nFILE_SERVER_ACCESS_KEY=k\n"
    (tmp_path / "config.env").write_text(text, "utf-8")
    given = {"COMFYUI_TIMEOUT": "8", "COMFYUI_CLIENT_ID": " \t"}
    chosen = settings.load(tmp_path, given)
    assert (chosen.timeout, chosen.client_prefix, chosen.links.access_key) == (8, "file", "k")


@pytest.mark.parametrize(
    "url", ["ftp://me:s3cret@x", "http://me:s3cret@x:0", "http://me:s3cret@ x"]
)
def test_a_password_is_not_repeated(tmp_path: Path, url: str) -> None:
    with pytest.raises(settings.SettingsError, match="COMFYUI_BASE_URL") as caught:
        settings.load(tmp_path, {"COMFYUI_BASE_URL": url})
    assert "s3cret" not in str(caught.value)


def test_a_signed_url_does_not_expire_early() -> None:
    for hours in (1, 23, 24, 25, 720):
        links = ResultLinks("http://x", "server", "", "signs", signed=True, seconds=hours * 3600)
        for url in (links.url("m", "a.png", 1, is_image=True), links.gallery("m")):
            ends = int(str(url).partition("exp=")[2].partition("&")[0])
            assert 0 <= ends - time.time() - hours * 3600 <= DAY
            assert ends % DAY == 0


@pytest.mark.parametrize(
    "login",
    ["bearer a\nX-Evil: 1", "X-Key: a\r\nX-Evil: 1", "cookie a=b\x00", "X-Key: 密", "X-K: \x7f"],
)
def test_a_login_cannot_add_a_header(tmp_path: Path, login: str) -> None:
    with pytest.raises(settings.SettingsError, match="COMFYUI_AUTH") as caught:
        settings.load(tmp_path, {"COMFYUI_AUTH": login})
    assert "Evil" not in str(caught.value)


def test_a_named_mount_has_the_given_folder(tmp_path: Path) -> None:
    given = {"COMFYUI_MOUNTS": f"output:{tmp_path / 'served'};more:{tmp_path / 'more'}"}
    chosen = settings.load(tmp_path, given)
    assert dict(chosen.mounts) == {
        "output": tmp_path / "served",
        "more": tmp_path / "more",
    }
    assert dict(settings.load(tmp_path, {}).mounts) == {"output": tmp_path / "output"}


# -- results ---------------------------------------------------------------------------------------


def delivered(place: Path, node: str = "9", **fields: Any) -> ResultOutput:
    place.write_bytes(png(8, 8))
    usual = {"kind": "image", "file": place.name, "path": str(place), "bytes": 10}
    return ResultOutput(node, "", **{**usual, **fields})


def told(folder: Path, *outputs: ResultOutput, cached: tuple[str, ...] = ()) -> Any:
    """The answer for a run that gave these."""
    prompt = {o.node_id: {"class_type": "SaveImage", "inputs": {}} for o in outputs}
    job = Job(prompt, "the-id")
    ready = PreparedJob("it", job, graph.build(prompt, {}))
    chosen = settings.load(folder, {"FILE_SERVER_ACCESS_KEY": "k"})
    call = ToolCall("run", workflow="it")
    context = CallContext(call, chosen, None, CallRecord(), time.monotonic(), 0.0)  # type: ignore[arg-type]
    from comfyui_pipeline.engine.protocol import Output

    results = tuple(Output(o.node_id, "images", str(o.file)) for o in outputs)
    result = JobResult("the-id", results, complete=True, cached=frozenset(cached))
    return pipeline.finish(context, ready, result, FetchedOutputs(outputs))


def test_a_job_is_from_cache_only_when_all_outputs_are(tmp_path: Path) -> None:
    both = delivered(tmp_path / "a.png", "1"), delivered(tmp_path / "b.png", "2")
    for cached, said in (((), False), (("1",), False), (("1", "2"), True), (("x",), False)):
        answer = told(tmp_path, *both, cached=cached)
        assert ("returned the results of that one" in answer["content"][0]["text"]) is said, cached


def test_previews_are_not_shown_when_images_were_saved(tmp_path: Path) -> None:
    saved = delivered(tmp_path / "a.png")
    beside = delivered(tmp_path / "b.png", preview=True)
    for outputs, count in (((beside, saved), 1), ((beside,), 1), ((saved, saved), 2)):
        shown = [p for p in told(tmp_path, *outputs)["content"] if p["type"] == "image_url"]
        assert len(shown) == count
    only = previews.build_previews([tmp_path / "a.png"], full=False, memory=ImageMemory())
    pictures = told(tmp_path, beside, saved)["content"][1:]
    assert [picture["image_url"]["url"] for picture in pictures] == list(only.uris)


@pytest.mark.parametrize("name", ["a](http://evil) ![b.png", "a`b\\c.png", "a\r\n# b.png"])
def test_a_file_name_is_not_interpreted_as_markdown(tmp_path: Path, name: str) -> None:
    one = ResultOutput("9", "", "image", name, str(tmp_path / "x"), "http://u", 10)
    line = told(tmp_path, one)["content"][0]["text"].splitlines()[1]
    assert line.startswith("![")
    assert line[2:].partition("]")[2].startswith("(http://u) ")
    assert not set(line[2:].partition("]")[0]) & set("[]`\\")


def test_a_failed_output_makes_the_result_incomplete() -> None:
    for failed in ({}, {"a.png": MediaError("deleted")}):
        outcome = Outcome("it", "the-id", finished=True, failed=failed)
        assert report.build_result(outcome)["complete"] is not bool(failed)


def test_the_stored_form_of_a_long_result_contains_no_url() -> None:
    kept: list[bytes] = []
    outputs = [{"file": f"{n}.png", "url": f"http://x/pw=s3cret/{n}"} for n in range(2000)]
    result = {"content": [{"type": "text", "text": "t"}], "outputs": outputs}

    def save(content: bytes) -> str:
        kept.append(content)
        return "place"

    answer = response_size.bound_response(result, save)
    assert answer["all_fields"] == "place"
    assert b"1999.png" in kept[0]
    assert b"s3cret" not in kept[0]


def test_a_local_file_of_another_size_is_not_used(ready: Any, comfyui: Any, tmp_path: Path) -> None:
    """A folder with files of the same names, such as a copy from last week."""
    nodes = {
        "1": {
            "class_type": "EmptyImage",
            "inputs": {"width": 16, "height": 8, "batch_size": 1, "color": 4711},
        },
        "2": {
            "class_type": "SaveImage",
            "inputs": {"images": ["1", 0], "filename_prefix": "protected/size"},
        },
    }
    name = ready.workflow("sized", nodes)
    other = tmp_path / "other"
    (other / "protected").mkdir(parents=True)
    for number in range(1, 30):
        (other / "protected" / f"size_{number:05}_.png").write_bytes(png(64, 64))
    call = {"workflow": name, "seed": None}
    (output,) = ready.call(call, COMFYUI_SERVER_OUTPUT_DIR=str(other)).result["outputs"]
    assert (output["width"], output["height"]) == (16, 8)
    assert Path(output["path"]).is_relative_to(ready.output)


# -- runs ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "asked", "afterwards"),
    [
        (SENT, True, SENT),  # whether it arrived is not known
        (QUEUED, True, CANCELLED),
        (ENDED, False, ENDED),
        (CANCELLED, False, CANCELLED),
        (NOT_AVAILABLE, False, NOT_AVAILABLE),
    ],
)
def test_a_stopped_call_cancels_jobs_that_may_be_queued(
    state: str, asked: bool, afterwards: str
) -> None:
    record, stopped = CallRecord(), set[str]()

    def cancelling(name: str) -> Callable[[], bool]:
        def cancel() -> bool:
            stopped.add(name)
            return True

        return cancel

    jobs = [
        record.add_job("own", cancelling("own")),
        record.part("Part 1").add_job("a part's", cancelling("a part's")),
    ]
    for job in jobs:
        job.state = state
    record.cancel()
    assert stopped == ({"own", "a part's"} if asked else set())
    assert [job.state for job in jobs] == [afterwards] * 2


def test_a_result_is_waited_for_as_requested(server: Server, plugin: Any) -> None:
    plugin.workflow("some time", slow(3, side=1024))
    env = {"COMFYUI_BASE_URL": server.url}
    queued = plugin.call({"command": "submit", "workflow": "some time"}, **env)
    ident = queued.result["prompt_id"]
    got = plugin.call({"command": "result", "prompt_id": ident, "wait": "500"}, **env)
    assert got.result["complete"] is True
    assert len(got.result["outputs"]) == 1


def test_an_error_is_an_exit_status_only_on_request(plugin: Any) -> None:
    for call in ({"info": "weather"}, b"{", {"workflow": "nothing of that name"}):
        for arguments, status in (((), 0), (("--exit-code",), 1)):
            answered = plugin.call(call, *arguments)
            assert (answered.json["status"], answered.status) == ("error", status)


def test_only_the_response_is_written_to_stdout(ready: Any, picture: str) -> None:
    """Whatever a package prints goes to stderr."""
    noisy = ready.folder / "noisy"
    noisy.mkdir()
    (noisy / "sitecustomize.py").write_text(
        "import threading\n"
        "def late():\n"
        "    import sys, time\n"
        "    while 'comfyui_pipeline.stdio' not in sys.modules: time.sleep(0.01)\n"
        "    import os; os.write(1, b'noise of a library\\n')\n"
        "threading.Thread(target=late, daemon=True).start()\n",
        "utf-8",
    )
    answered = ready.call({"workflow": "invert_image", "image": picture}, PYTHONPATH=str(noisy))
    assert answered.stdout.count(b"\n") == 1
    assert json.loads(answered.stdout)["status"] == "success"
    assert "noise of a library" in answered.stderr


def test_a_failed_part_does_not_stop_the_others(ready: Any, picture: str) -> None:
    good = {"workflow1": "invert_image", "image1": picture}
    call = {**good, "workflow2": "no such", "workflow3": "invert_image", "image3": picture}
    result = ready.call(call).result
    assert [part["status"] for part in result["parts"]] == ["success", "error", "success"]
    assert "1 of 3 parts FAILED" in result["content"][0]["text"]
    failed = ready.call({"workflow1": "no such", "workflow2": "none either"})
    assert "Part 1: " in failed.error
    assert "Part 2: " in failed.error


@pytest.mark.parametrize("key", ["", "partner-s3cret"])
def test_the_partner_key_is_sent_next_to_the_prompt(plugin: Any, fake: Any, key: str) -> None:
    fake.script.post = lambda count, body: (400, {"error": {"message": "no"}})
    name = plugin.workflow("plain", WORKFLOW)
    answered = plugin.call({"workflow": name}, COMFYUI_BASE_URL=fake.url, COMFYUI_API_KEY=key)
    (body,) = fake.script.posted
    assert body["extra_data"].get("api_key_comfy_org") == (key or None)
    assert "s3cret" not in json.dumps(body["prompt"])
    assert b"s3cret" not in answered.stdout
