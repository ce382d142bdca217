"""The part of ``dataclasses`` that a tool call needs, without its start-up time.

``dataclasses`` imports ``inspect`` (11 ms of CPU time where ``python -c pass`` takes 9) and compiles
the methods of every class (0.3 ms each). A tool call defines about sixty such classes and ends after
100 ms, so these are generic methods instead. Type checkers see the standard library's module; the
tests compare both on the same classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from dataclasses import asdict, dataclass, field, fields, replace

__all__ = ["asdict", "dataclass", "field", "fields", "replace"]

_MISSING: Any = object()
_FIELDS = "__light_fields__"  # another name, so that functions of ``dataclasses`` refuse these


class _Field:
    """One field; ``name`` is set when its class is built."""

    __slots__ = ("compare", "default", "default_factory", "name", "repr")

    def __init__(
        self,
        *,
        default: Any = _MISSING,
        default_factory: Any = _MISSING,
        repr: bool = True,
        compare: bool = True,
    ) -> None:
        self.name = ""
        self.default = default
        self.default_factory = default_factory
        self.repr = repr
        self.compare = compare

    def initial(self, class_name: str) -> Any:
        """The value when none is given. Raises TypeError for a required field."""
        if self.default is not _MISSING:
            return self.default
        if self.default_factory is not _MISSING:
            return self.default_factory()
        raise TypeError(f"{class_name}() needs the argument {self.name!r}")


def _dataclass(
    cls: Any = None, *, frozen: bool = False, slots: bool = False, eq: bool = True
) -> Any:
    def build(cls: Any) -> Any:
        own = _own_fields(cls)
        every = {**getattr(cls, _FIELDS, {}), **own}
        if slots:
            cls = _with_slots(cls, own)
        setattr(cls, _FIELDS, every)
        cls.__init__ = _init(tuple(every.values()), hasattr(cls, "__post_init__"))
        setattr(cls, "__match_args__", tuple(every))  # noqa: B010 - mypy refuses the plain form
        if "__repr__" not in cls.__dict__:
            cls.__repr__ = _repr(tuple(f.name for f in every.values() if f.repr))
        if eq:
            _add_comparison(cls, tuple(f.name for f in every.values() if f.compare), frozen)
        if frozen:
            cls.__setattr__ = cls.__delattr__ = _refuse
        return cls

    return build if cls is None else build(cls)


def _own_fields(cls: Any) -> dict[str, _Field]:
    """The annotated names of a class body; their defaults become plain class attributes."""
    own: dict[str, _Field] = {}
    for name, annotation in cls.__annotations__.items():
        if str(annotation).startswith("ClassVar"):
            continue
        default = cls.__dict__.get(name, _MISSING)
        own[name] = default if isinstance(default, _Field) else _Field(default=default)
        own[name].name = name
        if own[name] is default:
            delattr(cls, name)
            if default.default is not _MISSING:
                setattr(cls, name, default.default)
    return own


def _with_slots(cls: Any, own: Mapping[str, _Field]) -> Any:
    """The same class with slots: they have to be there when a class is created."""
    skipped = {"__dict__", "__weakref__", *own}
    body = {name: value for name, value in cls.__dict__.items() if name not in skipped}
    body["__slots__"] = tuple(own)
    slotted = type(cls)(cls.__name__, cls.__bases__, body)
    slotted.__qualname__ = cls.__qualname__
    return slotted


def _init(every: tuple[_Field, ...], has_post_init: bool) -> Callable[..., None]:
    names = tuple(f.name for f in every)
    store = object.__setattr__  # also works on a frozen class

    def __init__(self: Any, *args: Any, **given: Any) -> None:
        for name, value in zip(names, args):  # noqa: B905 - counted below
            store(self, name, value)
        for f in every[len(args) :]:
            value = given.pop(f.name, _MISSING)
            store(self, f.name, f.initial(type(self).__name__) if value is _MISSING else value)
        if given or len(args) > len(names):
            surplus = ", ".join(given) or f"{len(args)} values for {len(names)} fields"
            raise TypeError(f"{type(self).__name__}() got unexpected arguments: {surplus}")
        if has_post_init:
            self.__post_init__()

    return __init__


def _repr(names: tuple[str, ...]) -> Callable[[Any], str]:
    def __repr__(self: Any) -> str:
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
        return f"{type(self).__qualname__}({shown})"

    return __repr__


def _add_comparison(cls: Any, names: tuple[str, ...], frozen: bool) -> None:
    def __eq__(self: Any, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in names)

    def __hash__(self: Any) -> int:
        return hash(tuple(getattr(self, name) for name in names))

    if "__eq__" not in cls.__dict__:
        cls.__eq__ = __eq__
    if cls.__dict__.get("__hash__") is None:
        cls.__hash__ = __hash__ if frozen else None


def _refuse(self: Any, name: str, *_value: Any) -> None:
    raise AttributeError(f"{type(self).__name__} is frozen: cannot change {name!r}")


def _fields(of: Any) -> tuple[_Field, ...]:
    return tuple(getattr(of, _FIELDS).values())


def _replace(value: Any, /, **changes: Any) -> Any:
    for f in _fields(value):
        changes.setdefault(f.name, getattr(value, f.name))
    return type(value)(**changes)


def _asdict(value: Any) -> Any:
    return {f.name: _plain(getattr(value, f.name)) for f in _fields(value)}


def _plain(value: Any) -> Any:
    """Lists, tuples and dicts of dataclasses with the dataclasses as dicts."""
    if hasattr(type(value), _FIELDS):
        return _asdict(value)
    if isinstance(value, (list, tuple)):
        return type(value)(_all_plain(value))
    if isinstance(value, dict):
        return type(value)(zip(_all_plain(value), _all_plain(value.values())))  # noqa: B905
    return value


def _all_plain(values: Any) -> Iterator[Any]:
    return (_plain(value) for value in values)


if not TYPE_CHECKING:
    asdict, dataclass, field, fields, replace = _asdict, _dataclass, _Field, _fields, _replace
