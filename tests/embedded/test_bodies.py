"""The embedded server survives any request and responds in ComfyUI's format."""

from __future__ import annotations

import json
from typing import Any

import pytest
import requests
import websocket
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

PATHS = ("/prompt", "/queue", "/history", "/free", "/interrupt", "/upload/image", "/upload/mask")
SERVER_ERROR = "500 Internal Server Error\n\nServer got itself in trouble"
BODIES = {
    "nothing": b"",
    "no JSON": b"{nope",
    "a list": b"[1, 2]",
    "a text": b'"prompt"',
    "null": b"null",
    "a number": b"1e400",
    "not UTF-8": b'\xff\xfe{"prompt": {}}',
    "half a character": b'{"prompt": "\\ud800"}',
    "deep lists": b'{"prompt": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep enough to be parsed": b'{"prompt": {"1": ' + b"[" * 400 + b"]" * 400 + b"}}",
    "many digits": b'{"number": ' + b"9" * 6000 + b', "prompt": {}}',
    "NaN": b'{"number": NaN, "prompt": {}}',
    "infinite": b'{"number": 1e999, "prompt": {"1": NaN}}',
    "a number of another type": b'{"number": [1], "prompt": {}}',
    "texts for objects": b'{"prompt": "x", "extra_data": "y", "client_id": 5, "delete": "z"}',
    "numbers for lists": b'{"delete": 5, "clear": [], "prompt": {}, "partial_execution_targets": 7}',
    "odd ids": b'{"delete": [1, null, [2], {"a": 3}], "free_memory": [], "prompt_id": [4]}',
    "nodes that are none": b'{"prompt": {"1": 5, "2": null, "3": []}}',
    "a class that is none": b'{"prompt": {"1": {"class_type": ["A"], "inputs": {}}}}',
    "inputs that are none": b'{"prompt": {"1": {"class_type": "PreviewAny", "inputs": [1]}}}',
    "no inputs": b'{"prompt": {"1": {"class_type": "PreviewAny"}}}',
    "a huge number": b'{"prompt": {"1": {"class_type": "EmptyImage", "inputs": {"width": 1'
    + b"0" * 400
    + b', "height": NaN, "batch_size": -Infinity, "color": {"__value__": []}}}, '
    b'"2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 99]}}}}',
    "links to nothing": b'{"prompt": {"1": {"class_type": "PreviewImage", "inputs": {"images": [[], {}]}}}}',
}


def has_comfyuis_format(response: requests.Response) -> bool:
    assert "Traceback" not in response.text
    assert "File " not in response.text
    if response.status_code == 500:
        return response.text == SERVER_ERROR
    if response.status_code == 400 and response.content:
        body = response.json()
        assert set(body) == {"error", "node_errors"}
        return set(body["error"]) == {"type", "message", "details", "extra_info"}
    return response.status_code in (200, 400)


@pytest.mark.parametrize("path", PATHS)
def test_any_body_gets_a_response_in_comfyuis_format(
    served: Any, path: str, capfd: pytest.CaptureFixture[str]
) -> None:
    for prefix in ("", "/api"):
        for name, body in BODIES.items():
            for kind in (
                "application/json",
                "multipart/form-data; boundary=B",
                "text/plain; charset=no",
            ):
                headers = {"Content-Type": kind}
                response = requests.post(
                    served.url + prefix + path, data=body, headers=headers, timeout=20
                )
                assert has_comfyuis_format(response), (
                    name,
                    kind,
                    response.status_code,
                    response.text[:200],
                )
    assert served.get("/queue")["queue_running"] in ([], served.get("/queue")["queue_running"])
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("name", "status", "error_type"),
    [
        ("no JSON", 400, "invalid_json"),
        ("a list", 400, "invalid_json"),
        ("deep enough to be parsed", 400, "invalid_json"),
        ("many digits", 400, "invalid_json"),
        ("NaN", 400, "invalid_request"),
        ("texts for objects", 400, "invalid_request"),
        ("numbers for lists", 400, "invalid_request"),
        ("nodes that are none", 400, "invalid_prompt"),
        ("a class that is none", 400, "invalid_prompt"),
        ("a huge number", 400, "prompt_outputs_failed_validation"),
    ],
)
def test_the_error_type_of_an_invalid_prompt(
    served: Any, name: str, status: int, error_type: str
) -> None:
    headers = {"Content-Type": "application/json"}
    response = requests.post(served.url + "/prompt", data=BODIES[name], headers=headers, timeout=20)
    assert (response.status_code, response.json()["error"]["type"]) == (status, error_type)


@pytest.mark.parametrize(
    "body",
    [
        b"no part at all",
        b"--B\r\n",
        b'--B\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\nhalf',
        b"--B\r\nContent-Disposition: nonsense\r\n\r\nx\r\n--B--\r\n",
        b'--B\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n'
        b"Content-Transfer-Encoding: base64\r\n\r\n!!!\r\n--B--\r\n",
        b'--B\r\nContent-Disposition: form-data; name="type"\r\n'
        b"Content-Type: text/plain; charset=nowhere\r\n\r\nx\r\n--B--\r\n",
        b'--B\r\nContent-Disposition: form-data; name="image"; filename="a\x00b"\r\n\r\nx\r\n--B--\r\n',
        b"--B\r\n" + b"X: y\r\n" * 20_000 + b"\r\nx\r\n--B--\r\n",
    ],
)
def test_a_malformed_form_is_an_error(
    served: Any, body: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    for path in ("/upload/image", "/upload/mask"):
        headers = {"Content-Type": "multipart/form-data; boundary=B"}
        response = requests.post(served.url + path, data=body, headers=headers, timeout=20)
        assert response.status_code in (200, 400, 500)
        assert "Traceback" not in response.text
    assert "Traceback" not in capfd.readouterr().err


def test_unusual_requests_get_a_response(served: Any, capfd: pytest.CaptureFixture[str]) -> None:
    paths = (
        "/history/%00",
        "/history/" + "x" * 4000,
        "/history/%2e%2e",
        "/history?max_items=x",
        "/history?max_items=" + "9" * 5000,
        "/history?max_items=-5&offset=-9",
        "/object_info/%F0%9F%A6%8A",
        "/view?filename=" + "a" * 3000,
        "/view?filename=example.png&type=input&preview=webp;%C2%B2",
        "/view?filename=example.png&type=input&preview=jpeg;" + "9" * 5000,
        "/view?filename=a%0d%0aX:y&type=input",
        "/models/%00",
        "/ws",
        "/nowhere",
    )
    for path in paths:
        response = requests.get(served.url + path, timeout=20)
        assert response.status_code in (200, 400, 404, 500), path
        assert "Traceback" not in response.text
    odd = requests.get(served.url + "/queue", headers={"Origin": "http://[::1"}, timeout=20)
    assert odd.status_code == 403
    assert "Traceback" not in capfd.readouterr().err


def test_invalid_frames_close_at_most_their_own_socket(served: Any) -> None:
    frames: list[tuple[int, bytes]] = [
        (websocket.ABNF.OPCODE_TEXT, b"{"),
        (websocket.ABNF.OPCODE_TEXT, b"[" * 100_000),
        (websocket.ABNF.OPCODE_TEXT, b'{"type": ["feature_flags"]}'),
        (websocket.ABNF.OPCODE_TEXT, b"\xff\xfe"),
        (websocket.ABNF.OPCODE_BINARY, b"\0" * 5000),
        (websocket.ABNF.OPCODE_TEXT, b"x" * (2 * 2**20)),
    ]
    for opcode, content in frames:
        client = served.client()
        client.socket.send_frame(websocket.ABNF(1, 0, 0, 0, opcode, 1, content))
    raw = served.client()
    raw.socket.sock.sendall(b"\x83\x80\0\0\0\0")  # a reserved opcode
    served.gate.open.set()
    prompt = {
        "1": {
            "class_type": "EmptyImage",
            "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 0},
        },
        "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
    }
    assert served.client().run(prompt)[-2]["type"] == "execution_success"


def test_a_long_chain_of_nodes_runs(served: Any) -> None:
    size = {"width": 8, "height": 8, "batch_size": 1, "color": 0}
    prompt: dict[str, Any] = {"0": {"class_type": "EmptyImage", "inputs": size}}
    for number in range(1, 1500):
        above = {"image": [str(number - 1), 0]}
        prompt[str(number)] = {"class_type": "ImageInvert", "inputs": above}
    prompt["end"] = {"class_type": "PreviewImage", "inputs": {"images": ["1499", 0]}}
    assert served.client().run(dict(reversed(prompt.items())))[-2]["type"] == "execution_success"


def test_long_and_short_circular_links_are_refused(served: Any) -> None:
    for length in (3, 3000):
        prompt: dict[str, Any] = {
            str(n): {"class_type": "ImageInvert", "inputs": {"image": [str((n + 1) % length), 0]}}
            for n in range(length)
        }
        prompt["end"] = {"class_type": "PreviewImage", "inputs": {"images": ["0", 0]}}
        response = served.post("/prompt", {"prompt": prompt})
        assert response.status_code == 400
        assert response.json()["error"]["type"] == "prompt_outputs_failed_validation"


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.just("PreviewAny")
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["prompt", "class_type", "inputs", "source", "1", "2", "number", "delete"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(
    path=st.sampled_from(PATHS), value=VALUES, key=st.sampled_from(["prompt", "delete", "number"])
)
def test_any_json_gets_a_response_in_comfyuis_format(
    served: Any, path: str, value: Any, key: str
) -> None:
    for body in (value, {key: value}, {"prompt": {"1": value}}):
        content = json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        assert has_comfyuis_format(
            requests.post(served.url + path, data=content, headers=headers, timeout=20)
        )
