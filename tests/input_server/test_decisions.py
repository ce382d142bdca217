"""Thresholds, defaults and edges of the file server, each held by a test that one step beyond fails."""

from __future__ import annotations

import io
import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from input_server import link_command, urls
from input_server.auth import deny_list, signing
from input_server.auth.access import Access, Client, Denied
from input_server.auth.deny_list import DenyList
from input_server.auth.keys import Key
from input_server.auth.lockout import LockoutPolicy, LockoutTracker
from input_server.auth.networks import parse_networks
from input_server.errors import ConfigError
from input_server.gallery import listing, routes
from input_server.gallery.listing import make_cursor, media_kind, position_after
from input_server.images import (
    containers,
    embedded_texts,
    encode,
    image_info,
    memory,
    render_cost,
    variants,
)
from input_server.images.memory import MemoryBudget
from input_server.images.render import render
from input_server.images.variant_request import (
    VariantError,
    VariantRequest,
    choose_format,
    parse_variant_request,
)
from input_server.images.variants import VariantCache
from input_server.mounts import cleanup, retention, table
from input_server.mounts.disk_usage import Entry
from input_server.mounts.mount import CleanRules, Mount
from input_server.mounts.mounts_file import mount_to_json, parse_mount
from input_server.mounts.open_files import OpenFile, OpenFileCache
from input_server.settings import Config, is_loopback, read, short_key_warnings
from input_server.urls import Route, parse_query
from tests.input_server.gallery_harness import KEY, GalleryHarness, node, png, prompt
from tests.input_server.images.test_image_memory import flat_png

PAGE = f"/comfyui_server/pw={KEY}/gallery/m/"
NAMES = ("a", "b.png")


def configured(**settings: str) -> Config:
    return read({"COMFYUI_ACCESS_KEY": "a-long-enough-key", **settings})


# -- settings --------------------------------------------------------------------------------------


def test_what_is_not_set_is_as_the_texts_say() -> None:
    config = configured()
    assert (config.host, config.port, config.workers) == ("127.0.0.1", 5005, 1)
    assert (config.cache_mb, config.image_mb) == (256, 220)
    assert (config.head_seconds, config.stall_seconds) == (10, 60)
    assert config.lockout == LockoutPolicy(10, 600, parse_networks("127.0.0.0/8;::1", "x"))
    assert (config.access_log, config.through_host_gate, config.offload, config.deny_file) == (
        False,
        False,
        "",
        None,
    )
    assert config.base_url == "http://127.0.0.1:5005"
    assert [mount.alias for mount in config.mounts] == ["output"]
    assert config.signing_key == "a-long-enough-key"
    assert config.trusted_proxies == ()


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        ("FILE_SERVER_PORT", 1, 65535),
        ("INPUT_SERVER_WORKERS", 1, 64),
        ("INPUT_SERVER_CACHE_MB", 0, 1_000_000),
        ("INPUT_SERVER_IMAGE_MB", 1, 1_000_000),
        ("INPUT_SERVER_HEAD_SECONDS", 1, 3600),
        ("INPUT_SERVER_STALL_SECONDS", 1, 3600),
        ("INPUT_SERVER_LOCK_AFTER", 0, 100_000),
        ("INPUT_SERVER_LOCK_SECONDS", 1, 10_000_000),
    ],
)
def test_a_number_is_taken_up_to_its_bounds(name: str, least: int, most: int) -> None:
    for value in (least, most):
        configured(**{name: str(value)})
    for value in (least - 1, most + 1, "1.5", "²", "many"):
        with pytest.raises(ConfigError, match=name):
            configured(**{name: str(value)})


def test_switches_and_fallbacks() -> None:
    assert configured(DebugMode="yes").access_log
    assert configured(INPUT_SERVER_ACCESS_LOG="1").access_log
    assert not configured(INPUT_SERVER_ACCESS_LOG="no").access_log
    assert configured(INPUT_SERVER_LOCK_EXEMPT="NONE").lockout.exempt == ()
    assert configured(FILE_SERVER_URL_STYLE="Host").through_host_gate
    assert configured(FILE_SERVER_PUBLIC_IP="2001:db8::1").base_url == "http://[2001:db8::1]:5005"
    assert configured(INPUT_SERVER_HOST="0.0.0.0").base_url == "http://127.0.0.1:5005"
    assert configured(FILE_SERVER_BASE_URL="https://x/").base_url == "https://x"
    assert configured(INPUT_SERVER_SIGNING_KEY="other").signing_key == "other"
    assert read({"FILE_SERVER_ACCESS_KEY": "b" * 12}).keys[0].key == "b" * 12
    assert [is_loopback(host) for host in ("127.9.9.9", "[::1]", "localhost", "10.0.0.1", "x")] == [
        True,
        True,
        True,
        False,
        False,
    ]


