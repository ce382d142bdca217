"""Which nodes a call bypasses, mutes or enables: each name is a node's id, title or type, or a group's
title, found among all nodes of a workflow, also those that do not run now.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from comfyui_pipeline.errors import PatchError
from comfyui_pipeline.workflow import matching
from comfyui_pipeline.workflow.node_label import node_label
from input_server.light_dataclasses import dataclass, field

ACTIVE, MUTED, BYPASSED = 0, 2, 4
"""Modes of nodes in the editor; all others run too."""
OFF = (MUTED, BYPASSED)
WORDS = {ACTIVE: "enabled", MUTED: "muted", BYPASSED: "bypassed"}
MAX_LISTED = 30
MAX_SHOWN = 80
MAX_NAMED = 8
MAX_SWITCHES = 200
"""Names of one call; each is compared with all nodes."""
GROUP = r"(?is)(?:group|分组|组)[ \t]{0,9}[:：][ \t]{0,9}(.+)"
"""``group: Upscale`` means a group, where a node has the same title."""


@dataclass(frozen=True, slots=True)
class Part:
    """One node of a workflow. ``id``: that of the prompt, or of a subgraph's node around others.

    ``around``: the ids of the subgraph nodes that it is in, outermost first. ``takes``: its inputs.
    """

    id: str
    title: str
    class_type: str
    mode: int = ACTIVE
    around: tuple[str, ...] = ()
    takes: frozenset[str] = frozenset()

    @property
    def label(self) -> str:
        return node_label(self.id, self.title, self.class_type)

    @property
    def members(self) -> tuple[Part, ...]:
        return (self,)


@dataclass(frozen=True, slots=True)
class Group:
    """A group of the editor and the nodes inside its frame."""

    title: str
    members: tuple[Part, ...]

    @property
    def label(self) -> str:
        ids = ", ".join(part.id for part in self.members[:MAX_NAMED])
        return f'group "{self.title[:MAX_SHOWN]}" (nodes {ids}{_more(self.members, MAX_NAMED)})'


@dataclass(frozen=True, slots=True)
class Parts:
    """All nodes and groups of a workflow. ``complete``: it would show nodes that are off."""

    nodes: tuple[Part, ...]
    groups: tuple[Group, ...] = ()
    complete: bool = False


@dataclass(frozen=True, slots=True)
class Switch:
    """A name of the call and the mode for what it names. ``key``: the argument, as written.

    ``every``: all nodes of that name. ``entry``: number of the entry of ``params`` that it comes from;
    ``input_name``: if a node has an input of this name, the entry means that.
    """

    name: str
    mode: int
    key: str
    every: bool = False
    entry: int | None = None
    input_name: str = ""


@dataclass(frozen=True, slots=True)
class Broken:
    """A node that runs and lacks a required input, as that comes from one that is off.

    ``by_call``: whether the call switched that one; else it is off in the workflow.
    """

    node_id: str
    input_name: str
    off: str
    off_label: str
    mode: int
    by_call: bool = True


@dataclass(frozen=True, slots=True)
class Chosen:
    """``modes``: id -> new mode; ``said``: what was changed, in words; ``entries``: those of ``params``
    that are done. ``broken``: what cannot run because of that.
    """

    modes: Mapping[str, int] = field(default_factory=dict)
    said: tuple[str, ...] = ()
    entries: frozenset[int] = frozenset()
    broken: tuple[Broken, ...] = ()


def choose(parts: Parts, switches: Sequence[Switch], *, strict: bool) -> Chosen:
    """The modes that a call gives to nodes. Raises PatchError for an unknown or ambiguous name."""
    if len(switches) > MAX_SWITCHES:
        raise PatchError(
            f"{len(switches)} nodes and groups are named to be switched; at most {MAX_SWITCHES} can be.",
            "Name groups instead of their nodes.",
        )
    modes: dict[str, int] = {}
    said: dict[str, None] = {}
    entries: set[int] = set()
    for switch in switches:
        for found in _named(parts, switch, strict=strict):
            members = found.members
            if switch.input_name and any(switch.input_name in one.takes for one in members):
                continue
            new = _enabled(parts, members) if switch.mode == ACTIVE else members
            was = all(modes.get(one.id, one.mode) == switch.mode for one in new)
            modes |= {one.id: switch.mode for one in new}
            label = found.label if isinstance(found, Group) else f"node {found.label}"
            said[f"{WORDS[switch.mode]} {label}{' (as it was)' if was else ''}"] = None
            if switch.entry is not None:
                entries.add(switch.entry)
    return Chosen(modes, tuple(said), frozenset(entries))


def _enabled(parts: Parts, members: Sequence[Part]) -> list[Part]:
    """What has to be active for these: the subgraph nodes around them that are off, and the inside of
    a subgraph whose nodes are all off, as the editor copies the mode of the node to them.
    """
    outer = {ident for one in members for ident in one.around}
    found = [one for one in parts.nodes if one.id in outer and one.mode in OFF]
    within: dict[str, list[Part]] = {}
    for one in parts.nodes:
        if one.around:
            within.setdefault(one.around[-1], []).append(one)
    waiting = list(members)
    while waiting:
        one = waiting.pop()
        found.append(one)
        inside = within.get(one.id)
        if inside and one.mode in OFF and all(other.mode in OFF for other in inside):
            waiting += inside
    return found


# -- names -----------------------------------------------------------------------------------------

Found = Part | Group


def _named(parts: Parts, switch: Switch, *, strict: bool) -> Iterator[Found]:
    """What a name means: all of it, else each part of a list that is written with commas."""
    found = matching_parts(parts, switch.name, strict=True)
    if not found and switch.entry is None and len(names := _split(switch.name)) > 1:
        for name in names:
            yield from _one(parts, switch, name, matching_parts(parts, name, strict=strict))
        return
    found = found or matching_parts(parts, switch.name, strict=strict)
    yield from _one(parts, switch, switch.name, found)


def _one(parts: Parts, switch: Switch, name: str, found: Sequence[Found]) -> Sequence[Found]:
    if not found:
        raise _unknown(parts, switch, name)
    if len(found) > 1 and not switch.every:
        listed = "; ".join(one.label for one in found[:MAX_LISTED])
        raise PatchError(
            f"{len(found)} parts of this workflow match {name[:MAX_SHOWN]!r}: {listed}.",
            f'Name one by its id, a group as "group: {name[:MAX_SHOWN]}", or add "all": true for all '
            "of them.",
            code="ambiguous",
        )
    return found


def _split(text: str) -> list[str]:
    from comfyui_pipeline.value_lists import split_names

    return [name.strip() for name in split_names(text) if name.strip()]


def matching_parts(parts: Parts, name: str, *, strict: bool) -> list[Found]:
    """By id, by title, by type, and unless strict by similarity."""
    if same := [part for part in parts.nodes if part.id == name]:
        return [*same]
    only_groups = (
        re.fullmatch(GROUP, name.strip()) if len(name) <= matching.MAX_CHARACTERS else None
    )
    nodes = [] if only_groups else parts.nodes
    name = only_groups[1].strip() if only_groups else name
    titled: list[Found] = [*nodes, *parts.groups]
    for words in (lambda text: text, matching.normalize):
        if same_title := [one for one in titled if words(one.title) == words(name)]:
            return same_title
    word = matching.normalize(name)
    of_type: list[Found] = [one for one in nodes if matching.normalize(one.class_type) == word]
    if of_type or strict:
        return of_type
    names = dict.fromkeys([*(one.title for one in titled), *(one.class_type for one in nodes)])
    likely = matching.fuzzy_match(name, [one for one in names if one]).names
    if len(likely) != 1:
        return []
    return [
        one
        for one in titled
        if one.title == likely[0] or (isinstance(one, Part) and one.class_type == likely[0])
    ]


def _unknown(parts: Parts, switch: Switch, name: str) -> PatchError:
    hints = []
    nodes = parts.nodes
    if switch.mode == ACTIVE and not parts.complete:
        hints.append(
            "A workflow in API format holds no nodes that are bypassed or muted; to enable some, give "
            "the file that the editor saves."
        )
    elif switch.mode == ACTIVE:
        nodes = tuple(one for one in nodes if one.mode in OFF)
        hints += [] if nodes else ["No node of it is bypassed or muted."]
    if parts.groups:
        groups = "; ".join(f'"{one.title[:MAX_SHOWN]}"' for one in parts.groups[:MAX_LISTED])
        hints.append(f"Its groups are: {groups}{_more(parts.groups)}.")
    if nodes:
        state = "Bypassed or muted are" if nodes is not parts.nodes else "Its nodes are"
        labels = "; ".join(one.label for one in nodes[:MAX_LISTED])
        hints.append(f"{state}: {labels}{_more(nodes)}.")
    return PatchError(
        f'"{switch.key}" names {name[:MAX_SHOWN]!r}, which is no node and no group of this workflow.',
        " ".join(hints),
        code="unknown_node",
    )


def _more(listed: Sequence[object], most: int = MAX_LISTED) -> str:
    return f" and {len(listed) - most} more" if len(listed) > most else ""
