"""Which pages of other origins may read responses, and which headers say so to browsers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import requests
from PIL import Image

from input_server.errors import ConfigError
from input_server.origins import parse_origin
from tests.input_server.running import KEY, Running
from tests.input_server.served import FILES, Served
from tests.waiting import TIMEOUT

PAGE = "https://app.example.com:8443"
ALLOW = "Access-Control-Allow-Origin"
SETTING = "INPUT_SERVER_CORS_ORIGINS"


@pytest.fixture
def make(make_served: Callable[..., Served]) -> Callable[[str], Served]:
    def build(origins: str) -> Served:
        served = make_served(INPUT_SERVER_CORS_ORIGINS=origins)
        (served.folder / "a.txt").write_text("a text\n" * 500, "utf-8")
        Image.new("RGB", (40, 20)).save(served.folder / "a.png")
        return served

    return build


def test_a_page_that_is_named_may_read_files_and_errors(make: Callable[[str], Served]) -> None:
    served = make(f"https://other.example; {PAGE}/")
    tag = served("a.png").headers["ETag"]
    replies = [
        served("a.png", Origin=PAGE),
        served("a.png?w=10", Origin=PAGE),
        served("a.txt", Origin=PAGE, Accept_Encoding="gzip"),
        served("a.png", Origin=PAGE, Range="bytes=0-9"),
        served("a.png", Origin=PAGE, If_None_Match=tag),
        served("absent.png", Origin=PAGE),
        served("/comfyui_server/pw=wrong/files/m/a.png", Origin=PAGE),
    ]
    assert [reply.status for reply in replies] == [200, 200, 200, 206, 304, 404, 401]
    for reply in replies:
        assert reply.headers[ALLOW] == PAGE
        assert "Origin" in reply.headers["Vary"].split(", ")
        assert "Content-Range" in reply.headers["Access-Control-Expose-Headers"]
        assert "Access-Control-Allow-Credentials" not in reply.headers
    assert replies[2].headers["Vary"] == "Accept-Encoding, Origin"


@pytest.mark.parametrize("origin", ["https://evil.example", "null", PAGE + ".evil.example", ""])
def test_other_pages_may_not_and_caches_know_it(make: Callable[[str], Served], origin: str) -> None:
    reply = make(PAGE)("a.png", **({"Origin": origin} if origin else {}))
    assert (reply.status, reply.headers["Vary"]) == (200, "Origin")
    assert ALLOW not in reply.headers


def test_every_page_may_if_all_are_named(make: Callable[[str], Served]) -> None:
    served = make("*")
    for headers in ({"Origin": PAGE}, {}):
        assert served("a.png", **headers).headers[ALLOW] == "*"
        assert "Vary" not in served("a.png", **headers).headers


def test_without_the_setting_nothing_changes(make: Callable[[str], Served]) -> None:
    reply = make("")("a.png", Origin=PAGE)
    assert not {ALLOW, "Vary", "Access-Control-Expose-Headers"} & reply.headers.keys()


def test_a_browser_may_ask_before_it_sends_a_request(make: Callable[[str], Served]) -> None:
    served, target = make(PAGE), f"{FILES}/m/a.png"
    asked = {"Access_Control_Request_Method": "GET", "Access_Control_Request_Headers": "range"}
    for path in (target, target.replace("files/", "gallery/"), "/comfyui_server/files/m/a.png"):
        reply = served(path, "OPTIONS", Origin=PAGE, **asked)
        assert (reply.status, reply.body, reply.headers[ALLOW]) == (204, b"", PAGE)
        assert "Range" in reply.headers["Access-Control-Allow-Headers"]
        assert reply.headers["Access-Control-Allow-Methods"] == "GET, HEAD"
    assert served(target, "OPTIONS", Origin="https://evil.example", **asked).status == 405
    assert served(target, "OPTIONS", Origin=PAGE).status == 405
    assert served(target, "DELETE", Origin=PAGE).status == 405


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("https://App.Example.com", "https://app.example.com"),
        ("https://app.example.com:443/", "https://app.example.com"),
        ("http://app.example.com:80", "http://app.example.com"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("http://[::1]:8000", "http://[::1]:8000"),
        ("null", "null"),
        ("*", "*"),
        *((text, None) for text in ("app.example.com", "https://a/b", "https://", "ftp://a", "a*")),
    ],
)
def test_origins_are_compared_as_browsers_send_them(text: str, origin: str | None) -> None:
    assert parse_origin(text) == origin


def test_a_wrong_origin_is_refused_with_the_setting(make: Callable[[str], Served]) -> None:
    with pytest.raises(
        ConfigError, match=f"{SETTING} is 'app.example.com'.*https://app.example.com"
    ):
        make(f"{PAGE};app.example.com")


def test_the_headers_are_sent_over_http(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    Image.new("RGB", (40, 20)).save(tmp_path / "m" / "a.png")
    with Running(tmp_path / "m", **{SETTING: PAGE}) as server:
        assert server.get("a.png", Origin=PAGE).headers[ALLOW] == PAGE
        listed = server.get(f"/comfyui_server/pw={KEY}/gallery/m/list", Origin=PAGE)
        assert listed.headers[ALLOW] == PAGE
        asked = {"Origin": PAGE, "Access-Control-Request-Method": "GET"}
        answer = requests.options(f"{server.files}/a.png", headers=asked, timeout=TIMEOUT)
        assert (answer.status_code, answer.headers[ALLOW]) == (204, PAGE)
