"""One row of the table of arguments (``arguments.py``), with the kinds of values and of commands."""

from __future__ import annotations

from collections.abc import Mapping

from input_server.light_dataclasses import dataclass

TEXT, INTEGER, NUMBER, SWITCH, CHOICE, LIST = (
    "text",
    "integer",
    "number",
    "switch",
    "choice",
    "list",
)
SEED, JSON, PARAMS, COMMAND, QUESTION = "seed", "json", "params", "command", "question"
FILE, FILES, SIZE, RATIO, SECONDS, WAIT = "file", "files", "size", "ratio", "seconds", "wait"
NODES, TEXT_LIST = "nodes", "texts"
"""Kinds of values; ``call.READERS`` has a function for each."""

RUN = ("run", "submit")
WORKFLOW = (*RUN, "describe")
JOB = ("status", "result", "cancel")
OUTPUTS = (*RUN, "result")
EVERY = (*WORKFLOW, *JOB, "info", "queue", "free")
"""Commands that take the same arguments."""

ALL, IF_EQUAL, ONE = "all", "if_equal", "one"
"""What one value may set where a role has several targets: all of them; all of them if their
present values are equal; never more than one."""

MAX_SEED = 2**64 - 1
MAX_SIDE = 16384


@dataclass(frozen=True)
class Argument:
    """One key of a call.

    Its value goes into the ``field`` of ``ToolCall``; without a field it is a shortcut argument and
    goes to the inputs that its ``role`` (a key of ``workflow.roles.ROLES``) finds. ``english``,
    ``chinese`` and the ``note`` in both languages are for the AI, in the manifest. ``aliases`` are
    its names in other tools; case, width, hyphens, underscores and spaces do not matter in a key.
    """

    name: str
    kind: str
    english: str
    chinese: str
    commands: tuple[str, ...] = RUN
    note: str = ""
    hidden: bool = False  # not in the manifest: for programs, or rarely needed
    required: bool = False
    aliases: tuple[str, ...] = ()
    numbered: bool = False  # a list whose items may come as image1, image_2, image 03
    common_word: bool = False  # an invalid value may belong to a parameter of a workflow's author
    low: float | None = None
    high: float | None = None
    unit: str = ""
    choices: tuple[str, ...] = ()  # an empty value means the last one
    synonyms: Mapping[str, str] | None = None  # other words -> a choice
    true_choice: str = ""  # the field is whether this was chosen
    switch_values: tuple[str, str] | None = None  # the field's values for false and true
    keeps_empty: bool = False  # an empty text is a value, not an absent argument
    excludes: str = ""  # the argument that it takes the place of
    field: str = ""
    role: str = ""
    input_names: tuple[str, ...] = ()  # for roles that find inputs by name: the first that exists
    input_types: tuple[str, ...] = ()
    targets: str = ALL
    placeholders: tuple[str, ...] = ()  # {{NAME}} in workflow files
    optional_placeholder: bool = False  # empty when the call has no such argument
    node_words: tuple[str, ...] = ()  # node titles in params that mean this role's nodes

    @property
    def is_shortcut(self) -> bool:
        """Whether a role places its value."""
        return bool(self.role)


def words(text: str) -> tuple[str, ...]:
    """The aliases in a text, separated by white space."""
    return tuple(text.split())
