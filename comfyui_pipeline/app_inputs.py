"""Keys of a call that mean an input which the workflow's author shows in App mode."""

from __future__ import annotations

from collections.abc import Mapping

from comfyui_pipeline.argument_keys import fold
from comfyui_pipeline.call import Param, ToolCall
from comfyui_pipeline.load_workflow import LoadedWorkflow
from comfyui_pipeline.workflow.graph import Target
from input_server.light_dataclasses import replace

MAX_KEY = 200


def placed(call: ToolCall, loaded: LoadedWorkflow) -> ToolCall:
    """The call with such keys, the author's label or the input's name, as entries of ``params``."""
    extra = (loaded.ui or {}).get("extra")
    if not call.unknown or not isinstance(extra, dict) or not extra.get("linearData"):
        return call
    shown = _by_word(loaded)
    found = {key: shown[fold(key)] for key in call.unknown if _is_one(key, shown)}
    params = [
        Param({target.name: call.extras[key]}, node_id=target.node.id)
        for key, target in found.items()
        if target is not None
    ]
    unknown = tuple(key for key in call.unknown if key not in found)
    return replace(call, params=(*call.params, *params), unknown=unknown)


def _is_one(key: str, shown: Mapping[str, Target | None]) -> bool:
    return len(key) <= MAX_KEY and shown.get(fold(key)) is not None


def _by_word(loaded: LoadedWorkflow) -> dict[str, Target | None]:
    """Label or name -> the input; None where it is that of several."""
    from comfyui_pipeline.workflow import app_mode

    found: dict[str, Target | None] = {}
    for one in app_mode.read(loaded.ui, loaded.graph, loaded.converted).inputs:
        for word in {fold(one.label[:MAX_KEY]), fold(one.target.name[:MAX_KEY])} - {""}:
            found[word] = None if word in found else one.target
    return found
