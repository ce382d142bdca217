"""Jobs that outlive their call, and batches."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.pipeline.servers import Server, slow
from tests.waiting import with_more_time


def at(server: Server, plugin: Any, call: dict[str, Any], **env: str) -> Any:
    return plugin.call(call, COMFYUI_BASE_URL=server.url, **env)


def test_the_result_of_a_submitted_job_is_fetched_later(server: Server, plugin: Any) -> None:
    plugin.workflow("short", slow(1, side=64))
    submitted = at(server, plugin, {"command": "submit", "workflow": "short"})
    prompt_id = submitted.result["prompt_id"]
    assert prompt_id in submitted.text
    got = at(server, plugin, {"command": "result", "prompt_id": prompt_id, "wait": "100"})
    (output,) = got.result["outputs"]
    assert output["width"] == 64
    assert (plugin.output / output["file"]).is_file()
    state = at(server, plugin, {"command": "status", "prompt_id": prompt_id})
    assert (state.result["state"], state.result["ending"]) == ("ended", "success")
    late = at(server, plugin, {"command": "cancel", "prompt_id": prompt_id})
    assert late.result["cancelled"] is False


def test_only_the_given_job_is_cancelled(server: Server, plugin: Any) -> None:
    ids = []
    for color in (1, 2, 3):
        name = plugin.workflow(f"slow{color}", slow(40, color))
        submitted = at(server, plugin, {"command": "submit", "workflow": name})
        ids.append(submitted.result["prompt_id"])
    server.until(lambda queue: len(queue["queue_pending"]) == 2)
    second = at(server, plugin, {"command": "status", "prompt_id": ids[2]})
    assert (second.result["state"], second.result["position"]) == ("queued", 2)
    early = at(server, plugin, {"command": "result", "prompt_id": ids[0]})
    assert early.result["complete"] is False
    waited = at(server, plugin, {"command": "result", "prompt_id": ids[2], "wait": "1"})
    at_once = at(server, plugin, {"command": "result", "prompt_id": ids[2]})
    assert waited.result.keys() == at_once.result.keys()
    assert waited.result["position"] == at_once.result["position"] == 2
    assert waited.text.replace(" after 1 s", "") == at_once.text
    waiting = at(server, plugin, {"command": "cancel", "prompt_id": ids[1]})
    assert waiting.result["cancelled"]
    assert [item[1] for item in server.queue()["queue_pending"]] == [ids[2]]
    assert [item[1] for item in server.queue()["queue_running"]] == [ids[0]]
    running = at(server, plugin, {"command": "cancel", "prompt_id": ids[0]})
    if running.json["status"] == "success":
        assert running.result["cancelled"]
    else:  # a step takes so long on a busy machine that it cannot be waited for
        assert "between two sampling steps" in running.error
    server.until(lambda queue: [item[1] for item in queue["queue_running"]] == [ids[2]])
    after = at(server, plugin, {"command": "status", "prompt_id": ids[0]})
    assert after.text == "It was cancelled before its end."
    assert after.result["ending"] == "cancelled"
    ended = at(server, plugin, {"command": "result", "prompt_id": ids[0]})
    assert "cancelled before its end" in ended.error
    gone = at(server, plugin, {"command": "status", "prompt_id": ids[1]})
    assert "cancelled before it ran" in gone.error


@pytest.mark.parametrize("command", ["status", "result"])
def test_the_state_of_a_running_job_names_its_present_node(
    server: Server, plugin: Any, command: str
) -> None:
    plugin.workflow("slow", slow(40))
    prompt_id = at(server, plugin, {"command": "submit", "workflow": "slow"}).result["prompt_id"]
    server.until(lambda queue: bool(queue["queue_running"]))
    running = at(server, plugin, {"command": command, "prompt_id": prompt_id})
    assert "It is running" in running.text
    assert "Now: node " in running.text
    at(server, plugin, {"command": "cancel", "prompt_id": prompt_id})


@pytest.mark.parametrize("command", ["status", "result", "cancel"])
def test_an_unknown_prompt_id_is_an_error(ready: Any, command: str) -> None:
    assert "has no job" in ready.call({"command": command, "prompt_id": "nope"}).error
    assert '"prompt_id" is missing' in ready.call({"command": command}).error


def test_a_job_that_is_late_is_cancelled_on_request(server: Server, plugin: Any) -> None:
    plugin.workflow("slow", slow(40))
    call = {"workflow": "slow", "on_timeout": "cancel"}

    def check(seconds: float) -> None:
        late = at(server, plugin, call, COMFYUI_TIMEOUT=f"{seconds}")
        assert "was cancelled as requested" in late.error

    with_more_time(check, 2, 10, 30)
    server.until(lambda queue: not queue["queue_running"])


def test_each_part_of_a_batch_has_its_result(ready: Any, image_uri: str) -> None:
    answered = ready.call(
        {
            "workflow1": "resize_image",
            "width1": "20",
            "workflow2": "invert_image",
            "command3": "info",
            "info3": "workflows",
            "workflow4": "no such one",
            "image": image_uri,
            "maid": "x",
        }
    )
    one, two, three, four = answered.result["parts"]
    assert one["outputs"][0]["width"] == 20
    assert two["outputs"][0]["width"] == 24
    assert three["items"]
    assert "no such one" in four["error"]
    assert answered.text.startswith("1 of 4 parts FAILED.")
    assert sum(part["type"] == "image_url" for part in answered.result["content"]) == 2
    assert "Part 1:" in ready.call({"workflow1": "x", "workflow2": "y"}).error
    assert "Part 2" in ready.call({"workflow1": "invert_image", "command2": "dance"}).error


# -- a login before ComfyUI ------------------------------------------------------------------------


class Guarded(BaseHTTPRequestHandler):
    seen: list[dict[str, str]]

    def log_message(self, *_: Any) -> None:
        return

    def do_GET(self) -> None:
        self.seen.append({name.lower(): value for name, value in self.headers.items()})
        good = self.headers.get("Authorization") == "Bearer s3cret"
        body = b'{"queue_running": [], "queue_pending": []}' if good else b"login"
        self.send_response(200 if good else 302 if self.headers.get("Cookie") else 401)
        self.send_header("Location", "http://127.0.0.1:9/login")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def login_server() -> Iterator[Any]:
    handler = type("Handler", (Guarded,), {"seen": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as listener:
        threading.Thread(target=listener.serve_forever, daemon=True).start()
        handler.url = f"http://127.0.0.1:{listener.server_address[1]}"
        yield handler
        listener.shutdown()


def test_a_login_is_sent_to_the_server_and_not_shown(plugin: Any, login_server: Any) -> None:
    env = {"COMFYUI_BASE_URL": login_server.url}
    ask = {"command": "queue"}
    good = plugin.call(ask, **env, COMFYUI_AUTH="bearer s3cret | X-Team: fox")
    assert "0 running" in good.text
    assert login_server.seen[-1]["x-team"] == "fox"
    assert "COMFYUI_AUTH" in plugin.call(ask, **env).error
    wrong = plugin.call(ask, **env, COMFYUI_AUTH="basic me:pa55word")
    assert "pa55word" not in wrong.error + wrong.stderr
    elsewhere = plugin.call(ask, **env, COMFYUI_AUTH="cookie sid=hidden")
    assert "elsewhere (302)" in elsewhere.error
    odd = plugin.call(ask, **env, COMFYUI_AUTH="hidden-and-odd")
    assert "COMFYUI_AUTH" in odd.error
    assert "hidden" not in odd.error
