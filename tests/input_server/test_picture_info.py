"""What a picture tells of how it was made, wherever that is kept, and whatever else it holds."""

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

from input_server.images import embedded_texts, image_info
from input_server.images.image_info import read_image_info
from input_server.images.memory import MemoryBudget
from input_server.mounts.open_files import open_file
from input_server.mounts.resolve import locate
from tests.input_server.looked_at import (
    EDITOR,
    KEY,
    GalleryHarness,
    node,
    png,
    prompt,
)

PAGE = f"/comfyui_server/pw={KEY}/gallery/m/"


def exif_picture(path: Path, form: str, tags: dict[int, str], **options: Any) -> None:
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
    """A picture with more chunks, right after its head or right before its end."""
    whole = png(path).read_bytes()
    at = len(whole) - 12 if behind else 33
    path.write_bytes(whole[:at] + b"".join(chunks) + whole[at:])


def write_as(path: Path, way: str) -> None:
    """A picture with a prompt and the editor's document, in one of the ways that programs have."""
    made, editor = json.dumps(prompt()), json.dumps(EDITOR)
    texts = {"prompt": made, "workflow": editor}
    if way in ("WEBP", "JPEG"):  # SaveAnimatedWEBP
        exif_picture(path, way, {0x0110: f"prompt:{made}", 0x010F: f"workflow:{editor}"})
    elif way == "lossless":
        tags = {0x010F: f"Prompt: {made}", 0x010E: f"Workflow: {editor}"}
        exif_picture(path, "WEBP", tags, lossless=True)
    elif way == "zTXt":
        packed = {name: zlib.compress(text.encode()) for name, text in texts.items()}
        with_chunks(path, *(chunk(b"zTXt", n.encode() + b"\0\0" + t) for n, t in packed.items()))
    elif way == "iTXt":
        info = PngImagePlugin.PngInfo()
        for name, text in texts.items():
            info.add_itxt(name, text, zip=name == "prompt")
        Image.new("RGB", (31, 17)).save(path, "PNG", pnginfo=info)
    else:  # SaveAnimatedPNG puts its own chunks behind the pixels
        contents = [f"{name}\0{text}".encode() for name, text in texts.items()]
        with_chunks(path, *(chunk(b"comf", c) for c in contents), behind=True)


