"""Read how an image was generated, from the texts that programs other than ComfyUI store in it.

There are two kinds: lines of text as AUTOMATIC1111's web UI writes them (Forge, SD.Next, Civitai and
many savers of ComfyUI too), and JSON (InvokeAI, Fooocus, NovelAI, SwarmUI, Draw Things). Of JSON the
names of members decide, whichever program wrote it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

NAMES: Mapping[str, Sequence[str]] = {
    "positive": ("positive_prompt", "prompt", "c"),
    "negative": ("negative_prompt", "negativeprompt", "negative", "uc"),
    "seeds": ("seed",),
    "models": (
        "model",
        "base_model",
        "base_model_name",
        "model_weights",
        "use_stable_diffusion_model",
    ),
    "more models": ("refiner_model", "vae", "loras"),
    "samplers": ("sampler", "sampler_name"),
    "schedulers": ("scheduler", "noise_schedule"),
    "steps": ("steps", "num_inference_steps"),
    "cfg": ("cfg_scale", "cfgscale", "guidance_scale", "cfg", "scale", "guidance"),
}
"""What a value means, and the names of members that hold it, in the order in which they count."""
WRITTEN = ("comment", "parameters")
"""Members that may hold JSON in a text: NovelAI writes all texts of a PNG so into a WebP."""
MODEL_NAMES = ("name", "model_name", "model", "lora")
FIELD = re.compile(r'(\w[\w \-/]{0,40}): *("[^"\\]*(?:\\.[^"\\]*)*"?|[^,]*)')
"""A setting of AUTOMATIC1111's last line; a value with commas is in quotes."""
LORA_TAG = re.compile(r"<lora:([^:<>\n]{1,200}):")
NEGATIVE = "Negative prompt:"
BRACKETS = re.compile(r"\[([^\[\]]*)\]")
MAX_LINE = 20_000
"""Characters of that line that are read."""
MAX_VALUES, MAX_NESTING = 64, 4


class _Number(str):
    """A number of JSON as it is written: converting one of many digits takes quadratic time."""

    __slots__ = ()


class Settings(NamedTuple):
    """Generation settings as they are written; empty where unknown."""

    positive: str = ""
    negative: str = ""
    seeds: Sequence[str] = ()
    models: Sequence[str] = ()
    samplers: Sequence[str] = ()
    schedulers: Sequence[str] = ()
    steps: Sequence[str] = ()
    cfg: Sequence[str] = ()


def read_settings(texts: Mapping[str, str]) -> Settings:
    """Return the settings in the texts of an image (by name, in lower case), of the first that has some.

    Raises nothing: what is not understood is left out.
    """
    for name in ("parameters", "invokeai_metadata", "sd-metadata", "usercomment", "comment"):
        text = texts.get(name, "").strip()
        found = _from_json(text) if text.startswith("{") else _from_lines(text)
        if found.positive or found.seeds:
            source = texts.get("source", "") if name == "comment" else ""  # NovelAI's model
            models = found.models or ((source,) if source else ())
            description = texts.get("description", "") if name == "comment" else ""
            return found._replace(models=models, positive=found.positive or description)
    return Settings()


# -- lines -----------------------------------------------------------------------------------------


def _from_lines(text: str) -> Settings:
    """Read a prompt, a negative prompt and a line of settings, each but the last of several lines."""
    lines = text.replace("\r\n", "\n").split("\n")
    at = next((at for at in range(len(lines) - 1, -1, -1) if _fields(lines[at])), None)
    if at is None:
        return Settings()
    fields = _fields(lines[at])
    before = lines[:at]
    start = next((n for n, line in enumerate(before) if line.lstrip().startswith(NEGATIVE)), at)
    positive = "\n".join(before[:start]).strip()
    negative = "\n".join(before[start:]).strip().removeprefix(NEGATIVE).strip()
    hashes = fields.get("lora hashes", "").split(",")
    loras = [*LORA_TAG.findall(positive), *(one.partition(":")[0].strip() for one in hashes)]
    names = (fields.get("model", ""), fields.get("refiner", ""), fields.get("vae", ""), *loras)
    return Settings(
        positive,
        negative,
        _some(fields.get("seed")),
        tuple(name for name in names if name)[:MAX_VALUES],
        _some(fields.get("sampler")),
        _some(fields.get("schedule type")),
        _some(fields.get("steps")),
        _some(fields.get("cfg scale") or fields.get("distilled cfg scale")),
    )