def test_a_key_is_short_below_twelve_characters() -> None:
    assert short_key_warnings(read({"COMFYUI_ACCESS_KEY": "x" * 12})) == []
    (warning,) = short_key_warnings(read({"COMFYUI_ACCESS_KEY": "x" * 11}))
    assert "access key is short" in warning
    signing_key = {"INPUT_SERVER_SIGNING_KEY": "short"}
    (warning,) = short_key_warnings(read({"COMFYUI_ACCESS_KEY": "x" * 12, **signing_key}))
    assert "signing key is short" in warning


# -- signatures and keys ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("after", "verdict"),
    [
        (0, "valid"),
        (0.001, "expired"),
        (-60, "valid"),
        (-signing.MAX_LIFETIME, "valid"),
        (-signing.MAX_LIFETIME - 1, "invalid"),
    ],
)
def test_an_address_opens_up_to_its_second(after: float, verdict: str) -> None:
    assert signing.MAX_LIFETIME == 366 * 24 * 3600
    expires = 1_700_000_000
    asked = {"exp": str(expires), "sig": signing.signature("k", "files", "m", NAMES, expires)}
    assert signing.check_signature("k", "files", "m", NAMES, asked, expires + after) == verdict


def test_an_end_has_at_most_eleven_digits() -> None:
    for expires, verdict in ((99_999_999_999, "valid"), (100_000_000_000, "invalid")):
        sig = signing.signature("k", "files", "m", NAMES, expires)
        asked = {"exp": str(expires), "sig": sig}
        assert signing.check_signature("k", "files", "m", NAMES, asked, expires - 1) == verdict


def admitted(access: Access, route: Route, address: str = "10.0.0.1", **asked: str) -> Any:
    try:
        return access.authenticate(route, asked, Client(address, {}))
    except Denied as denied:
        return denied


def test_what_is_counted_and_what_is_answered() -> None:
    locks = LockoutTracker(LockoutPolicy(limit=1))
    keys = (
        Key("all", "key-for-all-mounts"),
        Key("one", "key-for-one-mount", frozenset({"m"})),
        Key("near", "key-from-nearby", networks=parse_networks("10.0.0.0/8", "x")),
    )
    access = Access(keys, "secret", locks, DenyList(None, print))
    other = Route("files", "key-for-one-mount", "other", ("a",))
    denied = admitted(access, other)
    assert (denied.status, denied.reason, denied.delay) == (404, "no such mount", 0)
    assert admitted(access, Route("metrics", "key-for-one-mount", "", ())).status == 404
    assert admitted(access, Route("metrics", "key-for-all-mounts", "", ())).key == "all"
    near = Route("files", "key-from-nearby", "m", ("a",))
    assert admitted(access, near).holder == "key near"
    far = admitted(access, near, "11.0.0.1")
    assert (far.status, far.reason) == (401, "wrong key"), "it could be a guess"
    assert admitted(access, near, "11.0.0.1").status == 429
    nothing = admitted(access, Route("files", None, "m", ("a",)), "12.0.0.1")
    assert (nothing.status, nothing.reason) == (401, "no key")
    signed = admitted(access, Route("files", None, "m", ("a",)), "12.0.0.1", sig="x", exp="1")
    assert (signed.status, signed.reason, signed.delay) == (401, "wrong signature", 0)
    empty = admitted(access, Route("files", "", "m", ("a",)), "12.0.0.1")
    assert (empty.status, empty.reason) == (401, "no key")
    assert locks.locked_out_for("12.0.0.1") == 0
    placeholder = Route("files", "signed", "m", ("a",), gate=True)
    assert admitted(access, placeholder, "12.0.0.1", sig="x").reason == "wrong signature"
    assert (
        admitted(access, replace(placeholder, gate=False), "13.0.0.1", sig="x").reason
        == "wrong key"
    )


def test_what_requests_have_in_common_is_their_key_or_the_end_of_their_link() -> None:
    access = Access(
        (Key("all", "key-for-all"),),
        "secret",
        LockoutTracker(LockoutPolicy()),
        DenyList(None, print),
    )
    end = int(time.time()) + 60
    sig = signing.signature("secret", "files", "m", ("a",), end)
    grant = admitted(access, Route("files", None, "m", ("a",)), exp=str(end), sig=sig)
    assert (grant.key, grant.expires, grant.holder) == ("", end, f"link {end}")


