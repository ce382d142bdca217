"""Values of arguments: a function for each kind, for what hosts and callers write for it.

Each takes the value, the row and the key as the caller wrote it, returns None for a value that is
as if it were absent, and raises CallError.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from comfyui_pipeline import arguments
from comfyui_pipeline.arguments import Argument
from comfyui_pipeline.bounded import json_text, numbers
from comfyui_pipeline.call_document import MAX_SHOWN, check_value, invalid_call, type_name
from comfyui_pipeline.call_params import read_params
from comfyui_pipeline.errors import CallError
from input_server.parse_values import parse_boolean, parse_count

if TYPE_CHECKING:
    from comfyui_pipeline.size_values import SizeRequest

MAX_LISTED = 10_000
"""Entries of ``params``, ``loras`` and ``images`` in one call."""
RANDOM_WORDS = ("random", "randomize", "rand", "auto", "none", "随机", "隨機")
ROUNDED_MAX_SEED = ("18446744073709552000", "1.8446744073709552e+19")
"""The largest seed as JavaScript and Python write it after rounding it to a float."""
YES = (
    "是",
    "开",
    "开启",
    "真",
    "对",
    "要",
    "開",
    "開啟",
    "y",
    "t",
    "enable",
    "enabled",
    "✓",
    "启用",
)
NO = (
    "否",
    "关",
    "关闭",
    "假",
    "不",
    "不要",
    "關",
    "關閉",
    "n",
    "f",
    "disable",
    "disabled",
    "none",
    "禁用",
)


def read_text(value: Any, argument: Argument, key: str) -> str | None:
    if isinstance(value, dict) and argument.role == "positive_text":
        import json

        return json.dumps(value, ensure_ascii=False)  # some models take such prompts
    return _text(value, key, empty=argument.keeps_empty)


def _text(value: Any, key: str, *, empty: bool = False) -> str | None:
    """A string without outer spaces; None for an empty one unless ``empty`` allows it."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise invalid_call(f'"{key}" is {type_name(value)}; it must be a string.')
    text = str(value).strip()
    return text if text or empty else None


# -- numbers ---------------------------------------------------------------------------------------


def _plain(text: str) -> str:
    """The text in ASCII digits and lower case, without quotation marks around it."""
    if text.isalnum() and text.isascii():
        return text.lower()
    from comfyui_pipeline.number_values import plain

    return plain(text)


def _bare_number(text: str, argument: Argument) -> str:
    """The number in a text without its unit; the text itself if it is none."""
    if numbers.parse_number(text) is not None:
        return text
    from comfyui_pipeline.number_values import plain, without_unit

    return without_unit(plain(text), argument)


def read_integer(value: Any, argument: Argument, key: str) -> int | None:
    text = _text(value, key)
    if text is None:
        return None
    number = parse_integer(_bare_number(text, argument))
    if argument.name == "clip_skip" and number is not None:
        number = -max(1, abs(number))  # other programs count the layers without a sign
    low, high = int(argument.low or 0), int(argument.high or arguments.MAX_SEED)
    if number is None or not low <= number <= high:
        raise invalid_call(
            f'"{key}" is {text[:MAX_SHOWN]!r}; it must be an integer from {low} to {high}.'
        )
    return number


def read_number(value: Any, argument: Argument, key: str) -> float | None:
    text = _text(value, key)
    if text is None:
        return None
    number = numbers.parse_number(_bare_number(text, argument))
    return _in_range(number, text, argument, key)


def _in_range(number: float | None, text: str, argument: Argument, key: str) -> float:
    low, high = argument.low, argument.high
    if number is None or (low is not None and number < low) or (high is not None and number > high):
        between = "" if low is None or high is None else f" from {low:g} to {high:g}"
        unit = " (seconds)" if argument.unit == "s" else ""
        raise invalid_call(f'"{key}" is {text[:MAX_SHOWN]!r}; it must be a number{between}{unit}.')
    return number


def read_seed(value: Any, argument: Argument, key: str) -> int | None:
    """A given seed; None for a random one: absent, -1 or ``random``."""
    text = _text(value, key)
    if text is None or _plain(text) in RANDOM_WORDS or parse_integer(_plain(text)) == -1:
        return None
    if text.strip() in ROUNDED_MAX_SEED:
        return arguments.MAX_SEED
    return read_integer(text, argument, key)


