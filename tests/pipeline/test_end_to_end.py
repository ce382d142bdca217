"""Calls as a host makes them: a process, JSON on stdin and stdout, images behind the URLs."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from PIL import Image

from tests.conftest import png
from tests.pipeline.servers import Server, slow
from tests.pipeline.test_fault_matrix import WORKFLOW
from tests.waiting import TIMEOUT

ELSEWHERE = "C:/windows/win.ini" if sys.platform == "win32" else "/etc/passwd"
"""A file that no setting allows."""


def encoded(color: tuple[int, int, int], size: tuple[int, int] = (8, 8)) -> str:
    buffer = io.BytesIO()
    Image.new("RGB", size, color).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def two_savers(prefix: str = "two") -> dict[str, Any]:
    """Three images from two saving nodes and a preview, whose node comes first."""
    return {
        "1": {
            "class_type": "EmptyImage",
            "inputs": {"width": 8, "height": 8, "batch_size": 2, "color": 255},
        },
        "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
        "3": {
            "class_type": "SaveImage",
            "inputs": {"images": ["1", 0], "filename_prefix": f"{prefix}/a #1 图"},
            "_meta": {"title": "First"},
        },
        "4": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
        "5": {"class_type": "SaveImage", "inputs": {"images": ["4", 0], "filename_prefix": prefix}},
        "6": {"class_type": "PreviewAny", "inputs": {"source": "some words"}},
    }


def test_an_image_is_processed_and_returned_with_its_url(ready: Any, image_uri: str) -> None:
    answered = ready.call(
        {
            "workflow": "resize_image.json",
            "image": image_uri,
            "width": "40",
            "height": "30",
            "maid": "x",
        }
    )
    (output,) = answered.result["outputs"]
    assert answered.status == 0
    assert (output["width"], output["height"], output["kind"]) == (40, 30, "image")
    content = Path(output["path"]).read_bytes()
    assert Path(output["path"]).is_relative_to(ready.output)
    assert hashlib.sha256(content).hexdigest() == output["sha256"]
    assert len(content) == output["bytes"]
    assert Image.open(io.BytesIO(content)).getpixel((5, 5)) == (200, 30, 60)
    url = urlsplit(output["url"])
    assert url.path.startswith("/comfyui_server/pw=key-of-the-test/files/output/")
    assert url.query.startswith("t=")
    assert f"]({output['url']})" in answered.text
    for stage in ("load", "download", "patch", "validate", "queue", "wait", "fetch", "total"):
        assert stage in answered.result["timings_ms"]
    assert answered.result["prompt_id"]


def test_all_outputs_are_returned_and_previews_only_on_request(ready: Any) -> None:
    call = {"workflow": ready.workflow("two", two_savers())}
    answered = ready.call({**call, "previews": "true"})
    outputs = answered.result["outputs"]
    saved = [o for o in outputs if o["kind"] == "image" and not o["preview"]]
    previews = [o for o in outputs if o["preview"]]
    texts = [o["text"] for o in outputs if o["kind"] == "text"]
    assert [o["node_id"] for o in saved] == ["3", "3", "5", "5"]
    assert saved[0]["title"] == "First"
    assert len(previews) == 2
    assert outputs.index(previews[0]) > outputs.index(saved[-1])
    assert texts == ["some words"]
    assert "some words" in answered.text
    without = ready.call(call)
    assert not any(o["preview"] for o in without.result["outputs"])
    assert "2 previews were left out" in without.text


def test_subfolders_are_preserved_and_urls_are_encoded(ready: Any) -> None:
    result = ready.call({"workflow": ready.workflow("two", two_savers("stored"))}).result
    first = result["outputs"][0]
    assert first["file"].startswith("stored/a #1 图_")
    assert " " not in first["url"]
    assert "#" not in first["url"]
    assert unquote(urlsplit(first["url"]).path).endswith(first["file"])


def test_four_parallel_calls_get_their_own_images(ready: Any) -> None:
    colors = [(250, 0, 0), (0, 250, 0), (0, 0, 250), (120, 120, 0)]

    def call(color: tuple[int, int, int]) -> tuple[int, ...]:
        result = ready.call({"workflow": "invert_image", "image": encoded(color)}).result
        return Image.open(result["outputs"][0]["path"]).getpixel((0, 0))

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(call, colors))
    for got, color in zip(found, colors, strict=True):
        assert all(abs(a - (255 - b)) <= 1 for a, b in zip(got, color, strict=True))


def test_a_repeated_call_runs_again_when_its_cached_file_was_deleted(
    ready: Any, comfyui: Any
) -> None:
    call = {"workflow": ready.workflow("deleted", two_savers("deleted"))}
    assert ready.call(call).json["status"] == "success"
    for path in (Path(comfyui.base) / "output").rglob("*.png"):
        if "deleted" in str(path):
            path.unlink()
    outputs = ready.call(call).result["outputs"]
    assert all(Path(o["path"]).is_file() for o in outputs if o["path"])


def test_a_partial_failure_is_reported_as_such(ready: Any) -> None:
    nodes = two_savers("partial")
    nodes["7"] = {"class_type": "ImageScale", "inputs": {"image": ["1", 0], "width": 99999}}
    nodes["8"] = {"class_type": "SaveImage", "inputs": {"images": ["7", 0], "filename_prefix": "x"}}
    answered = ready.call({"workflow": ready.workflow("partial", nodes)})
    assert answered.text.startswith("PARTLY FAILED")
    assert answered.result["complete"] is False
    assert any("8" in warning for warning in answered.result["warnings"])


def test_a_runtime_error_names_the_node_and_its_message(ready: Any) -> None:
    nodes = {
        "1": {
            "class_type": "EmptyImage",
            "inputs": {"width": 4, "height": 4, "batch_size": 1, "color": 0},
        },
        "2": {
            "class_type": "ImageBlur",
            "inputs": {"image": ["1", 0], "blur_radius": 31, "sigma": 1.0},
            "_meta": {"title": "Too Wide"},
        },
        "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "x"}},
    }
    error = ready.call({"workflow": ready.workflow("blur", nodes)}).error
    assert "Too Wide" in error
    assert "Traceback" not in error


def test_the_file_name_comes_from_the_words_of_the_prompt(ready: Any) -> None:
    nodes = {
        "1": {
            "class_type": "PreviewAny",
            "inputs": {"source": "x"},
        },
        "2": {
            "class_type": "EmptyImage",
            "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 1},
        },
        "3": {
            "class_type": "SaveImage",
            "inputs": {"images": ["2", 0], "filename_prefix": "sub/old"},
        },
    }
    name = ready.workflow("plain", nodes)
    outputs = ready.call({"workflow": name}).result["outputs"]
    assert any((o["file"] or "").startswith("sub/old_") for o in outputs)
    own = [{"node_id": "3", "inputs": {"filename_prefix": "mine/own"}}]
    result = ready.call({"workflow": name, "params": json.dumps(own)}).result
    assert any((o["file"] or "").startswith("mine/own_") for o in result["outputs"])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"workflow": "resize_imag"}, 'needs "image"'),
        ({"workflow": "../comfyui_plugin"}, "There is no workflow"),
        ({"workflow": "a\\x"}, "There is no workflow"),
        ({"workflow": ELSEWHERE}, "COMFYUI_ALLOWED_DIRS"),
        ({"workflow": "text2img_api"}, "full ComfyUI"),
        ({"workflow": "invert_image", "prompt": "a fox"}, 'no input for "prompt"'),
        ({"workflow": "invert_image", "seed": "5"}, "has no seed input"),
        ({"workflow": "invert_image", "width": "5"}, 'no size that "width" could change'),
        ({"workflow": "blend_images", "image": "x.png"}, 'Pass them as "images"'),
        ({"workflow": "invert_image", "image": "no-such-file.png"}, "no-such-file.png"),
        (
            {"workflow": "invert_image", "image": f"file:///{ELSEWHERE.lstrip('/')}"},
            "COMFYUI_ALLOWED_DIRS",
        ),
        ({"workflow": "invert_image", "image": ELSEWHERE}, "COMFYUI_ALLOWED_DIRS"),
        ({"workflow": "invert_image", "image": "http://127.0.0.1:9/x.png"}, "DOWNLOAD_ALLOW"),
        ({"workflow": "invert_image", "image": "data:image/png;base64,AAAA"}, "not an image"),
    ],
)
def test_an_invalid_call_is_an_error_without_an_image(
    ready: Any, call: dict[str, str], message: str
) -> None:
    answered = ready.call(call)
    assert message in answered.error
    assert answered.status == 0
    assert not ready.output.exists() or not list(ready.output.rglob("*.png"))


@pytest.mark.parametrize(
    ("param", "message"),
    [
        ({"node_title": "Nothing Here", "inputs": {"a": 1}}, '2 "Resize" (ImageScale)'),
        ({"node_id": "77", "inputs": {"a": 1}}, "There is no node '77'"),
        ({"node_title": "Resize", "inputs": {"size": 1}}, "upscale_method, width, height, crop"),
        ({"node_title": "Resize", "inputs": {"width": "99999"}}, "from 0 to 16384"),
        ({"node_title": "Resize", "inputs": {"width": "wide"}}, "an integer"),
        ({"node_title": "Resize", "inputs": {"upscale_method": "magic"}}, "nearest-exact"),
        ({"node_title": "Resize", "inputs": {"width": [1]}}, "cannot be [1]"),
    ],
)
def test_a_change_without_a_target_lists_the_targets(
    ready: Any, param: dict[str, Any], message: str
) -> None:
    assert message in ready.call({"workflow": "resize_image", "params": [param]}).error


def test_values_may_all_be_strings_and_params_too(ready: Any, image_uri: str) -> None:
    params = [
        {"node_title": "resize", "inputs": {"width": "12", "height": "10.0", "crop": "disabled"}},
        {"node_id": 1, "inputs": {"image": image_uri}},
    ]
    answered = ready.call({"workflow": "resize_image", "params": json.dumps(params)})
    assert answered.result["outputs"][0]["width"] == 12
    assert "width = 12" in answered.text


def test_an_editor_document_without_nodes_is_an_error(ready: Any) -> None:
    name = ready.workflow("ui", {"nodes": [], "links": [], "version": 0.4})
    assert "No node of this workflow is active" in ready.call({"workflow": name}).error


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ({}, "no nodes"),
        ({"1": {"inputs": {}}}, "no class_type"),
        (
            {"1": {"class_type": "PreviewImage", "inputs": {"images": ["9", 0]}}},
            "node 9, which is missing",
        ),
        (
            {
                "1": {"class_type": "ImageInvert", "inputs": {"image": ["2", 0]}},
                "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
                "3": {"class_type": "PreviewImage", "inputs": {"images": ["2", 0]}},
            },
            "circular link",
        ),
        ({"1": {"class_type": "SolidMask"}}, "nothing would run"),
    ],
)
def test_a_workflow_that_cannot_run_is_rejected_before_queueing(
    ready: Any, nodes: dict[str, Any], message: str
) -> None:
    assert message in ready.call({"workflow": ready.workflow("bad", nodes)}).error


def test_attachments_and_allowed_paths_are_accepted(ready: Any, tmp_path: Path) -> None:
    folder = tmp_path / "attachments 附件"
    folder.mkdir()
    Image.new("RGB", (6, 5), (1, 2, 3)).save(folder / "猫 cat.png")
    settings = {"COMFYUI_ATTACHMENTS_DIR": str(folder)}
    for value in ("猫 cat.png", str(folder / "猫 cat.png"), (folder / "猫 cat.png").as_uri()):
        answered = ready.call({"workflow": "invert_image", "image": value}, **settings)
        assert Image.open(answered.result["outputs"][0]["path"]).getpixel((0, 0)) == (254, 253, 252)


def test_images_are_written_to_the_servers_input_folder_when_it_is_known(
    ready: Any, comfyui: Any
) -> None:
    folder = Path(comfyui.base) / "input"
    value = encoded((9, 8, 7), (11, 3))
    ready.call({"workflow": "invert_image", "image": value}, COMFYUI_SERVER_INPUT_DIR=str(folder))
    digest = hashlib.sha256(base64.b64decode(value.partition(",")[2])).hexdigest()
    assert [path for path in folder.rglob("*.png") if path.name.startswith(digest[:16])]


def test_the_embedded_server_runs_a_workflow(plugin: Any, image_uri: str) -> None:
    answered = plugin.call(
        {"workflow": "invert_image", "image": image_uri}, COMFYUI_BASE_URL="embedded"
    )
    assert answered.result["outputs"][0]["width"] == 24


def test_an_unreachable_server_is_an_error_with_a_hint(plugin: Any) -> None:
    error = plugin.call({"info": "queue"}, COMFYUI_BASE_URL="http://127.0.0.1:9").error
    assert "127.0.0.1:9" in error
    assert "COMFYUI_BASE_URL" in error


def test_without_a_key_the_response_has_a_path_and_a_reason(ready: Any, image_uri: str) -> None:
    answered = ready.call(
        {"workflow": "invert_image", "image": image_uri}, FILE_SERVER_ACCESS_KEY=""
    )
    assert "FILE_SERVER_ACCESS_KEY is not set" in answered.text
    assert answered.result["outputs"][0]["url"] is None


@pytest.mark.parametrize(
    "what",
    [
        "checkpoints",
        "loras",
        "vaes",
        "controlnets",
        "upscalers",
        "samplers",
        "schedulers",
        "embeddings",
        "queue",
        "system",
    ],
)
def test_every_info_question_is_answered(ready: Any, what: str) -> None:
    assert ready.call({"info": what}).text


def test_the_url_of_a_result_is_accepted_as_an_image(ready: Any, image_uri: str) -> None:
    settings = {"FILE_SERVER_PUBLIC_IP": "10.11.12.13", "FILE_SERVER_PORT": "1"}
    first = ready.call({"workflow": "resize_image", "image": image_uri, "width": "30"}, **settings)
    url = first.result["outputs"][0]["url"]
    again = ready.call({"workflow": "invert_image", "image": url}, **settings)
    assert again.result["outputs"][0]["width"] == 30
    wrong = url.replace("key-of-the-test", "another-key")
    assert (
        "another-key"
        not in ready.call({"workflow": "invert_image", "image": wrong}, **settings).error
    )


def test_the_response_contains_the_image_on_request(ready: Any, image_uri: str) -> None:
    call = {"workflow": "invert_image", "image": image_uri}
    content = ready.call(call).result["content"]
    assert [part["type"] for part in content] == ["text", "image_url"]
    uri = content[1]["image_url"]["url"]
    seen = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
    assert (seen.format, seen.size) == ("WEBP", (24, 16))
    assert len(ready.call({**call, "return_image": "none"}).result["content"]) == 1
    assert len(ready.call({**call, "showbase64": "false"}).result["content"]) == 1
    full = ready.call({**call, "return_image": "full"}).result["content"][1]["image_url"]["url"]
    assert full.startswith("data:image/png;base64,")


def test_results_in_the_servers_own_folder_on_this_machine_are_not_copied(
    ready: Any, comfyui: Any, tmp_path: Path
) -> None:
    own = Path(comfyui.base) / "output"
    nodes = two_savers("own place")
    name = ready.workflow("own", nodes)
    outputs = ready.call({"workflow": name}, COMFYUI_SERVER_OUTPUT_DIR=str(own)).result["outputs"]
    files = [o for o in outputs if o["path"]]
    assert all(Path(o["path"]).is_relative_to(own.resolve()) for o in files)
    assert not ready.output.exists()
    assert "/files/comfyui/own%20place/" in files[0]["url"]
    mounted = f"results:{tmp_path / 'x'};all:{comfyui.base}"
    again = ready.call(
        {"workflow": name, "seed": None},
        COMFYUI_SERVER_OUTPUT_DIR=str(own),
        COMFYUI_MOUNTS=mounted,
    )
    assert "/files/all/output/own%20place/" in again.result["outputs"][0]["url"]
    elsewhere = tmp_path / "another"
    elsewhere.mkdir()
    copied = ready.call({"workflow": name}, COMFYUI_SERVER_OUTPUT_DIR=str(elsewhere))
    assert Path(copied.result["outputs"][0]["path"]).is_relative_to(ready.output)


def test_ten_images_are_downloaded_in_parallel(ready: Any) -> None:
    """The site responds once all ten requests have arrived; it must not receive ComfyUI's login."""
    together = threading.Barrier(10, timeout=TIMEOUT)
    logins: list[str | None] = []

    class Site(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            return

        def do_GET(self) -> None:
            logins.append(self.headers.get("Authorization"))
            together.wait()
            content = base64.b64decode(encoded((len(self.path), 0, 0)).partition(",")[2])
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    nodes: dict[str, Any] = {}
    for number in range(10):
        nodes[f"load{number}"] = {"class_type": "LoadImage", "inputs": {"image": "example.png"}}
        saver = {"images": [f"load{number}", 0], "filename_prefix": f"ten{number}"}
        nodes[f"save{number}"] = {"class_type": "SaveImage", "inputs": saver}
    with ThreadingHTTPServer(("127.0.0.1", 0), Site) as site:
        threading.Thread(target=site.serve_forever, args=(0.01,), daemon=True).start()
        urls = [f"http://127.0.0.1:{site.server_port}/{'x' * n}.png" for n in range(10)]
        answered = ready.call(
            {"workflow": ready.workflow("ten", nodes), "images": urls},
            DOWNLOAD_ALLOW="127.0.0.1",
            COMFYUI_AUTH="bearer s3cret",
        )
        site.shutdown()
    reds = [Image.open(o["path"]).getpixel((0, 0))[0] for o in answered.result["outputs"]]
    assert reds == [5 + number for number in range(10)]
    assert logins == [None] * 10


def test_a_mask_is_put_into_the_image_whose_mask_is_used(ready: Any) -> None:
    nodes = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "example.png"}},
        "2": {"class_type": "MaskToImage", "inputs": {"mask": ["1", 1]}},
        "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "m"}},
        "4": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "p"}},
    }
    half = Image.new("L", (20, 10))
    half.paste(255, (0, 0, 10, 10))
    buffer = io.BytesIO()
    half.save(buffer, "PNG")
    mask = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    name = ready.workflow("masked", nodes)
    answered = ready.call({"workflow": name, "mask": mask, "image": encoded((9, 8, 7), (40, 20))})
    masked, image = (Image.open(o["path"]) for o in answered.result["outputs"])
    assert (masked.size, masked.getpixel((5, 5)), masked.getpixel((35, 5))) == (
        (40, 20),
        (255, 255, 255),
        (0, 0, 0),
    )
    assert image.getpixel((5, 5)) == (9, 8, 7)
    own = ready.call({"workflow": name, "mask": mask}).result["outputs"][0]
    assert Image.open(own["path"]).getpixel((1, 1)) == (255, 255, 255)


