"""URLs of results: each opens at the file server and is recognized as an input."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
import requests

from comfyui_pipeline import settings
from comfyui_pipeline.result_urls import DAY, ResultLinks, unreachable_host, url_for_file
from input_server.mounts import resolve
from tests.conftest import png
from tests.input_server.running import KEY, Running
from tests.pipeline.test_after_queueing import scripted
from tests.pipeline.test_fault_matrix import WORKFLOW
from tests.waiting import TIMEOUT

NAME = "图 sub/a #1 b.txt"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("links") / "m"
    (folder / NAME).parent.mkdir(parents=True)
    (folder / NAME).write_text("here", "utf-8")
    with Running(folder, INPUT_SERVER_SIGNING_KEY="signs") as server:
        yield server


@pytest.mark.parametrize("style", ["server", "host"])
@pytest.mark.parametrize("signed", [False, True])
def test_a_result_url_opens_and_is_recognized_as_input(
    running: Running, style: str, signed: bool
) -> None:
    links = ResultLinks(running.url, style, KEY, "signs", signed=signed, seconds=3600)
    url = links.url("m", NAME, 17.9, is_image=False)
    assert url is not None
    assert requests.get(url, timeout=TIMEOUT).text == "here"
    assert ("t=17" in url, KEY in url) == (True, not signed)
    rest = [
        (url.removeprefix(begin), opens)
        for begin, opens in links.own_prefixes("m")
        if url.startswith(begin)
    ]
    ((_, opens),) = rest
    names, query = tuple(NAME.split("/")), url.partition("?")[2]
    assert opens(names, query)
    assert opens(("another.txt",), query) is not signed


def test_a_signed_url_is_stable_for_a_day_and_expires() -> None:
    links = ResultLinks("http://x", "server", "", "signs", signed=True, seconds=3600)
    first, second = (links.url("m", "a.png", 1, is_image=True) for _ in range(2))
    assert first == second
    ends = int(str(first).partition("exp=")[2].partition("&")[0])
    assert time.time() + 3600 <= ends <= time.time() + 3600 + DAY


def test_no_secret_is_in_the_repr_of_links() -> None:
    links = ResultLinks("http://x", "server", "access-secret", "signing-secret")
    assert (DAY, links.signed, links.quality) == (86400, False, "")
    assert "secret" not in repr(links)


def test_without_a_key_there_is_no_url() -> None:
    assert ResultLinks("http://x", "server", "", "").url("m", "a.png", 1, is_image=True) is None
    assert (
        ResultLinks("http://x", "server", "", "", signed=True).url("m", "a", 1, is_image=False)
        is None
    )
    assert ResultLinks("http://x", "server", "", "").own_prefixes("m") == []


def test_only_images_have_a_variant_in_their_url() -> None:
    links = ResultLinks("http://x", "server", "k", "k", quality="auto")
    assert str(links.url("m", "a.png", 1, is_image=True)).endswith("?t=1&quality=auto")
    assert str(links.url("m", "a.txt", 1, is_image=False)).endswith("?t=1")


def test_a_call_returns_signed_urls_and_reads_them_from_disk(ready: Any, image_uri: str) -> None:
    env = {
        "FILE_SERVER_URL_AUTH": "signed",
        "FILE_SERVER_BASE_URL": "https://files.example.com/x/",
        "FILE_SERVER_QUALITY": "80",
    }
    first = ready.call({"workflow": "resize_image", "image": image_uri, "width": "30"}, **env)
    url = first.result["outputs"][0]["url"]
    assert url.startswith("https://files.example.com/x/comfyui_server/files/output/")
    assert "quality=80" in url
    assert "key-of-the-test" not in first.stdout.decode()
    again = ready.call({"workflow": "invert_image", "image": url}, **env)
    assert again.result["outputs"][0]["width"] == 30
    forged = url.replace("exp=", "exp=1")
    assert (
        "files.example.com"
        in ready.call({"workflow": "invert_image", "image": forged}, **env).error
    )


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("FILE_SERVER_URL_AUTH", "password"),
        ("FILE_SERVER_URL_STYLE", "other"),
        ("FILE_SERVER_URL_HOURS", "-1"),
        ("FILE_SERVER_QUALITY", "best"),
        ("FILE_SERVER_BASE_URL", "files.example.com"),
    ],
)
def test_an_invalid_setting_of_links_is_reported(ready: Any, key: str, value: str) -> None:
    error = ready.call({"info": "workflows"}, **{key: value}).error
    assert key in error
    assert value in error


def test_the_pipeline_and_the_file_server_have_the_same_mounts(tmp_path: Path) -> None:
    from input_server import settings as config

    environ = {
        "COMFYUI_OUTPUT_DIR": str(tmp_path / "out"),
        "COMFYUI_SERVER_OUTPUT_DIR": str(tmp_path),
        "COMFYUI_ACCESS_KEY": "k",
    }
    (tmp_path / "comfyui_plugin.py").touch()
    ours = dict(settings.load(tmp_path, environ).mounts)
    theirs = {mount.alias: mount.folder for mount in config.read(environ).mounts}
    assert ours == theirs


ODD = ["cat~1.png", "12:30:05_00001_.png", "12:30/a.png", "a ~2.png", "x:y:z.png"]
NEVER = [".hidden.png", "a?b.png", "CON.png", "a|b.png", "sub/.x/a.png"]


@pytest.mark.skipif(os.name == "nt", reason="Windows takes these names for other files")
def test_only_files_that_the_file_server_serves_have_a_url(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    for name in (*ODD, *NEVER):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(png(8, 8))
    with Running(folder) as server:
        links = ResultLinks(server.url, "server", KEY, KEY)
        for name in ODD:
            url = url_for_file(links, "m", name, folder / name, "image")
            assert url is not None
            assert requests.get(url, timeout=20).content == png(8, 8), name
        for name in NEVER:
            assert url_for_file(links, "m", name, folder / name, "image") is None
            raw = links.url("m", name, 1, is_image=True)
            assert requests.get(str(raw), timeout=20).status_code == 403, name
        listed = requests.get(str(links.gallery("m")) + "list", timeout=20).json()["items"]
        assert {item["name"] for item in listed} == set(ODD)


@pytest.mark.parametrize("style", ["server", "host"])
@pytest.mark.parametrize("signed", [False, True])
def test_the_url_of_the_gallery_opens(running: Running, style: str, signed: bool) -> None:
    page = ResultLinks(running.url, style, KEY, "signs", signed=signed, seconds=3600).gallery("m")
    assert "<html" in requests.get(str(page), timeout=20).text
    assert (KEY in str(page)) is not signed
    assert ResultLinks(running.url, style, "", "").gallery("m") is None


@pytest.mark.parametrize(
    ("name", "posix", "windows"),
    [
        ("a.png", True, True),
        ("cat~1.png", True, False),
        ("a:b.png", True, False),
        ("abcdefgh~1.png", True, True),
        ("a~b.png", True, True),
        ("con.png", False, False),
        ("a.png ", False, False),
        ("a*.png", False, False),
        ("\udcff.png", False, False),
        ("a\\b.png", False, False),
    ],
)
def test_which_names_are_served(name: str, posix: bool, windows: bool) -> None:
    assert resolve.has_servable_names([name], windows=False) is posix
    assert resolve.has_servable_names([name], windows=True) is windows
    assert resolve.has_servable_names(["a", name, "b.png"], windows=False) is posix


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
def test_a_result_under_a_name_that_is_never_served_has_no_url(
    plugin: Any, fake: Any, tmp_path: Path
) -> None:
    own = tmp_path / "own"
    own.mkdir()
    files = {"12:30.png": png(8, 8), "a?b.png": png(9, 9)}
    for name, content in files.items():
        (own / name).write_bytes(content)
    scripted(fake, files)
    answered = plugin.call(
        {"workflow": plugin.workflow("it", WORKFLOW)},
        COMFYUI_BASE_URL=fake.url,
        COMFYUI_SERVER_OUTPUT_DIR=str(own),
    )
    served, other = answered.result["outputs"]
    assert "/files/comfyui/12%3A30.png" in served["url"]
    assert (other["url"], other["path"]) == (None, str(own / "a?b.png"))
    assert "no URL" in answered.text


def test_a_link_is_valid_for_the_given_hours_and_expires_at_the_end_of_a_day() -> None:
    url = ResultLinks("http://x", "server", "", "signs", signed=True, seconds=5 * DAY).url(
        "m", "a.png", 1, is_image=True
    )
    ends = int(str(url).partition("exp=")[2].partition("&")[0])
    assert ends % DAY == 0
    assert 5 * DAY <= ends - time.time() <= 6 * DAY


def test_a_signed_url_does_not_expire_early() -> None:
    for hours in (1, 23, 24, 25, 720):
        links = ResultLinks("http://x", "server", "", "signs", signed=True, seconds=hours * 3600)
        for url in (links.url("m", "a.png", 1, is_image=True), links.gallery("m")):
            ends = int(str(url).partition("exp=")[2].partition("&")[0])
            assert 0 <= ends - time.time() - hours * 3600 <= DAY
            assert ends % DAY == 0


@pytest.mark.parametrize(
    ("base", "server", "host"),
    [
        ("http://comfyui:5005", "http://comfyui:8188", "comfyui"),
        ("http://host.docker.internal:5005", "http://127.0.0.1:8188", "host.docker.internal"),
        ("http://nas:5005", "http://comfyui:8188", ""),
        ("http://localhost:5005", "http://localhost:8188", ""),
        ("http://127.0.0.1:5005", "http://127.0.0.1:8188", ""),
        ("http://files.example.com", "http://files.example.com:8188", ""),
        ("http://[::1]:5005", "http://[::1]:8188", ""),
    ],
)
def test_a_host_that_only_containers_know_is_recognized(base: str, server: str, host: str) -> None:
    assert unreachable_host(base, server) == host


def test_links_with_the_name_of_a_container_are_mentioned(ready: Any, image_uri: str) -> None:
    call = {"workflow": "invert_image", "image": image_uri}
    text = ready.call(call, FILE_SERVER_BASE_URL="http://host.docker.internal:5005").text
    assert "host.docker.internal, which readers outside its container network cannot open" in text
    assert "container network" not in ready.call(call).text
