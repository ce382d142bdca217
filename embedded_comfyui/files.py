"""``/view`` and ``/upload`` (ComfyUI server.py)."""

from __future__ import annotations

import hashlib
import io
import mimetypes
import os
from pathlib import Path

from aiohttp import BodyPartReader, web
from PIL import Image

from embedded_comfyui import bodies
from embedded_comfyui.bodies import BadRequest
from embedded_comfyui.nodes.base import Folders

ACTIVE = frozenset({"text/html", "text/html-sandboxed", "application/xhtml+xml"})
SCRIPTS = frozenset({"text/javascript", "text/css", "application/javascript"})
CHUNK = 64 * 1024


def folder_of(folders: Folders, kind: str) -> Path | None:
    return {"input": folders.input, "output": folders.output, "temp": folders.temp}.get(kind)


def _split_annotation(name: str) -> tuple[str, str | None]:
    for kind in ("output", "input", "temp"):
        if name.endswith(f"[{kind}]"):
            return name[: -len(kind) - 3], kind
    return name, None


def inside(folder: Path, path: Path) -> bool:
    return Path(os.path.abspath(path)).is_relative_to(os.path.abspath(folder))  # noqa: PTH100


async def view(request: web.Request, folders: Folders) -> web.StreamResponse:
    """Send a file or a byte range of it, a preview, or one channel of an image."""
    query = request.query
    if "filename" not in query:
        return web.Response(status=404)
    name, kind = _split_annotation(query["filename"])
    folder = folder_of(folders, kind or query.get("type", "output"))
    if not name or name.startswith("/") or ".." in name or "\0" in name or folder is None:
        return web.Response(status=400)
    place = folder / query.get("subfolder", "")
    if not inside(folder, place):
        return web.Response(status=403)
    name = os.path.basename(name)  # noqa: PTH119 - only "/" parts of a name that is not a path yet
    path = place / name
    if not path.is_file():
        return web.Response(status=404)
    headers = {"Content-Disposition": f'filename="{name}"'}
    channel = query.get("channel", "rgba")
    if "preview" in query:
        body, kind = _preview(path, query["preview"], channel)
        return web.Response(body=body, content_type=kind, headers=headers)
    if channel in ("rgb", "a"):
        return web.Response(body=_channel(path, channel), content_type="image/png", headers=headers)
    guessed = mimetypes.guess_type(name)[0] or "application/octet-stream"
    if guessed in ACTIVE | SCRIPTS:
        guessed = "application/octet-stream"
    return web.FileResponse(path, headers={**headers, "Content-Type": guessed})


def _preview(path: Path, asked: str, channel: str) -> tuple[bytes, str]:
    form, _, quality = asked.partition(";")
    if form not in ("webp", "jpeg") or "a" in query_channel(channel):
        form = "webp"
    buffer = io.BytesIO()
    with Image.open(path) as image:
        opaque = form == "jpeg" or channel == "rgb"
        shown = image.convert("RGB") if opaque else image
        shown.save(buffer, format=form, quality=_quality(quality))
    return buffer.getvalue(), f"image/{form}"


def _quality(asked: str) -> int:
    return int(asked) if asked.isascii() and asked.isdecimal() and len(asked) <= 3 else 90


def query_channel(channel: str) -> str:
    """The requested channel; the default ``rgba`` is not a request for alpha."""
    return "" if channel == "rgba" else channel


def _channel(path: Path, channel: str) -> bytes:
    with Image.open(path) as image:
        if channel == "rgb":
            shown = image.convert("RGB")
        else:
            alpha = image.convert("RGBA").getchannel("A")
            shown = Image.new("RGBA", image.size)
            shown.putalpha(alpha)
        buffer = io.BytesIO()
        shown.save(buffer, format="PNG")
    return buffer.getvalue()


async def upload(request: web.Request, folders: Folders, *, mask: bool) -> web.Response:
    """``/upload/image`` and ``/upload/mask``. Raises ValueError where ComfyUI responds with 500."""
    fields, content, name = await _form(request)
    if content is None:
        return web.Response(status=400)
    if not name:
        raise ValueError("an upload needs a file name")
    kind, subfolder = fields.get("type", "input"), fields.get("subfolder", "")
    folder = folder_of(folders, kind)
    if folder is None:
        raise ValueError(f"no folder {kind}")
    place = folder / os.path.normpath(subfolder)
    if name.startswith("/") and inside(folder, place):
        raise ValueError("an absolute name")
    path = place / name
    if not inside(folder, path):
        return web.Response(status=400)
    place.mkdir(parents=True, exist_ok=True)
    if mask:
        _write_mask(fields, content, path, folders)
    else:
        path, name = _write(path, name, content, overwrite=fields.get("overwrite") in ("true", "1"))
    return web.json_response({"name": name, "subfolder": subfolder, "type": kind})


async def _form(request: web.Request) -> tuple[dict[str, str], bytes | None, str]:
    if not request.content_type.startswith("multipart/"):
        return {}, None, ""
    try:
        return await _parts(request)
    except (ValueError, LookupError, AssertionError, RuntimeError, EOFError) as problem:
        details = f"{type(problem).__name__}: {problem}"[:200]
        raise BadRequest("invalid_form", "The form cannot be read", details) from None


async def _parts(request: web.Request) -> tuple[dict[str, str], bytes | None, str]:
    fields: dict[str, str] = {}
    content, name = None, ""
    left = request.client_max_size
    reader = await request.multipart()
    while (part := await reader.next()) is not None:
        if not isinstance(part, BodyPartReader):
            continue
        value = await _read_part(part, left)
        left -= len(value)
        if part.name == "image":
            content, name = value, part.filename or ""
            if part.filename is None:
                content = None
        elif part.name:
            fields[part.name] = value.decode(part.get_charset("utf-8"))
    return fields, content, name


async def _read_part(part: BodyPartReader, most: int) -> bytes:
    """The content of one part. Raises HTTPRequestEntityTooLarge (413) for one above ``most``."""
    content = bytearray()
    while chunk := await part.read_chunk(CHUNK):
        content += chunk
        if len(content) > most:
            raise web.HTTPRequestEntityTooLarge(max_size=most, actual_size=len(content))
    decoded = part.decode(bytes(content))
    return bytes(decoded)


def _write(path: Path, name: str, content: bytes, *, overwrite: bool) -> tuple[Path, str]:
    """Without ``overwrite``, other content gets a new name (``x (1).png``); equal content is reused."""
    digest = hashlib.sha256(content).digest()
    stem, suffix = os.path.splitext(name)  # noqa: PTH122
    number = 1
    while not overwrite and path.exists():
        if hashlib.sha256(path.read_bytes()).digest() == digest:
            return path, name
        name = f"{stem} ({number}){suffix}"
        path = path.with_name(os.path.basename(name))  # noqa: PTH119
        number += 1
    path.write_bytes(content)
    return path, name


def _write_mask(fields: dict[str, str], content: bytes, path: Path, folders: Folders) -> None:
    """Write the original image with the alpha of the uploaded one; nothing without an original."""
    original = bodies.read_object(fields.get("original_ref", "{}"))
    name, kind = _split_annotation(str(original.get("filename", "")))
    folder = folder_of(folders, kind or str(original.get("type", "output")))
    if folder is None or not name:
        return
    source = folder / str(original.get("subfolder", "")) / name
    if not inside(folder, source) or not source.is_file():
        return
    with Image.open(source) as image, Image.open(io.BytesIO(content)) as cover:
        masked = image.convert("RGBA")
        masked.putalpha(cover.convert("RGBA").getchannel("A"))
        masked.save(path, compress_level=4)
