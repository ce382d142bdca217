"""Which representation of a file a request gets: the file, an image variant, or gzip."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..auth.access import Grant
from ..content_type import may_be_compressible
from ..images.variant_request import parse_variant_request
from ..images.variants import VariantCache
from ..mounts.mount import Mount
from ..mounts.open_files import OpenFile
from .accept_encoding import accepts_gzip
from .offload import CACHE_ALIAS
from .request import HttpRequest


@dataclass(frozen=True, slots=True)
class Representation:
    """``headers`` are added to the file's; ``alias``: where nginx finds the file."""

    file: OpenFile
    headers: Mapping[str, str]
    alias: str


def may_need_rendering(request: HttpRequest) -> bool:
    """Return whether choosing may have to render or compress, judging by the URL alone."""
    if request.query and parse_variant_request(request.query) is not None:
        return True
    names = request.route.names
    return bool(names) and may_be_compressible(names[-1]) and _wants_gzip(request)


def choose_representation(
    variants: VariantCache,
    mount: Mount,
    file: OpenFile,
    request: HttpRequest,
    grant: Grant,
    *,
    may_render: bool,
) -> Representation:
    """Return the representation; if it is not ``file``, the caller has to release it.

    Raises VariantError, and NotCached if it has to be rendered first and ``may_render`` is False.
    """
    headers = {"Cache-Control": mount.cache_control}
    chosen = file
    variant = parse_variant_request(request.query) if request.query else None
    if variant is not None:
        if grant.expires is not None:  # the signature does not cover size and quality
            variant = variant.rounded
        chosen = variants.image(file, request.route.names[-1], variant, create=may_render)
    elif mount.compress and variants.is_compressible(file):
        headers["Vary"] = "Accept-Encoding"
        if _wants_gzip(request):
            chosen = variants.gzipped(file, create=may_render)
            headers["Content-Encoding"] = "gzip"
    if request.query.get("download") == "1":
        disposition = chosen.headers["Content-Disposition"]
        headers["Content-Disposition"] = disposition.replace("inline;", "attachment;", 1)
    return Representation(chosen, headers, mount.alias if chosen is file else CACHE_ALIAS)


def _wants_gzip(request: HttpRequest) -> bool:
    """Return whether the body may be compressed. Ranges refer to the uncompressed file."""
    requests_range = request.method == "GET" and "range" in request.headers
    return not requests_range and accepts_gzip(request.headers.get("accept-encoding", ""))