def test_only_the_file_cache_of_the_hosts_folder_may_be_read(ready: Any, tmp_path: Path) -> None:
    host = tmp_path / "host"
    for name in (".file_cache/a.png", "secret.png", "Plugin/x/b.png"):
        (host / name).parent.mkdir(parents=True, exist_ok=True)
        (host / name).write_bytes(png(8, 8))
    call = {"workflow": "invert_image"}
    env = {"PROJECT_BASE_PATH": str(host)}
    taken = ready.call({**call, "image": str(host / ".file_cache" / "a.png")}, **env)
    assert taken.result["complete"] is True
    (host / "image").mkdir()
    (host / "image" / "c.png").write_bytes(png(8, 8))
    keys = {**env, "SERVER_PORT": "6005", "IMAGESERVER_IMAGE_KEY": "image-key"}
    url = "http://127.0.0.1:6005/pw=image-key/images/c.png"
    assert ready.call({**call, "image": url}, **keys).result["complete"] is True
    other = ready.call({**call, "image": url.replace("image-key", "other-key")}, **keys)
    assert other.json["status"] == "error"
    assert "other-key" not in str(other.json) + other.stderr
    for name in ("secret.png", "Plugin/x/b.png"):
        refused = ready.call({**call, "image": str(host / name)}, **env)
        assert refused.json["status"] == "error", name


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


def test_only_the_response_is_written_to_stdout(ready: Any, image_uri: str) -> None:
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
    answered = ready.call({"workflow": "invert_image", "image": image_uri}, PYTHONPATH=str(noisy))
    assert answered.stdout.count(b"\n") == 1
    assert json.loads(answered.stdout)["status"] == "success"
    assert "noise of a library" in answered.stderr


def test_a_failed_part_does_not_stop_the_others(ready: Any, image_uri: str) -> None:
    good = {"workflow1": "invert_image", "image1": image_uri}
    call = {**good, "workflow2": "no such", "workflow3": "invert_image", "image3": image_uri}
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
