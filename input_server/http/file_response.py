"""The response for a file: conditions, ranges, headers."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence

from ..mounts.open_files import OpenFile
from .conditions import check_preconditions
from .offload import Offload
from .ranges import ByteRange, RangeNotSatisfiable, parse_range
from .representation import Representation
from .request import HttpRequest
from .response import SAFE, HttpResponse, Piece, text_response

HEADERS_OF_304 = ("ETag", "Last-Modified", "Cache-Control", "Vary", *SAFE)


def file_response(
    request: HttpRequest, chosen: Representation, offload: Offload | None, *, multipart: bool
) -> HttpResponse:
    """Return the response with a file, or the one without that the request's conditions demand.

    ``multipart``: whether several ranges may be sent; otherwise they get the complete file.
    """
    file = chosen.file
    headers = {**SAFE, **file.headers, **chosen.headers}
    if offload and offload.is_for(file, request.headers):
        redirect = offload.redirect_headers(headers, file, chosen.alias)
        return HttpResponse(200, redirect, file=file)
    status = check_preconditions(request.headers, file.etag, file.modified)
    if status == 304:
        return _not_modified(headers)
    if status == 412:
        return text_response(412, "The file has changed.", "changed")
    try:
        ranges = _requested_ranges(request, file)
    except RangeNotSatisfiable:
        return _not_satisfiable(file)
    if ranges is not None and (len(ranges) == 1 or multipart):
        return _partial_content(ranges, file, headers)
    if offload:
        headers |= offload.cache_headers(headers["Cache-Control"])
    return _with_pieces(200, headers, file, (Piece(b"", 0, file.size),))


def _requested_ranges(request: HttpRequest, file: OpenFile) -> tuple[ByteRange, ...] | None:
    if request.method != "GET":  # Range is defined for GET only (RFC 9110, 14.2)
        return None
    return parse_range(request.headers, file.size, file.etag, file.modified)


def _not_modified(headers: Mapping[str, str]) -> HttpResponse:
    allowed = {name: value for name, value in headers.items() if name in HEADERS_OF_304}
    return HttpResponse(304, allowed, reason="not modified")


def _not_satisfiable(file: OpenFile) -> HttpResponse:
    text = "The requested range is beyond the end of the file."
    return text_response(416, text, "no part", Content_Range=f"bytes */{file.size}")


def _partial_content(
    ranges: Sequence[ByteRange], file: OpenFile, headers: Mapping[str, str]
) -> HttpResponse:
    if len(ranges) > 1:
        pieces, kind = _multipart(ranges, file.size, file.kind)
        return _with_pieces(206, {**headers, "Content-Type": kind}, file, pieces)
    start, length = ranges[0]
    content_range = _content_range(start, length, file.size)
    piece = Piece(b"", start, length)
    return _with_pieces(206, {**headers, "Content-Range": content_range}, file, (piece,))


def _with_pieces(
    status: int, headers: Mapping[str, str], file: OpenFile, pieces: tuple[Piece, ...]
) -> HttpResponse:
    length = sum(len(piece.before) + piece.length for piece in pieces)
    complete = {**headers, "Content-Length": str(length)}
    return HttpResponse(status, complete, file=file, pieces=pieces)


def _multipart(ranges: Sequence[ByteRange], size: int, kind: str) -> tuple[tuple[Piece, ...], str]:
    """Return the pieces of a body with several ranges, and its type (RFC 9110, 14.6)."""
    boundary = secrets.token_hex(16)
    parts = [
        Piece(
            (
                f"\r\n--{boundary}\r\nContent-Type: {kind}\r\n"
                f"Content-Range: {_content_range(start, length, size)}\r\n\r\n"
            ).encode(),
            start,
            length,
        )
        for start, length in ranges
    ]
    end = Piece(f"\r\n--{boundary}--\r\n".encode(), 0, 0)
    return (*parts, end), f"multipart/byteranges; boundary={boundary}"


def _content_range(start: int, length: int, size: int) -> str:
    return f"bytes {start}-{start + length - 1}/{size}"
