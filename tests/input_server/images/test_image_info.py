"""How an image was generated: read from every kind of file, and from hostile ones."""

from __future__ import annotations

import json
import os
import struct
import sys
import zlib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, PngImagePlugin

from input_server.images import embedded_texts, exif, image_info
from input_server.images.image_info import read_image_info
from input_server.images.memory import MemoryBudget
from input_server.mounts.open_files import open_file
from input_server.mounts.resolve import locate
from tests.input_server.gallery_harness import (
    EDITOR,
    KEY,
    GalleryHarness,
    node,
    png,
    prompt,
)

PAGE = f"/comfyui_server/pw={KEY}/gallery/m/"


def save_with_exif(path: Path, form: str, tags: dict[int, str], **options: Any) -> None:
    image = Image.new("RGB", (31, 17), (1, 2, 3))
    exif = image.getexif()
    for tag, text in tags.items():
        exif[tag] = text
    image.save(path, form, exif=exif, **options)


def chunk(kind: bytes, content: bytes) -> bytes:
    return (
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
    )


def with_chunks(path: Path, *chunks: bytes, behind: bool = False) -> None:
    """Save an image with more chunks, after IHDR or (``behind``) before IEND."""
    content = png(path).read_bytes()
    at = len(content) - 12 if behind else 33
    path.write_bytes(content[:at] + b"".join(chunks) + content[at:])


def save_with_prompt(path: Path, way: str) -> None:
    """Save an image with prompt and editor document, stored in one of the ways programs use."""
    generated, editor = json.dumps(prompt()), json.dumps(EDITOR)
    texts = {"prompt": generated, "workflow": editor}
    if way in ("WEBP", "JPEG", "AVIF"):  # SaveAnimatedWEBP
        save_with_exif(path, way, {0x0110: f"prompt:{generated}", 0x010F: f"workflow:{editor}"})
    elif way == "lossless":
        tags = {0x010F: f"Prompt: {generated}", 0x010E: f"Workflow: {editor}"}
        save_with_exif(path, "WEBP", tags, lossless=True)
    elif way == "zTXt":
        compressed = {name: zlib.compress(text.encode()) for name, text in texts.items()}
        with_chunks(
            path, *(chunk(b"zTXt", n.encode() + b"\0\0" + t) for n, t in compressed.items())
        )
    elif way == "iTXt":
        info = PngImagePlugin.PngInfo()
        for name, text in texts.items():
            info.add_itxt(name, text, zip=name == "prompt")
        Image.new("RGB", (31, 17)).save(path, "PNG", pnginfo=info)
    else:  # SaveAnimatedPNG writes its own chunks after the pixels
        contents = [f"{name}\0{text}".encode() for name, text in texts.items()]
        with_chunks(path, *(chunk(b"comf", c) for c in contents), behind=True)


@pytest.mark.parametrize("way", ["WEBP", "JPEG", "AVIF", "lossless", "zTXt", "iTXt", "comf"])
def test_the_prompt_is_read_from_every_place_programs_store_it(
    harness: GalleryHarness, way: str
) -> None:
    save_with_prompt(harness.folder / "a.png", way)
    info = harness.json("info?path=a.png")
    assert info.pop("width") in (24, 31)
    assert info.pop("height") in (16, 17)
    assert info == {
        "positive": "a lighthouse at dawn",
        "negative": "blurry",
        "seeds": ["1234"],
        "models": ["sd15.safetensors"],
        "samplers": ["dpmpp_2m"],
        "schedulers": ["karras"],
        "steps": [20],
        "cfg": [7.5],
        "workflow": True,
    }


