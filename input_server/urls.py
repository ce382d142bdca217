"""A request's target, taken apart before anything in it is decoded.

/comfyui_server/pw=<key>/files/<alias>/<path>      a file, with the key in the address
/comfyui_server/files/<alias>/<path>               the same with a signature, or a Bearer key
/pw=<key>/files/comfyui/<alias>/<path>             the same, as VCPToolBox's gate lets it pass
…/gallery/<alias>/…                                the page to look at, and what it asks for
/metrics, /comfyui_server/pw=<key>/metrics         figures
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal
from urllib.parse import parse_qsl, quote

from .mounts.resolve import Refused, decode

PREFIX = "comfyui_server"
GATE = "comfyui"
GALLERY: Final = "gallery"
MOST_QUERY = 2048
SIGNED = "signed"
"""What stands in the place of the key where a host's gate wants one and the address is signed."""

Resource = Literal["files", "gallery", "metrics"]


@dataclass(frozen=True, slots=True)
class Route:
    """What a target asks for. ``key``: as it stands in the address, decoded; None when none does.

    ``names`` are the decoded parts of the path, not judged yet. ``gate``: it came by the address
    that a host shares with its own server.
    """

    resource: Resource
    key: str | None = field(repr=False)
    alias: str
    names: tuple[str, ...]
    gate: bool = False


def parse(target: str) -> Route:
    """The route of a raw target. Raises Refused for any other address.

    Split before decoding, so that ``%2F`` never makes a new part (CVE of @fastify/static).
    """
    raw = target.partition("?")[0]
    parts = raw.split("/")[1:] if raw.startswith("/") else []
    if parts == ["metrics"]:
        return Route("metrics", None, "", ())
    if len(parts) > 3 and parts[0] != PREFIX and parts[1:3] == ["files", GATE]:
        key, rest, gate = _key(parts[0]), parts[3:], True
        resource = "files"
        if rest[0] == GALLERY:
            resource, rest = GALLERY, rest[1:]
    elif parts[:1] == [PREFIX] and len(parts) > 1:
        rest, gate = parts[1:], False
        key = None
        if rest[0] not in ("files", GALLERY, "metrics"):
            key, rest = _key(rest[0]), rest[1:]
        resource, rest = (rest[0], rest[1:]) if rest else ("", [])
    else:
        raise Refused
    if resource == "metrics" and not rest:
        return Route("metrics", key, "", ())
    if resource not in ("files", GALLERY):
        raise Refused
    alias, names = _decoded(rest)
    return Route("files" if resource == "files" else "gallery", key, alias, names, gate)


def build_target(route: Route) -> str:
    """The target of a file or a page, as ``parse`` reads it; without a key it wants a signature."""
    names = "/".join(quote(name, safe="") for name in (route.alias, *route.names))
    key = f"pw={quote(route.key, safe='')}" if route.key is not None else ""
    if route.gate:
        page = f"{GALLERY}/" if route.resource == GALLERY else ""
        return f"/{key or f'pw={SIGNED}'}/files/{GATE}/{page}{names}"
    return f"/{PREFIX}/{key and f'{key}/'}{route.resource}/{names}"


def of_params(
    resource: Resource, auth: str | None, alias: str, names: tuple[str, ...], gate: bool
) -> Route:
    """The route of a registry that has taken the target apart and decoded it already."""
    key = None if auth is None else _stripped(auth)
    if gate and alias == GALLERY:
        return Route(GALLERY, key, names[0] if names else "", names[1:], gate)
    return Route(resource, key, alias, names, gate)


def query(target: str) -> dict[str, str]:
    """The last value of each name in a target's query; an overlong query counts as none."""
    raw = target.partition("?")[2]
    if not raw or len(raw) > MOST_QUERY:
        return {}
    if "%" not in raw and "+" not in raw:  # nothing to decode: most of them, and much sooner
        pairs = (part.partition("=") for part in raw.split("&"))
        return {name: value for name, _, value in pairs if name}
    try:
        return dict(parse_qsl(raw, keep_blank_values=True, max_num_fields=32))
    except ValueError:
        return {}


def _key(part: str) -> str:
    """The key of ``pw=<key>``; what cannot be one becomes a key that never fits."""
    try:
        return _stripped(decode(part))
    except Refused:
        return ""


def _stripped(auth: str) -> str:
    return auth[3:] if auth.startswith("pw=") else ""


def _decoded(rest: list[str]) -> tuple[str, tuple[str, ...]]:
    try:
        alias, *names = [decode(part) for part in rest] or [""]
    except Refused:
        return "", ("\0",)  # refused once the key has been seen to fit
    return alias, tuple(names)
