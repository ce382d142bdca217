"""The sockets and widgets that the editor creates for a node of a given type.

Which inputs become widgets, their order, which of them have a value in the saved file, and their
defaults follow frontend 1.58.1: litegraphService.ts, widgets/composables/*.ts,
core/graph/widgets/dynamicWidgets.ts, extensions/core/upload*.ts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from comfyui_pipeline.workflow.schema import (
    COMBO,
    DYNAMIC_COMBO,
    MATCH_TYPE,
    Autogrow,
    InputSpec,
    NodeType,
)
from input_server.light_dataclasses import dataclass, field, replace

COMPARISON = "IMAGECOMPARE"
"""Shows two images; its value, two texts, is never saved (useImageCompareWidget.ts)."""
VALUE_WIDGETS = frozenset({"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"})
OTHER_WIDGETS = frozenset(
    {
        "BOUNDING_BOX",
        "BOUNDING_BOXES",
        "CAMERA_ANGLE_VIEW",
        "CAMERA_INFO_STATE",
        "CHART",
        "COLOR",
        "COLORS",
        DYNAMIC_COMBO,
        "COMPOSITOR",
        "CURVE",
        "GALLERIA",
        COMPARISON,
        "LIGHT_INFO_PREVIEW",
        "MARKDOWN",
        "PAINTER",
        "PREVIEW_3D",
        "RANGE",
        "RESOLUTION_PREVIEW",
        "TEXTAREA",
        "VIDEO_EDIT",
    }
)
BROWSER_WIDGETS = frozenset({"AUDIO_RECORD", "LOAD_3D", "LOAD_3D_ADVANCED", "WEBCAM"})
"""Widgets that read their value in the browser when the prompt is queued: a camera, a 3D view."""

WIDGETS = VALUE_WIDGETS | OTHER_WIDGETS | BROWSER_WIDGETS
SEED_NAMES = frozenset({"seed", "noise_seed"})
CONTROL = "control_after_generate"
CONTROL_VALUES = frozenset({"fixed", "increment", "decrement", "randomize", "increment-wrap"})
UPLOAD_FLAGS = ("image_upload", "video_upload", "animated_image_upload")
NO_VALUE: Any = object()
"""The value of a combo without choices: the input is left out of the prompt."""


@dataclass(slots=True)
class Widget:
    """One widget of one node. ``sent``: it goes into the prompt (``control_after_generate`` not).

    ``spec``: the input of a dynamic combo, whose value decides which inputs follow it.
    """

    name: str
    type: str
    options: Mapping[str, Any]
    value: Any
    choices: tuple[Any, ...] = ()
    sent: bool = True
    spec: InputSpec | None = None

    @property
    def default(self) -> Any:
        return _default(self.type, self.options, self.choices)

    def takes(self, value: Any) -> bool:
        """Whether a saved value has the right type for this widget."""
        if self.name == CONTROL and not self.sent:
            return isinstance(value, bool) or value in tuple(CONTROL_VALUES)
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if self.type == "INT":
            return number and (isinstance(value, int) or value.is_integer())
        if self.type == "FLOAT":
            return number
        if self.type == "BOOLEAN":
            return isinstance(value, bool)
        if self.type == "STRING":
            return isinstance(value, str)
        if self.type == "COMBO" and self.choices and not self.options.get("multi_select"):
            if isinstance(value, str) and value in CONTROL_VALUES - set(self.choices):
                return False
            return type(value) in {type(choice) for choice in self.choices} | {str}
        return True


@dataclass(slots=True)
class Socket:
    """One input socket of one node; a link to it replaces the value of ``widget``."""

    name: str
    type: str
    widget: Widget | None = None
    link: int | None = None
    optional: bool = False


@dataclass(slots=True)
class Layout:
    """The sockets and widgets of a node, each in the editor's order."""

    sockets: list[Socket] = field(default_factory=list)
    widgets: list[Widget] = field(default_factory=list)


def layout(node_type: NodeType) -> Layout:
    """The layout of a new node: first the sockets without a widget, then one for each widget."""
    result = Layout()
    for spec in node_type.editor_order:
        _add_plain_socket(result, spec)
    for spec in node_type.editor_order:
        _add_widget(result, spec)
    if _has_upload_button(node_type):
        result.widgets.append(Widget("upload", "BUTTON", {}, "image", sent=False))
    return result


def _has_upload_button(node_type: NodeType) -> bool:
    for spec in node_type.inputs:
        if not spec.required:
            continue
        if spec.type == COMBO and any(spec.options.get(flag) is True for flag in UPLOAD_FLAGS):
            return True
        if spec.name == "audio" and spec.options.get("audio_upload") is True:
            return True
    return False


def _widget_type(spec: InputSpec) -> str | None:
    """The type of the widget of this input; None when it has only a socket."""
    if spec.options.get("forceInput"):
        return None
    kind = str(spec.options.get("widgetType") or spec.type)
    if kind not in WIDGETS and spec.type in VALUE_WIDGETS:
        kind = spec.type  # a widget of an extension, for the same kind of value
    return kind if kind in WIDGETS else None