SAMPLER = {"positive": ["1", 0], "negative": ["2", 0]}
GRAPHS: dict[str, tuple[dict[str, Any], str, str]] = {
    "through a ControlNet that takes both": (
        {
            "9": node("KSampler", positive=["3", 0], negative=["3", 1]),
            "3": node("Apply", strength=1, **SAMPLER, control_net=["4", 0], image=["5", 0]),
            "4": node("ControlNetLoader", control_net_name="canny.safetensors"),
            "5": node("LoadImage", image="photo.png"),
            "1": node("CLIPTextEncode", text="yes", clip=["8", 0]),
            "2": node("CLIPTextEncode", text="no", clip=["8", 0]),
            "8": node("CLIPLoader", clip_name="c.safetensors", type="sdxl"),
        },
        "yes",
        "no",
    ),
    "through one that takes one": (
        {
            "9": node("KSampler", **SAMPLER),
            "1": node("Apply", image=["5", 0], conditioning=["3", 0]),
            "5": node("LoadImage", image="photo.png"),
            "3": node("CLIPTextEncode", text="yes"),
            "2": node("CLIPTextEncode", text=""),
        },
        "yes",
        "",
    ),
    "with two texts that are joined": (
        {
            "9": node("KSampler", **SAMPLER),
            "1": node("Combine", conditioning_1=["3", 0], conditioning_2=["4", 0]),
            "3": node("Encode", text="one"),
            "4": node("Encode", text="two"),
            "2": node("EncodeSDXL", width=1024, text_g="no", text_l="no", crop="x"),
        },
        "one\n\ntwo",
        "no",
    ),
    "with a negative derived from the positive": (
        {
            "9": node("KSampler", **SAMPLER),
            "1": node("Encode", text="yes"),
            "2": node("ZeroOut", conditioning=["1", 0]),
        },
        "yes",
        "",
    ),
    "with a guider that takes one conditioning": (
        {
            "9": node("SamplerCustomAdvanced", guider=["8", 0], noise=["7", 0]),
            "8": node("BasicGuider", model=["6", 0], conditioning=["5", 0]),
            "5": node("FluxGuidance", guidance=3.5, conditioning=["1", 0]),
            "1": node("CLIPTextEncode", clip=["4", 0], text=["3", 0]),
            "3": node("PrimitiveString", value="from a primitive"),
            "4": node("DualCLIPLoader", clip_name1="t5.safetensors", type="flux"),
            "6": node("UNETLoader", unet_name="flux.safetensors"),
            "7": node("RandomNoise", noise_seed=5),
        },
        "from a primitive",
        "",
    ),
    "with concatenated texts": (
        {
            "9": node("KSampler", **SAMPLER),
            "1": node("Encode", text=["3", 0]),
            "3": node("Concat", string_a="a", string_b=["4", 0], delimiter=", "),
            "4": node("Switch", on_false=["5", 0], on_true=["5", 0], switch=True),
            "5": node("Multiline", value="b"),
            "2": node("Encode", text=["4", 0]),
        },
        "a\n\nb",
        "",
    ),
    "with both texts in one node": (
        {
            "9": node("KSampler", positive=["1", 0], negative=["1", 1]),
            "1": node("Both", ckpt_name="m", text_positive="yes", text_negative="no"),
        },
        "yes",
        "no",
    ),
    "with texts that are inputs themselves": (
        {"9": node("Loader", positive="yes", negative="no")},
        "yes",
        "no",
    ),
    "of an API node": (
        {"9": node("ImageApi", prompt="yes", negative_prompt="no", aspect_ratio="1:1")},
        "yes",
        "no",
    ),
    "with a cycle": (
        {
            "9": node("KSampler", **SAMPLER),
            "1": node("A", conditioning=["2", 0]),
            "2": node("B", conditioning=["1", 0]),
        },
        "",
        "",
    ),
}


@pytest.mark.parametrize("which", GRAPHS)
def test_texts_are_found_by_what_feeds_the_inputs(harness: GalleryHarness, which: str) -> None:
    graph, positive, negative = GRAPHS[which]
    png(harness.folder / "a.png", graph)
    info = harness.json("info?path=a.png")
    assert (info["positive"], info["negative"]) == (positive, negative)


def test_numbers_and_models_are_found_by_input_name_and_through_links(
    harness: GalleryHarness,
) -> None:
    graph = {
        "1": node("RandomNoise", noise_seed=["2", 0]),
        "2": node("PrimitiveInt", value=2**64 - 1, control_after_generate="fixed"),
        "3": node("KSampler", seed=7, steps=["4", 0], cfg=["5", 0], sampler_name=["6", 0]),
        "4": node("Int", note="x", number=12),
        "5": node("Reroute", value=["7", 0]),
        "6": node("Choice", sampler_name="euler"),
        "7": node("Float", value=3.5),
        "8": node("Loaders", ckpt_name="sd15", lora_name="None", vae_name="v.pt", clip_name2="c"),
        "9": node("Upscale", model="4x.pth", image="x.png", filename_prefix="ComfyUI"),
        "10": node("KSampler", seed=7, steps=True, cfg=float("nan")),
    }
    png(harness.folder / "a.png", graph)
    info = harness.json("info?path=a.png")
    assert info["seeds"] == [str(2**64 - 1), "7"]
    assert (info["steps"], info["cfg"], info["samplers"]) == ([12], [3.5], ["euler"])
    assert info["models"] == ["sd15", "v.pt", "c", "4x.pth"]


