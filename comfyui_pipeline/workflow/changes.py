"""Changes of a workflow's inputs: one ``Change``, and the ``Planner`` that collects those of a call."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import Any, Literal

from comfyui_pipeline.arguments import role_of
from comfyui_pipeline.errors import PatchError
from comfyui_pipeline.workflow.graph import Graph, Target
from comfyui_pipeline.workflow.schema import FileKind
from comfyui_pipeline.workflow.values import WrongValue, coerce
from input_server.light_dataclasses import dataclass, field, replace

MAX_CHANGES = 100_000
"""Inputs that one call may set, counted each time."""


STAND_IN = "stand-in"
"""The ``part`` of a model that stands in for a missing one; the first lines say so."""


class Origin(Enum):
    """What a change comes from. The value is its ``from`` in the response; "" for its argument."""

    ARGUMENT = ""  # a shortcut argument, or a parameter named in a node's title
    PARAMS = "params"
    GIVEN_SEED = "seed"
    RANDOM_SEED = "drawn"
    FILE_NAME = "file name"
    DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Change:
    """A new value for one input.

    ``argument``: the name of the argument, ``key``: how the caller wrote it, if otherwise. ``part``:
    what the target is in its workflow, such as ``start image``; "" for nothing that needs saying.
    ``mask``: a mask file that becomes the alpha channel of the image that the value names;
    ``on_server``: the value names a file that the server has already. ``given``: the caller's file
    where the value is what the server calls it.
    """

    target: Target
    value: Any
    origin: Origin
    argument: str = ""
    key: str = ""
    part: str = ""
    replaced_link: bool = False
    mask: str | None = None
    on_server: bool = False
    given: str | None = None

    @property
    def source(self) -> str:
        """What it comes from, as the response names it."""
        return self.origin.value or self.argument

    @property
    def is_seed(self) -> bool:
        """Whether it sets a seed that was given or chosen at random."""
        return self.origin in (Origin.GIVEN_SEED, Origin.RANDOM_SEED)

    @property
    def needs_file(self) -> bool:
        """Whether the value names a file that has to be uploaded to the server."""
        spec = self.target.spec
        return (
            spec is not None
            and spec.takes_file
            and isinstance(self.value, str)
            and not self.on_server
        )

    @property
    def file_kind(self) -> FileKind | Literal["mask"]:
        """The kind of file that the input takes; ``mask`` for a mask in an image's input."""
        spec = self.target.spec
        kind = (spec.file_kind if spec else None) or "image"
        is_image = kind in ("image", "animation")
        return "mask" if is_image and role_of(self.argument) == "mask" else kind


def with_value(change: Change, value: str) -> Change:
    """The same change with the name that the server gave to its file."""
    given = change.value if change.given is None and change.needs_file else change.given
    return replace(change, value=value, given=given, on_server=True)


@dataclass(frozen=True, slots=True)
class Plan:
    """All changes of a call.

    ``guesses``: the fuzzy matches they rest on. ``used_keys``: keys of the call that the workflow
    itself names. ``important``: sentences for the first lines of the response, such as keys without
    effect. ``notes``: sentences for its end. ``stale_settings``: sentences on models of the settings
    that the server lacks.
    """

    changes: tuple[Change, ...]
    guesses: tuple[str, ...] = ()
    used_keys: frozenset[str] = frozenset()
    important: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    stale_settings: tuple[str, ...] = ()


class NoRole(PatchError):
    """The workflow has nothing that an argument means."""


def ambiguous(key: str, targets: Sequence[Target], most: int = 30) -> PatchError:
    """The error for a key that could set any of these inputs, of which ``most`` are listed."""
    inputs = "; ".join(f"node {t.node.label}, input {t.name}" for t in targets[:most])
    return PatchError(
        f'"{key}" is ambiguous; it matches {len(targets)} inputs of this workflow.',
        f"Set each with params instead: {inputs}.",
        code="ambiguous",
    )


@dataclass(slots=True)
class Planner:
    """Collects changes; a later change of the same input replaces an earlier one."""

    graph: Graph
    strict: bool
    spelled: Mapping[str, str] = field(default_factory=dict)  # argument -> key as written
    changes: dict[tuple[str, str], Change] = field(default_factory=dict)
    guesses: list[str] = field(default_factory=list)
    used_keys: set[str] = field(default_factory=set)  # keys that are no argument
    important: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    count: int = 0

    def key(self, argument: str) -> str:
        """An argument as the caller wrote it."""
        return self.spelled.get(argument, argument)

    def set(
        self,
        target: Target,
        value: Any,
        origin: Origin,
        argument: str = "",
        *,
        key: str = "",
        part: str = "",
        said: str = "",
    ) -> None:
        """Set an input to a value that its type takes. Raises PatchError if there is none.

        ``said``: how the caller wrote it, where that is neither ``key`` nor the argument.
        """
        self.count += 1
        if self.count > MAX_CHANGES:
            raise PatchError(
                f"The call sets more than {MAX_CHANGES} inputs.", "Split it into several calls."
            )
        linked = self.graph.link(target.node.inputs.get(target.name)) is not None
        said = said or key or self.spelled.get(argument, argument) or target.name
        try:
            coerced = coerce(self.graph, target, value, strict=self.strict)
        except WrongValue as wrong:
            raise wrong if said == target.name else wrong.of_key(said) from None
        if coerced.note:
            self.guesses.append(said + coerced.note.removeprefix(target.name))
        self.changes[_key(target)] = Change(
            target,
            coerced.value,
            origin,
            argument,
            key=key or self.spelled.get(argument, ""),
            part=part,
            replaced_link=linked,
        )

    def value(self, target: Target) -> Any:
        """What an input holds after the changes so far."""
        change = self.changes.get(_key(target))
        return change.value if change else target.node.inputs.get(target.name)

    def set_mask(self, target: Target, mask: str) -> None:
        """Make a mask the alpha channel of an image: the one set before, or the workflow's own."""
        change = self.changes.get(_key(target))
        if change is None:
            value = target.node.inputs.get(target.name)
            key = self.spelled.get("mask", "")
            change = Change(
                target, value, Origin.ARGUMENT, "mask", key=key, part="mask", on_server=True
            )
        self.changes[_key(target)] = replace(change, mask=mask)

    def unset(self, targets: Iterable[Target]) -> list[Target]:
        """Those of the inputs that no change sets so far."""
        return [target for target in targets if _key(target) not in self.changes]

    def plan(self, used_keys: Iterable[str]) -> Plan:
        """Everything collected."""
        guesses = tuple(dict.fromkeys(self.guesses))
        return Plan(
            tuple(self.changes.values()),
            guesses,
            frozenset({*used_keys, *self.used_keys}),
            tuple(dict.fromkeys(self.important)),
            tuple(dict.fromkeys(self.notes)),
        )


def _key(target: Target) -> tuple[str, str]:
    return target.node.id, target.name
