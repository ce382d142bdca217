"""The descriptions of the commands in ``plugin-manifest.json``, all that the AI knows about a call.

They derive from the tables of commands, arguments and questions. ``settings_files`` writes them;
the examples are written by hand in the manifest.
"""

from __future__ import annotations

from comfyui_pipeline.arguments import ARGUMENTS, MAX_SEED, QUESTION, Argument
from comfyui_pipeline.commands import COMMANDS, Command
from comfyui_pipeline.info import QUESTIONS

REQUIRED = "必需"
SHOWN_HIGH = 100
"""Ranges that end above it are left out: an error names them, and few callers reach their ends."""
RUN = "run"
"""The command whose description has the arguments that other commands take too."""


def description(command: Command) -> str:
    """Return what the manifest says about a command: its purpose, its arguments, then notes."""
    lines = [f"{command.chinese}\n{command.english}"]
    own = _arguments(command.name)
    if own and (command.name == RUN or own != _arguments(RUN)):
        shared = [] if command.name == RUN else [a for a in own if a in _arguments(RUN)]
        listed = [line(argument) for argument in own if argument not in shared]
        if shared:
            names = ", ".join(f"{a.name} ({REQUIRED})" if a.required else a.name for a in shared)
            listed.append(f"- {names}: as for {RUN}; 同 {RUN}")
        lines.append(
            "Arguments, all strings, optional unless 必需:" if command.name == RUN else "Arguments:"
        )
        lines += sorted(listed, key=lambda line: REQUIRED not in line)
    return "\n".join([*lines, *command.notes])


def _arguments(command: str) -> list[Argument]:
    return [a for a in ARGUMENTS if command in a.commands and not a.hidden]


def line(argument: Argument) -> str:
    """Return the line about one argument."""
    if argument.kind == QUESTION:
        names = ", ".join(f"{q.name} {q.chinese}" for q in QUESTIONS.values() if not q.hidden)
        return f"- {_head(argument)}, one of: {names}"
    notes = f". {argument.note}" if argument.note else ""
    return f"- {_head(argument)}: {argument.english}; {argument.chinese}{notes}"


def _head(argument: Argument) -> str:
    """The name, whether it is required, and its range."""
    facts = [REQUIRED] if argument.required else []
    if argument.low is not None and argument.high is not None and argument.high <= SHOWN_HIGH:
        facts.append(f"{_number(argument.low)}–{_number(argument.high)} {argument.unit}".rstrip())
    return f"{argument.name} ({', '.join(facts)})" if facts else argument.name


def _number(value: float) -> str:
    if value == MAX_SEED:
        return "2^64-1"
    return str(int(value)) if value == int(value) else str(value)


def descriptions() -> dict[str, str]:
    """Return the descriptions of all commands but those that are short for a question."""
    return {name: description(row) for name, row in COMMANDS.items() if not row.question}
