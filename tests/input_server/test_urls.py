"""Parsing and building of request targets, and signatures."""

from __future__ import annotations

from dataclasses import astuple
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from input_server import urls
from input_server.auth import signing
from input_server.mounts.resolve import Refused

MALFORMED = ("", ("\0",))
"""Names of a malformed path: refused, but only after authentication."""


@pytest.mark.parametrize(
    ("target", "route"),
    [
        ("/comfyui_server/pw=k/files/m/a/b.png?w=1", ("files", "k", "m", ("a", "b.png"), False)),
        ("/comfyui_server/files/m/a.png", ("files", None, "m", ("a.png",), False)),
        ("/comfyui_server/pw=k/files/m/", ("files", "k", "m", ("",), False)),
        ("/comfyui_server/pw=k/files/m", ("files", "k", "m", (), False)),
        ("/comfyui_server/pw=k/files", ("files", "k", "", (), False)),
        ("/comfyui_server/pw=k/gallery/m/list", ("gallery", "k", "m", ("list",), False)),
        ("/comfyui_server/gallery/m/", ("gallery", None, "m", ("",), False)),
        ("/comfyui_server/pw=k/metrics", ("metrics", "k", "", (), False)),
        ("/comfyui_server/metrics", ("metrics", None, "", (), False)),
        ("/metrics", ("metrics", None, "", (), False)),
        ("/metrics?x", ("metrics", None, "", (), False)),
        ("/pw=k/files/comfyui/m/a.png", ("files", "k", "m", ("a.png",), True)),
        ("/pw=k/files/comfyui/m", ("files", "k", "m", (), True)),
        ("/pw=k/files/comfyui/gallery/m/", ("gallery", "k", "m", ("",), True)),
        ("/pw=signed/files/comfyui/m/a", ("files", "signed", "m", ("a",), True)),
        ("/comfyui_server/files/comfyui/a", ("files", None, "comfyui", ("a",), False)),
        ("/comfyui_server/pw=a%2Fb/files/m/x", ("files", "a/b", "m", ("x",), False)),
        ("/comfyui_server/pw=k/files/m/a%2Fb", ("files", "k", "m", ("a/b",), False)),
        ("/comfyui_server/k/files/m/x", ("files", "", "m", ("x",), False)),
        ("/comfyui_server/PW=k/files/m/x", ("files", "", "m", ("x",), False)),
        ("/comfyui_server/%zz/files/m/x", ("files", "", "m", ("x",), False)),
        ("/comfyui_server/pw=k/files/m/%zz", ("files", "k", *MALFORMED, False)),
        ("/comfyui_server/pw=k/files/%ff/a", ("files", "k", *MALFORMED, False)),
    ],
)
def test_parsed_targets(target: str, route: tuple[Any, ...]) -> None:
    assert astuple(urls.parse(target)) == route


@pytest.mark.parametrize(
    ("route", "target"),
    [
        (("files", "a/k", "m", ("a b", "#.png")), "/comfyui_server/pw=a%2Fk/files/m/a%20b/%23.png"),
        (("files", None, "m", ("a",)), "/comfyui_server/files/m/a"),
        (("gallery", "k", "m", ("",)), "/comfyui_server/pw=k/gallery/m/"),
        (("gallery", None, "m", ("",)), "/comfyui_server/gallery/m/"),
        (("files", "k", "m", ("a",), True), "/pw=k/files/comfyui/m/a"),
        (("files", None, "m", ("a",), True), "/pw=signed/files/comfyui/m/a"),
        (("gallery", None, "m", ("",), True), "/pw=signed/files/comfyui/gallery/m/"),
    ],
)
def test_built_targets(route: tuple[Any, ...], target: str) -> None:
    assert urls.build_target(urls.Route(*route)) == target


@pytest.mark.parametrize(
    "target",
    [
        "",
        "/",
        "metrics",
        "/metrics/",
        "/comfyui_server",
        "/comfyui_server/",
        "/comfyui_server/pw=k",
        "/comfyui_server/pw=k/other/m/a",
        "/comfyui_server/pw=k/metrics/x",
        "/files/m/a",
        "/pw=k/files/comfyui",
        "/pw=k/files/other/m/a",
        "/pw=k/images/comfyui/m/a",
        "comfyui_server/pw=k/files/m/a",
        "http://x/comfyui_server/pw=k/files/m/a",
    ],
)
def test_any_other_target_is_refused(target: str) -> None:
    with pytest.raises(Refused):
        urls.parse(target)


