"""The files in the folders of a classic ComfyUI server: ``/view`` and ``/upload`` (server.py)."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import requests

from comfyui_pipeline.engine.base import Incoming, Output
from comfyui_pipeline.engine.http import TRIES, Http, pause, string_map
from comfyui_pipeline.errors import EngineError, OutputGone, ServerUnreachable
from comfyui_pipeline.numbers import whole_number

CHUNK = 256 * 1024
MAX_LENGTH = 2**50
"""Bytes; a longer Content-Length is no length."""


class ServerFiles:
    """Implements ``engine.base.Files``."""

    def __init__(self, http: Http) -> None:
        self._http = http

    @contextmanager
    def fetch(self, output: Output) -> Iterator[Incoming]:
        """Stream one result. Raises OutputGone when the server no longer has the file."""
        if output.content is not None:
            yield Incoming(iter([output.content]), len(output.content))
            return
        with self._http.get("/view", params=_query(output), stream=True) as answer:
            if answer.status_code == 404:
                raise OutputGone(
                    f"ComfyUI no longer has the file {output.filename!r} that it names as a result.",
                    "It was deleted there; change something (a seed, a prefix) and call again.",
                )
            if answer.status_code != 200:
                raise self._http.odd(answer, "/view")
            length = whole_number(answer.headers.get("Content-Length"), at_most=MAX_LENGTH)
            yield Incoming(_chunks(answer, output.filename), length)

    def size(self, output: Output) -> int | None:
        """Asked for by one byte: the answer's ``Content-Range`` tells the whole."""
        query, headers = _query(output), {"Range": "bytes=0-0"}
        with self._http.get("/view", params=query, headers=headers, stream=True) as answer:
            if answer.status_code == 416:
                return 0
            if answer.status_code == 206:
                whole = answer.headers.get("Content-Range", "").rpartition("/")[2]
            elif answer.status_code == 200:
                whole = answer.headers.get("Content-Length", "")
            else:
                return None
        return whole_number(whole, at_most=MAX_LENGTH)

    def input_size(self, value: str) -> int | None:
        return self.size(_input(value))

    def read_input(self, value: str) -> bytes | None:
        with self._http.get("/view", params=_query(_input(value)), stream=True) as answer:
            return b"".join(_chunks(answer, value)) if answer.status_code == 200 else None

    def upload(self, content: bytes, name: str, subfolder: str) -> str:
        """``POST /upload/image``, which takes files of every kind; gives what the server named it."""
        return self._uploaded("/upload/image", content, name, {"subfolder": subfolder})

    def upload_mask(self, layer: bytes, name: str, subfolder: str, original: str) -> str:
        """``POST /upload/mask``: the server lays the alpha of ``layer`` over a copy of the original."""
        query = _query(_input(original))
        fields = {"subfolder": subfolder, "original_ref": json.dumps(query), "overwrite": "true"}
        return self._uploaded("/upload/mask", layer, name, fields)

    def _uploaded(self, path: str, content: bytes, name: str, fields: Mapping[str, str]) -> str:
        body, kind = _form(content, name, {"type": "input", **fields})
        answer = self._posted(path, body, {"Content-Type": kind})
        if answer.status_code == 413:
            raise EngineError(
                f"ComfyUI takes no upload of {max(1, len(content) >> 10)} KB.",
                "Use a smaller picture, or start ComfyUI with a larger --max-upload-size.",
            )
        told = string_map(self._http.json(answer, path))
        if not isinstance(told.get("name"), str):
            raise self._http.odd(answer, path)
        folder = str(told.get("subfolder") or "").replace("\\", "/").strip("/")
        return f"{folder}/{told['name']}" if folder else str(told["name"])

    def _posted(self, path: str, body: bytes, headers: Mapping[str, str]) -> requests.Response:
        """A POST that may be repeated, since the server keeps equal bytes of one name only once."""
        for attempt in range(TRIES - 1):
            try:
                return self._http.once("POST", path, data=body, headers=headers)
            except ServerUnreachable:
                pause(attempt)
        return self._http.once("POST", path, data=body, headers=headers)


def _query(output: Output) -> dict[str, Any]:
    return {
        "filename": output.filename,
        "subfolder": output.subfolder,
        "type": output.folder_type,
    }


def _input(value: str) -> Output:
    """The file behind a loader's value; ``a.png [output]`` names another folder (folder_paths.py)."""
    kind = "input"
    for other in ("output", "temp", "input"):
        if value.endswith(f" [{other}]"):
            value, kind = value.removesuffix(f" [{other}]"), other
    folder, _, name = value.replace("\\", "/").rpartition("/")
    return Output("", "", filename=name, subfolder=folder, folder_type=kind)


def _form(content: bytes, name: str, fields: Mapping[str, str]) -> tuple[bytes, str]:
    """A multipart body and its type. The name goes out as raw UTF-8: the server stores
    percent-encoding literally.
    """
    boundary = uuid.uuid4().hex
    bare = "".join("_" if letter in '"\\\r\n' else letter for letter in name)
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'.encode()
        for key, value in fields.items()
    ]
    parts.append(
        f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="{bare}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n".encode()
    )
    parts += [content, f"\r\n--{boundary}--\r\n".encode()]
    return b"".join(parts), f"multipart/form-data; boundary={boundary}"


def _chunks(answer: requests.Response, name: str) -> Iterator[bytes]:
    """The body as it comes. Raises EngineError when it breaks off."""
    try:
        yield from answer.iter_content(CHUNK)
    except requests.RequestException as error:
        raise EngineError(
            f"The connection to ComfyUI broke off while it sent {name!r}.", "Call again."
        ) from error
