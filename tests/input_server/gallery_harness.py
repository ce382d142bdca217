"""Create images with prompts, and galleries for them: in this process, and as a server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, PngImagePlugin

from input_server import urls
from input_server.auth import signing
from input_server.auth.keys import Key
from input_server.gallery.routes import Gallery
from input_server.http.handler import FileServer
from input_server.http.request import HttpRequest
from input_server.http.response import HttpResponse
from input_server.mounts.mount import Mount
from input_server.settings import Config
from tests.project_copy import project
from tests.waiting import TIMEOUT

PROJECT = Path(__file__).resolve().parents[2]
KEY = "key-of-the-owner"
SIGNING_KEY = "key-that-signs-links"
EDITOR = {"nodes": [], "links": [], "version": 0.4}


def prompt(
    positive: str = "a lighthouse at dawn",
    negative: str = "blurry",
    seed: int = 1234,
    model: str = "sd15.safetensors",
) -> dict[str, Any]:
    """Return a minimal text-to-image prompt."""
    return {
        "4": node("CheckpointLoaderSimple", ckpt_name=model),
        "6": node("CLIPTextEncode", text=positive, clip=["4", 1]),
        "7": node("CLIPTextEncode", text=negative, clip=["4", 1]),
        "5": node("EmptyLatentImage", width=512, height=768, batch_size=1),
        "3": node(
            "KSampler",
            seed=seed,
            steps=20,
            cfg=7.5,
            sampler_name="dpmpp_2m",
            scheduler="karras",
            denoise=1.0,
            model=["4", 0],
            positive=["6", 0],
            negative=["7", 0],
            latent_image=["5", 0],
        ),
    }


def node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


def png(
    path: Path,
    generated: Mapping[str, Any] | None = None,
    *,
    when: float = 0,
    size: tuple[int, int] = (24, 16),
    color: tuple[int, int, int] = (180, 60, 90),
) -> Path:
    """Save an image as SaveImage does. ``when``: modification time in seconds since 1970."""
    info = PngImagePlugin.PngInfo()
    if generated is not None:
        info.add_text("prompt", json.dumps(generated))
        info.add_text("workflow", json.dumps(EDITOR))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, color).save(path, "PNG", pnginfo=info)
    if when:
        os.utime(path, (when, when))
    return path


class GalleryHarness:
    """A file server with a mount ``m``, called without sockets."""

    def __init__(self, folder: Path, *keys: Key, cache: Path) -> None:
        config = Config(
            mounts=(Mount("m", folder), Mount("other", folder / "absent")),
            mounts_file=folder / "absent.json",
            keys=(Key("owner", KEY), *keys),
            signing_key=SIGNING_KEY,
            cache_dir=cache,
        )
        self.folder = folder
        self.server = FileServer(config)
        self.server.pages["gallery"] = Gallery(self.server.mounts, config.signing_key)

    def request(self, target: str, method: str = "GET", peer: str = "127.0.0.1") -> HttpRequest:
        return HttpRequest(method, urls.parse(target), urls.parse_query(target), {}, peer)

    def ask(self, target: str, method: str = "GET", peer: str = "127.0.0.1") -> HttpResponse:
        reply = self.server.answer(self.request(target, method, peer))
        if reply.file is not None:
            self.server.files.release(reply.file)
        return reply

    def json(self, path: str, base: str = f"/comfyui_server/pw={KEY}/gallery/m/") -> Any:
        """Return the JSON of ``list`` or ``info``."""
        reply = self.ask(base + path)
        assert reply.status == 200, reply.body
        return json.loads(reply.body)

    def names(self, path: str = "list") -> list[str]:
        return [item["name"] for item in self.json(path)["items"]]


def signed(url: str, seconds: float, alias: str = "m", key: str = SIGNING_KEY) -> str:
    """Return a signed link to a gallery; it expires at ``seconds`` since 1970."""
    query = signing.query(key, "gallery", alias, (), int(seconds))
    return f"{url}/comfyui_server/gallery/{alias}/?{query}"


@dataclass(frozen=True)
class Served:
    """A running server with a mount ``m``."""

    url: str
    folder: Path

    @property
    def page(self) -> str:
        return f"{self.url}/comfyui_server/pw={KEY}/gallery/m/"


@contextmanager
def serving(folder: Path, cache: Path) -> Iterator[Served]:
    """Run ``python -m input_server`` for a folder until the block ends; ``none`` is an empty mount."""
    (folder / "empty").mkdir(parents=True, exist_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "input_server", "--port", "0", "--stop-with-stdin"],
        cwd=project(),
        env={
            **os.environ,
            "COMFYUI_MOUNTS": f"m:{folder};none:{folder / 'empty'}",
            "COMFYUI_ACCESS_KEY": KEY,
            "INPUT_SERVER_SIGNING_KEY": SIGNING_KEY,
            "INPUT_SERVER_CACHE_DIR": str(cache),
        },
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield Served(process.stdout.readline().split()[-1], folder)
    finally:
        process.stdin.close()
        process.wait(TIMEOUT)
        process.stdout.close()