def _fields(line: str) -> Mapping[str, str]:
    """The settings of a line by name, in lower case; none unless it has the usual ones."""
    if "Steps: " not in line and "Seed: " not in line:
        return {}
    pairs = FIELD.findall(line[:MAX_LINE])
    fields = {name.strip().lower(): value.strip().strip('"') for name, value in pairs}
    return fields if len(fields.keys() & {"steps", "seed", "sampler", "cfg scale"}) > 1 else {}


def _some(value: str | None) -> Sequence[str]:
    return (value,) if value else ()


# -- JSON ------------------------------------------------------------------------------------------


def _from_json(text: str) -> Settings:
    """Read an object, or the first one inside that says something; it may be in a text, too."""
    document = _object(text)
    written = [str(document[name]) for name in WRITTEN if _is_text(document.get(name))]
    nested = (value for value in document.values() if isinstance(value, dict))
    for candidate in (document, *nested, *map(_object, written)):
        found = _from_members(candidate)
        if found.positive or found.seeds:
            outer = _from_members(document)
            source = _some(str(document["source"])) if _is_text(document.get("source")) else ()
            return found._replace(models=found.models or outer.models or source)
    return Settings()


def _object(text: str) -> Mapping[str, Any]:
    """An object of JSON, the names of its members in lower case; empty for other texts."""
    try:
        document = json.loads(text, parse_int=_Number, parse_float=_Number)
    except (ValueError, RecursionError, MemoryError):
        return {}
    if not isinstance(document, dict):
        return {}
    return {str(name).lower(): value for name, value in document.items()}


def _from_members(written: Mapping[str, Any]) -> Settings:
    members = {name.lower(): value for name, value in written.items()}

    def first(meaning: str) -> Any:
        values = (members.get(name) for name in NAMES[meaning])
        return next((value for value in values if value not in (None, "", [], {})), "")

    positive, negative = _texts(first("positive"))
    if not positive:
        positive, negative = _texts(_caption(members.get("v4_prompt")))
    models = [first("models"), *(members.get(name) for name in NAMES["more models"])]
    return Settings(
        positive,
        _texts(first("negative"))[0]
        or _texts(_caption(members.get("v4_negative_prompt")))[0]
        or negative,
        _scalars(first("seeds")),
        tuple(name for value in models for name in _model_names(value))[:MAX_VALUES],
        _scalars(first("samplers")),
        _scalars(first("schedulers")),
        _scalars(first("steps")),
        _scalars(first("cfg")),
    )


def _caption(value: Any) -> Any:
    """The text of NovelAI's prompts in parts: that of the picture, then those of its persons."""
    caption = value.get("caption") if isinstance(value, dict) else None
    if not isinstance(caption, dict):
        return ""
    persons = caption.get("char_captions")
    listed = persons[:MAX_VALUES] if isinstance(persons, list) else []
    texts = [one.get("char_caption") for one in listed if isinstance(one, dict)]
    return [text for text in (caption.get("base_caption"), *texts) if text]


def _texts(value: Any) -> tuple[str, str]:
    """A prompt and the negative one in it: a text, or several, each alone or as ``prompt``.

    A text of an older InvokeAI has its negative parts in brackets.
    """
    if _is_text(value):
        return value.strip(), ""
    if not isinstance(value, list):
        return "", ""
    texts: list[Any] = [
        one.get("prompt") if isinstance(one, dict) else one for one in value[:MAX_VALUES]
    ]
    joined = "\n\n".join(text.strip() for text in texts if _is_text(text))
    is_invoke = any(isinstance(one, dict) for one in value[:MAX_VALUES])
    negative = ", ".join(BRACKETS.findall(joined)) if is_invoke else ""
    return (BRACKETS.sub("", joined).strip() if is_invoke else joined), negative


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and not isinstance(value, _Number)


def _scalars(value: Any) -> Sequence[str]:
    return _some(value) if isinstance(value, str) else ()


def _model_names(value: Any, depth: int = 0) -> Iterator[str]:
    """The names of a model or of several, which are texts, or members of one."""
    if _is_text(value) and value not in ("", "None"):
        yield value
    elif isinstance(value, dict) and depth < MAX_NESTING:
        named = next((value[name] for name in MODEL_NAMES if value.get(name)), "")
        yield from _model_names(named, depth + 1)
    elif isinstance(value, list) and depth < MAX_NESTING:
        for one in value[:MAX_VALUES]:  # Fooocus: name, weight, hash
            yield from _model_names(one[0] if isinstance(one, list) and one else one, depth + 1)