NOTHING = {
    "positive": "",
    "negative": "",
    "seeds": [],
    "models": [],
    "samplers": [],
    "schedulers": [],
    "steps": [],
    "cfg": [],
    "workflow": False,
}
BOMB = zlib.compress(b" " * 200_000_000, 1)
HOSTILE = {
    "no JSON": [chunk(b"tEXt", b"prompt\0{")],
    "deep JSON": [chunk(b"tEXt", b"prompt\0" + b'{"a":' * 200_000)],
    "a list": [chunk(b"tEXt", b"prompt\0[1, 2]")],
    "invalid nodes": [chunk(b"tEXt", b'prompt\0{"1": 5, "2": {"inputs": []}, "3": {}}')],
    "a number of 100,000 digits": [
        chunk(b"tEXt", b'prompt\0{"1": {"inputs": {"seed": %s}}}' % (b"9" * 100_000))
    ],
    "a compressed text of 200 MB": [chunk(b"zTXt", b"prompt\0\0" + BOMB)],
    "a text of 5 MB": [chunk(b"tEXt", b"prompt\0" + b" " * 5_000_000)],
    "a broken compressed text": [chunk(b"zTXt", b"prompt\0\0nonsense")],
    "an iTXt without its parts": [chunk(b"iTXt", b"prompt\0\1")],
    "a chunk longer than the file": [struct.pack(">I4s", 2**32 - 1, b"tEXt")],
}


@pytest.mark.parametrize("which", HOSTILE)
def test_hostile_texts_are_ignored(harness: GalleryHarness, which: str) -> None:
    with_chunks(harness.folder / "a.png", *HOSTILE[which])
    info = harness.json("info?path=a.png")
    assert (info.pop("width"), info.pop("height")) == (24, 16)
    assert info == NOTHING
    assert harness.names("list?q=lighthouse") == []


def test_a_repeated_text_is_decompressed_once(
    harness: GalleryHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    decompressed: list[int] = []
    unpack = embedded_texts.PNG_TEXTS[b"zTXt"]
    counting = {
        **embedded_texts.PNG_TEXTS,
        b"zTXt": lambda *args: decompressed.append(1) or unpack(*args),
    }
    monkeypatch.setattr(embedded_texts, "PNG_TEXTS", counting)
    text = chunk(b"zTXt", b"prompt\0\0" + zlib.compress(b"{}"))
    with_chunks(harness.folder / "a.png", *[text] * 500)
    harness.json("info?path=a.png")
    assert decompressed == [1]


@pytest.mark.parametrize("form", ["png", "webp", "jpg"])
def test_an_image_cut_off_anywhere_is_handled(harness: GalleryHarness, form: str) -> None:
    path = harness.folder / "complete.bin"
    save_with_prompt(path, {"png": "comf", "webp": "WEBP", "jpg": "JPEG"}[form])
    content = path.read_bytes()
    for end in {*range(64), *range(64, len(content), 41)}:
        (harness.folder / f"a.{form}").write_bytes(content[:end])
        assert harness.json(f"info?path=a.{form}").keys() == {"width", "height", *NOTHING}


@pytest.mark.parametrize("entries", [1, 5000])
def test_cyclic_exif_directories_terminate(harness: GalleryHarness, entries: int) -> None:
    to_itself = struct.pack("<HHII", 0x8769, 4, 1, 8)
    to_all = struct.pack("<HHII", 0x010F, 2, 60_000, 0)
    content = b"II*\0" + struct.pack("<IH", 8, entries) + to_itself + to_all * (entries - 1)
    segment = b"Exif\0\0" + content
    head = b"\xff\xd8\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment
    size = b"\xff\xc0" + struct.pack(">HBHH", 8, 8, 480, 640)
    (harness.folder / "a.jpg").write_bytes(head + size + b"\xff\xda")
    assert harness.json("info?path=a.jpg") == {"width": 640, "height": 480, **NOTHING}


def test_the_number_of_followed_links_is_limited(harness: GalleryHarness) -> None:
    graph = {
        str(n): node("A", seed=[str(n + 1), 0], positive=[str(n + 1), 0]) for n in range(30_000)
    }
    graph["0"]["inputs"] |= {f"seed{n}": ["0", 0] for n in range(30_000)}
    png(harness.folder / "a.png", graph)
    assert harness.json("info?path=a.png")["seeds"] == []


def test_other_files_have_no_info(harness: GalleryHarness) -> None:
    (harness.folder / "a.txt").write_text(json.dumps(prompt()), "utf-8")
    assert harness.json("info?path=a.txt") == {"width": None, "height": None, **NOTHING}


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("", 400),
        ("absent.png", 404),
        ("sub", 404),
        ("../secret.png", 403),
        ("sub/../a.png", 403),
        ("/a.png", 403),
        ("sub//a.png", 403),
        ("sub%5Ca.png", 403),
        (".hidden.png", 403),
        ("a.png%00", 403),
        ("NUL.png", 403),
        ("link.png", 403),
        ("folder/secret.png", 403),
    ],
)
def test_the_path_is_checked_like_any_file_path(
    harness: GalleryHarness, path: str, status: int
) -> None:
    if sys.platform == "win32" and status == 403 and path in ("link.png", "folder/secret.png"):
        pytest.skip("links need a privilege there")
    png(harness.folder.parent / "secret.png", prompt())
    for name in ("a.png", "sub/a.png", ".hidden.png"):
        png(harness.folder / name, prompt())
    if sys.platform != "win32":
        (harness.folder / "link.png").symlink_to("../secret.png")
        (harness.folder / "folder").symlink_to("..")
    assert harness.ask(f"{PAGE}info?path={path}").status == status