def test_a_links_hours() -> None:
    assert link_command.MOST_HOURS == 365 * 24
    assert link_command._hours(str(link_command.MOST_HOURS)) == link_command.MOST_HOURS
    for wrong in ("0", "-1", str(link_command.MOST_HOURS + 0.001)):
        with pytest.raises(Exception, match="a year"):
            link_command._hours(wrong)


def test_a_query_has_at_most_2048_characters() -> None:
    assert urls.MAX_QUERY_CHARACTERS == 2048
    assert parse_query("/x?" + "a=" + "b" * 2046) == {"a": "b" * 2046}
    assert parse_query("/x?" + "a=" + "b" * 2047) == {}
    assert parse_query("/x?a=1&a=2&b=%20") == {"a": "2", "b": " "}


# -- copies ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "wish"),
    [
        ({"w": "8192"}, VariantRequest(8192)),
        ({"w": "8193"}, VariantRequest(error="w and h must be from 1 to 8192.")),
        ({"h": "1"}, VariantRequest(height=1)),
        ({"q": "1"}, VariantRequest(quality=1, lossy=True)),
        ({"q": "100"}, VariantRequest(quality=100, lossy=True)),
        ({"q": "101"}, VariantRequest(error="q must be from 1 to 100, or auto.")),
        ({"q": "AUTO"}, VariantRequest(lossy=True)),
        ({"quality": "5", "q": "6"}, VariantRequest(quality=6, lossy=True)),
        ({"fmt": "WEBP"}, VariantRequest(format="webp")),
        ({"w": ""}, VariantRequest()),
    ],
)
def test_what_is_asked_for(asked: dict[str, str], wish: VariantRequest) -> None:
    assert parse_variant_request(asked) == wish


def test_the_format_that_fits() -> None:
    kinds = ("image/jpeg", "image/webp", "image/avif", "image/png", "image/gif", "image/heic")
    assert [choose_format(kind, VariantRequest(10)) for kind in kinds] == [
        "jpeg",
        "webp",
        "avif",
        "png",
        "png",
        "jpeg",
    ]
    lighter = VariantRequest(10, lossy=True)
    assert [choose_format(kind, lighter) for kind in kinds] == [
        "jpeg",
        "webp",
        "avif",
        "webp",
        "webp",
        "jpeg",
    ]
    assert choose_format("image/png", VariantRequest(format="jpg")) == "jpeg"
    assert [
        lighter.quality_only,
        VariantRequest(lossy=True).quality_only,
        VariantRequest().quality_only,
    ] == [
        False,
        True,
        False,
    ]


def opened(folder: Path, name: str, content: bytes) -> OpenFile:
    (folder / name).write_bytes(content)
    return OpenFileCache(0).acquire(Mount("m", folder), (name,))


@pytest.mark.parametrize(("form", "small", "large"), [("WEBP", 72, 84), ("JPEG", 74, 86)])
def test_thumbnails_up_to_480_have_the_lower_quality(
    tmp_path: Path, form: str, small: int, large: int
) -> None:
    budget = MemoryBudget(2**28)
    buffer = io.BytesIO()
    Image.effect_noise((481, 300), 60).save(buffer, "PNG")
    file = opened(tmp_path, "a.png", buffer.getvalue())
    try:
        for width, quality in ((480, small), (481, large)):
            auto = render(file, form, VariantRequest(width), budget)
            assert auto == render(file, form, VariantRequest(width, quality=quality), budget)
    finally:
        os.close(file.descriptor)
    assert encode.AUTO_QUALITY["AVIF"] == (50, 62)


@pytest.mark.parametrize(
    ("width", "height", "wish", "fits"),
    [
        (8000, 8000, VariantRequest(10), True),
        (8001, 8000, VariantRequest(10), False),
        (4096, 4096, VariantRequest(), True),
        (4097, 4096, VariantRequest(), False),
    ],
)
def test_most_pixels(
    tmp_path: Path, width: int, height: int, wish: VariantRequest, fits: bool
) -> None:
    file = opened(tmp_path, "a.png", flat_png(width, height, 1, 0))
    try:
        if fits:
            render_cost.estimate(file, "JPEG", wish)
        else:
            with pytest.raises(VariantError, match="too large"):
                render_cost.estimate(file, "JPEG", wish)
    finally:
        os.close(file.descriptor)


