"""The files in the folders of a classic ComfyUI server: ``/view`` and ``/upload`` (server.py)."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from comfyui_pipeline.engine.http import TRIES, Http, Reply, as_object, pause
from comfyui_pipeline.engine.protocol import FileStream, Output
from comfyui_pipeline.errors import EngineError, OutputMissing, ServerUnreachable
from input_server.text_values import parse_count

MAX_FILE = 2**40
"""Bytes of one file that a length may state; a larger one is no length."""
MAX_READ = 256 * 2**20
"""Bytes of a file in the input folder that is read into memory (a picture for a mask)."""


class ServerFiles:
    """Implements ``engine.base.Files``."""

    def __init__(self, http: Http) -> None:
        self._http = http

    @contextmanager
    def fetch(self, output: Output) -> Iterator[FileStream]:
        """Stream one result. Raises OutputGone when the server no longer has the file."""
        if output.content is not None:
            yield FileStream(iter([output.content]), len(output.content))
            return
        with self._http.stream("/view", params=_query(output)) as answer:
            if answer.status == 404:
                raise OutputMissing(
                    f"ComfyUI no longer has the file {output.filename!r} that it names as a result.",
                    "It was deleted there; change something (a seed, a prefix) and call again.",
                )
            if answer.status != 200:
                raise self._http.odd(answer.status, "/view")
            packed = answer.headers.get("Content-Encoding", "identity").lower() != "identity"
            length = None if packed else _length(answer.headers.get("Content-Length"))
            yield FileStream(_named(answer.pieces, output.filename), length)

    def size(self, output: Output) -> int | None:
        """Asked for by one byte: the answer's ``Content-Range`` tells the length (RFC 9110 14.4)."""
        query, headers = _query(output), {"Range": "bytes=0-0"}
        with self._http.stream("/view", params=query, headers=headers) as answer:
            if answer.status == 416:
                return 0
            if answer.status == 206:
                return _length(answer.headers.get("Content-Range", "").rpartition("/")[2])
            return _length(answer.headers.get("Content-Length")) if answer.status == 200 else None

    def input_size(self, value: str) -> int | None:
        return self.size(_input(value))

    def read_input(self, value: str) -> bytes | None:
        with self._http.stream("/view", params=_query(_input(value))) as answer:
            if answer.status != 200:
                return None
            content = bytearray()
            for piece in _named(answer.pieces, value):
                content += piece
                if len(content) > MAX_READ:
                    raise EngineError(
                        f"The file {value!r} at ComfyUI is larger than {MAX_READ >> 20} MB.",
                        "Use a smaller picture.",
                    )
            return bytes(content)

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
        if answer.status == 413:
            raise EngineError(
                f"ComfyUI takes no upload of {max(1, len(content) >> 10)} KB.",
                "Use a smaller picture, or start ComfyUI with a larger --max-upload-size.",
            )
        told = as_object(self._http.json(answer, path))
        if not isinstance(told.get("name"), str):
            raise self._http.odd(answer.status, path, "no name in the answer")
        folder = str(told.get("subfolder") or "").replace("\\", "/").strip("/")
        return f"{folder}/{told['name']}" if folder else str(told["name"])

    def _posted(self, path: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        """A POST that may be repeated, since the server keeps equal bytes of one name only once."""
        for attempt in range(TRIES):
            try:
                return self._http.once("POST", path, data=body, headers=headers)
            except ServerUnreachable:
                if attempt == TRIES - 1 or self._http.is_late:
                    raise
                pause(attempt)
        raise AssertionError


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


def _named(pieces: Iterator[bytes], name: str) -> Iterator[bytes]:
    """The same pieces; an error says which file did not arrive."""
    try:
        yield from pieces
    except EngineError as error:
        raise EngineError(
            f"The file {name!r} did not arrive: {error.message}", error.hint
        ) from error


def _length(text: str | None) -> int | None:
    return parse_count((text or "").strip(), at_most=MAX_FILE)
