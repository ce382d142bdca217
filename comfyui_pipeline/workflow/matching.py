"""Matching of names as people and AIs write them: exact, by spelling, by synonym, by similarity."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import PurePosixPath

from input_server.light_dataclasses import dataclass
from input_server.model_files import model_stem

FUZZY_THRESHOLD = 84.0
"""Similarity (0 to 100, rapidfuzz WRatio) from which a name matches; below it is only suggested."""
FUZZY_MARGIN = 4.0
"""How much more similar than the next one a fuzzy match has to be; closer ones are ambiguous."""
SUGGEST_THRESHOLD = 55.0
"""Similarity from which a name is suggested in an error."""
MAX_CHARACTERS = 500
"""Characters of a name that are compared: similarity, and the order of combining marks (NFKC), take
quadratic time. A longer text matches only itself.
"""

SYNONYMS = (
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
class Match:
    """The names that match: none, one, or several that are equally similar.

    ``fuzzy``: by more than case and width.
    """

    names: tuple[str, ...]
    fuzzy: bool = False


def normalize(text: str) -> str:
    """Fold case and width (NFKC) and strip spaces; returns a text too long for a name as it is."""
    if len(text) > MAX_CHARACTERS:
        return text
    return unicodedata.normalize("NFKC", text).strip().casefold()


def find(text: str, names: Iterable[str], *, strict: bool) -> Match:
    """Match a name: exactly, then without case and width, then by similarity unless ``strict``."""
    known = list(dict.fromkeys(names))
    if text in known:
        return Match((text,))
    if strict:
        return Match(())
    folded = normalize(text)
    same = tuple(name for name in known if normalize(name) == folded)
    return Match(same) if same else fuzzy_match(text, known)


def find_file(text: str, names: Sequence[str], *, strict: bool) -> Match:
    """Match a model file or another choice: folder and extension may be omitted."""
    if text in names:
        return Match((text,))
    if strict or len(text) > MAX_CHARACTERS:
        return Match(())
    for spelled, known in zip(_spellings(text), _by_spelling(tuple(names)), strict=True):
        if spelled and spelled in known:
            return Match(known[spelled], fuzzy=True)
    return fuzzy_match(text, names, stems=True)


def same_file(text: str, names: Sequence[str]) -> tuple[str, ...]:
    """The names that differ from ``text`` in slashes, folder, case or extension only."""
    if len(text) > MAX_CHARACTERS:
        return ()
    for spelled, known in zip(_spellings(text), _by_spelling(tuple(names)), strict=True):
        if spelled and spelled in known:
            return known[spelled]
    return ()


def _spellings(name: str) -> list[str]:
    """A file's name ever shorter: with slashes, without folders, without extension, letters only."""
    shorter = [shorten(name) for shorten in (_slashes, _base, _stem, _letters_only)]
    return [letters(text) for text in shorter for letters in (str, normalize)]


@lru_cache(maxsize=16)
def _by_spelling(names: tuple[str, ...]) -> list[dict[str, tuple[str, ...]]]:
    """For each of ``_spellings`` an index of the names that have it."""
    found: list[dict[str, list[str]]] = [{} for _ in range(8)]
    for name in names:
        for spelled, known in zip(_spellings(name[:MAX_CHARACTERS]), found, strict=True):
            known.setdefault(spelled, []).append(name)
    return [{key: tuple(same) for key, same in known.items()} for known in found]


def find_input(text: str, names: Sequence[str], *, strict: bool) -> Match:
    """Match an input of a node; synonyms match too."""
    exact = find(text, names, strict=True)
    if exact.names or strict:
        return exact
    folded = normalize(text)
    same = tuple(name for name in names if normalize(name) == folded)
    if same:
        return Match(same)
    word = folded.replace(" ", "_").replace("-", "_")
    synonyms = {synonym for group in SYNONYMS if word in group for synonym in group} | {word}
    found = tuple(name for name in names if normalize(name) in synonyms)
    return Match(found, fuzzy=True) if found else fuzzy_match(text, names)


def fuzzy_match(text: str, names: Sequence[str], *, stems: bool = False) -> Match:
    """The most similar name, several that are about as similar, or none.

    ``stems``: compare file names without folder and extension.
    """
    ranked = _ranked(text, names, stems)
    if not ranked or ranked[0][1] < FUZZY_THRESHOLD:
        return Match(())
    best = ranked[0][1]
    close = tuple(name for name, score in ranked if score > best - FUZZY_MARGIN)
    return Match(close, fuzzy=True)


def nearest(text: str, names: Iterable[str], most: int = 3) -> list[str]:
    """Names worth suggesting, the most similar first."""
    ranked = _ranked(text, list(names), stems=False)
    return [name for name, score in ranked[:most] if score >= SUGGEST_THRESHOLD]


def _ranked(text: str, names: Sequence[str], stems: bool) -> list[tuple[str, float]]:
    from rapidfuzz import fuzz, process

    if len(text) > MAX_CHARACTERS:
        return []
    choices = _comparable(tuple(names), stems)
    query = _letters_only(_stem(text) if stems else text)
    if not query:
        return []
    rows = process.extract(
        query, choices, scorer=fuzz.WRatio, limit=8, score_cutoff=SUGGEST_THRESHOLD
    )
    return [(names[place], score) for _, score, place in rows]


@lru_cache(maxsize=16)
def _comparable(names: tuple[str, ...], stems: bool) -> list[str]:
    short = [name[:MAX_CHARACTERS] for name in names]
    return [_letters_only(_stem(name) if stems else name) for name in short]


def _slashes(name: str) -> str:
    return name.replace("\\", "/")


def _base(name: str) -> str:
    return PurePosixPath(_slashes(name)).name


OTHER_FILE = re.compile(r"\.(json|png|jpe?g|webp)$", re.IGNORECASE)


def is_model_file(name: str) -> bool:
    """Whether a choice of this name is a model file."""
    return model_stem(name) is not None


def _stem(name: str) -> str:
    base = _base(name)
    stem = model_stem(base)
    return OTHER_FILE.sub("", base if stem is None else stem)


def _letters_only(name: str) -> str:
    """Letters and digits only: ``DPM++ 2M`` and ``dpmpp_2m`` become equal, ``Euler a`` is ancestral."""
    spelled = re.sub(r"\ba$", "ancestral", normalize(name).replace("+", "p"))
    return "".join(letter for letter in spelled if letter.isalnum())
