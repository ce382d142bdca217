"""Generation settings that other programs store: read from every place, shown and found by search."""

from __future__ import annotations

import json
import struct
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, PngImagePlugin

from input_server.images.other_programs import read_settings
from tests.input_server.gallery_harness import EDITOR, GalleryHarness, png, prompt
from tests.input_server.images.test_image_info import chunk, with_chunks

LINES = (
    "a red fox, <lora:snow:0.8>\nin the snow\nNegative prompt: blurry,\nlowres\n"
    "Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7.5, Seed: 3141592653, Size: 512x512, "
    'Model hash: abc, Model: dream_8, VAE: v.pt, Lora hashes: "snow: 1a, ice: 2b", Version: v1.9.3'
)
INVOKE = {
    "positive_prompt": "a red fox",
    "negative_prompt": "blurry",
    "seed": 3141592653,
    "cfg_scale": 7.5,
    "steps": 20,
    "scheduler": "euler",
    "model": {"key": "k", "name": "dream_8", "base": "sd-1"},
    "loras": [{"model": {"name": "snow"}, "weight": 0.5}],
    "vae": None,
}
OLD_INVOKE = {
    "model_weights": "dream_8",
    "image": {
        "prompt": [{"prompt": "a red fox [blurry]", "weight": 1.0}],
        "seed": 3141592653,
        "steps": 20,
        "cfg_scale": 7.5,
        "sampler": "k_lms",
    },
}
FOOOCUS = {
    "prompt": "a red fox",
    "negative_prompt": "blurry",
    "seed": "3141592653",
    "steps": 20,
    "base_model": "dream_8",
    "refiner_model": "None",
    "loras": [["snow", 0.1, "hash"]],
    "sampler": "dpmpp",
    "guidance_scale": 7.5,
}
NOVELAI = {
    "prompt": "{{a red fox}}, snow",
    "uc": "blurry",
    "steps": 20,
    "scale": 7.5,
    "seed": 3141592653,
    "sampler": "k_euler",
}
NOVELAI_4 = {
    **NOVELAI,
    "prompt": "",
    "uc": "",
    "v4_prompt": {
        "caption": {"base_caption": "a red fox", "char_captions": [{"char_caption": "a cub"}]}
    },
    "v4_negative_prompt": {"caption": {"base_caption": "blurry", "char_captions": []}},
}
SWARM = {
    "sui_image_params": {
        "prompt": "a red fox",
        "negativeprompt": "blurry",
        "model": "dream_8",
        "seed": 3141592653,
        "steps": 20,
        "cfgscale": 7.5,
        "loras": ["snow"],
    },
    "sui_extra_data": {"date": "2025"},
}
RUINED = {
    "Prompt": "a red fox",
    "Negative": "blurry",
    "steps": 20,
    "cfg": 7.5,
    "seed": 3141592653,
    "base_model_name": "dream_8",
    "loras": [["snow", 0.5]],
}
DRAW_THINGS = {"c": "a red fox", "uc": "blurry", "seed": 3141592653, "steps": 20, "scale": 7.5}
PNG_TEXTS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "AUTOMATIC1111": ({"parameters": LINES}, ["dream_8", "v.pt", "snow", "ice"]),
    "with Windows line ends": (
        {"parameters": LINES.replace("\n", "\r\n")},
        ["dream_8", "v.pt", "snow", "ice"],
    ),
    "InvokeAI": ({"invokeai_metadata": INVOKE}, ["dream_8", "snow"]),
    "an older InvokeAI": ({"Dream": "x", "sd-metadata": OLD_INVOKE}, ["dream_8"]),
    "Fooocus": ({"parameters": FOOOCUS, "fooocus_scheme": "fooocus"}, ["dream_8", "snow"]),
    "NovelAI": ({"Source": "Diffusion V3", "Comment": NOVELAI}, ["Diffusion V3"]),
    "NovelAI with persons": ({"Source": "Diffusion V4", "Comment": NOVELAI_4}, ["Diffusion V4"]),
    "SwarmUI": ({"parameters": SWARM}, ["dream_8", "snow"]),
    "RuinedFooocus": ({"parameters": RUINED}, ["dream_8", "snow"]),
}


