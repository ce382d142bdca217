"""The gallery's page in a real browser: what one sees and does there."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest
import requests

from tests.browser import Browser, Tab, running
from tests.input_server.looked_at import KEY, PROJECT, Served, png, prompt, serving, signed
from tests.waiting import TIMEOUT, with_more_time

MANY = 150
NEWEST = "&lt;b&gt; 'quote' 图.png"
"""A name that would be markup if it were taken for some."""
SEED = 2**63 + 4711
LARGE = "document.querySelector('#view[open] .whole.in')"
TILES = "[...document.querySelectorAll('#grid li')]"


def colour(number: int) -> tuple[int, int, int]:
    return (number * 37 % 256, number * 91 % 256, number * 53 % 256)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    base = tmp_path_factory.mktemp("gallery")
    folder = base / "m"
    for number in range(MANY):
        made = prompt(f"picture number {number}", seed=number)
        png(folder / "many" / f"{number:03}.png", made, when=1e9 + number, color=colour(number))
    for name in ("film.webm", "sound.mp3"):
        content = (PROJECT / "tests" / "data" / "media" / name).read_bytes()
        (folder / name).write_bytes(content)
    (folder / "notes.txt").write_text("<script>alert(1)</script> 你好", "utf-8")
    made = prompt("<b>an old lighthouse\nat dawn", "blurry, text", SEED, "dream.safetensors")
    png(folder / "lighthouse.png", made, when=2e9, size=(640, 480))
    png(folder / NEWEST, when=2.1e9, size=(480, 640))
    with serving(folder, base / "cache") as server:
        yield server


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with running(tmp_path_factory.mktemp("chromium")) as started:
        yield started


@pytest.fixture
def tab(browser: Browser) -> Iterator[Tab]:
    """A window of a desktop; whatever a test does, nothing may be complained of."""
    with browser.tab() as opened:
        opened.resize(1280, 800)
        opened.prefer(prefers_color_scheme="light")
        opened.speak("en-US")
        yield opened
        opened.evaluate("1")  # what the browser had to say has come by then
        assert opened.console_errors == []


def ready(tab: Tab, url: str) -> None:
    """Open a gallery; done once its first pictures are seen."""
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


def test_pictures_come_newest_first_and_names_are_text(tab: Tab, served: Served) -> None:
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


def test_more_load_while_one_scrolls_and_only_those_near_are_there(
    tab: Tab, served: Served
) -> None:
    ready(tab, served.page)
    assert tab.evaluate("list.items.length") < MANY
    tab.wait("(scrollTo(0, document.body.scrollHeight), list.items.length === list.total)")
    tab.wait(f"{TILES}.at(-1)?.textContent.includes('000.png')")
    assert len(names(tab)) < 100
    assert names(tab) == sorted(names(tab), reverse=True)
    tab.wait(f"(scrollTo(0, 0), {TILES}[0]?.textContent.includes({NEWEST!r}))")


def test_what_has_the_focus_keeps_it_while_one_scrolls(tab: Tab, served: Served) -> None:
    ready(tab, served.page)
    tab.evaluate("document.querySelector('li:nth-child(2) .tile').focus()")
    tab.wait("(scrollTo(0, document.body.scrollHeight), list.ended)")
    tab.wait(f"{TILES}.at(-1)?.textContent.includes('000.png')")
    assert names(tab)[0] == "lighthouse.png"
    tab.wait(f"(scrollTo(0, 0), {TILES}[0]?.textContent.includes({NEWEST!r}))")
    assert tab.evaluate("document.activeElement.title") == "lighthouse.png"


def test_a_picture_opens_large_with_its_prompt_its_seed_and_its_model(
    tab: Tab, served: Served
) -> None:
    ready(tab, served.page)
    tab.click("li:nth-child(2) .tile")
    tab.wait(f"{LARGE}.naturalWidth === 640")
    tab.wait("document.querySelector('#told dl')")
    told = text(tab, "#told")
    for part in ("<b>an old lighthouse\nat dawn", "blurry, text", str(SEED), "dream.safetensors"):
        assert part in told
    assert "640 × 480" in text(tab, "#facts")
    assert tab.evaluate("document.querySelector('#view').matches(':modal')")
    assert tab.evaluate("document.activeElement.id") == "close"
    name = tab.evaluate("document.querySelector('.whole').alt")
    assert name == text(tab, "#view-name") == "lighthouse.png"


def test_keys_turn_the_pages_and_bring_one_back(tab: Tab, served: Served) -> None:
    ready(tab, served.page)
    tab.evaluate("document.querySelector('li .tile').focus()")
    for key in ("ArrowRight", "ArrowDown", "ArrowUp", "ArrowLeft", "ArrowLeft"):
        tab.press(key)
    assert tab.evaluate("document.activeElement.title") == NEWEST
    tab.press("Enter")
    tab.wait(f"{LARGE}?.alt === {NEWEST!r}")
    assert tab.evaluate("document.querySelector('#before').disabled")
    tab.press("ArrowLeft")
    tab.press("ArrowRight")
    tab.wait(f"{LARGE}?.alt === 'lighthouse.png'")
    tab.press("Escape")
    tab.wait("!document.querySelector('#view').open && history.state === null")
    assert tab.evaluate("document.activeElement.title") == "lighthouse.png"
    tab.press("End")
    tab.wait("document.activeElement.closest('li').ariaPosInSet > 40")
    tab.press("Home")
    tab.wait(f"document.activeElement.title === {NEWEST!r}")


def test_going_through_them_loads_more_and_going_back_closes(tab: Tab, served: Served) -> None:
    open_newest(tab, served.page)
    before = tab.evaluate("list.items.length")
    for _ in range(before + 5):
        tab.evaluate("step(1)")
        tab.wait("!document.querySelector('#after').disabled")
    assert tab.evaluate("shown") == before + 5
    tab.evaluate("history.back()")
    tab.wait("!document.querySelector('#view').open")
    tab.wait(f"document.activeElement.title === list.items[{before + 5}].name")


def test_the_filter_finds_by_prompt_and_says_when_there_is_nothing(
    tab: Tab, served: Served
) -> None:
    ready(tab, served.page)
    tab.click("#search")
    tab.type("LIGHTHOUSE dream")
    tab.wait(f"{TILES}.length === 1 && list.ended")
    assert (names(tab), text(tab, "#count")) == (["lighthouse.png"], "1 found")
    tab.type(" absent")
    tab.wait("document.querySelector('#state h2')?.textContent === 'Nothing found'")
    assert "“LIGHTHOUSE dream absent”" in text(tab, "#state")
    tab.send("Page.reload")
    tab.wait("document.querySelector('#state h2')?.textContent === 'Nothing found'")
    tab.click("#clear")
    tab.wait(f"{TILES}.length > 5 && location.search === ''")


def test_a_search_that_takes_several_answers_goes_on_by_itself(tab: Tab, served: Served) -> None:
    ready(tab, served.page)
    tab.evaluate(
        """{
        const item = list.items.find((one) => one.name === "lighthouse.png");
        globalThis.asks = 0;
        globalThis.fetch = async () => {
            asks += 1;
            const [items, partial] = [asks === 3 ? [item] : [], asks < 4];
            const next = partial ? "x" : null;
            return Response.json({ items, partial, next, total: 9, expires_in: null });
        };
        $("search").value = "lighthouse";
        start();
        }"""
    )
    tab.wait("list.ended && asks === 4")
    assert names(tab) == ["lighthouse.png"]


def test_a_copied_link_opens_the_picture_from_anywhere(tab: Tab, served: Served) -> None:
    open_newest(tab, served.page)
    tab.click("#copy")
    tab.wait("document.querySelector('#toast.up')")
    copied = tab.evaluate("navigator.clipboard.readText()")
    assert copied.startswith(served.url)
    assert requests.get(copied, timeout=TIMEOUT).content == (served.folder / NEWEST).read_bytes()


def test_without_a_clipboard_the_link_stands_there_selected(tab: Tab, served: Served) -> None:
    open_newest(tab, served.page)
    tab.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    tab.evaluate("document.execCommand = () => false")
    tab.click("#copy")
    selected = tab.wait("getSelection().toString()")
    assert requests.get(selected, timeout=TIMEOUT).content == (served.folder / NEWEST).read_bytes()
    assert tab.evaluate("document.activeElement.readOnly")


def test_films_and_sounds_can_be_played_and_texts_are_read_as_texts(
    tab: Tab, served: Served
) -> None:
    ready(tab, served.page)
    for kind in ("webm", "mp3"):
        tab.evaluate(f"openView(list.items.findIndex(item => item.name.endsWith('{kind}')))")
        tab.wait("document.querySelector('#held video, #held audio')?.duration > 0")
        tab.press("Escape")
        tab.wait("!view.open && history.state === null")
    tab.evaluate("openView(list.items.findIndex(item => item.kind === 'text'))")
    assert tab.wait("document.querySelector('#held pre')?.textContent") == (
        "<script>alert(1)</script> 你好"
    )


def test_a_link_without_a_key_shows_everything_and_the_key_nowhere(
    tab: Tab, served: Served
) -> None:
    link = signed(served.url, time.time() + 600)
    open_newest(tab, link)
    tab.press("ArrowRight")
    tab.wait(f"{LARGE}?.alt === 'lighthouse.png' && document.querySelector('#told dl')")
    whole = tab.evaluate("document.documentElement.outerHTML")
    assert KEY not in whole
    assert "pw=" not in whole
    assert "sig=" in whole
    assert requests.get(tab.evaluate("$('open').href"), timeout=TIMEOUT).status_code == 200


def test_a_link_that_ends_says_so_and_asks_for_nothing_more(tab: Tab, served: Served) -> None:
    def check(seconds: float) -> None:
        tab.open(signed(served.url, time.time() + seconds))
        tab.wait("list.items.length || document.querySelector('#state h2')?.textContent")
        assert tab.evaluate("list.items.length && (openView(0), true)"), "it ended before it opened"

    with_more_time(check, 4, 40)
    tab.wait("document.querySelector('#state h2')?.textContent === 'This link no longer works'")
    assert tab.evaluate("!view.open && !document.querySelector('#grid li')")
    tab.evaluate("globalThis.asks = 0; fetch = async () => { asks += 1; return new Response() }; 1")
    tab.evaluate("scrollTo(0, 100); render(); more()")
    assert tab.evaluate("asks + document.querySelectorAll('main img').length") == 0


def test_a_refused_request_says_what_it_means_and_can_be_tried_again(
    tab: Tab, served: Served
) -> None:
    told = {401: "This link no longer works", 404: "There is no such folder"}
    told |= {429: "Too many attempts", 500: "The files could not be loaded"}
    ready(tab, served.page)
    tab.evaluate("globalThis.real = fetch")
    for status, title in told.items():
        tab.evaluate(f"fetch = async () => new Response('', {{ status: {status} }}); start(); 1")
        tab.wait(f"document.querySelector('#state h2')?.textContent === {title!r}")
    tab.evaluate("fetch = real; 1")
    tab.click("#state .action")
    tab.wait(f"{TILES}.length > 5 && !document.querySelector('#state h2')")


def test_an_empty_folder_says_so(tab: Tab, served: Served) -> None:
    tab.open(served.page.replace("/m/", "/none/"))
    tab.wait("document.querySelector('#state h2')?.textContent === 'No files yet'")


def test_on_a_phone_nothing_is_wider_than_the_screen_and_a_finger_turns_the_pages(
    tab: Tab, served: Served
) -> None:
    tab.resize(390, 844, phone=True)
    open_newest(tab, served.page)
    wide = "[document.documentElement, view].every(e => e.scrollWidth <= 390)"
    assert tab.evaluate(f"innerWidth === 390 && {wide}")
    tab.swipe("#held", -150)
    tab.wait(f"{LARGE}?.alt === 'lighthouse.png'")
    tab.swipe("#held", 150)
    tab.wait(f"{LARGE}?.alt === {NEWEST!r}")
    tab.click("#close")
    tab.wait("!view.open && !history.state?.view")
    assert tab.evaluate(wide)
    assert tab.evaluate("columns") == 3


def test_dark_and_light_follow_the_system_until_one_is_chosen(tab: Tab, served: Served) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    ready(tab, served.page)
    light = tab.evaluate(ground)
    tab.prefer(prefers_color_scheme="dark")
    dark = tab.wait(f"{ground} !== {light!r} && {ground}")
    assert sum(map(int, re.findall(r"\d+", dark))) < 100 < sum(map(int, re.findall(r"\d+", light)))
    tab.click("#theme")
    tab.wait(f"{ground} === {light!r}")
    ready(tab, served.page)
    assert tab.evaluate(ground) == light


def test_it_speaks_chinese_where_the_browser_does_and_can_be_told_otherwise(
    tab: Tab, served: Served
) -> None:
    tab.speak("zh-CN")
    open_newest(tab, served.page)
    assert text(tab, "#copy") == "复制链接"
    assert text(tab, "#count") == f"{MANY + 5} 个文件"
    assert tab.evaluate("document.documentElement.lang") == "zh-CN"
    assert tab.evaluate("document.querySelector('#search').ariaLabel").startswith("按文件名")
    tab.press("Escape")
    tab.wait("!view.open && !history.state?.view")
    tab.click("#language")
    tab.wait("document.documentElement.lang === 'en'")
    ready(tab, served.page)
    assert text(tab, "#count") == f"{MANY + 5} files"


def test_no_text_can_become_markup_even_by_mistake(tab: Tab, served: Served) -> None:
    ready(tab, served.page)
    tries = {
        "insertAdjacentHTML('beforeend', '<b>')": "TypeError",
        "setAttribute('onclick', 'globalThis.ran = true') ?? document.body.click()": "TypeError",
        "append(Object.assign(document.createElement('script'), { text: 'ran = true' }))": "TypeError",
    }
    for attempt, refused in tries.items():
        told = f"(() => {{ try {{ document.body.{attempt} }} catch (e) {{ return e.name }} }})()"
        assert tab.evaluate(told) == refused, attempt
    assert tab.evaluate("typeof ran") == "undefined"
    assert len(tab.console_errors) >= len(tries)
    tab.console_errors.clear()


def test_both_languages_have_every_word(tab: Tab, served: Served) -> None:
    ready(tab, served.page)
    same = "Object.keys(WORDS.en).join() === Object.keys(WORDS.zh).join()"
    assert tab.evaluate(same)
    used = "[...document.querySelectorAll('[data-text], [data-label], [data-placeholder]')]"
    assert tab.evaluate(f"{used}.every(e => Object.values(e.dataset).every(w => w in words))")


def test_everything_that_can_be_pressed_has_a_name(tab: Tab, served: Served) -> None:
    open_newest(tab, served.page)
    unnamed = tab.evaluate(
        "[...document.querySelectorAll('button, a, input, textarea')]"
        ".filter(e => !(e.ariaLabel || e.innerText.trim() || e.labels?.length)"
        " && e.checkVisibility()).map(e => e.outerHTML)"
    )
    assert unnamed == []


def test_with_reduced_motion_nothing_moves(tab: Tab, served: Served) -> None:
    tab.prefer(prefers_reduced_motion="reduce")
    open_newest(tab, served.page)
    style = "getComputedStyle(e)"
    moving = f"{style}.transitionDuration !== '0s' && {style}.transitionProperty !== 'none'"
    assert tab.evaluate(f"[...document.querySelectorAll('*')].filter(e => {moving}).length") == 0


@pytest.mark.parametrize("name", ["film.webm", "sound.mp3"])
def test_a_film_plays_from_its_own_address(tab: Tab, served: Served, name: str) -> None:
    tab.open(f"{served.url}/comfyui_server/pw={KEY}/files/m/{name}")
    tab.wait("document.querySelector('video, audio').readyState >= 2")