def test_invalid_paths_with_a_valid_key_do_not_cause_a_lockout(harness: GalleryHarness) -> None:
    target = f"{PAGE}info?path=../secret.png"
    answers = {harness.ask(target, peer="203.0.113.9").status for _ in range(200)}
    assert answers == {403}, "a client with the key is not guessing it"
    assert harness.ask(f"{PAGE}list", peer="203.0.113.9").status == 200


# Expensive texts

BOMBS = {
    "lists": "[" + "[]," * 1_000_000 + "[]]",
    "deep": '{"1":' * 200_000 + "1" + "}" * 200_000,
    "digits": '{"1": {"inputs": {"seed": ' + "9" * 1_000_000 + "}}}",
    "many inputs": json.dumps({"1": {"inputs": {f"text{n}": "x" for n in range(100_000)}}}),
    "spaces": json.dumps({"1": {"inputs": {"text": " " * 1_000_000, "ckpt_name": "a." * 400_000}}}),
    "names": json.dumps({"1": {"inputs": {"a" * 1_000_000: "b", "c" * 900_000: "d"}}}),
    "chain": json.dumps({str(n): {"inputs": {"positive": [str(n + 1), 0]}} for n in range(60_000)}),
    "infinite": '{"1": {"inputs": {"cfg": 1e999, "steps": NaN, "seed": -Infinity}}}',
    "nul": '{"1": {"inputs": {"text": "' + "\\u0000" * 100_000 + '"}}}',
}


@pytest.mark.parametrize("which", BOMBS)
@pytest.mark.parametrize("compressed", [False, True])
def test_expensive_prompts_are_limited_in_time_and_size(
    harness: GalleryHarness, which: str, compressed: bool
) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("prompt", BOMBS[which], zip=compressed)
    Image.new("RGB", (20, 10)).save(harness.folder / "a.png", pnginfo=info)
    info = harness.json("info?path=a.png")
    assert (info["width"], info["height"]) == (20, 10)
    assert len(json.dumps(info)) < 100_000
    assert harness.names("list?q=nowhere") == []


def test_a_number_of_many_digits_does_not_hide_other_values(harness: GalleryHarness) -> None:
    inputs = {"seed": 12, "text": "a lighthouse"}
    text = json.dumps({"1": {"inputs": inputs}}).replace("12", "12, " + '"noise": ' + "9" * 6000)
    info = PngImagePlugin.PngInfo()
    info.add_text("prompt", text)
    Image.new("RGB", (20, 10)).save(harness.folder / "a.png", pnginfo=info)
    assert harness.json("info?path=a.png")["seeds"] == ["12"]


def test_long_prompts_share_the_memory_budget_of_images(tmp_path: Path) -> None:
    text = json.dumps({"1": {"inputs": {"seed": 7, "text": "x" * 70_000}}})
    info = PngImagePlugin.PngInfo()
    info.add_text("prompt", text)
    Image.new("RGB", (20, 10)).save(tmp_path / "a.png", pnginfo=info)
    path, root = locate(tmp_path, ["a.png"])
    file = open_file(path, root, "a.png", cached=False)
    try:
        assert read_image_info(file, MemoryBudget(2**20)).seeds == ()
        assert read_image_info(file, MemoryBudget(2**20)).width == 20
        assert read_image_info(file, MemoryBudget(2**23)).seeds == (7,)
    finally:
        os.close(file.descriptor)


WORST = ("a." * 500_000, "_name" * 200_000, "." * 1_000_000, "prompt" * 160_000, " " * 1_000_000)


@pytest.mark.parametrize("text", WORST, ids=[text[:6] for text in WORST])
def test_patterns_take_linear_time(text: str) -> None:
    for word in (text, text + "!", text + "\n"):
        image_info.TEXT_INPUT.search(word)
        image_info.MODEL_INPUT.fullmatch(word)
    exif.EXIF_NAME.match(text.encode())
    exif.EXIF_NAME.match(b"\0" * 1_000_000 + b"x")
