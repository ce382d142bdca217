"""The gallery page in a real browser."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest
import requests

from tests.browser import Browser, Tab, running
from tests.input_server.gallery_harness import KEY, PROJECT, Served, png, prompt, serving, signed
from tests.waiting import TIMEOUT, with_more_time

MANY = 150
NEWEST = "&lt;b&gt; 'quote' 图.png"
"""A name that contains markup and quotes."""
SEED = 2**63 + 4711
LARGE = "document.querySelector('#viewer[open] .full.in')"
TILES = "[...document.querySelectorAll('#grid li')]"


def color(number: int) -> tuple[int, int, int]:
    return (number * 37 % 256, number * 91 % 256, number * 53 % 256)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    base = tmp_path_factory.mktemp("gallery")
    folder = base / "m"
    for number in range(MANY):
        generated = prompt(f"image number {number}", seed=number)
        png(folder / "many" / f"{number:03}.png", generated, when=1e9 + number, color=color(number))
    for name in ("film.webm", "sound.mp3"):
        content = (PROJECT / "tests" / "data" / "media" / name).read_bytes()
        (folder / name).write_bytes(content)
    (folder / "notes.txt").write_text("<script>alert(1)</script> 你好", "utf-8")
    generated = prompt("<b>an old lighthouse\nat dawn", "blurry, text", SEED, "dream.safetensors")
    png(folder / "lighthouse.png", generated, when=2e9, size=(640, 480))
    png(folder / NEWEST, when=2.1e9, size=(480, 640))
    with serving(folder, base / "cache") as server:
        yield server


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with running(tmp_path_factory.mktemp("chromium")) as started:
        yield started


@pytest.fixture
def tab(browser: Browser) -> Iterator[Tab]:
    """A desktop window. Fails the test if the console reports an error."""
    with browser.tab() as window:
        window.resize(1280, 800)
        window.prefer(prefers_color_scheme="light")
        window.speak("en-US")
        yield window
        window.evaluate("1")  # by then all messages of the console have arrived
        assert window.console_errors == []


def ready(tab: Tab, url: str) -> None:
    """Open a gallery and wait for its first thumbnail."""
    tab.open(url)
    tab.wait(f"{TILES}.length > 5 && document.querySelector('.frame img.in')")


def open_newest(tab: Tab, url: str) -> None:
    ready(tab, url)
    tab.click("li:first-child .tile")
    tab.wait(LARGE)


def text(tab: Tab, selector: str) -> str:
    return str(tab.evaluate(f"document.querySelector({selector!r}).innerText"))


def names(tab: Tab) -> list[str]:
    found = tab.evaluate(f"{TILES}.map(li => li.querySelector('.name').textContent)")
    assert isinstance(found, list)
    return found


def test_images_are_listed_newest_first_and_names_are_not_markup(tab: Tab, served: Served) -> None:
    ready(tab, served.page)
    assert sorted(names(tab)[2:5]) == ["film.webm", "notes.txt", "sound.mp3"]
    assert [*names(tab)[:2], *names(tab)[5:8]] == [
        NEWEST,
        "lighthouse.png",
        "149.png",
        "148.png",
        "147.png",
    ]
    assert text(tab, "#count") == f"{MANY + 5} files"
    assert tab.evaluate("document.querySelectorAll('b b, .name b').length") == 0


def test_the_page_works_without_its_final_slash(tab: Tab, served: Served) -> None:
    ready(tab, served.page.rstrip("/"))
    assert names(tab)[0] == NEWEST


def test_scrolling_loads_more_and_only_tiles_near_the_window_exist(
    tab: Tab, served: Served
) -> None:
    ready(tab, served.page)
    assert tab.evaluate("list.items.length") < MANY
    tab.wait("(scrollTo(0, document.body.scrollHeight), list.items.length === list.total)")
    tab.wait(f"{TILES}.at(-1)?.textContent.includes('000.png')")
    assert len(names(tab)) < 100
    assert names(tab) == sorted(names(tab), reverse=True)
    tab.wait(f"(scrollTo(0, 0), {TILES}[0]?.textContent.includes({NEWEST!r}))")


def test_a_focused_tile_keeps_the_focus_while_scrolling(tab: Tab, served: Served) -> None:
    ready(tab, served.page)
    tab.evaluate("document.querySelector('li:nth-child(2) .tile').focus()")
    tab.wait("(scrollTo(0, document.body.scrollHeight), list.ended)")
    tab.wait(f"{TILES}.at(-1)?.textContent.includes('000.png')")
    assert names(tab)[0] == "lighthouse.png"
    tab.wait(f"(scrollTo(0, 0), {TILES}[0]?.textContent.includes({NEWEST!r}))")
    assert tab.evaluate("document.activeElement.title") == "lighthouse.png"


def test_the_viewer_shows_an_image_with_its_prompt_seed_and_model(tab: Tab, served: Served) -> None:
    ready(tab, served.page)
    tab.click("li:nth-child(2) .tile")
    tab.wait(f"{LARGE}.naturalWidth === 640")
    tab.wait("document.querySelector('#info dl')")
    info = text(tab, "#info")
    for part in ("<b>an old lighthouse\nat dawn", "blurry, text", str(SEED), "dream.safetensors"):
        assert part in info
    assert "640 × 480" in text(tab, "#facts")
    assert tab.evaluate("document.querySelector('#viewer').matches(':modal')")
    assert tab.evaluate("document.activeElement.id") == "close"
    name = tab.evaluate("document.querySelector('.full').alt")
    assert name == text(tab, "#file-name") == "lighthouse.png"


def test_arrow_keys_navigate_and_escape_returns_to_the_tile(tab: Tab, served: Served) -> None:
    ready(tab, served.page)
    tab.evaluate("document.querySelector('li .tile').focus()")
    for key in ("ArrowRight", "ArrowDown", "ArrowUp", "ArrowLeft", "ArrowLeft"):
        tab.press(key)
    assert tab.evaluate("document.activeElement.title") == NEWEST
    tab.press("Enter")
    tab.wait(f"{LARGE}?.alt === {NEWEST!r}")
    assert tab.evaluate("document.querySelector('#previous').disabled")
    tab.press("ArrowLeft")
    tab.press("ArrowRight")
    tab.wait(f"{LARGE}?.alt === 'lighthouse.png'")
    tab.press("Escape")
    tab.wait("!document.querySelector('#viewer').open && history.state === null")
    assert tab.evaluate("document.activeElement.title") == "lighthouse.png"
    tab.press("End")
    tab.wait("document.activeElement.closest('li').ariaPosInSet > 40")
    tab.press("Home")
    tab.wait(f"document.activeElement.title === {NEWEST!r}")


def test_navigating_in_the_viewer_loads_more_and_the_back_button_closes_it(
    tab: Tab, served: Served
) -> None:
    open_newest(tab, served.page)
    before = tab.evaluate("list.items.length")
    for _ in range(before + 5):
        tab.evaluate("showNeighbor(1)")
        tab.wait("!document.querySelector('#next').disabled")
    assert tab.evaluate("current") == before + 5
    tab.evaluate("history.back()")
    tab.wait("!document.querySelector('#viewer').open")
    tab.wait(f"document.activeElement.title === list.items[{before + 5}].name")


def test_the_search_matches_prompts_and_reports_no_match(tab: Tab, served: Served) -> None:
    ready(tab, served.page)
    tab.click("#search")
    tab.type("LIGHTHOUSE dream")
    tab.wait(f"{TILES}.length === 1 && list.ended")
    assert (names(tab), text(tab, "#count")) == (["lighthouse.png"], "1 found")
    tab.type(" absent")
    tab.wait("document.querySelector('#status h2')?.textContent === 'No matching files'")
    assert "“LIGHTHOUSE dream absent”" in text(tab, "#status")
    tab.send("Page.reload")
    tab.wait("document.querySelector('#status h2')?.textContent === 'No matching files'")
    tab.click("#clear")
    tab.wait(f"{TILES}.length > 5 && location.search === ''")


def test_a_partial_search_continues_by_itself(tab: Tab, served: Served) -> None:
    ready(tab, served.page)
    tab.evaluate(
        """{
        const item = list.items.find((one) => one.name === "lighthouse.png");
        globalThis.requests = 0;
        globalThis.fetch = async () => {
            requests += 1;
            const [items, partial] = [requests === 3 ? [item] : [], requests < 4];
            const next = partial ? "x" : null;
            return Response.json({ items, partial, next, total: 9, expires_in: null });
        };
        $("search").value = "lighthouse";
        restartList();
        }"""
    )
    tab.wait("list.ended && requests === 4")
    assert names(tab) == ["lighthouse.png"]


def test_a_copied_link_works_outside_the_page(tab: Tab, served: Served) -> None:
    open_newest(tab, served.page)
    tab.click("#copy-link")
    tab.wait("document.querySelector('#toast.up')")
    copied = tab.evaluate("navigator.clipboard.readText()")
    assert copied.startswith(served.url)
    assert requests.get(copied, timeout=TIMEOUT).content == (served.folder / NEWEST).read_bytes()


def test_without_a_clipboard_the_link_is_shown_and_selected(tab: Tab, served: Served) -> None:
    open_newest(tab, served.page)
    tab.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    tab.evaluate("document.execCommand = () => false")
    tab.click("#copy-link")
    selected = tab.wait("getSelection().toString()")
    assert requests.get(selected, timeout=TIMEOUT).content == (served.folder / NEWEST).read_bytes()
    assert tab.evaluate("document.activeElement.readOnly")


def test_videos_and_audio_play_and_texts_are_shown_as_text(tab: Tab, served: Served) -> None:
    ready(tab, served.page)
    for kind in ("webm", "mp3"):
        tab.evaluate(f"openViewer(list.items.findIndex(item => item.name.endsWith('{kind}')))")
        tab.wait("document.querySelector('#media video, #media audio')?.duration > 0")
        tab.press("Escape")
        tab.wait("!viewer.open && history.state === null")
    tab.evaluate("openViewer(list.items.findIndex(item => item.kind === 'text'))")
    assert tab.wait("document.querySelector('#media pre')?.textContent") == (
        "<script>alert(1)</script> 你好"
    )


def test_a_signed_link_shows_everything_without_revealing_the_key(tab: Tab, served: Served) -> None:
    link = signed(served.url, time.time() + 600)
    open_newest(tab, link)
    tab.press("ArrowRight")
    tab.wait(f"{LARGE}?.alt === 'lighthouse.png' && document.querySelector('#info dl')")
    html = tab.evaluate("document.documentElement.outerHTML")
    assert KEY not in html
    assert "pw=" not in html
    assert "sig=" in html
    assert requests.get(tab.evaluate("$('open').href"), timeout=TIMEOUT).status_code == 200


def test_an_expired_link_is_reported_and_sends_no_more_requests(tab: Tab, served: Served) -> None:
    def check(seconds: float) -> None:
        tab.open(signed(served.url, time.time() + seconds))
        tab.wait("list.items.length || document.querySelector('#status h2')?.textContent")
        assert tab.evaluate("list.items.length && (openViewer(0), true)"), (
            "the link expired before the viewer opened"
        )

    with_more_time(check, 4, 40)
    tab.wait("document.querySelector('#status h2')?.textContent === 'This link is no longer valid'")
    assert tab.evaluate("!viewer.open && !document.querySelector('#grid li')")
    tab.evaluate(
        "globalThis.requests = 0; fetch = async () => { requests += 1; return new Response() }; 1"
    )
    tab.evaluate("scrollTo(0, 100); renderGrid(); loadMore()")
    assert tab.evaluate("requests + document.querySelectorAll('main img').length") == 0


def test_each_error_status_has_its_message_and_failures_can_be_retried(
    tab: Tab, served: Served
) -> None:
    titles = {401: "This link is no longer valid", 404: "Folder not found"}
    titles |= {429: "Too many failed attempts", 500: "The files could not be loaded"}
    ready(tab, served.page)
    tab.evaluate("globalThis.real = fetch")
    for status, title in titles.items():
        tab.evaluate(
            f"fetch = async () => new Response('', {{ status: {status} }}); restartList(); 1"
        )
        tab.wait(f"document.querySelector('#status h2')?.textContent === {title!r}")
    tab.evaluate("fetch = real; 1")
    tab.click("#status .action")
    tab.wait(f"{TILES}.length > 5 && !document.querySelector('#status h2')")


def test_an_empty_folder_is_reported(tab: Tab, served: Served) -> None:
    tab.open(served.page.replace("/m/", "/none/"))
    tab.wait("document.querySelector('#status h2')?.textContent === 'No files yet'")


def test_on_a_phone_nothing_overflows_and_swipes_navigate(tab: Tab, served: Served) -> None:
    tab.resize(390, 844, phone=True)
    open_newest(tab, served.page)
    fits = "[document.documentElement, viewer].every(e => e.scrollWidth <= 390)"
    assert tab.evaluate(f"innerWidth === 390 && {fits}")
    tab.swipe("#media", -150)
    tab.wait(f"{LARGE}?.alt === 'lighthouse.png'")
    tab.swipe("#media", 150)
    tab.wait(f"{LARGE}?.alt === {NEWEST!r}")
    tab.click("#close")
    tab.wait("!viewer.open && !history.state?.viewer")
    assert tab.evaluate(fits)
    assert tab.evaluate("columns") == 3


def test_the_theme_follows_the_system_until_one_is_chosen(tab: Tab, served: Served) -> None:
    background = "getComputedStyle(document.body).backgroundColor"
    ready(tab, served.page)
    light = tab.evaluate(background)
    tab.prefer(prefers_color_scheme="dark")
    dark = tab.wait(f"{background} !== {light!r} && {background}")
    assert sum(map(int, re.findall(r"\d+", dark))) < 100 < sum(map(int, re.findall(r"\d+", light)))
    tab.click("#theme")
    tab.wait(f"{background} === {light!r}")
    ready(tab, served.page)
    assert tab.evaluate(background) == light


def test_the_language_follows_the_browser_until_one_is_chosen(tab: Tab, served: Served) -> None:
    tab.speak("zh-CN")
    open_newest(tab, served.page)
    assert text(tab, "#copy-link") == "复制链接"
    assert text(tab, "#count") == f"{MANY + 5} 个文件"
    assert tab.evaluate("document.documentElement.lang") == "zh-CN"
    assert tab.evaluate("document.querySelector('#search').ariaLabel").startswith("按文件名")
    tab.press("Escape")
    tab.wait("!viewer.open && !history.state?.viewer")
    tab.click("#language")
    tab.wait("document.documentElement.lang === 'en'")
    ready(tab, served.page)
    assert text(tab, "#count") == f"{MANY + 5} files"


def test_trusted_types_prevent_text_from_becoming_markup(tab: Tab, served: Served) -> None:
    ready(tab, served.page)
    tries = {
        "insertAdjacentHTML('beforeend', '<b>')": "TypeError",
        "setAttribute('onclick', 'globalThis.ran = true') ?? document.body.click()": "TypeError",
        "append(Object.assign(document.createElement('script'), { text: 'ran = true' }))": "TypeError",
    }
    for attempt, refused in tries.items():
        script = f"(() => {{ try {{ document.body.{attempt} }} catch (e) {{ return e.name }} }})()"
        assert tab.evaluate(script) == refused, attempt
    assert tab.evaluate("typeof ran") == "undefined"
    assert len(tab.console_errors) >= len(tries)
    tab.console_errors.clear()


def test_both_languages_have_every_text(tab: Tab, served: Served) -> None:
    ready(tab, served.page)
    same = "Object.keys(TEXTS.en).join() === Object.keys(TEXTS.zh).join()"
    assert tab.evaluate(same)
    used = "[...document.querySelectorAll('[data-text], [data-label], [data-placeholder]')]"
    assert tab.evaluate(f"{used}.every(e => Object.values(e.dataset).every(w => w in texts))")


def test_every_control_has_an_accessible_name(tab: Tab, served: Served) -> None:
    open_newest(tab, served.page)
    unnamed = tab.evaluate(
        "[...document.querySelectorAll('button, a, input, textarea')]"
        ".filter(e => !(e.ariaLabel || e.innerText.trim() || e.labels?.length)"
        " && e.checkVisibility()).map(e => e.outerHTML)"
    )
    assert unnamed == []


def test_with_reduced_motion_nothing_is_animated(tab: Tab, served: Served) -> None:
    tab.prefer(prefers_reduced_motion="reduce")
    open_newest(tab, served.page)
    style = "getComputedStyle(e)"
    moving = f"{style}.transitionDuration !== '0s' && {style}.transitionProperty !== 'none'"
    assert tab.evaluate(f"[...document.querySelectorAll('*')].filter(e => {moving}).length") == 0


@pytest.mark.parametrize("name", ["film.webm", "sound.mp3"])
def test_a_video_or_audio_file_plays_at_its_own_url(tab: Tab, served: Served, name: str) -> None:
    tab.open(f"{served.url}/comfyui_server/pw={KEY}/files/m/{name}")
    tab.wait("document.querySelector('video, audio').readyState >= 2")


def test_the_size_of_a_film_and_an_incomplete_search_are_said(tab: Tab, served: Served) -> None:
    ready(tab, served.page)
    tab.evaluate("openViewer(list.items.findIndex((one) => one.name === 'film.webm'))")
    tab.wait("document.querySelector('#facts').textContent.startsWith('64 × 48')")
    tab.click("#close")
    tab.evaluate(
        "globalThis.real = fetch; fetch = async () => Response.json({ items: [], next: null, total: 9,"
        " partial: false, expires_in: null, partly_searched: 2 }); $('search').value = 'x'; restartList(); 1"
    )
    tab.wait(
        "document.querySelector('#status')?.textContent.includes('2 files have texts too long')"
    )
    tab.evaluate("fetch = real; 1")


@pytest.mark.parametrize(
    ("content", "charset"),
    [
        ("提示词 abc".encode(), "utf-8"),
        ("提示词 abc".encode("gb18030"), "gb18030"),
        ("提示词 abc".encode("utf-16"), "utf-16"),
        (b"\xfe\xff" + "提示词 abc".encode("utf-16-be"), "utf-16"),
        ("提示词 abc".encode("utf-16-be"), "utf-16be"),
        ("提示词 abc".encode() + "图".encode()[:2], ""),
        ("提示词 abc".encode("gb18030"), ""),
    ],
)
def test_texts_are_shown_in_their_encoding(
    tab: Tab, served: Served, content: bytes, charset: str
) -> None:
    ready(tab, served.page)
    shown = tab.evaluate(f"decodeText(new Uint8Array({list(content)}), {charset!r})")
    assert shown == "提示词 abc"
