"""What a file saved of a node's widgets -> each widget's value.

The file holds a bare list, in the order that the widgets had when it was saved. The editor takes it
by position (frontend 1.58.1, LGraphNode.configure, migrateWidgetsValues). A list that cannot be
right by position (a class that has gained or lost a widget since) is laid against the widgets anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from comfyui_pipeline.workflow.convert.widgets import (
    CONTROL_VALUES,
    DYNAMIC_COMBO,
    NO_VALUE,
    SEED_NAMES,
    Layout,
    Widget,
    expand,
    options_of,
)

FITS = 4
FITS_LISTED = 6
SKIPPED_WIDGET = -1
DROPPED_VALUE = -2
MISFIT = -50
MOST_ALIGNED = 300
MOST_LEFT_OVER = 1


def assign(
    made: Layout, values: Sequence[Any] | Mapping[str, Any], schema: Mapping[str, Any]
) -> str | None:
    """Give the widgets their saved values; says what was put right, None when nothing was."""
    if isinstance(values, Mapping):
        _by_name(made, values)
        return None
    if values and all(value is None for value in values):
        values = [None if widget.value is NO_VALUE else widget.value for widget in made.widgets]
    listed = _without_dummies(made, values, schema)
    _by_position(made, listed)
    if _plausible(made.widgets, listed):
        return None
    order = _aligned(made.widgets, listed)
    if order is None or order == list(range(len(listed))):
        return None
    for widget, place in zip(made.widgets, order, strict=True):
        widget.value = widget.default if place is None else listed[place]
    return "its values were saved in the order of another version of its class; they were put right"


def settle(widget: Widget) -> None:
    """What the editor does to a value after loading: no empty combos, no old spellings."""
    if widget.value is None and widget.type == "COMBO" and widget.choices:
        widget.value = widget.choices[0]
    old = widget.value
    if widget.type == "COMBO" and isinstance(old, str) and old not in widget.choices:
        bare = old.removeprefix("sample_")
        widget.value = bare if bare in widget.choices else old


def _by_name(made: Layout, values: Mapping[str, Any]) -> None:
    place = 0
    while place < len(made.widgets):
        widget = made.widgets[place]
        if widget.name in values:
            _set(made, widget, values[widget.name])
        place += 1


def _by_position(made: Layout, values: Sequence[Any]) -> None:
    """One after the other; setting a dynamic combo brings its own widgets in behind it."""
    place = 0
    while place < len(made.widgets) and place < len(values):
        _set(made, made.widgets[place], values[place])
        place += 1


def _set(made: Layout, widget: Widget, value: Any) -> None:
    widget.value = value
    if widget.type == DYNAMIC_COMBO:
        expand(made, widget)


def _without_dummies(
    made: Layout, values: Sequence[Any], schema: Mapping[str, Any]
) -> Sequence[Any]:
    """Files before frontend 1.16 hold a value for each input that has only a socket now."""
    names = {widget.name for widget in made.widgets}
    dummies: list[bool] = []
    groups = schema.get("input") or {}
    for group in ("required", "optional"):
        for name, spec in (groups.get(group) or {}).items():
            options = options_of(spec)
            if name in names or options.get("forceInput"):
                dummies.append(bool(options.get("forceInput")))
                if options.get("control_after_generate"):
                    dummies.append(False)
        if group == "required" and "upload" in names:
            dummies.append(False)
    if True not in dummies or len(values) != len(dummies):
        return values
    return [value for value, dummy in zip(values, dummies, strict=True) if not dummy]


def _plausible(widgets: Sequence[Widget], values: Sequence[Any]) -> bool:
    pairs = zip(widgets, values, strict=False)
    return all(v is None or (w.takes(v) and _in_range(w, v)) for w, v in pairs)


def _aligned(widgets: Sequence[Widget], values: Sequence[Any]) -> list[int | None] | None:
    """For each widget the place of its value, None for its default; None when there is no order.

    As many as can keep their order; what is left over must fit one of the widgets without a value.
    """
    if len(widgets) + len(values) > MOST_ALIGNED or any(w.type == DYNAMIC_COMBO for w in widgets):
        return None
    order = _in_order(widgets, values)
    left = [i for i, v in enumerate(values) if i not in order and not _is_control(v)]
    if len(left) > MOST_LEFT_OVER:
        return None
    for place in left:
        free = [i for i, w in enumerate(widgets) if order[i] is None and w.sent]
        fitting = [i for i in free if _fit(widgets[i], values[place], False) > 0]
        if free and not fitting:
            return None
        if fitting:
            order[fitting[0]] = place
    return order


def _in_order(widgets: Sequence[Widget], values: Sequence[Any]) -> list[int | None]:
    """The alignment in order with the best sum of fits, gaps and left-over values.

    From the last widget to the first: the best score of what follows, and the step that leads there.
    """
    count = len(values)
    below = [DROPPED_VALUE * (count - place) for place in range(count + 1)]
    steps: list[list[str]] = []
    for widget in reversed(widgets):
        here, chosen = [0] * (count + 1), [SKIP] * (count + 1)
        for place in range(count, -1, -1):
            ways = [(below[place] + SKIPPED_WIDGET * widget.sent, SKIP)]
            if place < count:
                seed = place + 1 < count and _is_control(values[place + 1])
                ways.append((below[place + 1] + _fit(widget, values[place], seed), TAKE))
                ways.append((here[place + 1] + DROPPED_VALUE, DROP))
            here[place], chosen[place] = max(ways, key=lambda way: way[0])
        below = here
        steps.append(chosen)
    return _followed(list(reversed(steps)))


SKIP, TAKE, DROP = "skip the widget", "take the value", "drop the value"


def _followed(steps: Sequence[Sequence[str]]) -> list[int | None]:
    """For each widget the place that the best steps give it."""
    order: list[int | None] = []
    place = 0
    for chosen in steps:
        while chosen[place] == DROP:
            place += 1
        order.append(place if chosen[place] == TAKE else None)
        place += chosen[place] == TAKE
    return order


def _is_control(value: Any) -> bool:
    return isinstance(value, str) and value in CONTROL_VALUES


def _fit(widget: Widget, value: Any, seed: bool) -> int:
    """``seed``: the next value says how this one changes after a run, as only a seed's does."""
    if value is None:
        return 0
    if not widget.takes(value):
        return MISFIT
    if widget.type == "COMBO" and value in widget.choices:
        return FITS_LISTED
    if not _in_range(widget, value):
        return SKIPPED_WIDGET * 2
    if seed and widget.name in SEED_NAMES:
        return FITS_LISTED
    return FITS


def _in_range(widget: Widget, value: Any) -> bool:
    if widget.type not in ("INT", "FLOAT"):
        return True
    low, high = widget.options.get("min"), widget.options.get("max")
    return (low is None or value >= low) and (high is None or value <= high)