def parse_integer(text: str) -> int | None:
    """``"512"`` and ``"512.0"`` -> 512, ``"-1"`` -> -1; None for anything else, or beyond a seed."""
    head, _, tail = text.partition(".")
    if tail.strip("0") or head[1:2] in ("+", "-"):
        return None
    number = parse_count(head.lstrip("+-"), at_most=arguments.MAX_SEED)
    return -number if number is not None and head.startswith("-") else number


# -- times -----------------------------------------------------------------------------------------


def read_seconds(value: Any, argument: Argument, key: str) -> float | None:
    text = _text(value, key)
    if text is None:
        return None
    return _in_range(_seconds(text), text, argument, key)


def _seconds(text: str) -> float | None:
    if (number := numbers.parse_number(text)) is not None:
        return number
    from comfyui_pipeline.number_values import parse_seconds

    return parse_seconds(text)


def read_wait(value: Any, argument: Argument, key: str) -> float | bool | None:
    """Seconds; False for no waiting at all, True for as long as it takes."""
    text = _text(str(value).lower() if isinstance(value, bool) else value, key)
    if text is None:
        return None
    if (seconds := _seconds(text)) is None and (chosen := parse_switch(text)) is not None:
        return chosen
    return _in_range(seconds, text, argument, key)


# -- words -----------------------------------------------------------------------------------------


def read_switch(value: Any, argument: Argument, key: str) -> bool | str:
    chosen = switch(value, key)
    return argument.switch_values[chosen] if argument.switch_values else chosen


def switch(value: Any, key: str) -> bool:
    word = str(value).strip().lower()
    chosen = parse_switch(word) if word else False
    if chosen is not None:
        return chosen
    raise invalid_call(f'"{key}" is {word[:MAX_SHOWN]!r}; it must be true or false.')


def parse_switch(text: str) -> bool | None:
    """The boolean that a word means, English or Chinese; None for any other word."""
    word = _plain(text)
    if word in YES or word in NO:
        return word in YES
    return parse_boolean(word)


def read_choice(value: Any, argument: Argument, key: str) -> bool | str:
    text = str(value) if isinstance(value, bool) else _text(value, key)
    word = _plain(text or argument.choices[-1])
    if word not in argument.choices:
        word = (argument.synonyms or {}).get(word, word)
    if word not in argument.choices:
        raise invalid_call(f'"{key}" is {word[:MAX_SHOWN]!r}.', one_of(argument.choices))
    return word == argument.true_choice if argument.true_choice else word


def one_of(names: Iterable[str]) -> str:
    """The end of an error about an unknown word."""
    return f"Use one of: {', '.join(names)}."


# -- lists and files -------------------------------------------------------------------------------


def read_list(value: Any, argument: Argument, key: str) -> tuple[str, ...] | None:
    """Strings in a list, in a JSON list inside a string, or separated by lines or commas."""
    from comfyui_pipeline.value_lists import split_names

    value = as_list(value, key)
    items = split_names(value) if isinstance(value, str) else _named(value)
    return _checked_items(items, value, key)


def read_texts(value: Any, argument: Argument, key: str) -> tuple[str, ...] | None:
    """Sentences, which contain commas: in a list, its JSON, or one in each line."""
    value = as_list(value, key)
    return _checked_items(
        value.split("\n") if isinstance(value, str) else _named(value), value, key
    )


def read_nodes(value: Any, argument: Argument, key: str) -> tuple[str, ...] | None:
    """Names of nodes and groups, which may contain commas: in a list, its JSON, or separated by lines."""
    value = as_list(value, key)
    if isinstance(value, dict):
        on = [name for name, one in value.items() if parse_boolean(str(one).strip()) is True]
        value = on if len(on) == len(value) else False
    if isinstance(value, bool) or str(value).strip().lower() in ("true", "false"):
        raise invalid_call(
            f'"{key}" has to name nodes or groups, by title or id: {{"{key}": ["Upscale", "12"]}}.'
        )
    if isinstance(value, (int, float)):
        value = str(value)
    names = value.split("\n") if isinstance(value, str) else _named(value)
    return _checked_items(names, value, key)


def _named(value: Any) -> list[str] | None:
    """``["a", {"name": "b", "strength": 0.5}]`` and ``{"a": 0.5}`` -> ``a``, ``b:0.5``."""
    if isinstance(value, dict) and not {"name", "lora", "path"} & value.keys():
        value = [{"name": name, "strength": strength} for name, strength in value.items()]
    found = []
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, dict):
            name = next(
                (item[k] for k in ("name", "lora", "path", "model", "file") if k in item), ""
            )
            weights = ("strength", "weight", "scale", "strength_model")
            strength = next((item[k] for k in weights if k in item), None)
            item = f"{name}:{strength}" if name and strength is not None else name
        if isinstance(item, bool) or not isinstance(item, (str, int, float)):
            return None
        found.append(str(item))
    return found