@pytest.mark.parametrize(
    ("auth", "alias", "names", "gate", "route"),
    [
        ("pw=k", "m", ("a",), False, ("files", "k", "m", ("a",), False)),
        (None, "m", ("a",), False, ("files", None, "m", ("a",), False)),
        ("k", "m", ("a",), False, ("files", "", "m", ("a",), False)),
        ("pw=k", "m", ("a",), True, ("files", "k", "m", ("a",), True)),
        ("pw=k", "gallery", ("m", "list"), True, ("gallery", "k", "m", ("list",), True)),
        ("pw=k", "gallery", (), True, ("gallery", "k", "", (), True)),
        ("pw=k", "gallery", ("m",), False, ("files", "k", "gallery", ("m",), False)),
    ],
)
def test_decoded_params_of_a_registry_give_the_same_route(
    auth: str | None, alias: str, names: tuple[str, ...], gate: bool, route: tuple[Any, ...]
) -> None:
    assert astuple(urls.route_from_params("files", auth, alias, names, gate)) == route


@pytest.mark.parametrize(
    ("target", "query"),
    [
        ("/a", {}),
        ("/a?", {}),
        ("/a?w=1&q=auto", {"w": "1", "q": "auto"}),
        ("/a?w=1&w=2", {"w": "2"}),
        ("/a?w", {"w": ""}),
        ("/a?=1&x=2", {"x": "2"}),
        ("/a?x=1=2", {"x": "1=2"}),
        ("/a?x=a%20b+c&y=", {"x": "a b c", "y": ""}),
        ("/a?x=1?y=2", {"x": "1?y=2"}),
        ("/a?x=" + "y" * 2046, {"x": "y" * 2046}),
        ("/a?x=" + "y" * 2047, {}),
        ("/a?" + "&".join(f"{n}=%20" for n in range(32)), {str(n): " " for n in range(32)}),
        ("/a?" + "&".join(f"{n}=%20" for n in range(33)), {}),
    ],
)
def test_parsed_queries(target: str, query: dict[str, str]) -> None:
    assert urls.parse_query(target) == query


# -- signatures ------------------------------------------------------------------------------------

NOW, YEAR = 1_800_000_000, 366 * 24 * 3600


def check_signature(
    now: float = NOW, key: str = "k", resource: str = "files", **changes: str
) -> str:
    query = urls.parse_query("?" + signing.query("k", "files", "m", ("a", "b"), NOW))
    return signing.check_signature(key, resource, "m", ("a", "b"), {**query, **changes}, now)


@pytest.mark.parametrize(
    ("now", "verdict"),
    [
        (NOW - 1, "valid"),
        (NOW, "valid"),
        (NOW + 0.5, "expired"),
        (NOW + 1, "expired"),
        (NOW - YEAR, "valid"),
        (NOW - YEAR - 1, "invalid"),
    ],
)
def test_a_signature_is_valid_until_it_expires_and_for_at_most_a_year(
    now: float, verdict: str
) -> None:
    assert check_signature(now) == verdict


def test_a_signature_is_valid_for_its_key_resource_and_expiry_only() -> None:
    assert check_signature(key="other") == "invalid"
    assert check_signature(resource="gallery") == "invalid"
    assert (
        check_signature(sig="")
        == check_signature(sig="é")
        == check_signature(sig="\ud800")
        == "invalid"
    )
    for expires in ("", "x", "-1", "+1", " 1", "²", "1" * 12, f"{NOW}0", str(NOW + 1), f"{NOW}.0"):
        assert check_signature(exp=expires) == "invalid"
    assert check_signature(NOW + 1, exp=str(NOW + 1)) == "invalid", (
        "an invalid signature is never reported as expired"
    )


PARTS = st.lists(st.text("ab:|1", max_size=4), max_size=4)


@given(st.tuples(st.text("ab1:"), PARTS), st.tuples(st.text("ab1:"), PARTS))
def test_different_urls_have_different_signatures(one: Any, two: Any) -> None:
    first, second = (signing.signature("k", "files", a, p, NOW) for a, p in (one, two))
    assert (first == second) == (one == two)


def test_signatures_do_not_change_between_versions() -> None:
    signed = signing.query("key", "files", "output", ("图", "a b.png"), NOW)
    assert signed == "exp=1800000000&sig=vCKlsUdmFlZ_zBVAX0XdhHde4B3MHYHgyr245V5Xbvc"
