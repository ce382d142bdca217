"""URLs of the file server: parsing request targets, building links, redacting keys for logs.

/comfyui_server/pw=<key>/files/<alias>/<path>      a file, with the key in the URL
/comfyui_server/files/<alias>/<path>               the same, signed or with a Bearer key
/pw=<key>/files/comfyui/<alias>/<path>             the same, as VCPToolBox's gate lets it pass
…/gallery/<alias>/…                                the gallery page and its data
/metrics, /comfyui_server/pw=<key>/metrics         metrics
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final, Literal
from urllib.parse import parse_qsl, quote, unquote_plus

from .mounts.resolve import Refused, decode

PREFIX = "comfyui_server"
GATE = "comfyui"
GALLERY: Final = "gallery"
RESOURCES = ("files", GALLERY, "metrics")
MAX_QUERY_CHARACTERS = 2048
MAX_QUERY_FIELDS = 32
SIGNED = "signed"
"""Takes the place of the key in a signed link where the host's gate requires one."""
SECRET_FIELDS = frozenset({"sig", "pw", "key"})
KEY_PART = re.compile("(?:p|%70|%50)(?:w|%77|%57)(?:=|%3d)", re.IGNORECASE)
"""``pw=``, percent-encoded or not."""

Resource = Literal["files", "gallery", "metrics"]


@dataclass(frozen=True, slots=True)
class Route:
    """What a request target refers to.

    ``key``: the decoded key in the URL, "" if malformed, None if there is none. ``names``: the
    decoded parts of the path, not validated yet. ``gate``: the URL goes through the host's gate.
    """

    resource: Resource
    key: str | None = field(repr=False)
    alias: str
    names: tuple[str, ...]
    gate: bool = False


def parse(target: str) -> Route:
    """Parse a raw request target. Raises Refused for any other URL.

    The path is split before it is decoded: ``%2F`` never separates parts (CVE of @fastify/static).
    """
    raw = target.partition("?")[0]
    parts = raw.split("/")[1:] if raw.startswith("/") else []
    if parts == ["metrics"]:
        return Route("metrics", None, "", ())
    if len(parts) > 3 and parts[0] != PREFIX and parts[1:3] == ["files", GATE]:
        return _gate_route(_key_of(parts[0]), parts[3:])
    if len(parts) < 2 or parts[0] != PREFIX:
        raise Refused
    if parts[1] in RESOURCES:
        return _server_route(None, parts[1:])
    return _server_route(_key_of(parts[1]), parts[2:])


def _gate_route(key: str, parts: list[str]) -> Route:
    if parts[0] == GALLERY:
        return Route(GALLERY, key, *_decode_path(parts[1:]), gate=True)
    return Route("files", key, *_decode_path(parts), gate=True)


def _server_route(key: str | None, parts: list[str]) -> Route:
    resource, rest = (parts[0], parts[1:]) if parts else ("", [])
    if resource == "metrics" and not rest:
        return Route("metrics", key, "", ())
    if resource == "files":
        return Route("files", key, *_decode_path(rest))
    if resource == GALLERY:
        return Route(GALLERY, key, *_decode_path(rest))
    raise Refused


def _key_of(part: str) -> str:
    """Return the key of ``pw=<key>``; "" for a malformed one, which never matches."""
    try:
        return _without_pw(decode(part))
    except Refused:
        return ""


def _without_pw(auth: str) -> str:
    return auth[3:] if auth.startswith("pw=") else ""


def _decode_path(parts: list[str]) -> tuple[str, tuple[str, ...]]:
    """Return the alias and the names. Malformed ones are refused later, after authentication."""
    try:
        alias, *names = [decode(part) for part in parts] or [""]
    except Refused:
        return "", ("\0",)
    return alias, tuple(names)


def route_from_params(
    resource: Resource, auth: str | None, alias: str, names: tuple[str, ...], gate: bool
) -> Route:
    """Return the route for the decoded parameters of an Express-like registry."""
    key = None if auth is None else _without_pw(auth)
    if gate and alias == GALLERY:
        return Route(GALLERY, key, names[0] if names else "", names[1:], gate)
    return Route(resource, key, alias, names, gate)


def parse_query(target: str) -> dict[str, str]:
    """Return the query of a target, the last value of each name; empty if it is too long."""
    raw = target.partition("?")[2]
    if not raw or len(raw) > MAX_QUERY_CHARACTERS:
        return {}
    if "%" not in raw and "+" not in raw:  # the common case, several times faster than parse_qsl
        pairs = (part.partition("=") for part in raw.split("&"))
        return {name: value for name, _, value in pairs if name}
    try:
        return dict(parse_qsl(raw, keep_blank_values=True, max_num_fields=MAX_QUERY_FIELDS))
    except ValueError:
        return {}


def build_target(route: Route) -> str:
    """Return the target of a file or gallery, the inverse of ``parse``. Without a key, sign it."""
    names = "/".join(quote(name, safe="") for name in (route.alias, *route.names))
    key = f"pw={quote(route.key, safe='')}" if route.key is not None else ""
    if route.gate:
        page = f"{GALLERY}/" if route.resource == GALLERY else ""
        return f"/{key or f'pw={SIGNED}'}/files/{GATE}/{page}{names}"
    return f"/{PREFIX}/{key and f'{key}/'}{route.resource}/{names}"


def redact_target(target: str) -> str:
    """Return a target for a log: keys and signatures replaced by ``…``, non-ASCII escaped."""
    ascii_only = target.encode("ascii", "backslashreplace").decode()
    path, mark, query = ascii_only.partition("?")
    parts = path.split("/")
    for index, part in enumerate(parts):
        in_key_place = index == 2 and parts[1] == PREFIX and part not in RESOURCES
        if in_key_place or KEY_PART.match(part):
            parts[index] = "pw=…"
    fields = [pair.partition("=") for pair in query.split("&")]
    shown = [name + eq + ("…" if _is_secret(name) else value) for name, eq, value in fields]
    return "/".join(parts) + mark + "&".join(shown)


def _is_secret(name: str) -> bool:
    return unquote_plus(name).lower() in SECRET_FIELDS
