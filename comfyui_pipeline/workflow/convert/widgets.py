"""A class of ``/object_info`` -> the sockets and widgets that the editor gives a node of it.

Which inputs are widgets, in which order, what stands in the saved file for each, and what a widget
holds when the file says nothing: frontend 1.58.1, litegraphService.ts, widgets/composables/*.ts,
core/graph/widgets/dynamicWidgets.ts, extensions/core/upload*.ts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from input_server.light_dataclasses import dataclass, field

Spec = Sequence[Any]
"""One input of ``/object_info``: ``[type, options]`` or ``[[choices…], options]``."""

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
        "COMFY_DYNAMICCOMBO_V3",
        "COMPOSITOR",
        "CURVE",
        "GALLERIA",
        "IMAGECOMPARE",
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
"""Widgets whose value is made in a browser when the prompt is sent: a camera, a 3D view."""

WIDGETS = VALUE_WIDGETS | OTHER_WIDGETS | BROWSER_WIDGETS
DYNAMIC_COMBO = "COMFY_DYNAMICCOMBO_V3"
AUTOGROW = "COMFY_AUTOGROW_V3"
MATCH_TYPE = "COMFY_MATCHTYPE_V3"
SEED_NAMES = frozenset({"seed", "noise_seed"})
CONTROL = "control_after_generate"
CONTROL_VALUES = frozenset({"fixed", "increment", "decrement", "randomize", "increment-wrap"})
UPLOAD_FLAGS = ("image_upload", "video_upload", "animated_image_upload")
NO_VALUE: Any = object()
"""What a combo without any choice holds: nothing that could be sent."""


@dataclass(slots=True)
class Widget:
    """One widget of one node. ``sent``: it goes into the prompt (``control_after_generate`` not)."""

    name: str
    type: str
    options: Mapping[str, Any]
    value: Any
    choices: tuple[Any, ...] = ()
    sent: bool = True

    @property
    def default(self) -> Any:
        return _default(self.type, self.options, self.choices)

    def takes(self, value: Any) -> bool:
        """Whether a value from a file can be this widget's at all, by its kind alone."""
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
    """One input socket of one node; ``widget`` is the one whose value a link would replace."""

    name: str
    type: str
    widget: Widget | None = None
    link: int | None = None
    optional: bool = False


@dataclass(slots=True)
class Layout:
    """The sockets and widgets of a node, each in the editor's own order."""

    sockets: list[Socket] = field(default_factory=list)
    widgets: list[Widget] = field(default_factory=list)


def layout(schema: Mapping[str, Any]) -> Layout:
    """What a fresh node of this class has: bare sockets first, then a socket for each widget."""
    made = Layout()
    ordered = list(_ordered(schema))
    for name, spec, optional in ordered:
        add_bare_socket(made, name, spec, optional)
    for name, spec, optional in ordered:
        add_widget(made, name, spec, optional)
    if _has_upload_button(schema):
        made.widgets.append(Widget("upload", "BUTTON", {}, "image", sent=False))
    return made


def _ordered(schema: Mapping[str, Any]) -> Iterator[tuple[str, Spec, bool]]:
    """``input_order`` first where the class gives one, then whatever it leaves out."""
    groups = schema.get("input") or {}
    for group in ("required", "optional"):
        told = groups.get(group) or {}
        order = (schema.get("input_order") or {}).get(group) or ()
        names = dict.fromkeys([name for name in order if name in told])
        for name in [*names, *(name for name in told if name not in names)]:
            yield name, told[name], group == "optional"


def _has_upload_button(schema: Mapping[str, Any]) -> bool:
    for name, spec in ((schema.get("input") or {}).get("required") or {}).items():
        flags = options_of(spec)
        if kind_of(spec) == "COMBO" and any(flags.get(flag) is True for flag in UPLOAD_FLAGS):
            return True
        if name == "audio" and flags.get("audio_upload") is True:
            return True
    return False


def kind_of(spec: Spec) -> str:
    """The type of an input; COMBO for either spelling of a list of choices."""
    kind = spec[0] if spec else "*"
    return "COMBO" if isinstance(kind, list) else str(kind)


def options_of(spec: Spec) -> Mapping[str, Any]:
    return spec[1] if len(spec) > 1 and isinstance(spec[1], dict) else {}


def _widget_kind(spec: Spec) -> str | None:
    """The widget that this input has, None for a bare socket."""
    options = options_of(spec)
    kind = str(options.get("widgetType") or kind_of(spec))
    return kind if kind in WIDGETS and not options.get("forceInput") else None


