"""Names as people and AIs write them -> names as they are: exactly, then by spelling, then by guess."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import PurePosixPath

from input_server.light_dataclasses import dataclass

FUZZY_THRESHOLD = 84.0
"""Likeness (0 to 100) from which a name is taken for another; below it, it is only suggested."""
FUZZY_MARGIN = 4.0
"""By how much the best guess has to lead the next one."""
SUGGEST_THRESHOLD = 55.0
LONGEST = 500
"""Characters of a name that are compared: likeness, and the order of combining marks (NFKC), take
time by the square of the length. Longer texts equal only themselves.
"""

SAME_MEANING = (
    frozenset({"text", "prompt", "positive", "positive_prompt", "caption", "string", "value"}),
    frozenset({"cfg", "cfg_scale", "guidance", "guidance_scale"}),
    frozenset({"steps", "num_steps", "sampling_steps", "num_inference_steps"}),
    frozenset({"sampler_name", "sampler", "sampling_method"}),
    frozenset({"scheduler", "scheduler_name", "schedule"}),
    frozenset({"seed", "noise_seed", "rand_seed"}),
    frozenset({"denoise", "denoising_strength", "denoise_strength"}),
    frozenset({"ckpt_name", "checkpoint", "model", "model_name", "unet_name", "ckpt"}),
    frozenset({"lora_name", "lora"}),
    frozenset({"vae_name", "vae"}),
    frozenset({"clip_name", "clip"}),
    frozenset({"control_net_name", "controlnet", "control_net", "controlnet_name"}),
    frozenset({"strength", "strength_model", "weight", "scale"}),
    frozenset({"batch_size", "batch", "num_images", "n"}),
    frozenset({"filename_prefix", "prefix", "filename", "file_name"}),
    frozenset({"image", "image_path", "picture", "file", "filename", "url"}),
    frozenset({"upscale_method", "method", "interpolation"}),
    frozenset({"width", "w"}),
    frozenset({"height", "h"}),
)


@dataclass(frozen=True, slots=True)
class Found:
    """The names that were meant: one, or several that cannot be told apart. None: nothing like it."""

    names: tuple[str, ...]
    guessed: bool = False


def plain(text: str) -> str:
    """Without case, width (NFKC) and outer spaces; a text too long for a name as it is."""
    if len(text) > LONGEST:
        return text
    return unicodedata.normalize("NFKC", text).strip().casefold()


def find(wanted: str, names: Iterable[str], *, strict: bool) -> Found:
    """The name that ``wanted`` means: as it is, then without case and width, then the nearest."""
    known = list(dict.fromkeys(names))
    if wanted in known:
        return Found((wanted,))
    if strict:
        return Found(())
    word = plain(wanted)
    same = tuple(name for name in known if plain(name) == word)
    return Found(same) if same else guess(wanted, known)


def find_file(wanted: str, names: Sequence[str], *, strict: bool) -> Found:
    """The model file or other choice that is meant: folder and ending may be left out."""
    if wanted in names:
        return Found((wanted,))
    if strict:
        return Found(())
    if len(wanted) > LONGEST:
        return Found(())
    for spelled, known in zip(_spellings(wanted), _by_spelling(tuple(names)), strict=True):
        if spelled and spelled in known:
            return Found(known[spelled], guessed=True)
    return guess(wanted, names, key=_stem)


def _spellings(name: str) -> list[str]:
    """A file's name in ever fewer letters: slashes, without folders, without ending, squeezed."""
    shorter = [shorten(name) for shorten in (_slashes, _base, _stem, _squeezed)]
    return [letters(text) for text in shorter for letters in (str, plain)]


@lru_cache(maxsize=16)
def _by_spelling(names: tuple[str, ...]) -> list[dict[str, tuple[str, ...]]]:
    """For each spelling of ``_spellings`` the names that have it: many names are looked up in one list."""
    found: list[dict[str, list[str]]] = [{} for _ in range(8)]
    for name in names:
        for spelled, known in zip(_spellings(name[:LONGEST]), found, strict=True):
            known.setdefault(spelled, []).append(name)
    return [{key: tuple(same) for key, same in known.items()} for known in found]


def find_input(wanted: str, names: Sequence[str], *, strict: bool) -> Found:
    """The input of a node that is meant; other words for the same thing count."""
    exact = find(wanted, names, strict=True)
    if exact.names or strict:
        return exact
    bare = plain(wanted)
    same = tuple(name for name in names if plain(name) == bare)
    if same:
        return Found(same)
    word = bare.replace(" ", "_").replace("-", "_")
    alike = {name for group in SAME_MEANING if word in group for name in group} | {word}
    meant = tuple(name for name in names if plain(name) in alike)
    return Found(meant, guessed=True) if meant else guess(wanted, names)


def guess(wanted: str, names: Sequence[str], *, key: type[str] | object = str) -> Found:
    """The one name that is clearly nearest, the several nearest, or none."""
    ranked = _ranked(wanted, names, key)
    if not ranked or ranked[0][1] < FUZZY_THRESHOLD:
        return Found(())
    best = ranked[0][1]
    close = tuple(name for name, score in ranked if score > best - FUZZY_MARGIN)
    return Found(close, guessed=True)


def nearest(wanted: str, names: Iterable[str], most: int = 3) -> list[str]:
    """Names worth suggesting, the nearest first."""
    return [
        name
        for name, score in _ranked(wanted, list(names), str)[:most]
        if score >= SUGGEST_THRESHOLD
    ]


def _ranked(wanted: str, names: Sequence[str], key: object) -> list[tuple[str, float]]:
    from rapidfuzz import fuzz, process

    if len(wanted) > LONGEST:
        return []
    choices = _comparable(tuple(names), key is _stem)
    query = _squeezed(_stem(wanted) if key is _stem else wanted)
    if not query:
        return []
    rows = process.extract(
        query, choices, scorer=fuzz.WRatio, limit=8, score_cutoff=SUGGEST_THRESHOLD
    )
    return [(names[place], score) for _, score, place in rows]


@lru_cache(maxsize=16)
def _comparable(names: tuple[str, ...], stems: bool) -> list[str]:
    short = [name[:LONGEST] for name in names]
    return [_squeezed(_stem(name) if stems else name) for name in short]


def _slashes(name: str) -> str:
    return name.replace("\\", "/")


def _base(name: str) -> str:
    return PurePosixPath(_slashes(name)).name


MODEL_FILE = re.compile(r"\.(safetensors|sft|ckpt|pt|pth|bin|gguf|onnx)$", re.IGNORECASE)
OTHER_FILE = re.compile(r"\.(json|png|jpe?g|webp)$", re.IGNORECASE)


def is_model_file(name: str) -> bool:
    """Whether a choice of this name is a model's file."""
    return MODEL_FILE.search(name) is not None


def _stem(name: str) -> str:
    return OTHER_FILE.sub("", MODEL_FILE.sub("", _base(name)))


def _squeezed(name: str) -> str:
    """Letters and digits only; ``DPM++ 2M`` and ``dpmpp_2m`` become one, ``Euler a`` is ancestral."""
    spelled = re.sub(r"\ba$", "ancestral", plain(name).replace("+", "p"))
    return "".join(letter for letter in spelled if letter.isalnum())