def read_file(value: Any, _argument: Argument, key: str) -> str | None:
    """The URL, path, name or content of one file, also inside an object."""
    if isinstance(value, str):
        return value.strip() or None
    from comfyui_pipeline.value_lists import file_text

    found = file_text(value)
    if found is None:
        raise invalid_call(f'"{key}" is {type_name(value)}; it must be a string.')
    return found.strip() or None


def read_files(value: Any, _argument: Argument, key: str) -> tuple[str, ...] | None:
    from comfyui_pipeline.value_lists import file_text, split_files

    value = as_list(value, key)
    if isinstance(value, str):
        return _checked_items(split_files(value), value, key)
    texts = [file_text(item) for item in (value if isinstance(value, list) else [value])]
    items = None if None in texts else [text for text in texts if text is not None]
    return _checked_items(items, value, key)


def as_list(value: Any, key: str) -> Any:
    """A list that is written as JSON inside a string."""
    if not isinstance(value, str) or value.lstrip()[:1] not in ("[", "{"):
        return value
    from comfyui_pipeline.loose_json import read_loosely

    try:
        read = read_loosely(value)
    except json_text.InvalidJson as invalid:
        if value.lstrip().startswith("{"):
            return value
        raise CallError(
            f'"{key}" is a string that {invalid}.', "Give the list itself, or its JSON."
        ) from None
    check_value(key, read)
    return read


def _checked_items(items: Sequence[str] | None, value: Any, key: str) -> tuple[str, ...] | None:
    if items is None:
        raise invalid_call(f'"{key}" is {type_name(value)}; it must be a list of strings.')
    found = tuple(item.strip() for item in items if item.strip())
    if len(found) > MAX_LISTED:
        raise invalid_call(f'"{key}" has {len(found)} entries; at most {MAX_LISTED} are allowed.')
    return found or None


# -- sizes, documents ------------------------------------------------------------------------------


def read_size(value: Any, _argument: Argument, key: str) -> SizeRequest | None:
    if value == "":
        return None
    from comfyui_pipeline import size_values

    if "megapixel" in key.lower() and size_values.is_number(value):
        value = f"{value} MP"
    found = size_values.parse_size(as_list(value, key))
    if found is None:
        raise invalid_call(
            f'"{key}" is {str(value)[:MAX_SHOWN]!r}; it must be a size such as 768x512, '
            "portrait, landscape, square, 16:9 or 1080p.",
        )
    return found


def read_ratio(value: Any, _argument: Argument, key: str) -> tuple[float, float] | None:
    if value == "":
        return None
    from comfyui_pipeline import size_values

    found = size_values.parse_ratio(as_list(value, key))
    if found is None:
        raise invalid_call(
            f'"{key}" is {str(value)[:MAX_SHOWN]!r}; it must be a ratio such as 16:9.'
        )
    return found


def read_json(value: Any, argument: Argument, key: str) -> Any:
    """A value that may be written as JSON inside a string."""
    if not isinstance(value, str):
        return value
    if not value.strip():
        return None
    try:
        read = json_text.read(value)
    except json_text.InvalidJson as invalid:
        from comfyui_pipeline.loose_json import read_loosely

        try:
            read = read_loosely(value)
        except json_text.InvalidJson:
            raise CallError(
                f'"{key}" is a string that {invalid}.', "Give the object itself, or its JSON."
            ) from None
    check_value(argument.name, read)
    return read


READERS: Mapping[str, Callable[[Any, Argument, str], Any]] = {
    arguments.TEXT: read_text,
    arguments.INTEGER: read_integer,
    arguments.NUMBER: read_number,
    arguments.SWITCH: read_switch,
    arguments.CHOICE: read_choice,
    arguments.LIST: read_list,
    arguments.TEXT_LIST: read_texts,
    arguments.NODES: read_nodes,
    arguments.SEED: read_seed,
    arguments.JSON: read_json,
    arguments.PARAMS: lambda value, _argument, key: read_params(value, key),
    arguments.COMMAND: read_text,
    arguments.FILE: read_file,
    arguments.FILES: read_files,
    arguments.SIZE: read_size,
    arguments.RATIO: read_ratio,
    arguments.SECONDS: read_seconds,
    arguments.WAIT: read_wait,
}
"""Kind of an argument -> the function that reads its value; None means as if it were absent."""