def save(path: Path, texts: dict[str, Any], **options: Any) -> None:
    info = PngImagePlugin.PngInfo()
    for name, value in texts.items():
        info.add_itxt(name, value if isinstance(value, str) else json.dumps(value), **options)
    Image.new("RGB", (31, 17)).save(path, "PNG", pnginfo=info)


@pytest.mark.parametrize("which", PNG_TEXTS)
@pytest.mark.parametrize("zipped", [False, True])
def test_settings_of_other_programs_are_told_and_found(
    harness: GalleryHarness, which: str, zipped: bool
) -> None:
    texts, models = PNG_TEXTS[which]
    save(harness.folder / "a.png", texts, zip=zipped)
    info = harness.json("info?path=a.png")
    assert "a red fox" in info["positive"]
    assert info["negative"].startswith("blurry")
    assert (info["seeds"], info["steps"], info["cfg"]) == (["3141592653"], [20], [7.5])
    assert info["models"] == models
    assert info["workflow"] is False
    for word in ("fox", "3141592653", models[0].split()[0]):
        assert harness.names(f"list?q={word}") == ["a.png"]


def test_several_lines_and_each_setting_are_read() -> None:
    found = read_settings({"parameters": LINES})
    assert found.positive == "a red fox, <lora:snow:0.8>\nin the snow"
    assert found.negative == "blurry,\nlowres"
    assert (found.samplers, found.schedulers) == (("DPM++ 2M",), ("Karras",))
    no_negative = "a fox\nSteps: 4, Sampler: Euler, Distilled CFG Scale: 3.5, Seed: 1"
    assert read_settings({"parameters": no_negative}).cfg == ("3.5",)
    only_negative = "Negative prompt: x\nSteps: 4, Sampler: Euler, Seed: 1"
    assert read_settings({"parameters": only_negative})[:2] == ("", "x")


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "a holiday photo",
            "Steps: many",
            "[1, 2]",
            "{",
            "null",
            '{"prompt": 5}',
            '{"a": {}}',
        ),
        *(
            '{"prompt": {"seed": []}}',
            '{"seed": {"x": 1}}',
            "{" * 200_000,
            '{"prompt": [[], {}, 1]}',
        ),
        '{"v4_prompt": {"caption": 5}, "model": {"name": {"name": {"name": {}}}}}',
    ],
)
@pytest.mark.parametrize("name", ["parameters", "invokeai_metadata", "usercomment", "comment"])
def test_texts_that_say_nothing_are_ignored(name: str, text: str) -> None:
    found = read_settings({name: text, "description": "a photo", "source": "a camera"})
    assert (found.positive, found.seeds) == ("", ())


def user_comment(text: str, way: str) -> bytes:
    if way == "ASCII":
        return b"ASCII\0\0\0" + text.encode()
    if way == "no code":
        return bytes(8) + text.encode()
    order = "<" if "little" in way else ">"
    mark = "\ufeff" if "mark" in way else ""
    return b"UNICODE\0" + (mark + text).encode("utf-16-le" if order == "<" else "utf-16-be")


NOVELAI_WEBP = {"Source": "Diffusion V4", "Software": "NovelAI", "Comment": json.dumps(NOVELAI_4)}
WAYS = ("ASCII", "no code", "big", "little", "big with mark", "little with mark")
GRAPH = {"prompt": prompt(), "workflow": EDITOR}
COMMENTS: dict[str, tuple[str, str, str, bool]] = {
    "AUTOMATIC1111": (LINES, "a red fox", "3141592653", False),
    "in Chinese": (LINES.replace("fox", "狐狸" * 300), "a red 狐", "3141592653", False),
    "NovelAI": (json.dumps(NOVELAI_WEBP), "a red fox", "3141592653", False),
    "Draw Things": (json.dumps(DRAW_THINGS), "a red fox", "3141592653", False),
    "ComfyUI": (json.dumps(GRAPH), "a lighthouse", "1234", True),
    "ComfyUI in strings": (
        json.dumps({name: json.dumps(value) for name, value in GRAPH.items()}),
        "a lighthouse",
        "1234",
        True,
    ),
    "Civitai": (json.dumps({**prompt(), "extra": {"airs": []}}), "a lighthouse", "1234", False),
}


