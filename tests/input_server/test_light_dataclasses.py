"""``light_dataclasses`` behaves like ``dataclasses`` for the features it supports."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import pytest

from input_server import light_dataclasses


def classes(module: Any) -> Any:
    """The same classes, built with ``module``."""

    @module.dataclass(frozen=True, slots=True)
    class Point:
        """Where."""

        AXES: ClassVar[int] = 2
        x: int
        y: int = 0
        label: str = module.field(default="", repr=False, compare=False)
        tags: list[str] = module.field(default_factory=list)

        @property
        def total(self) -> int:
            return self.x + self.y

    @module.dataclass(frozen=True, slots=True)
    class Named(Point):
        name: str = "n"

    @module.dataclass(slots=True)
    class Counter:
        count: int = 0

        def __post_init__(self) -> None:
            self.count += 1

    @module.dataclass(slots=True, eq=False)
    class Identity:
        value: int = 0

    @module.dataclass
    class Plain:
        point: Any
        more: Any = ()

        def __repr__(self) -> str:
            return "plain"

    return Point, Named, Counter, Identity, Plain


@pytest.fixture(params=[dataclasses, light_dataclasses], ids=["standard library", "light"])
def module(request: pytest.FixtureRequest) -> Any:
    return request.param


def test_fields_are_set_by_position_by_name_and_by_default(module: Any) -> None:
    point, named, counter, _, _ = classes(module)
    assert (point(1).x, point(1).y, point(1).tags) == (1, 0, [])
    assert (point(1, 2).y, point(y=3, x=1).y, point(1, tags=["a"]).tags) == (2, 3, ["a"])
    assert point(1).tags is not point(1).tags
    assert (named(1, name="b").name, named(1, 2, "l", [], "c").name) == ("b", "c")
    assert counter(4).count == 5
    assert point(1, 2).total == 3
    assert (point.__doc__, point.AXES, point.__match_args__[:2]) == ("Where.", 2, ("x", "y"))


@pytest.mark.parametrize(
    ("args", "given"),
    [((), {}), ((1, 2, "", [], 5), {}), ((1,), {"x": 2}), ((1,), {"z": 2})],
    ids=["missing", "too many", "twice", "unknown"],
)
def test_wrong_arguments_are_a_type_error(module: Any, args: Any, given: Any) -> None:
    with pytest.raises(TypeError):
        classes(module)[0](*args, **given)


def test_comparison_hash_and_repr_use_the_fields_that_take_part(module: Any) -> None:
    point, named, counter, identity, plain = classes(module)
    assert point(1, label="a") == point(1, label="b") != point(2)
    assert named(1) != point(1)
    assert counter(1) == counter(1)
    assert identity() != identity()
    assert repr(point(1, label="secret")).endswith("Point(x=1, y=0, tags=[])")
    assert repr(plain(1)) == "plain"
    assert hash(named(1, tags=())) == hash(named(1, tags=(), label="other"))
    assert len({identity(), identity()}) == 2
    with pytest.raises(TypeError):
        hash(counter(1))


def test_frozen_and_slots_refuse_assignment(module: Any) -> None:
    point, _, counter, _, _ = classes(module)
    with pytest.raises(AttributeError):
        point(1).x = 2
    with pytest.raises(AttributeError):
        del point(1).x
    with pytest.raises(AttributeError):
        counter().other = 1
    changed = counter()
    changed.count = 7
    assert changed.count == 7


def test_replace_fields_and_asdict(module: Any) -> None:
    point, named, _, _, plain = classes(module)
    assert module.replace(named(1, 2), y=5, name="b") == named(1, 5, name="b")
    assert [field.name for field in module.fields(named)] == ["x", "y", "label", "tags", "name"]
    nested = plain([point(1)], {"a": (point(2), "b")})
    inner = {"y": 0, "label": "", "tags": []}
    assert module.asdict(nested) == {
        "point": [{"x": 1, **inner}],
        "more": {"a": ({"x": 2, **inner}, "b")},
    }
