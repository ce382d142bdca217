"""Which keys of a batch belong to which of its parts: ``workflow1``, ``prompt1``, ``workflow2``…"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from comfyui_pipeline import argument_keys

BATCH_KEYS = frozenset({"command", "workflow", "workflow_json", "info"})
"""One of these with a number (``workflow1``) makes the call a batch."""


def numbers_of(document: Mapping[str, Any]) -> tuple[list[int], set[str]]:
    """The numbers of the parts, and what stands before them: ``workflow1`` or ``workflow_1``."""
    found: dict[int, str] = {}
    for key in document:
        name, separator, number = split(key)
        if number and _batch_key(name):
            found[number] = separator
    if found and 1 not in found and any(_batch_key(key) for key in document):
        found[1] = found[min(found)]  # workflow and workflow2
    return sorted(found), set(found.values())


def _batch_key(key: str) -> bool:
    argument, _ = argument_keys.find(key)
    return argument is not None and argument.name in BATCH_KEYS


def part_of(
    document: Mapping[str, Any], number: int, numbers: Sequence[int], separators: set[str]
) -> dict[str, Any]:
    """The keys of one part. Those with its number replace shared ones of the same name.

    ``prompt1`` is part 1's prompt and nothing else, because ``prompt`` is an argument. In a key that
    is not ours the number may belong to the name, as workflow authors choose names like ``$lora_1``:
    ``lora_1`` is shared under that name, and part 1's own value for it is ``lora_11``.
    """
    shared: dict[str, Any] = {}
    own: dict[str, Any] = {}
    stems: dict[str, Any] = {}
    for key, value in document.items():
        if owner := _owner(key, numbers, separators):
            if owner[1] == number:
                own[owner[0]] = value
            continue
        shared[key] = value
        if key.endswith(str(number)) and (stem := key.removesuffix(str(number))):
            stems[stem] = value
    replaced = {argument_keys.meaning(name) for name in own}
    kept = {k: value for k, value in shared.items() if argument_keys.meaning(k) not in replaced}
    added = {key: value for key, value in stems.items() if argument_keys.find(key)[0] is None}
    return {**kept, **added, **own}


def _owner(key: str, numbers: Sequence[int], separators: set[str]) -> tuple[str, int] | None:
    """The argument that a key names for one part, and its number; None for a shared key.

    ``image12`` is image 1 of part 2 when there are parts 1 and 2.
    """
    name, separator, number = split(key)
    if number in numbers and separator in separators and argument_keys.find(name)[0] is not None:
        return name, number
    for number in numbers:
        stem = key.removesuffix(str(number))
        if stem != key and argument_keys.find(stem)[1] is not None:
            return stem, number
    return None


def split(key: str) -> tuple[str, str, int]:
    """``prompt12`` -> ``("prompt", "", 12)``; number 0 for a key that does not end in 1 to 9999."""
    name = key.rstrip("0123456789")
    digits = key[len(name) :]
    if not digits or digits[0] == "0" or len(digits) > 4:
        return key, "", 0
    stem = name.rstrip("_- ")
    return (stem or name), (name[len(stem) :] if stem else ""), int(digits)