@pytest.mark.parametrize("which", COMMENTS)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("suffix", ["webp", "jpg", "png", "avif"])
def test_user_comments_are_read_in_every_encoding(
    harness: GalleryHarness, which: str, way: str, suffix: str
) -> None:
    text, positive, seed, has_workflow = COMMENTS[which]
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9286] = user_comment(text, way)
    exif[0x0112] = 6
    exif[0x0131] = "a program"  # Pillow writes no EXIF data with a user comment alone into an AVIF
    form = {"jpg": "JPEG"}.get(suffix, suffix)
    Image.new("RGB", (31, 17)).save(harness.folder / f"a.{suffix}", form, exif=exif)
    info = harness.json(f"info?path=a.{suffix}")
    assert info["positive"].startswith(positive)
    assert (info["seeds"], info["workflow"]) == ([seed], has_workflow)
    assert (info["width"], info["height"]) == (17, 31)


def test_the_prompt_of_comfyui_comes_before_the_texts_of_its_savers(
    harness: GalleryHarness,
) -> None:
    lines = chunk(b"tEXt", b"parameters\0" + LINES.encode())
    content = json.dumps(prompt()).encode()
    with_chunks(harness.folder / "a.png", lines, chunk(b"tEXt", b"prompt\0" + content))
    assert harness.json("info?path=a.png")["seeds"] == ["1234"]
    unknown = json.dumps({"1": {"class_type": "X", "inputs": {"a": 1}}}).encode()
    with_chunks(harness.folder / "b.png", chunk(b"tEXt", b"prompt\0" + unknown), lines)
    assert harness.json("info?path=b.png")["seeds"] == ["3141592653"]


def test_implausible_numbers_are_left_out(harness: GalleryHarness) -> None:
    wrong = {**FOOOCUS, "seed": "9" * 50, "steps": "x", "guidance_scale": "nan"}
    save(harness.folder / "a.png", {"parameters": wrong})
    info = harness.json("info?path=a.png")
    assert (info["seeds"], info["steps"], info["cfg"]) == ([], [], [])


LARGE = {
    "names": "Seed: " + "a" * 250_000,
    "commas": "Seed: 1, " + ", " * 120_000,
    "quotes": 'Seed: "' + '\\"' * 120_000,
    "lines": "Steps: 1\n" * 28_000,
    "tags": "<lora:" * 40_000 + "\nSteps: 1, Seed: 2, Sampler: x",
    "brackets": json.dumps({"image": {"prompt": [{"prompt": "[" * 240_000}]}}),
    "lists": '{"loras": ' + "[" * 900 + "]" * 900 + ', "prompt": "x"}',
}


@pytest.mark.parametrize("which", LARGE)
def test_large_texts_are_read_in_linear_time(which: str) -> None:
    started = time.process_time()
    read_settings({"parameters": LARGE[which]})
    assert time.process_time() - started < 4


def test_a_word_of_a_long_prompt_is_found_or_the_search_is_said_to_be_partial(
    harness: GalleryHarness,
) -> None:
    png(harness.folder / "long.png", prompt("very " * 10_000 + "zebra"), when=2000)
    png(harness.folder / "longer.png", prompt("very " * 30_000 + "zebra"), when=1000)
    answer = harness.json("list?q=zebra")
    assert [item["name"] for item in answer["items"]] == ["long.png"]
    assert answer["partly_searched"] == 1
    assert "partly_searched" not in harness.json("list?q=very")
    assert len(harness.json("info?path=longer.png")["positive"]) == 20_000


def test_a_prompt_above_the_memory_is_said_to_be_unsearched(harness: GalleryHarness) -> None:
    text = json.dumps({**prompt(), "99": {"inputs": {"note": "x" * 5_000_000}}}).encode()
    path = png(harness.folder / "a.png")
    content = path.read_bytes()
    path.write_bytes(content[:33] + chunk(b"tEXt", b"prompt\0" + text) + content[33:])
    assert struct.unpack(">I", content[8:12]) == (13,)
    assert harness.json("list?q=lighthouse")["partly_searched"] == 1