def _add_plain_socket(result: Layout, spec: InputSpec) -> None:
    """Add the socket of an input without a widget, or the first inputs of an autogrow input."""
    if _widget_type(spec) is not None:
        return
    if spec.autogrow is not None:
        for member in _first_members(spec.name, spec.autogrow):
            _add_plain_socket(result, member)
            _add_widget(result, member)
        return
    kind = spec.allowed_types if spec.type == MATCH_TYPE else spec.type
    result.sockets.append(Socket(spec.name, kind, optional=not spec.required))


def _first_members(group: str, template: Autogrow) -> Iterator[InputSpec]:
    """The inputs that a new node has for an autogrow input: ``group.prefix0`` or ``group.name``."""
    count = min(max(1, template.minimum + 1), template.maximum)
    for number in range(count):
        for spec in template.inputs:
            prefix = template.prefix if len(template.inputs) == 1 else spec.name
            ending = template.names[number] if template.names else f"{prefix}{number}"
            required = spec.required and number < template.minimum
            yield replace(spec, name=f"{group}.{ending}", required=required)


def _add_widget(result: Layout, spec: InputSpec) -> None:
    """Add the widget of an input, its control widgets, and its socket."""
    kind = _widget_type(spec)
    if kind is None:
        return
    choices = spec.choices or _listed(spec.options.get("options"))
    default = _default(kind, spec.options, choices)
    widget = Widget(spec.name, kind, spec.options, default, choices, spec=spec)
    result.widgets.append(widget)
    result.widgets += _controls(widget)
    if not spec.options.get("socketless"):
        result.sockets.append(Socket(spec.name, spec.type, widget, optional=not spec.required))
    if kind == DYNAMIC_COMBO:
        expand(result, widget)


def inputs_of_choice(combo: Widget) -> list[Widget]:
    """The widgets that ``formats`` of a combo lists for its value: ``[name, type or choices, options]``."""
    formats = combo.options.get("formats")
    by_choice = formats if isinstance(formats, dict) else {}
    listed = by_choice.get(combo.value) if isinstance(combo.value, str) else None
    found = []
    for entry in listed if isinstance(listed, list) else ():
        if not isinstance(entry, list) or len(entry) < 2 or not isinstance(entry[0], str):
            continue
        choices = _listed(entry[1])
        kind = COMBO if isinstance(entry[1], list) else str(entry[1])
        options = entry[2] if len(entry) > 2 and isinstance(entry[2], dict) else {}
        found.append(Widget(entry[0], kind, options, _default(kind, options, choices), choices))
    return found


def _listed(choices: Any) -> tuple[Any, ...]:
    return tuple(choices) if isinstance(choices, (list, tuple)) else ()


def _default(kind: str, options: Mapping[str, Any], choices: Sequence[Any]) -> Any:
    default = options.get("default")
    if kind in (COMBO, DYNAMIC_COMBO):
        if options.get("multi_select"):
            return []
        if default and kind == COMBO:
            return default
        return choices[0] if choices else "Loading..." if options.get("remote") else NO_VALUE
    if default is not None:
        return default
    return (
        ["", ""] if kind == COMPARISON else {"INT": 0, "FLOAT": 0, "BOOLEAN": False}.get(kind, "")
    )


def _controls(widget: Widget) -> list[Widget]:
    """The widgets that change another one after each run. They are saved, but never sent."""
    requested = widget.options.get(CONTROL)
    if requested is None and widget.type == "INT":
        requested = widget.name in SEED_NAMES
    if not requested or widget.type not in ("INT", "FLOAT", COMBO):
        return []
    start = "fixed" if widget.type == "FLOAT" else "randomize"
    controls = [Widget(CONTROL, COMBO, {}, start, tuple(CONTROL_VALUES), sent=False)]
    if widget.type == COMBO:
        controls.append(Widget("control_filter_list", "STRING", {}, "", sent=False))
    return controls


def _add_grown_sockets(layout: Layout, group: str, saved: Sequence[Socket]) -> None:
    """Add the linked sockets of an autogrow group that the file has beyond the first ones."""
    known = {socket.name for socket in layout.sockets}
    layout.sockets += [
        socket
        for socket in saved
        if socket.name.rpartition(".")[0] == group
        and socket.name not in known
        and socket.link is not None
    ]


def expand(layout: Layout, combo: Widget) -> None:
    """Replace the inputs that a dynamic combo adds by those of its current value.

    A link stays on the socket of the same name, also on those that an autogrow input has grown.
    """
    inside = f"{combo.name}."
    before = [s for s in layout.sockets if s.name.startswith(inside)]
    links = {socket.name: socket.link for socket in before}
    layout.sockets = [s for s in layout.sockets if not s.name.startswith(inside)]
    layout.widgets = [w for w in layout.widgets if not w.name.startswith(inside)]
    added = Layout()
    branch = combo.spec.branch(combo.value) if combo.spec else ()
    for spec in branch:
        _add_plain_socket(added, spec)
        _add_widget(added, spec)
        if spec.autogrow is not None:
            _add_grown_sockets(added, spec.name, before)
    for socket in added.sockets:
        socket.link = links.get(socket.name)
    position = next(i for i, w in enumerate(layout.widgets) if w is combo) + 1
    layout.widgets[position:position] = added.widgets
    own = [i for i, s in enumerate(layout.sockets) if s.widget is combo]
    slot = own[0] + 1 if own else len(layout.sockets)
    layout.sockets[slot:slot] = added.sockets
