"""The size limit of every response, whatever nodes, servers and callers put into it."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from comfyui_pipeline.batch import batch
from comfyui_pipeline.bounded import encoded_files, response_size, truncate
from comfyui_pipeline.call_record import CallRecord
from comfyui_pipeline.errors import ToolError
from comfyui_pipeline.outcome import Outcome
from comfyui_pipeline.outputs import ResultOutput
from comfyui_pipeline.report import build_result
from tests.conftest import png
from tests.pipeline.test_after_queueing import scripted
from tests.pipeline.test_fault_matrix import END, NODE, WORKFLOW

LIMIT = 20 * 1024
MANY = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def bytes_without_images(answered: Any) -> int:
    document = answered.json
    if document["status"] == "success":
        content = document["result"]["content"]
        document["result"]["content"] = [part for part in content if part["type"] == "text"]
    return len(json.dumps(document, ensure_ascii=False).encode())


def giving(fake: Any, texts: list[Any]) -> None:
    """A job whose node returns these texts."""
    scripted(fake, {})
    fake.script.history["ID"]["outputs"] = {"9": {"text": texts}}


def test_a_long_text_becomes_a_file_with_its_beginning_shown(plugin: Any, fake: Any) -> None:
    text = "beginning " + "字 and words; " * 20_000
    giving(fake, [text])
    answered = plugin.call(
        {"workflow": plugin.workflow("long", WORKFLOW)}, COMFYUI_BASE_URL=fake.url
    )
    (output,) = answered.result["outputs"]
    assert output["kind"] == "text"
    assert output["text"].startswith("beginning 字")
    assert Path(output["path"]).read_text("utf-8") == text
    assert f"]({output['url']})" in answered.text
    assert "beginning 字" in answered.text
    assert bytes_without_images(answered) < LIMIT


def test_a_text_of_2000_characters_is_shown_in_full(plugin: Any, fake: Any) -> None:
    giving(fake, ["w " * 1000, "w " * 1000 + "!"])
    answered = plugin.call(
        {"workflow": plugin.workflow("long", WORKFLOW)}, COMFYUI_BASE_URL=fake.url
    )
    assert [output["file"] is None for output in answered.result["outputs"]] == [True, False]


@pytest.mark.parametrize("style", ["server", "host"])
@pytest.mark.parametrize("auth", ["key", "signed"])
def test_twenty_of_many_outputs_are_listed_with_a_link_to_all(
    plugin: Any, fake: Any, style: str, auth: str
) -> None:
    scripted(fake, {f"p{number:03}.png": png(8, 8, (number, 0, 0)) for number in range(200)})
    answered = plugin.call(
        {"workflow": plugin.workflow("many", WORKFLOW)},
        COMFYUI_BASE_URL=fake.url,
        FILE_SERVER_URL_STYLE=style,
        FILE_SERVER_URL_AUTH=auth,
    )
    result = answered.result
    assert answered.text.count("![p") == 20
    assert "180 more outputs (180 images)" in answered.text
    assert f"gallery/{'output'}/" in answered.text
    assert result["outputs_total"] == 200
    assert [o["file"] for o in result["outputs"]] == [
        f"p{number:03}.png" for number in range(len(result["outputs"]))
    ]
    assert "outputs" in result["truncated"]
    (stored,) = (plugin.output / "answers").iterdir()
    everything = json.loads(stored.read_text("utf-8"))
    assert len(everything["outputs"]) == 200
    assert "key-of-the-test" not in stored.read_text("utf-8")
    assert bytes_without_images(answered) < LIMIT
    assert sum(part["type"] == "image_url" for part in result["content"]) <= 20


def test_twenty_outputs_are_all_listed(plugin: Any, fake: Any) -> None:
    scripted(fake, {f"p{number:03}.png": png(8, 8, (number, 0, 0)) for number in range(20)})
    answered = plugin.call(
        {"workflow": plugin.workflow("many", WORKFLOW)}, COMFYUI_BASE_URL=fake.url
    )
    assert answered.text.count("![p") == 20
    assert "more outputs" not in answered.text


ENCODED = base64.b64encode(png(60, 40, (1, 2, 3)) + bytes(range(256)) * 8).decode()
FORMS = {
    "a data: URI": f"see data:image/png;base64,{ENCODED} there",
    "one in Markdown": f"![x](data:image/png;base64,{ENCODED}) there",
    "one in HTML": f'<img src="data:image/png;base64,{ENCODED}"> there',
    "one in JSON": json.dumps({"image": f"data:image/png;base64,{ENCODED}", "a": "there"}),
    "one in JSON with escapes": f'{{"i": "data:image\\/png;base64,{ENCODED}"}} there'.replace(
        "/", "\\/"
    ),
    "capitals": f"DATA:image/PNG;BASE64,{ENCODED} there",
    "parameters": f"data:image/png;charset=utf-8;name=x.png;base64,{ENCODED} there",
    "bare base64": f"{ENCODED} there",
    "in lines": "x\n"
    + "\n".join(ENCODED[at : at + 76] for at in range(0, len(ENCODED), 76))
    + "\nthere",
    "a data: URI in lines": "data:image/png;base64,"
    + "\n".join(ENCODED[at : at + 76] for at in range(0, len(ENCODED), 76))
    + "\nthere",
    "for URLs": ENCODED.replace("+", "-").replace("/", "_") + " there",
}


@pytest.mark.parametrize("form", FORMS)
def test_encoded_files_in_texts_are_stored(plugin: Any, fake: Any, form: str) -> None:
    giving(fake, [FORMS[form]])
    answered = plugin.call(
        {"workflow": plugin.workflow("encoded", WORKFLOW)}, COMFYUI_BASE_URL=fake.url
    )
    document = json.dumps([o.get("text") for o in answered.result["outputs"]]) + answered.text
    assert ENCODED[100:140] not in document.replace("\\", "")
    assert "there" in answered.text
    (image,) = (output for output in answered.result["outputs"] if output["kind"] == "image")
    assert Path(image["path"]).read_bytes() == base64.b64decode(ENCODED)
    assert image["url"] in answered.text


def test_text_that_only_resembles_base64_is_not_changed() -> None:
    for text in (
        "metadata:a,b and data: 1,2",
        "-" * 4000,
        "x" * 4000,
        "http://127.0.0.1/" + "abcDEF123/" * 90 + "a.png",
        "a b c " * 3000,
        "data:,x",
    ):
        assert encoded_files.without_encoded_files(text) == text


@pytest.mark.parametrize(
    "letters", ["data:", "data:a/b;c=d", "A" * 59 + "\n", "ab/", "=", "\\", "data:x;base64,"]
)
def test_searching_for_encoded_files_takes_linear_time(letters: str) -> None:
    encoded_files.without_encoded_files(letters * (3_000_000 // len(letters)))


def test_a_long_server_error_is_shortened_in_the_middle(plugin: Any, fake: Any) -> None:
    error = {
        "node_id": "9",
        "node_type": "SaveImage",
        "exception_type": "RuntimeError",
        "exception_message": "first words " + "é" * 300_000 + " last words",
    }
    scripted(fake, {})
    fake.script.history["ID"]["status"] = {
        "status_str": "error",
        "messages": [["execution_error", error]],
    }
    fake.script.frames = [NODE, END]
    answered = plugin.call({"workflow": plugin.workflow("it", WORKFLOW)}, COMFYUI_BASE_URL=fake.url)
    assert "first words" in answered.error
    assert bytes_without_images(answered) < LIMIT
    answered = plugin.call({"workflow": "it", "prompt": "x" * 10**6}, COMFYUI_BASE_URL=fake.url)
    assert bytes_without_images(answered) < LIMIT


def test_a_long_value_of_the_caller_is_not_repeated(plugin: Any, fake: Any) -> None:
    scripted(fake, {"a.png": png(8, 8)})
    prefix = "p" * 1_000_000
    params = [{"node_id": "9", "inputs": {"filename_prefix": prefix}}]
    answered = plugin.call(
        {"workflow": plugin.workflow("it", WORKFLOW), "params": params}, COMFYUI_BASE_URL=fake.url
    )
    assert fake.script.posted[-1]["prompt"]["9"]["inputs"]["filename_prefix"] == prefix
    assert answered.result["outputs"][0]["file"] == "a.png"
    assert answered.result["changes"][0]["value"].startswith("ppp")
    assert bytes_without_images(answered) < LIMIT


def test_the_parts_of_a_batch_share_the_size_limit(ready: Any) -> None:
    nodes = {
        str(number): {"class_type": "PreviewAny", "inputs": {"source": f"{number} words " * 120}}
        for number in range(40)
    }
    name = ready.workflow("texts", nodes)
    answered = ready.call({f"workflow{number}": name for number in range(1, 9)})
    assert bytes_without_images(answered) < LIMIT
    parts = answered.result["parts"]
    assert len({part["prompt_id"] for part in parts}) == 8
    for number in range(1, 9):
        assert f"Part {number}: Done" in answered.text


@pytest.mark.parametrize("what", ["checkpoints", "embeddings", "queue", "system"])
def test_a_long_info_result_is_cut_and_stored(plugin: Any, fake: Any, what: str) -> None:
    names = [f"模型 {number:05}.safetensors" for number in range(5000)]
    queue = {
        "queue_running": [],
        "queue_pending": [[n, name, {}, {}, []] for n, name in enumerate(names)],
    }
    device = {"name": "d" * 200, "vram_total": 1, "vram_free": 1}
    fake.script.broken = {
        "/models": (200, names),
        "/embeddings": (200, names),
        "/queue": (200, queue),
        "/system_stats": (200, {"system": {"os": "x"}, "devices": [device] * 500}),
    }
    answered = plugin.call({"info": what}, COMFYUI_BASE_URL=fake.url)
    assert answered.text
    assert bytes_without_images(answered) < LIMIT
    (stored,) = (plugin.output / "answers").iterdir()
    assert stored.stat().st_size > LIMIT


def test_a_long_description_is_cut(plugin: Any, fake: Any) -> None:
    nodes = {
        str(number): {
            "class_type": "SaveImage",
            "inputs": {"images": ["1", 0], "filename_prefix": f"{number} " + "x" * 500},
            "_meta": {"title": f"title {number} " + "y" * 200},
        }
        for number in range(2, 400)
    }
    name = plugin.workflow("long", {"1": WORKFLOW["1"], **nodes})
    for full in ("true", "false"):
        call = {"command": "describe", "workflow": name, "full": full}
        assert bytes_without_images(plugin.call(call, COMFYUI_BASE_URL=fake.url)) < LIMIT


LONG = st.one_of(
    st.text(max_size=30),
    st.builds(
        lambda text, times: text * times, st.text(min_size=1, max_size=9), st.integers(1, 9000)
    ),
)
DELIVERED = st.builds(
    ResultOutput,
    node_id=st.text(max_size=9),
    title=LONG,
    kind=st.sampled_from(["image", "video", "text", "file"]),
    file=st.none() | LONG,
    path=st.none() | LONG,
    url=st.none() | LONG,
    bytes=st.none() | st.integers(0, 2**63),
    seconds=st.none() | st.floats(),
    text=st.none() | LONG,
    note=st.none() | LONG,
)
LISTS = st.lists(LONG, max_size=12).map(tuple)


@MANY
@given(
    outputs=st.lists(DELIVERED, max_size=10).map(tuple),
    guesses=LISTS,
    notes=LISTS,
    errors=st.dictionaries(LONG, LONG, max_size=20),
    seeds=st.dictionaries(st.text(max_size=5), st.integers(0, 2**64), max_size=50),
    workflow=LONG,
    times=st.integers(1, 20),
    most=st.sampled_from([truncate.MAX_RESPONSE_BYTES, truncate.MAX_RESPONSE_BYTES // 16]),
)
def test_any_outcome_becomes_json_within_the_size_limit(
    outputs: Any,
    guesses: Any,
    notes: Any,
    errors: Any,
    seeds: Any,
    workflow: str,
    times: int,
    most: int,
) -> None:
    result = build_result(
        Outcome(
            workflow=workflow,
            prompt_id="the-id",
            finished=True,
            outputs=outputs * times,
            guesses=guesses * times,
            seeds=seeds,
            node_errors=errors,
            notes=notes * times,
        )
    )
    answer = response_size.bound_response(result, lambda _: "u" * 300, most)
    document = json.dumps(answer, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace")
    assert len(document) <= most
    assert json.loads(document)["content"][0]["text"]
    if most == truncate.MAX_RESPONSE_BYTES:
        assert answer["prompt_id"] == "the-id"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | LONG,
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(LONG, inner, max_size=8),
    max_leaves=60,
)


@MANY
@given(fields=st.dictionaries(st.text(max_size=20), JSON, max_size=20), text=LONG)
def test_any_fields_become_json_within_the_size_limit(fields: dict[str, Any], text: str) -> None:
    fields.pop("content", None)

    def fails(_: bytes) -> str:
        raise OSError("no room")

    for save in (None, fails):
        answer = response_size.bound_response(
            {"content": [{"type": "text", "text": text}], **fields}, save
        )
        document = json.dumps(answer, ensure_ascii=False, allow_nan=False)
        assert len(document.encode("utf-8", "replace")) <= truncate.MAX_RESPONSE_BYTES


@MANY
@given(text=LONG, remains=LONG)
def test_any_error_is_bounded_and_retains_its_beginning(text: str, remains: str) -> None:
    message = truncate.bounded_error(text, remains)
    assert truncate.json_size(message) <= truncate.MAX_RESPONSE_BYTES
    assert (
        message[:20] == f"{text} {remains}".strip()[:20]
        or truncate.json_size(text) > 100
        or not text.strip()
    )


def test_a_batch_of_failures_names_each(tmp_path: Path) -> None:
    def fails(number: int, record: CallRecord) -> Any:
        record.add_job(f"id-{number}", lambda: None).state = "queued"
        raise ToolError(f"{number} failed " + "x" * 30_000)

    with pytest.raises(ToolError) as caught:
        batch(range(1, 5), fails, CallRecord())  # type: ignore[arg-type]
    message = truncate.bounded_error(str(caught.value))
    assert all(f"Part {number}: {number} failed" in message for number in range(1, 5))
    assert truncate.json_size(message) <= truncate.MAX_RESPONSE_BYTES


def test_a_description_of_two_thousand_nodes_with_long_texts_is_bounded(ready: Any) -> None:
    nodes = {
        str(number): {
            "class_type": "PrimitiveString" if number % 2 else "Unknown",
            "inputs": {"value": "words é “ " * 100, "other": [str(number - 1), 0]},
            "_meta": {"title": f"Title {number} " + "t" * 200},
        }
        for number in range(2_000)
    }
    name = ready.workflow("large", nodes)
    for full in ("false", "true"):
        answered = ready.call({"command": "describe", "workflow": name, "full": full})
        assert "Title 1" in answered.text
        assert (
            len(answered.stdout) <= truncate.MAX_RESPONSE_BYTES + 200
        )  # and what the envelope takes
        assert "nodes" in answered.result["truncated"]


def test_the_stored_form_of_a_long_result_contains_no_url() -> None:
    stored: list[bytes] = []
    outputs = [{"file": f"{n}.png", "url": f"http://x/pw=s3cret/{n}"} for n in range(2000)]
    result = {"content": [{"type": "text", "text": "t"}], "outputs": outputs}

    def save(content: bytes) -> str:
        stored.append(content)
        return "place"

    answer = response_size.bound_response(result, save)
    assert answer["all_fields"] == "place"
    assert b"1999.png" in stored[0]
    assert b"s3cret" not in stored[0]
