"""Assign the saved widget values of a node to its widgets.

The file has a plain list, in the order that the widgets had when it was saved. The editor assigns
it by position (frontend 1.58.1, LGraphNode.configure, migrateWidgetsValues). If that gives invalid
values, because the node type has gained or lost a widget since, the list is aligned with the
widgets by type and range instead.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from comfyui_pipeline.workflow.convert.dynamic_text import as_javascript_text
from comfyui_pipeline.workflow.convert.widgets import (
    COMPARISON,
    CONTROL_VALUES,
    NO_VALUE,
    SEED_NAMES,
    Layout,
    Widget,
    expand,
    inputs_of_choice,
)
from comfyui_pipeline.workflow.schema import COMBO, DYNAMIC_COMBO, NodeType

# Scores of an alignment.
VALID = 4
CERTAIN = 6
UNKNOWN_CHOICE = 2
SKIPPED_WIDGET = -1
DROPPED_VALUE = -2
INVALID = -50

MENU = re.compile(r"^\W*Select the .* add to the text$")
"""The first choice of a combo that is a menu: packs keep it at this choice (Impact, Easy-Use)."""
CUSTOM = re.compile(r"\bcustom\b|自定义|カスタム", re.IGNORECASE)
"""A choice that stands for values in other inputs; packs translate it."""
FORCED_SIZE, CUSTOM_SIDES = "force_size", ("custom_width", "custom_height")
SHOWN = re.compile(r"$|(image|refresh)$|(/api)?/view\?")
"""Values of buttons and of previews."""
LEFT_OUT = "[IMAGE DATA]"
"""Saved in place of data that is too long for a file."""

MAX_ALIGNED = 300
"""Widgets and values together; aligning them takes time by the product of their numbers."""
MAX_UNALIGNED = 1
"""Values that an alignment may leave without a widget."""


def assign(
    layout: Layout, values: Sequence[Any] | Mapping[str, Any], node_type: NodeType
) -> str | None:
    """Set the widgets to their saved values. Returns what was repaired, None for nothing."""
    if isinstance(values, Mapping):
        _assign_by_name(layout, values)
        _add(layout, [*_chosen_inputs(layout, values), *_unlisted(values)], node_type)
        return None
    values, rows = _rows(layout, values)
    repaired = _assign_listed(layout, values, node_type)
    _add(layout, [*_chosen_inputs(layout, {}), *rows], node_type)
    return repaired


def left_over(layout: Layout, values: Sequence[Any] | Mapping[str, Any]) -> list[str | int | float]:
    """Values of a list that no widget takes, without buttons and what the node has shown.

    A class without widgets has no others.
    """
    if isinstance(values, Mapping) or not layout.widgets:
        return []
    left = [v for v in values[len(layout.widgets) :] if isinstance(v, (str, int, float))]
    return [v for v in left if not (isinstance(v, str) and SHOWN.match(v)) and not _is_control(v)]


def _assign_listed(layout: Layout, values: Sequence[Any], node_type: NodeType) -> str | None:
    values = _with_size(layout, _with_own_choices(layout, values))
    if values and all(value is None for value in values):
        values = [None if widget.value is NO_VALUE else widget.value for widget in layout.widgets]
    values = _without_placeholders(layout, values, node_type)
    _assign_by_position(layout, values)
    accepted = _accepted if len(values) == len(layout.widgets) else _valid
    if all(v is None or accepted(w, v) for w, v in zip(layout.widgets, values, strict=False)):
        return None
    order = _aligned(layout.widgets, values)
    if order is None or order == list(range(len(values))):
        return None
    for widget, position in zip(layout.widgets, order, strict=True):
        widget.value = widget.default if position is None else values[position]
    return "its values were saved by another version of this node type and were reassigned"


def _rows(layout: Layout, values: Sequence[Any]) -> tuple[Sequence[Any], list[Widget]]:
    """The values of the node's widgets, and a widget for each LoRA that a list of rows has.

    Such rows are objects, which the schema does not list, and are sent as ``lora_1``, ``lora_2``, …
    """
    rows = [value for value in values if isinstance(value, Mapping) and _is_lora(value)]
    if not rows or len(values) <= len(layout.widgets):
        return values, []
    named = [
        Widget(
            f"lora_{number}", "", {}, {k: v for k, v in row.items() if v is not None or k == "lora"}
        )
        for number, row in enumerate(rows, 1)
    ]
    return [value for value in values if not isinstance(value, Mapping)], named


def _is_lora(row: Mapping[str, Any]) -> bool:
    return "lora" in row and ("strength" in row or "on" in row)


def _chosen_inputs(layout: Layout, values: Mapping[str, Any]) -> list[Widget]:
    """The inputs that the schema lists for the choice of a combo (a film's ``crf``)."""
    found = [widget for combo in layout.widgets for widget in inputs_of_choice(combo)]
    for widget in found:
        widget.value = values.get(widget.name, widget.value)
    return found


def _unlisted(values: Mapping[str, Any]) -> list[Widget]:
    """Values by name whose widgets a pack adds in JavaScript; what is only shown there is an object."""
    return [
        Widget(name, "", {}, value)
        for name, value in values.items()
        if isinstance(value, (str, int, float)) and name.strip()
    ]


def _add(layout: Layout, widgets: Sequence[Widget], node_type: NodeType) -> None:
    """Add widgets that the schema does not list, each to the socket that the file has for it."""
    known = {widget.name for widget in layout.widgets} | {spec.name for spec in node_type.inputs}
    sockets = {s.name: s for s in layout.sockets if s.widget is None} if widgets else {}
    for widget in widgets:
        if widget.name in known:
            continue
        known.add(widget.name)
        layout.widgets.append(widget)
        if widget.name in sockets:
            sockets[widget.name].widget = widget


def _with_own_choices(layout: Layout, values: Sequence[Any]) -> Sequence[Any]:
    """Add the widgets of a combo whose choices are texts of the node itself.

    The file has the chosen text, its index and the texts, the last of which is empty; the editor
    computes the index anew (frontend 1.58.1, extensions/core/customWidgets.ts). The node type has
    only the combo, without choices.
    Returns the values with that index.
    """
    if len(layout.widgets) != 1 or len(values) < 3:
        return values
    combo, (chosen, index, *texts) = layout.widgets[0], values
    if combo.type != COMBO or combo.choices or combo.options.get("remote"):
        return values
    if not isinstance(index, int) or not all(isinstance(text, str) for text in texts):
        return values
    layout.widgets.append(Widget("index", "INT", {}, index))
    layout.widgets += [
        Widget(f"option{number}", "STRING", {}, text) for number, text in enumerate(texts, 1)
    ]
    return [chosen, texts.index(chosen) if chosen in texts else index, *texts]


def normalize(widget: Widget) -> None:
    """What the editor changes after loading: empty combos, choices with an old prefix, comparisons.

    Menus and texts that packs leave out of the file, as far as the value or the choices say so.
    """
    if widget.type == COMPARISON:
        widget.value = widget.default
    if widget.type == COMBO and widget.choices and MENU.search(str(widget.choices[0])):
        widget.value = widget.choices[0]
    if widget.type == "STRING" and widget.value == LEFT_OUT:
        widget.value = widget.default
    if widget.options.get("multiline") and isinstance(widget.value, (int, float)):
        widget.value = as_javascript_text(widget.value)  # a text area holds nothing else
    if widget.type == COMBO and isinstance(widget.value, Mapping):
        widget.value = widget.value.get("content", widget.value)  # a choice with its preview
    if widget.value is None and widget.type == "COMBO" and widget.choices:
        widget.value = widget.choices[0]
    old = widget.value
    if widget.type == "COMBO" and isinstance(old, str) and old not in widget.choices:
        bare = old.removeprefix("sample_")
        widget.value = bare if bare in widget.choices else _same_meaning(widget, old)


def _same_meaning(widget: Widget, old: str) -> str:
    """The choice that says "custom" for a saved one that says it in another language."""
    custom = [c for c in widget.choices if isinstance(c, str) and CUSTOM.search(c)]
    return custom[0] if len(custom) == 1 and CUSTOM.search(old) else old


def _assign_by_name(layout: Layout, values: Mapping[str, Any]) -> None:
    values = {**values, **_forced_size(layout, values)}
    position = 0
    while position < len(layout.widgets):  # setting a dynamic combo adds widgets behind it
        widget = layout.widgets[position]
        if widget.name in values:
            _set(layout, widget, values[widget.name])
        position += 1
    _take_renamed_switch(layout, values)


def _take_renamed_switch(layout: Layout, values: Mapping[str, Any]) -> None:
    """Give the only switch without a value that of the only other one that shares a word with it."""
    missing = [w for w in layout.widgets if w.type == "BOOLEAN" and w.name not in values]
    if len(missing) != 1:
        return
    names = {widget.name for widget in layout.widgets}
    names |= {widget.name for combo in layout.widgets for widget in inputs_of_choice(combo)}
    words = set(missing[0].name.split("_"))
    others = [n for n, v in values.items() if isinstance(v, bool) and n not in names]
    shared = [name for name in others if words & set(name.split("_"))]
    if len(shared) == 1:
        missing[0].value = values[shared[0]]


def _forced_size(layout: Layout, values: Mapping[str, Any]) -> Mapping[str, Any]:
    """The size of a film that an older version saved as a choice: "Disabled", "?x256", "Custom Width".

    A side that the choice leaves open is 0.
    """
    choice = values.get(FORCED_SIZE)
    if not isinstance(choice, str) or any(w.name == FORCED_SIZE for w in layout.widgets):
        return {}
    if match := re.fullmatch(r"(\d+|\?)x(\d+|\?)", choice):
        sides = zip(CUSTOM_SIDES, match.groups(), strict=True)
        return {side: 0 if number == "?" else int(number) for side, number in sides}
    open_sides = {"Disabled": CUSTOM_SIDES, "Custom Height": CUSTOM_SIDES[:1]}
    return dict.fromkeys(({**open_sides, "Custom Width": CUSTOM_SIDES[1:]}).get(choice, ()), 0)


def _with_size(layout: Layout, values: Sequence[Any]) -> Sequence[Any]:
    """A list of an older version with its choice of a film's size replaced by the sides."""
    names = [widget.name for widget in layout.widgets]
    at = names.index(CUSTOM_SIDES[0]) if CUSTOM_SIDES[0] in names else len(values)
    open_sides = _forced_size(layout, {FORCED_SIZE: values[at]}) if at < len(values) else {}
    if not open_sides:
        return values
    sides = [open_sides.get(side, 0) for side in CUSTOM_SIDES]
    numbers = [value for value in values[at + 1 :] if isinstance(value, (int, float))]
    return [*values[:at], *sides, *numbers]


def _assign_by_position(layout: Layout, values: Sequence[Any]) -> None:
    position = 0
    while position < len(layout.widgets) and position < len(values):
        _set(layout, layout.widgets[position], values[position])
        position += 1


def _set(layout: Layout, widget: Widget, value: Any) -> None:
    widget.value = value
    if widget.type == DYNAMIC_COMBO:
        expand(layout, widget)


def _without_placeholders(
    layout: Layout, values: Sequence[Any], node_type: NodeType
) -> Sequence[Any]:
    """Files before frontend 1.16 have a value for each input that has only a socket now."""
    names = {widget.name for widget in layout.widgets}
    placeholders: list[bool] = []
    for required in (True, False):
        for spec in node_type.inputs:
            forced = bool(spec.options.get("forceInput"))
            if spec.required == required and (spec.name in names or forced):
                placeholders.append(forced)
                if spec.options.get("control_after_generate"):
                    placeholders.append(False)
        if required and "upload" in names:
            placeholders.append(False)
    if True not in placeholders or len(values) != len(placeholders):
        return values
    return [value for value, unused in zip(values, placeholders, strict=True) if not unused]


def _valid(widget: Widget, value: Any) -> bool:
    return widget.takes(value) and _in_range(widget, value)


def _accepted(widget: Widget, value: Any) -> bool:
    """Whether the server casts a value of a list that has one for each widget, as when it was saved.

    Where it lists at most one choice, the pack's JavaScript lists the others.
    """
    if not isinstance(value, (str, int, float)) or not widget.sent or widget.type == DYNAMIC_COMBO:
        return _valid(widget, value)
    if widget.type in ("INT", "FLOAT", "STRING") and isinstance(value, bool):
        return False
    if widget.type in ("INT", "FLOAT", "BOOLEAN"):
        return not isinstance(value, str)
    if widget.type == COMBO and len(widget.choices) > 1:
        return widget.takes(value)
    return not _is_control(value) or _valid(widget, value)


def _aligned(widgets: Sequence[Widget], values: Sequence[Any]) -> list[int | None] | None:
    """For each widget the position of its value, None for its default; None if nothing aligns.

    Most values stay in order; one may move to a widget that would get its default otherwise.
    """
    if len(widgets) + len(values) > MAX_ALIGNED or any(w.type == DYNAMIC_COMBO for w in widgets):
        return None
    order = _best_in_order(widgets, values)
    left = [i for i, v in enumerate(values) if i not in order and not _is_control(v)]
    if len(left) > MAX_UNALIGNED:
        return None
    for position in left:
        free = [i for i, w in enumerate(widgets) if order[i] is None and w.sent]
        fitting = [i for i in free if _score(widgets[i], values[position], False) > 0]
        if free and not fitting:
            return None
        if fitting:
            order[fitting[0]] = position
    return order


def _best_in_order(widgets: Sequence[Widget], values: Sequence[Any]) -> list[int | None]:
    """The alignment in order with the best sum of scores (dynamic programming).

    Computed from the last widget to the first: for each position among the values the best score
    of what follows, and the step that leads to it.
    """
    count = len(values)
    below = [DROPPED_VALUE * (count - position) for position in range(count + 1)]
    steps: list[list[str]] = []
    for widget in reversed(widgets):
        best, chosen = [0] * (count + 1), [SKIP] * (count + 1)
        for at in range(count, -1, -1):
            options = []  # of equal ones the first: widgets are most often added at the end
            if at < count:
                is_seed = at + 1 < count and _is_control(values[at + 1])
                options.append((below[at + 1] + _score(widget, values[at], is_seed), TAKE))
                options.append((best[at + 1] + DROPPED_VALUE, DROP))
            options.append((below[at] + SKIPPED_WIDGET * widget.sent, SKIP))
            best[at], chosen[at] = max(options, key=lambda option: option[0])
        below = best
        steps.append(chosen)
    return _positions(list(reversed(steps)))


SKIP, TAKE, DROP = "skip the widget", "take the value", "drop the value"


def _positions(steps: Sequence[Sequence[str]]) -> list[int | None]:
    """For each widget the position of its value by the best steps."""
    order: list[int | None] = []
    at = 0
    for chosen in steps:
        while chosen[at] == DROP:
            at += 1
        order.append(at if chosen[at] == TAKE else None)
        at += chosen[at] == TAKE
    return order


def _is_control(value: Any) -> bool:
    return isinstance(value, str) and value in CONTROL_VALUES


def _score(widget: Widget, value: Any, is_seed: bool) -> int:
    """``is_seed``: the next value is one of ``control_after_generate``, which follows a seed."""
    if value is None:
        return 0
    if not widget.takes(value):
        return INVALID
    if widget.type == "COMBO" and value in widget.choices:
        return CERTAIN
    if not _in_range(widget, value):
        return SKIPPED_WIDGET * 2
    if widget.type == COMBO and widget.choices and not widget.options.get("multi_select"):
        return UNKNOWN_CHOICE
    if is_seed and widget.name in SEED_NAMES:
        return CERTAIN
    return VALID


def _in_range(widget: Widget, value: Any) -> bool:
    if widget.type not in ("INT", "FLOAT"):
        return True
    low, high = widget.options.get("min"), widget.options.get("max")
    return (low is None or value >= low) and (high is None or value <= high)
