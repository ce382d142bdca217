"""Routes of the gallery: page, list, search, and errors."""

from __future__ import annotations

import base64
import errno
import hashlib
import json
import os
import re
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote, urljoin

import pytest
import requests

from input_server.auth import signing
from input_server.auth.keys import Key
from input_server.gallery import listing
from input_server.gallery.listing import (
    FolderListings,
    SearchText,
    SearchTexts,
    make_cursor,
    next_page,
    position_after,
)
from input_server.mounts.disk_usage import Entry, cached_usage
from input_server.mounts.mount import Mount
from input_server.mounts.resolve import Exhausted
from input_server.mounts.table import MountTable
from tests.input_server.gallery_harness import (
    KEY,
    SIGNING_KEY,
    GalleryHarness,
    png,
    prompt,
    serving,
    signed,
)
from tests.waiting import TIMEOUT, wait_until

PAGE = f"/comfyui_server/pw={KEY}/gallery/m/"
ODD_NAMES = ("a b#c%41&d.png", "&lt;b&gt; 'quote' 图.png", "sub/ünï+code.png")


def resolved(page: str, relative: str) -> str:
    """Resolve a URL of the list as a browser would."""
    return urljoin("http://x" + page, relative).removeprefix("http://x")


# The page


def test_page_list_and_images_over_http_have_their_headers(
    tmp_path: Path,
) -> None:
    name = "a b#c 图.png"
    png(tmp_path / "m" / name, prompt())
    with serving(tmp_path / "m", tmp_path / "cache") as served:
        page = requests.get(served.page, timeout=TIMEOUT, allow_redirects=False)
        assert (page.status_code, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
        assert page.headers["Cache-Control"] == "no-store"
        assert page.headers["Referrer-Policy"] == "no-referrer"
        assert page.headers["X-Content-Type-Options"] == "nosniff"
        assert requests.get(served.page.rstrip("/"), timeout=TIMEOUT).text == page.text
        head = requests.head(served.page + "list", timeout=TIMEOUT)
        assert (head.status_code, head.content) == (200, b"")
        (item,) = requests.get(served.page + "list", timeout=TIMEOUT).json()["items"]
        assert item["name"] == name
        file = requests.get(urljoin(served.page, item["url"]), timeout=TIMEOUT)
        assert file.content == (tmp_path / "m" / name).read_bytes()
        thumbnail = requests.get(urljoin(served.page, item["thumb"]), timeout=TIMEOUT)
        assert thumbnail.headers["Content-Type"] == "image/webp"
        response = requests.get(served.page + "info", params={"path": name}, timeout=TIMEOUT).json()
        assert response["positive"] == "a lighthouse at dawn"
        link = signed(served.url, time.time() + 60)
        (item,) = requests.get(
            urljoin(link, f"list?{link.partition('?')[2]}"), timeout=TIMEOUT
        ).json()["items"]
        assert requests.get(urljoin(link, item["url"]), timeout=TIMEOUT).status_code == 200
        refused = requests.get(served.page + "info?path=../x.png", timeout=TIMEOUT)
        assert (refused.status_code, refused.text) == (403, "Forbidden.")


@pytest.mark.parametrize("ending", ["", "/"])
def test_the_page_is_the_same_with_and_without_a_final_slash(
    harness: GalleryHarness, ending: str
) -> None:
    reply = harness.ask(PAGE.rstrip("/") + ending)
    assert reply.status == 200
    assert reply.body.startswith(b"<!doctype html>")


def test_the_policy_allows_only_the_inline_style_and_script(harness: GalleryHarness) -> None:
    reply = harness.ask(PAGE)
    policy = dict(
        part.strip().partition(" ")[::2]
        for part in reply.headers["Content-Security-Policy"].split(";")
    )
    text = reply.body.decode()
    for tag in ("style", "script"):
        (inside,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert policy[f"{tag}-src"] == f"'sha256-{digest}'"
    assert policy["default-src"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert policy["frame-ancestors"] == "'none'"
    assert (policy["connect-src"], policy["media-src"]) == ("'self'", "'self'")
    assert policy["img-src"] == "'self' data: blob:"
    assert not re.search(r"""(innerHTML|\son\w+=|\sstyle=|(src|href)=["']?(https?:)?//)""", text)


@pytest.mark.parametrize("below", ["nothing", "list/", "info/x.png", "/", "list/../list"])
def test_other_paths_below_the_page_are_not_found(harness: GalleryHarness, below: str) -> None:
    png(harness.folder / "x.png")
    assert harness.ask(PAGE + below).status == 404


def test_an_unknown_mount_is_not_found_and_an_empty_folder_has_an_empty_list(
    harness: GalleryHarness,
) -> None:
    assert harness.ask(PAGE.replace("/m/", "/nomount/")).status == 404
    response = harness.json("list")
    assert response == {"items": [], "next": None, "partial": False, "total": 0, "expires_in": None}


# The list


def test_files_are_listed_newest_first_with_kind_size_and_time(harness: GalleryHarness) -> None:
    for number, name in enumerate(
        ["a.png", "sub/b.MP4", "c.flac", "d.glb", "e.txt", "f.json", "g.pdf", "h.tiff"]
    ):
        path = harness.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x" * number)
        os.utime(path, (1000 + number, 1000 + number))
    items = harness.json("list")["items"]
    assert [(i["name"], i["kind"]) for i in items] == [
        ("h.tiff", "image"),
        ("g.pdf", "document"),
        ("f.json", "text"),
        ("e.txt", "text"),
        ("d.glb", "model"),
        ("c.flac", "audio"),
        ("sub/b.MP4", "video"),
        ("a.png", "image"),
    ]
    assert (items[6]["bytes"], items[6]["mtime"]) == (1, 1001)
    assert [i["name"] for i in items if i["thumb"]] == ["h.tiff", "a.png"]
    assert [i["name"] for i in items if i["view"]] == ["h.tiff"]


def test_hidden_invalid_and_unknown_files_are_not_listed(harness: GalleryHarness) -> None:
    for name in ("ok.png", ".hidden.png", ".git/x.png", "NUL.png", "x.latent", "noext", "x.py"):
        (harness.folder / name).parent.mkdir(exist_ok=True)
        (harness.folder / name).write_bytes(b"")
    if sys.platform != "win32":
        (harness.folder / "tr|ap.png").write_bytes(b"")
        (harness.folder / "link.png").symlink_to("ok.png")
        Path(os.fsdecode(os.fsencode(harness.folder) + b"/\xff.png")).write_bytes(b"")
    assert harness.names() == ["ok.png"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not take these names")
@pytest.mark.parametrize("name", ODD_NAMES)
def test_urls_of_unusual_names_work(harness: GalleryHarness, name: str) -> None:
    png(harness.folder / name)
    (item,) = harness.json("list")["items"]
    assert item["name"] == name
    assert item["url"].startswith("../../files/m/")
    assert KEY not in json.dumps(item)
    for relative in (item["url"], item["thumb"]):
        assert harness.ask(resolved(PAGE, relative)).status == 200
    assert harness.json(f"info?path={quote(name)}")["width"] == 24


def every_page(harness: GalleryHarness, most: int) -> list[list[str]]:
    pages, after = [], ""
    while after is not None:
        response = harness.json(f"list?n={most}" + (f"&after={after}" if after else ""))
        pages.append([item["name"] for item in response["items"]])
        after = response["next"]
    return pages


def test_each_file_is_on_exactly_one_page(harness: GalleryHarness) -> None:
    for number in range(23):  # some of the same moment
        (harness.folder / f"{number:02}.txt").write_bytes(b"")
        os.utime(harness.folder / f"{number:02}.txt", (1000 + number // 5, 1000 + number // 5))
    pages = every_page(harness, 4)
    assert [len(page) for page in pages] == [4, 4, 4, 4, 4, 3]
    assert [name for page in pages for name in page] == [
        f"{number:02}.txt" for number in reversed(range(23))
    ]


def entry(name: str, moment: int) -> Entry:
    return Entry((name,), 1, moment, 0)


def test_a_cursor_stays_valid_when_files_are_added_or_its_own_is_deleted() -> None:
    files = [
        entry(name, moment) for name, moment in [("e", 5), ("d", 3), ("c", 3), ("b", 3), ("a", 1)]
    ]
    after_c = make_cursor(files[2])
    assert [e.names[0] for e in files[position_after(files, after_c) :]] == ["b", "a"]
    newer = [entry("g", 9), entry("f", 8), *files]
    assert [e.names[0] for e in newer[position_after(newer, after_c) :]] == ["b", "a"]
    without = [e for e in newer if e.names != ("c",)]
    assert [e.names[0] for e in without[position_after(without, after_c) :]] == ["d", "b", "a"]
    assert position_after(files, make_cursor(entry("z", 2))) == 4
    assert position_after([], after_c) == 0


def test_a_cursor_works_among_tens_of_thousands_of_files() -> None:
    files = [entry(f"{number}.txt", -number) for number in range(50_000)]
    page = next_page(files, position_after(files, make_cursor(files[40_000])), 60, None)
    assert [e.names[0] for e in page.entries][:2] == ["40001.txt", "40002.txt"]


@pytest.mark.parametrize(
    "query",
    [
        "n=0",
        "n=201",
        "n=-1",
        "n=x",
        "n=٣",
        "n=1000000",
        "after=x",
        "after=1",
        "after=1.xyz",
        "after=1.0123456789abcdefg",
        "after=999999999999999999999.0123456789abcdef",
        f"q={'x' * 201}",
    ],
)
def test_invalid_parameters_get_a_plain_text_error(harness: GalleryHarness, query: str) -> None:
    reply = harness.ask(f"{PAGE}list?{query}")
    assert reply.status == 400
    assert reply.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert reply.body.startswith((b"n must", b"after must", b"q must"))


def test_a_new_file_is_listed_once_the_cache_expires(harness: GalleryHarness) -> None:
    png(harness.folder / "old.png", when=1000)
    assert harness.names() == ["old.png"]
    png(harness.folder / "new.png", when=2000)
    wait_until(
        lambda: harness.names() == ["new.png", "old.png"]
    )  # a listing is cached for a second


def test_concurrent_requests_walk_a_folder_once(
    harness: GalleryHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    walks = []

    def walk(folder: Path) -> list[Entry]:
        walks.append(folder)
        time.sleep(0.05)
        return [entry("a.png", 1)]

    monkeypatch.setattr(listing, "walk", walk)
    known = FolderListings()
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: known.files(harness.folder), range(64)))
    assert len(walks) == 1
    assert all(answer == [entry("a.png", 1)] for answer in answers)


# Signed links


def test_a_signed_link_gives_access_to_its_mount_until_it_expires(harness: GalleryHarness) -> None:
    png(harness.folder / "sub" / "a b.png", prompt())
    end = int(time.time()) + 60
    page, _, query = signed("", end).partition("?")
    assert harness.ask(f"{page}?{query}").status == 200
    response = harness.json(f"list?{query}", page)
    assert 0 < response["expires_in"] <= 60
    (item,) = response["items"]
    assert f"exp={end}&" in item["url"]
    for relative in (item["url"], item["thumb"]):
        assert harness.ask(resolved(page, relative)).status == 200
    assert harness.json(f"info?{query}&path=sub/a%20b.png", page)["seeds"] == ["1234"]
    assert KEY not in json.dumps(response)
    assert harness.ask(f"{page}list").status == 401
    assert harness.ask(f"{page}list?{query}x").status == 401
    assert harness.ask(f"{page.replace('/m/', '/other/')}list?{query}").status == 401
    assert harness.ask(resolved(page, item["url"]).replace("a%20b", "c")).status == 401
    ended = signed("", time.time() - 1).partition("?")[2]
    assert harness.ask(f"{page}list?{ended}").status == 401


def test_urls_work_behind_the_gate_of_a_host(harness: GalleryHarness) -> None:
    png(harness.folder / "sub" / "a.png")
    for key, query in ((KEY, ""), ("signed", signed("", time.time() + 60).partition("?")[2])):
        page = f"/pw={key}/files/comfyui/gallery/m/"
        (item,) = harness.json(f"list?{query}", page)["items"]
        address = resolved(page, item["url"])
        assert address.startswith(f"/pw={key}/files/comfyui/m/sub/a.png")
        assert harness.ask(address).status == 200
        assert harness.ask(resolved(page, item["thumb"])).status == 200


def test_a_key_that_requires_a_signature_gets_signed_urls(tmp_path: Path) -> None:
    second = "second secret"
    harness = GalleryHarness(
        tmp_path, Key("guest", "key-of-a-guest", signature=second), cache=tmp_path / "c"
    )
    png(tmp_path / "a.png")
    query = signing.query(second, "gallery", "m", (), int(time.time()) + 60)
    page = "/comfyui_server/pw=key-of-a-guest/gallery/m/"
    assert harness.ask(page + "list").status == 401
    (item,) = harness.json(f"list?{query}", page)["items"]
    assert harness.ask(resolved(page, item["url"])).status == 200
    forged = signing.query(SIGNING_KEY, "files", "m", ("a.png",), int(time.time()) + 60)
    assert harness.ask(resolved(page, f"../../files/m/a.png?{forged}")).status == 401


# The search


@pytest.fixture
def searched(harness: GalleryHarness) -> GalleryHarness:
    png(harness.folder / "one.png", prompt("A Lighthouse, dawn", seed=4711), when=3000)
    png(
        harness.folder / "two.png", prompt("a fox", "watermark", model="Juggernaut.ckpt"), when=2000
    )
    png(harness.folder / "foxes" / "three.png", prompt("杭州的清晨，薄雾"), when=1000)
    (harness.folder / "fox.txt").write_text("nothing about lighthouses", "utf-8")
    os.utime(harness.folder / "fox.txt", (500, 500))
    return harness


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("fox", ["two.png", "foxes/three.png", "fox.txt"]),
        ("LIGHTHOUSE", ["one.png"]),
        ("dawn%20one", ["one.png"]),
        ("dawn+fox", []),
        ("4711", ["one.png"]),
        ("juggernaut", ["two.png"]),
        ("watermark", ["two.png"]),
        ("%E6%B8%85%E6%99%A8", ["foxes/three.png"]),
        ("%EF%BC%A6%EF%BC%AF%EF%BC%B8%20txt", ["fox.txt"]),
        ("%20%20", ["one.png", "two.png", "foxes/three.png", "fox.txt"]),
    ],
)
def test_each_search_word_must_match_the_path_or_the_embedded_text(
    searched: GalleryHarness, query: str, found: list[str]
) -> None:
    assert searched.names(f"list?q={query}") == found


def test_a_seed_is_searchable_with_a_prompt_of_any_length(harness: GalleryHarness) -> None:
    png(harness.folder / "a.png", prompt("very " * 5000, seed=4711))
    assert harness.names("list?q=4711+sd15+very") == ["a.png"]


def test_a_search_over_the_time_limit_returns_partial_results_with_a_cursor(
    searched: GalleryHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "SEARCH_SECONDS", -1.0)
    steps, after = [], ""
    while after is not None:
        response = searched.json("list?q=watermark" + (f"&after={after}" if after else ""))
        steps.append(([item["name"] for item in response["items"]], response["partial"]))
        after = response["next"]
    assert steps == [([], True), (["two.png"], True), ([], True), ([], False)]


def test_an_image_is_read_once_for_all_searches_until_it_changes(
    searched: GalleryHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    of = SearchTexts.of

    def noted(self: SearchTexts, folder: Path, entry: Entry, look: Any) -> SearchText:
        return of(self, folder, entry, lambda: (read.append(entry.path), look())[1])

    monkeypatch.setattr(SearchTexts, "of", noted)
    assert searched.names("list?q=4711") == ["one.png"]
    assert searched.names("list?q=lighthouse") == ["one.png"]
    assert sorted(read) == ["foxes/three.png", "one.png", "two.png"]
    png(searched.folder / "one.png", prompt("a submarine"), when=4000)
    wait_until(lambda: searched.names("list?q=submarine") == ["one.png"])
    assert read.count("two.png") == 1


def test_the_search_cache_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "MAX_TEXTS", 3)
    monkeypatch.setattr(listing, "MAX_CHARACTERS", 20)
    monkeypatch.setattr(listing, "MAX_TEXT_CHARS", 8)
    texts, read = SearchTexts(), []

    def ask(name: str, text: str) -> str:
        new = SearchText(text)
        found = texts.of(Path("m"), entry(name, 1), lambda: (read.append(name), new)[1])
        assert found.is_partial == (len(text) > 8)
        return found.text

    for name in "abcd":
        assert ask(name, name) == name
    ask("d", "d")
    ask("a", "a")
    assert read == ["a", "b", "c", "d", "a"]
    assert ask("x", "x" * 100) == "x" * 8
    ask("y", "y" * 8)
    ask("z", "z" * 8)
    ask("y", "y" * 8)
    ask("x", "x" * 8)
    assert read[5:] == ["x", "y", "z", "x"]


def test_concurrent_searches_return_the_same_results(searched: GalleryHarness) -> None:
    queries = ["fox", "lighthouse", "4711", "watermark"] * 8
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda q: searched.names(f"list?q={q}"), queries))
    assert answers[:4] * 8 == answers
    assert answers[:2] == [["two.png", "foxes/three.png", "fox.txt"], ["one.png"]]


# Exhausted resources


def failing_scandir(number: int) -> Any:
    def scandir(_path: object) -> Any:
        raise OSError(number, os.strerror(number))

    return scandir


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
def test_a_folder_that_cannot_be_read_is_an_error_and_not_an_empty_list(
    harness: GalleryHarness, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    png(harness.folder / "a.png", prompt())
    page = f"/comfyui_server/pw={KEY}/gallery/m/"
    with monkeypatch.context() as patch:
        patch.setattr("input_server.mounts.disk_usage.os.scandir", failing_scandir(number))
        reply = harness.ask(f"{page}list")
        assert (reply.status, reply.headers["Retry-After"]) == (503, "5")
        assert harness.ask(f"{page}list").status == 503, "the failure is not cached"
    assert harness.names() == ["a.png"]


def test_a_search_that_cannot_open_an_image_is_an_error_and_not_cached(
    harness: GalleryHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    png(harness.folder / "a.png", prompt("a lighthouse"))

    def short(*_: object, **__: object) -> Any:
        raise Exhausted(errno.EMFILE, "Too many open files")

    page = f"/comfyui_server/pw={KEY}/gallery/m/"
    with monkeypatch.context() as patch:
        patch.setattr("input_server.gallery.routes.open_file", short)
        assert harness.ask(f"{page}list?q=lighthouse").status == 503
        assert harness.ask(f"{page}info?path=a.png").status == 503
    assert harness.names("list?q=lighthouse") == ["a.png"]


def test_usage_is_unchanged_when_a_mount_cannot_be_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    png(tmp_path / "m" / "a.png")
    table = MountTable((Mount("m", tmp_path / "m"),), tmp_path / "absent.json", print)
    usage = cached_usage(table, seconds=0)
    before = usage()
    assert before["m"][0] == 1
    with monkeypatch.context() as patch:
        patch.setattr("input_server.mounts.disk_usage.os.scandir", failing_scandir(errno.EMFILE))
        assert usage() == before
    png(tmp_path / "m" / "b.png")
    assert usage()["m"][0] == 2
