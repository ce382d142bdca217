"""What the control words of a call mean for its job: limits, output nodes, names and formats of files.

Each of them is honoured, or refused before anything is queued.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from comfyui_pipeline.call import ToolCall
from comfyui_pipeline.delivery import Delivery
from comfyui_pipeline.errors import CallError
from comfyui_pipeline.load_workflow import LoadedWorkflow
from comfyui_pipeline.settings import Settings
from comfyui_pipeline.workflow.changes import Plan
from input_server.light_dataclasses import replace

MAX_NAMED = 8

if TYPE_CHECKING:
    from comfyui_pipeline.workflow.saved_names import SavedName
    from comfyui_pipeline.workflow.switches import Switch


def refuse_unsupported(call: ToolCall) -> None:
    """Raise CallError for what would have to happen after the call."""
    if call.webhook_url:
        key = call.spelled.get("webhook_url", "webhook_url")
        raise CallError(
            f'"{key}" is not supported: no address is called at the end of a job. Nothing was queued.',
            'Leave it out and use the command "submit", then '
            '{"command": "result", "prompt_id": "last", "wait": "60"}.',
        )
    if call.filename_prefix or call.folder:
        _saved_name(call)


def wait_seconds(call: ToolCall) -> float | None:
    """How long the caller wants to wait for the job; None where the call does not say."""
    given = [seconds for seconds in (call.wait, call.timeout) if seconds is not None]
    return min(given) if given else None


def deadline(call: ToolCall, settings: Settings, started: float) -> float:
    """Until when ``run`` waits: as the caller wants, at most COMFYUI_TIMEOUT."""
    wanted = wait_seconds(call)
    limit = settings.timeout if wanted is None else min(wanted, settings.timeout)
    return started + limit


def ends_by_wait(call: ToolCall, settings: Settings, *, finished: bool) -> bool:
    """Whether a call returns an unfinished job because the caller wants to wait no longer.

    The embedded server ends with the call, and its job with it.
    """
    wanted = wait_seconds(call)
    if finished or wanted is None or settings.embedded or call.cancel_on_timeout:
        return False
    return wanted < settings.timeout


def limit_notes(call: ToolCall, settings: Settings) -> list[str]:
    """A note where the caller wants to wait longer than a call may take."""
    wanted = wait_seconds(call)
    if wanted is None or wanted <= settings.timeout:
        return []
    key = "wait" if call.wait is not None else "timeout"
    return [
        f'"{call.spelled.get(key, key)}" is {wanted:g} s, but one call waits at most '
        f"{settings.timeout:g} s (COMFYUI_TIMEOUT); a job that takes longer goes on, and its result "
        'is had with the command "result".'
    ]


def switches(call: ToolCall) -> tuple[Switch, ...]:
    """The nodes that a call enables, bypasses or mutes, also in ``params``; a later one counts."""
    from comfyui_pipeline.workflow.switches import ACTIVE, BYPASSED, MUTED, Switch

    named = (("enable", ACTIVE), ("bypass", BYPASSED), ("mute", MUTED))
    found = [
        Switch(name, mode, call.spelled.get(key, key), every=call.all_titled)
        for key, mode in named
        for name in getattr(call, key)
    ]
    for place, one in enumerate(call.params):
        if one.mode is not None:
            name = one.node_id or one.node_title or ""
            every = call.all_titled or one.all
            found.append(Switch(name, one.mode, "params", every, place, one.mode_input))
    return tuple(found)


def without_modes(call: ToolCall, done: Collection[int]) -> ToolCall:
    """The call without the modes in ``params``; ``done``: the entries that gave a node its mode, and
    not a value to an input of such a name.
    """
    if not done:
        return call
    left = []
    for place, one in enumerate(call.params):
        if place in done:
            inputs = {name: v for name, v in one.inputs.items() if name != one.mode_input}
            one = replace(one, inputs={} if one.mode else inputs)
        if one.inputs:
            left.append(one)
    return replace(call, params=tuple(left))


def off_hint(loaded: LoadedWorkflow, call: ToolCall) -> str:
    """What to do about a node that ``params`` names and that is off in the document; "" for none."""
    if loaded.converted is None:
        return ""
    from comfyui_pipeline.workflow.switches import OFF, WORDS, matching_parts

    parts = loaded.converted.parts
    for one in call.params:
        name = one.node_id or one.node_title or ""
        for part in matching_parts(parts, name, strict=True):
            for member in part.members:
                mode = loaded.switched.modes.get(member.id, member.mode)
                if mode in OFF:
                    return (
                        f"Node {member.label} is {WORDS[mode]}, so it does not run; add "
                        f'"enable": ["{member.id}"] to run it.'
                    )
    return ""


def choose_outputs(loaded: LoadedWorkflow, call: ToolCall) -> LoadedWorkflow:
    """The workflow without the nodes that the outputs of the call do not need. Raises PatchError."""
    if not call.only_outputs:
        return _shown_outputs(loaded)
    from comfyui_pipeline.workflow import output_choice

    kept = output_choice.keep_only(
        loaded.prompt,
        loaded.graph,
        output_choice.Wanted(
            call.only_outputs,
            call.spelled.get("output", "output"),
            loaded.converted.parts if loaded.converted else None,
            loaded.switched.modes,
            call.strict,
        ),
    )
    return replace(loaded, prompt=kept)


def _shown_outputs(loaded: LoadedWorkflow) -> LoadedWorkflow:
    """The workflow with the outputs that its author chose for App mode, and those that the call enables."""
    extra = (loaded.ui or {}).get("extra")
    if not isinstance(extra, dict) or not extra.get("linearData"):
        return loaded
    from comfyui_pipeline.workflow import app_mode, output_choice

    graph = loaded.graph
    shown = [node for node in app_mode.read(loaded.ui, graph).outputs if node.is_output_node]
    ids = {node.id for node in shown} | loaded.switched.modes.keys()
    others = [n for n in graph.nodes.values() if n.is_output_node and n.id not in ids]
    if not shown or not others:
        return loaded
    note = (
        f"Only the results that its author shows in App mode were made: "
        f"{', '.join(node.label for node in shown[:MAX_NAMED])}; "
        '"output": "all" makes the others too.'
    )
    kept = output_choice.needed(loaded.prompt, [i for i in ids if i in loaded.prompt])
    return replace(loaded, prompt=kept, notes=(*loaded.notes, note))


def with_saving(
    loaded: LoadedWorkflow, call: ToolCall, plan: Plan, used: Collection[str] = ()
) -> tuple[Plan, Delivery]:
    """The plan with the names and formats that the call gives to its results, and their delivery.

    ``used``: arguments that the workflow's author named. Raises PatchError.
    """
    given = {
        "filename_prefix": call.filename_prefix,
        "folder": call.folder,
        "format": call.image_format,
        "quality": call.quality,
        "metadata": call.strip_metadata,
    }
    taken = {n for n in given if n in used or call.spelled.get(n, n) in used}
    shown = Delivery(
        previews=call.previews,
        return_image=call.return_image,
        strip_metadata=None if "metadata" in taken else call.strip_metadata,
    )
    if not any(value for name, value in given.items() if name not in taken):
        return plan, shown
    from comfyui_pipeline.workflow import saving

    if "filename_prefix" in taken or "folder" in taken:
        call = replace(call, filename_prefix="", folder="")
    wanted = saving.Wanted(
        saved=_saved_name(call),
        format="" if "format" in taken else call.image_format,
        quality=None if "quality" in taken else call.quality,
        strip_metadata=bool(call.strip_metadata) and "metadata" not in taken,
        keys=call.spelled,
    )
    found = saving.plan(loaded.graph, wanted, plan.changes, strict=call.strict)
    plan = replace(
        plan,
        changes=found.changes,
        important=(*plan.important, *found.important),
        notes=(*plan.notes, *found.notes),
    )
    return plan, replace(
        shown,
        format=found.copy_format,
        quality=wanted.quality,
    )


def _saved_name(call: ToolCall) -> SavedName:
    from comfyui_pipeline.workflow import saved_names

    return saved_names.read_saved_name(
        call.filename_prefix,
        call.folder,
        (
            call.spelled.get("filename_prefix", "filename_prefix"),
            call.spelled.get("folder", "folder"),
        ),
    )