def test_a_file_of_more_than_64_mb_is_not_opened(tmp_path: Path) -> None:
    file = opened(tmp_path, "a.png", flat_png(10, 10, 8, 0))
    os.truncate(tmp_path / "a.png", 64 * 2**20 + 1)
    try:
        assert render(replace(file, size=64 * 2**20), "PNG", VariantRequest(5), MemoryBudget(2**28))
        with pytest.raises(VariantError, match="too large"):
            render(
                replace(file, size=64 * 2**20 + 1), "PNG", VariantRequest(5), MemoryBudget(2**28)
            )
    finally:
        os.close(file.descriptor)


def test_which_texts_are_compressed(tmp_path: Path) -> None:
    file = opened(tmp_path, "a.txt", b"x")
    os.close(file.descriptor)
    copies = VariantCache(tmp_path / "copies", 1)
    sizes = [1023, 1024, 16 * 2**20, 16 * 2**20 + 1]
    assert [copies.is_compressible(replace(file, size=size)) for size in sizes] == [
        False,
        True,
        True,
        False,
    ]
    assert not copies.is_compressible(replace(file, size=2000, kind="image/png"))
    assert (variants.MIN_TEXT_BYTES, variants.MAX_TEXT_BYTES) == (1024, 16 * 2**20)


def test_copies_of_the_last_seconds_and_those_that_fit_stay(tmp_path: Path) -> None:
    copies = tmp_path / "copies"
    copies.mkdir()
    now = time.time()
    for number, age in enumerate((100, 90, 80, 1)):
        (copies / f"{number}.png").write_bytes(bytes(400_000))
        os.utime(copies / f"{number}.png", (now - age, now - age))
    cache = VariantCache(copies, 1)
    cache._evict(2**20)
    assert sorted(path.name for path in copies.iterdir()) == ["2.png", "3.png"]
    cache._evict(2**20 // 20 - 1)
    (copies / "4.png").write_bytes(bytes(2**20))
    os.utime(copies / "4.png", (now - 70, now - 70))
    assert len(list(copies.iterdir())) == 3, "it does not look each time"
    cache._evict(1)
    assert sorted(path.name for path in copies.iterdir()) == ["3.png"]
    (copies / "5.png").write_bytes(bytes(2 * 2**20))
    cache._evict(2**20)
    assert (copies / "5.png").exists(), "it has just been asked for"


# -- the gallery -----------------------------------------------------------------------------------


def test_a_list_has_sixty_files_or_up_to_two_hundred(shown: GalleryHarness) -> None:
    for number in range(201):
        (shown.folder / f"{number}.txt").write_text("x", "utf-8")
    assert len(shown.names()) == 60
    assert len(shown.names("list?n=200")) == 200
    assert len(shown.names("list?n=1")) == 1
    for wrong in ("0", "201", "1000", "x"):
        assert shown.ask(f"{PAGE}list?n={wrong}").status == 400
    assert shown.ask(f"{PAGE}list?q={'a' * 200}").status == 200
    assert shown.ask(f"{PAGE}list?q={'a' * 201}").status == 400
    assert shown.json("list?n=1")["expires_in"] is None


def test_files_of_one_moment_come_by_their_names_backwards(shown: GalleryHarness) -> None:
    for name in ("b.png", "a.png", "c.png"):
        png(shown.folder / name, when=1000)
    png(shown.folder / "newer.png", when=1001)
    assert shown.names() == ["newer.png", "c.png", "b.png", "a.png"]


def test_what_the_gallery_asks_for_stands_among_the_steps() -> None:
    for address in (routes.THUMBNAIL, routes.BROWSER_VIEW):
        wish = parse_variant_request(parse_query(f"/x?{address}"))
        assert wish is not None
        assert wish.rounded == wish
    assert routes.THUMBNAIL == "w=320&fmt=webp&q=auto"
    assert routes.BROWSER_VIEW == "w=2048&fmt=webp&q=auto"


def test_a_cursor_that_is_gone_gives_its_moment_again() -> None:
    files = [Entry((name,), 1, moment, 1) for name, moment in (("c", 3), ("b", 2), ("a", 2))]
    assert position_after(files, make_cursor(files[0])) == 1
    assert position_after(files, make_cursor(files[1])) == 2
    assert position_after(files, make_cursor(files[2])) == 3
    gone = Entry(("gone",), 1, 2, 1)
    assert position_after(files, make_cursor(gone)) == 1


def test_what_is_shown_as_what() -> None:
    kinds = {
        "a.PNG": "image",
        "a.mp4": "video",
        "a.mp3": "audio",
        "a.glb": "model",
        "a.txt": "text",
        "a.json": "text",
        "a.pdf": "document",
        "a.heic": "image",
        "a.exe": None,
    }
    assert {name: media_kind(name) for name in kinds} == kinds


def test_the_bounds_of_what_is_remembered() -> None:
    assert (listing.MIN_CACHE_SECONDS, listing.MAX_FOLDERS, listing.SEARCH_SECONDS) == (1.0, 8, 0.5)
    assert (listing.MAX_TEXTS, listing.MAX_CHARACTERS, listing.MAX_TEXT_CHARS) == (
        20_000,
        16_000_000,
        4000,
    )
    assert (embedded_texts.MAX_TEXT_BYTES, containers.MAX_CHUNKS) == (4 * 2**20, 16_384)
    assert (memory.DEFAULT_IMAGE_MB, memory.MAX_OVERTAKES) == (220, 8)
    assert (deny_list.CHECK_SECONDS, table.CHECK_SECONDS) == (2.0, 1.0)
    assert (cleanup.FIRST_SECONDS, cleanup.INTERVAL_SECONDS) == (60.0, 3600.0)
    assert retention.MIN_AGE_SECONDS == 3600.0


# -- what a picture tells --------------------------------------------------------------------------


def told(shown: GalleryHarness, made: dict[str, Any]) -> Any:
    png(shown.folder / "a.png", made)
    return shown.json("info?path=a.png")


def test_what_is_told_is_bounded(shown: GalleryHarness) -> None:
    samplers = {
        str(number): node("KSampler", seed=number, positive="x" * 1500 + str(number))
        for number in range(30)
    }
    found = told(shown, samplers)
    assert found["seeds"] == [str(number) for number in range(16)]
    assert len(found["positive"]) == 20_000
    made = prompt(model="m" * 400 + ".safetensors")
    assert [len(name) for name in told(shown, made)["models"]] == [300]
    assert (image_info.MAX_NODES, image_info.MAX_INPUTS) == (5000, 128)


def test_numbers_are_those_that_a_machine_makes(shown: GalleryHarness) -> None:
    def numbers(**inputs: Any) -> Any:
        return told(shown, {"1": node("X", **inputs)})

    assert numbers(seed=2**64 - 1)["seeds"] == [str(2**64 - 1)]
    assert numbers(seed=2**64)["seeds"] == []
    assert numbers(seed=True)["seeds"] == []
    assert numbers(cfg=999_999_999)["cfg"] == [999_999_999.0]
    assert numbers(cfg=10**9)["cfg"] == []
    assert numbers(guidance=3.5)["cfg"] == [3.5]
    assert numbers(cfg=7, guidance=3.5)["cfg"] == [7.0]
    assert numbers(noise_seed=4)["seeds"] == ["4"]
    assert numbers(seeds=4)["seeds"] == []


# -- mounts ----------------------------------------------------------------------------------------


def test_how_long_browsers_may_keep_a_file() -> None:
    assert Mount("a", Path()).cache_control == "public, max-age=3600"
    assert Mount("a", Path(), 60, public=False).cache_control == "private, max-age=60"
    assert Mount("a", Path(), 0).cache_control == "no-cache"


def test_the_least_that_a_setting_may_be(tmp_path: Path) -> None:
    base = {"alias": "a", "folder": "x"}
    for name in ("cache_seconds", "quota_mb"):
        assert getattr(parse_mount({**base, name: 0}, tmp_path / "f"), name) == 0
        with pytest.raises(ConfigError, match="from 0 on"):
            parse_mount({**base, name: -1}, tmp_path / "f")
    for rule in ("older_than_days", "total_mb", "most_files", "keep_newest"):
        found = parse_mount({**base, "clean": {rule: 0}}, tmp_path / "f")
        assert getattr(found.clean, rule) == 0
        with pytest.raises(ConfigError, match="from 0 on"):
            parse_mount({**base, "clean": {rule: -1}}, tmp_path / "f")
    assert mount_to_json(parse_mount(base, tmp_path / "f"))["folder"] == str(tmp_path / "x")
    assert CleanRules() == CleanRules(None, None, None, 0)
    assert json.dumps(mount_to_json(Mount("a", Path("x"), 3600))) == '{"alias": "a", "folder": "x"}'