def add_bare_socket(made: Layout, name: str, spec: Spec, optional: bool) -> None:
    """The socket of an input without a widget, or the first ones of a growing group."""
    if _widget_kind(spec) is not None:
        return
    kind, template = kind_of(spec), options_of(spec).get("template") or {}
    if kind == AUTOGROW:
        for member, inner, free in _members(name, template):
            add_bare_socket(made, member, inner, free)
            add_widget(made, member, inner, free)
        return
    if kind == MATCH_TYPE:
        kind = str(template.get("allowed_types") or "*")
    made.sockets.append(Socket(name, kind, optional=optional))


def _members(group: str, template: Mapping[str, Any]) -> Iterator[tuple[str, Spec, bool]]:
    """The inputs that a growing group begins with: ``group.prefix0``, or ``group.`` and a name."""
    groups = template.get("input") or {}
    inputs = {**(groups.get("required") or {}), **(groups.get("optional") or {})}
    names, least = template.get("names"), int(template.get("min", 1))
    most = len(names) if names else int(template.get("max", 100))
    for place in range(min(max(1, least + 1), most)):
        for key, spec in inputs.items():
            prefix = template.get("prefix", "") if len(inputs) == 1 else key
            ending = names[place] if names else f"{prefix}{place}"
            free = place >= least or key in (groups.get("optional") or {})
            yield f"{group}.{ending}", spec, free


def add_widget(made: Layout, name: str, spec: Spec, optional: bool) -> None:
    """The widget of an input with the widgets that come along, and its socket."""
    kind = _widget_kind(spec)
    if kind is None:
        return
    options, choices = options_of(spec), _choices(spec)
    widget = Widget(name, kind, options, _default(kind, options, choices), choices)
    made.widgets.append(widget)
    made.widgets += _controls(widget)
    if not options.get("socketless"):
        made.sockets.append(Socket(name, kind_of(spec), widget, optional=optional))
    if kind == DYNAMIC_COMBO:
        expand(made, widget)


def _choices(spec: Spec) -> tuple[Any, ...]:
    if isinstance(spec[0], list):
        return tuple(spec[0])
    listed = options_of(spec).get("options") or ()
    if kind_of(spec) == DYNAMIC_COMBO:
        return tuple(option.get("key") for option in listed)
    return tuple(listed) if isinstance(listed, (list, tuple)) else ()


def _default(kind: str, options: Mapping[str, Any], choices: Sequence[Any]) -> Any:
    told = options.get("default")
    if kind in ("COMBO", DYNAMIC_COMBO):
        if options.get("multi_select"):
            return []
        if told and kind == "COMBO":
            return told
        return choices[0] if choices else "Loading..." if options.get("remote") else NO_VALUE
    empty = {"INT": 0, "FLOAT": 0, "BOOLEAN": False}.get(kind, "")
    return empty if told is None else told


def _controls(widget: Widget) -> list[Widget]:
    """What the editor sets beside a widget to change it after each run. Saved, but never sent."""
    asked = widget.options.get(CONTROL)
    if asked is None and widget.type == "INT":
        asked = widget.name in SEED_NAMES
    if not asked or widget.type not in ("INT", "FLOAT", "COMBO"):
        return []
    start = "fixed" if widget.type == "FLOAT" else "randomize"
    beside = [Widget(CONTROL, "COMBO", {}, start, tuple(CONTROL_VALUES), sent=False)]
    if widget.type == "COMBO":
        beside.append(Widget("control_filter_list", "STRING", {}, "", sent=False))
    return beside


def expand(made: Layout, combo: Widget) -> None:
    """Lay out the inputs of the option that a dynamic combo holds, right after it."""
    inside = f"{combo.name}."
    gone = {s.name: s.link for s in made.sockets if s.name.startswith(inside)}
    made.sockets = [s for s in made.sockets if not s.name.startswith(inside)]
    made.widgets = [w for w in made.widgets if not w.name.startswith(inside)]
    fresh = Layout()
    for option in combo.options.get("options") or ():
        if option.get("key") == combo.value:
            groups = option.get("inputs") or {}
            for group in ("required", "optional"):
                for key, spec in (groups.get(group) or {}).items():
                    add_bare_socket(fresh, inside + key, spec, group == "optional")
                    add_widget(fresh, inside + key, spec, group == "optional")
    for socket in fresh.sockets:
        socket.link = gone.get(socket.name)
    place = next(i for i, w in enumerate(made.widgets) if w is combo) + 1
    made.widgets[place:place] = fresh.widgets
    after = [i for i, s in enumerate(made.sockets) if s.widget is combo]
    slot = after[0] + 1 if after else len(made.sockets)
    made.sockets[slot:slot] = fresh.sockets
