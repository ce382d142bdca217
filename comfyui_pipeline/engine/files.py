"""The files in the server's folders: ``/view`` and ``/upload`` (ComfyUI server.py)."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from comfyui_pipeline.engine import responses
from comfyui_pipeline.engine.http import TRIES, Http, Reply, pause
from comfyui_pipeline.engine.protocol import FileStream, Output
from comfyui_pipeline.errors import EngineError, OutputMissing, ServerUnreachable
from input_server.parse_values import parse_count

MAX_FILE = 2**40
"""Bytes of one file that a length may state; a larger number counts as no length."""
MAX_READ = 256 * 2**20
"""Bytes of a file in the input folder that is read into memory (an image for a mask)."""


class ServerFiles:
    """Implements ``protocol.Files``."""

    def __init__(self, http: Http) -> None:
        self._http = http

    @contextmanager
    def fetch(self, output: Output) -> Iterator[FileStream]:
        """Stream one output. Raises OutputMissing when the server no longer has the file."""
        if output.content is not None:
            yield FileStream(iter([output.content]), len(output.content))
            return
        with self._http.stream("/view", _query(output)) as reply:
            if reply.status == 404:
                raise OutputMissing(
                    f"ComfyUI no longer has the file {output.filename!r}, which it lists as a result.",
                    "It was deleted there; change an input (such as seed or filename_prefix) and call again.",
                )
            if reply.status != 200:
                raise self._http.unexpected(reply.status, "/view")
            compressed = reply.headers.get("Content-Encoding", "identity").lower() != "identity"
            length = None if compressed else _length(reply.headers.get("Content-Length"))
            yield FileStream(_named(reply.pieces, output.filename), length)

    def size(self, output: Output) -> int | None:
        """By requesting one byte: ``Content-Range`` has the complete length (RFC 9110 14.4)."""
        with self._http.stream("/view", _query(output), {"Range": "bytes=0-0"}) as reply:
            if reply.status == 416:
                return 0
            if reply.status == 206:
                return _length(reply.headers.get("Content-Range", "").rpartition("/")[2])
            return _length(reply.headers.get("Content-Length")) if reply.status == 200 else None

    def input_size(self, value: str) -> int | None:
        return self.size(_input(value))

    def read_input(self, value: str) -> bytes | None:
        with self._http.stream("/view", _query(_input(value))) as reply:
            if reply.status != 200:
                return None
            content = bytearray()
            for piece in _named(reply.pieces, value):
                content += piece
                if len(content) > MAX_READ:
                    raise EngineError(
                        f"The file {value!r} at ComfyUI is larger than {MAX_READ >> 20} MB.",
                        "Use a smaller image.",
                    )
            return bytes(content)

    def upload(self, content: bytes, name: str, subfolder: str) -> str:
        """``POST /upload/image``, which accepts any file; returns the value for a loader node."""
        return self._upload("/upload/image", content, name, {"subfolder": subfolder})

    def upload_mask(self, layer: bytes, name: str, subfolder: str, original: str) -> str:
        """``POST /upload/mask``: the server puts the alpha of ``layer`` into a copy of the original."""
        query = _query(_input(original))
        fields = {"subfolder": subfolder, "original_ref": json.dumps(query), "overwrite": "true"}
        return self._upload("/upload/mask", layer, name, fields)

    def _upload(self, path: str, content: bytes, name: str, fields: Mapping[str, str]) -> str:
        body, content_type = _form(content, name, {"type": "input", **fields})
        reply = self._post(path, body, {"Content-Type": content_type})
        if reply.status == 413:
            raise EngineError(
                f"ComfyUI does not accept an upload of {max(1, len(content) >> 10)} KB.",
                "Use a smaller image, or start ComfyUI with a larger --max-upload-size.",
            )
        return self._http.value(reply, path, responses.uploaded)

    def _post(self, path: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        """A POST with retries: the server stores equal content under one name only once."""
        for attempt in range(TRIES):
            try:
                return self._http.once("POST", path, body=body, headers=headers)
            except ServerUnreachable:
                if attempt == TRIES - 1 or self._http.is_late:
                    raise
                pause(attempt)
        raise AssertionError


def _query(output: Output) -> dict[str, str]:
    return {
        "filename": output.filename,
        "subfolder": output.subfolder,
        "type": output.folder_type,
    }


def _input(value: str) -> Output:
    """The file of a loader's value; ``a.png [output]`` names another folder (folder_paths.py)."""
    kind = "input"
    for other in ("output", "temp", "input"):
        if value.endswith(f" [{other}]"):
            value, kind = value.removesuffix(f" [{other}]"), other
    folder, _, name = value.replace("\\", "/").rpartition("/")
    return Output("", "", filename=name, subfolder=folder, folder_type=kind)


def _form(content: bytes, name: str, fields: Mapping[str, str]) -> tuple[bytes, str]:
    """A multipart body and its content type. The name is sent as raw UTF-8: the server stores
    percent-encoding literally.
    """
    boundary = os.urandom(16).hex()
    safe_name = "".join("_" if letter in '"\\\r\n' else letter for letter in name)
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'.encode()
        for key, value in fields.items()
    ]
    parts.append(
        f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="{safe_name}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n".encode()
    )
    parts += [content, f"\r\n--{boundary}--\r\n".encode()]
    return b"".join(parts), f"multipart/form-data; boundary={boundary}"


def _named(pieces: Iterator[bytes], name: str) -> Iterator[bytes]:
    """The same pieces; errors name the file that did not arrive."""
    try:
        yield from pieces
    except EngineError as error:
        raise EngineError(
            f"The file {name!r} did not arrive: {error.message}", error.hint
        ) from error


def _length(text: str | None) -> int | None:
    return parse_count((text or "").strip(), at_most=MAX_FILE)