@pytest.mark.parametrize("way", ["WEBP", "JPEG", "lossless", "zTXt", "iTXt", "comf"])
def test_a_picture_tells_how_it_was_made_wherever_that_is_kept(
    shown: GalleryHarness, way: str
) -> None:
    write_as(shown.folder / "a.png", way)
    told = shown.json("info?path=a.png")
    assert told.pop("width") in (24, 31)
    assert told.pop("height") in (16, 17)
    assert told == {
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
    "with a negative that is made of the positive": (
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
    "with texts that are put together": (
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
    "of a service": (
        {"9": node("ImageApi", prompt="yes", negative_prompt="no", aspect_ratio="1:1")},
        "yes",
        "no",
    ),
    "that goes in circles": (
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
def test_texts_are_found_by_what_feeds_the_inputs(shown: GalleryHarness, which: str) -> None:
    graph, positive, negative = GRAPHS[which]
    png(shown.folder / "a.png", graph)
    told = shown.json("info?path=a.png")
    assert (told["positive"], told["negative"]) == (positive, negative)


def test_numbers_and_models_are_found_by_their_names_and_through_links(
    shown: GalleryHarness,
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
    png(shown.folder / "a.png", graph)
    told = shown.json("info?path=a.png")
    assert told["seeds"] == [str(2**64 - 1), "7"]
    assert (told["steps"], told["cfg"], told["samplers"]) == ([12], [3.5], ["euler"])
    assert told["models"] == ["sd15", "v.pt", "c", "4x.pth"]


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
    "nodes that are none": [chunk(b"tEXt", b'prompt\0{"1": 5, "2": {"inputs": []}, "3": {}}')],
    "a number of 100,000 digits": [
        chunk(b"tEXt", b'prompt\0{"1": {"inputs": {"seed": %s}}}' % (b"9" * 100_000))
    ],
    "a packed text of 200 MB": [chunk(b"zTXt", b"prompt\0\0" + BOMB)],
    "a text of 5 MB": [chunk(b"tEXt", b"prompt\0" + b" " * 5_000_000)],
    "a broken packed text": [chunk(b"zTXt", b"prompt\0\0nonsense")],
    "an iTXt without its parts": [chunk(b"iTXt", b"prompt\0\1")],
    "a chunk that ends nowhere": [struct.pack(">I4s", 2**32 - 1, b"tEXt")],
}


@pytest.mark.parametrize("which", HOSTILE)
def test_a_hostile_picture_tells_nothing_and_breaks_nothing(
    shown: GalleryHarness, which: str
) -> None:
    with_chunks(shown.folder / "a.png", *HOSTILE[which])
    told = shown.json("info?path=a.png")
    assert (told.pop("width"), told.pop("height")) == (24, 16)
    assert told == NOTHING
    assert shown.names("list?q=lighthouse") == []


def test_a_text_is_unpacked_once_however_often_it_is_there(
    shown: GalleryHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    unpacked: list[int] = []
    unpack = embedded_texts.PNG_TEXTS[b"zTXt"]
    counting = {
        **embedded_texts.PNG_TEXTS,
        b"zTXt": lambda *args: unpacked.append(1) or unpack(*args),
    }
    monkeypatch.setattr(embedded_texts, "PNG_TEXTS", counting)
    text = chunk(b"zTXt", b"prompt\0\0" + zlib.compress(b"{}"))
    with_chunks(shown.folder / "a.png", *[text] * 500)
    shown.json("info?path=a.png")
    assert unpacked == [1]


@pytest.mark.parametrize("form", ["png", "webp", "jpg"])
def test_a_picture_that_is_cut_anywhere_breaks_nothing(shown: GalleryHarness, form: str) -> None:
    path = shown.folder / "whole.bin"
    write_as(path, {"png": "comf", "webp": "WEBP", "jpg": "JPEG"}[form])
    whole = path.read_bytes()
    for end in {*range(64), *range(64, len(whole), 41)}:
        (shown.folder / f"a.{form}").write_bytes(whole[:end])
        assert shown.json(f"info?path=a.{form}").keys() == {"width", "height", *NOTHING}


@pytest.mark.parametrize("entries", [1, 5000])
def test_exif_that_points_at_itself_ends(shown: GalleryHarness, entries: int) -> None:
    to_itself = struct.pack("<HHII", 0x8769, 4, 1, 8)
    to_all = struct.pack("<HHII", 0x010F, 2, 60_000, 0)
    content = b"II*\0" + struct.pack("<IH", 8, entries) + to_itself + to_all * (entries - 1)
    segment = b"Exif\0\0" + content
    head = b"\xff\xd8\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment
    size = b"\xff\xc0" + struct.pack(">HBHH", 8, 8, 480, 640)
    (shown.folder / "a.jpg").write_bytes(head + size + b"\xff\xda")
    assert shown.json("info?path=a.jpg") == {"width": 640, "height": 480, **NOTHING}


def test_a_graph_that_would_take_long_is_given_up(shown: GalleryHarness) -> None:
    graph = {
        str(n): node("A", seed=[str(n + 1), 0], positive=[str(n + 1), 0]) for n in range(30_000)
    }
    graph["0"]["inputs"] |= {f"seed{n}": ["0", 0] for n in range(30_000)}
    png(shown.folder / "a.png", graph)
    assert shown.json("info?path=a.png")["seeds"] == []


def test_other_files_tell_nothing(shown: GalleryHarness) -> None:
    (shown.folder / "a.txt").write_text(json.dumps(prompt()), "utf-8")
    assert shown.json("info?path=a.txt") == {"width": None, "height": None, **NOTHING}


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
def test_a_path_is_judged_like_every_other(shown: GalleryHarness, path: str, status: int) -> None:
    if sys.platform == "win32" and status == 403 and path in ("link.png", "folder/secret.png"):
        pytest.skip("links need a privilege there")
    png(shown.folder.parent / "secret.png", prompt())
    for name in ("a.png", "sub/a.png", ".hidden.png"):
        png(shown.folder / name, prompt())
    if sys.platform != "win32":
        (shown.folder / "link.png").symlink_to("../secret.png")
        (shown.folder / "folder").symlink_to("..")
    assert shown.ask(f"{PAGE}info?path={path}").status == status


def test_odd_paths_under_a_right_key_lock_nobody_out(shown: GalleryHarness) -> None:
    target = f"{PAGE}info?path=../secret.png"
    answers = {shown.ask(target, peer="203.0.113.9").status for _ in range(200)}
    assert answers == {403}, "whoever has the key does not guess it"
    assert shown.ask(f"{PAGE}list", peer="203.0.113.9").status == 200


# Texts that would take time or memory

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
@pytest.mark.parametrize("packed", [False, True])
def test_a_text_that_would_take_long_or_much_is_bounded(
    shown: GalleryHarness, which: str, packed: bool
) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("prompt", BOMBS[which], zip=packed)
    Image.new("RGB", (20, 10)).save(shown.folder / "a.png", pnginfo=info)
    told = shown.json("info?path=a.png")
    assert (told["width"], told["height"]) == (20, 10)
    assert len(json.dumps(told)) < 100_000
    assert shown.names("list?q=nowhere") == []


def test_one_number_with_many_digits_hides_nothing_else(shown: GalleryHarness) -> None:
    inputs = {"seed": 12, "text": "a lighthouse"}
    text = json.dumps({"1": {"inputs": inputs}}).replace("12", "12, " + '"noise": ' + "9" * 6000)
    info = PngImagePlugin.PngInfo()
    info.add_text("prompt", text)
    Image.new("RGB", (20, 10)).save(shown.folder / "a.png", pnginfo=info)
    assert shown.json("info?path=a.png")["seeds"] == ["12"]


def test_long_prompts_share_the_memory_of_pictures(tmp_path: Path) -> None:
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
def test_no_pattern_takes_more_than_linear_time(text: str) -> None:
    for word in (text, text + "!", text + "\n"):
        image_info.TEXT_INPUT.search(word)
        image_info.MODEL_FILE.fullmatch(word)
        image_info.MODEL_INPUT.fullmatch(word)
    embedded_texts.EXIF_NAME.match(text.encode())
    embedded_texts.EXIF_NAME.match(b"\0" * 1_000_000 + b"x")
