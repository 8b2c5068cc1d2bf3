from dataclasses import dataclass, field
from typing import Annotated, Literal

import pytest

from ralseg.foundation import Count, PositiveShare, RalsegError, Range, Settings, settings


@dataclass(frozen=True)
class Inner:
    size: tuple[int, int]
    scale: tuple[float, ...] = (1.0,)

    def __post_init__(self):
        if min(self.size) < 1:
            raise RalsegError(f"size {self.size} is out of range")


@dataclass(frozen=True)
class Outer:
    count: int
    rate: float = 0.5
    name: str = "x"
    flag: bool = False
    kind: Literal["a", "b"] = "a"
    file: str | None = None
    inner: Inner = field(default_factory=lambda: Inner((1, 1)))


def test_it_builds_what_is_given():
    found = settings(
        Outer, {"count": 3, "rate": 1, "file": None, "kind": "b", "inner": {"size": [2, 3], "scale": [1, 2.5]}}, "game"
    )
    assert found == Outer(3, 1.0, "x", False, "b", None, Inner((2, 3), (1.0, 2.5)))
    assert type(found.rate) is float
    assert type(found.inner.scale[0]) is float
    assert settings(Outer, {"count": 1, "inner": Inner((4, 4)), "file": "f"}, "game").inner.size == (4, 4)


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"counts": 3}, "game.counts is unknown; game has count, rate, name, flag, kind, file, inner"),
        ({}, "game needs count; give it, too"),
        ({"count": 2.5}, "game.count=2.5 must be a whole number"),
        ({"count": True}, "game.count=True must be a whole number"),
        ({"count": "3"}, "game.count='3' must be a whole number"),
        ({"count": None}, "game.count=None must be a whole number"),
        ({"count": 1, "rate": "fast"}, "game.rate='fast' must be a number"),
        ({"count": 1, "rate": True}, "game.rate=True must be a number"),
        ({"count": 1, "name": 3}, "game.name=3 must be a text"),
        ({"count": 1, "flag": 1}, "game.flag=1 must be true or false"),
        ({"count": 1, "kind": "c"}, "game.kind='c' is unknown; choose from a, b"),
        ({"count": 1, "kind": ["a"]}, "game.kind=.* is unknown"),
        ({"count": 1, "file": 3}, "game.file=3 must be a text"),
        ({"count": 1, "inner": 4}, "game.inner is 4; it must be a group of size, scale"),
        ({"count": 1, "inner": {"width": 4}}, "game.inner.width is unknown; game.inner has size, scale"),
        ({"count": 1, "inner": {"size": [1]}}, "game.inner.size=.1. must be a list of 2 values"),
        ({"count": 1, "inner": {"size": "12"}}, "game.inner.size='12' must be a list of 2 values"),
        ({"count": 1, "inner": {"size": [1, "b"]}}, r"game.inner.size\[1\]='b' must be a whole number"),
        ({"count": 1, "inner": {"size": [1, 1], "scale": 2}}, "game.inner.scale=2 must be a list"),
        ({"count": 1, "inner": {"size": [0, 1]}}, r"size \(0, 1\) is out of range"),
        ([1, 2], r"game is \[1, 2\]; it must be a group of count, rate"),
    ],
)
def test_what_does_not_fit_is_named(mapping, message):
    with pytest.raises(RalsegError, match=message) as caught:
        settings(Outer, mapping, "game")
    assert "\n" not in str(caught.value)


def test_a_list_of_any_length_says_so():
    with pytest.raises(RalsegError, match=r"game.scale=2 must be a list of values"):
        settings(Inner, {"size": [1, 1], "scale": 2}, "game")


@dataclass(frozen=True)
class Fit(Settings, group="fit"):
    steps: Count = 3
    rate: PositiveShare = 0.5
    most: Annotated[int, Range(2, 9)] | None = None
    clip: Annotated[float, Range(0, above=True, below=True)] = 1.0
    widths: tuple[Count, ...] = (1,)
    kind: Literal["a", "b"] = "a"
    momentum: Annotated[float, Range(0, 1, below=True)] = 0.0

    def __post_init__(self):
        super().__post_init__()
        if self.most is not None and self.steps > self.most:
            raise RalsegError(f"steps={self.steps} must be at most most={self.most}")


@dataclass(frozen=True)
class Plan(Settings):
    fit: Fit = field(default_factory=Fit)


OUT_OF_RANGE = [
    ({"steps": 0}, "steps=0 is out of range; it must be 1 or more"),
    ({"rate": 0.0}, "rate=0.0 is out of range; it must be above 0 and at most 1"),
    ({"rate": 1.5}, "rate=1.5 is out of range; it must be above 0 and at most 1"),
    ({"rate": float("nan")}, "rate=nan is out of range; it must be above 0 and at most 1"),
    ({"most": 10}, "most=10 is out of range; it must be 2 to 9"),
    ({"clip": float("inf")}, "clip=inf is out of range; it must be above 0 and finite"),
    ({"widths": [1, 0]}, r"widths\[1\]=0 is out of range; it must be 1 or more"),
    ({"kind": "c"}, "kind='c' is unknown; choose from a, b"),
    ({"momentum": 1.0}, "momentum=1.0 is out of range; it must be at least 0 and below 1"),
    ({"steps": 2.5}, "steps=2.5 must be a whole number"),
]


@pytest.mark.parametrize(("values", "message"), OUT_OF_RANGE)
def test_ranges_hold_however_settings_are_made(values, message):
    with pytest.raises(RalsegError, match=f"^plan.fit.{message}$"):
        settings(Plan, {"fit": values}, "plan")
    with pytest.raises(RalsegError, match=f"^fit.{message}$"):
        Fit(**values)


def test_the_bounds_themselves():
    assert settings(Plan, {"fit": {"rate": 1, "most": 9, "steps": 9}}, "plan").fit == Fit(9, 1.0, 9)
    assert Fit(steps=1, rate=1e-9, most=2, momentum=0.0).most == 2
    with pytest.raises(RalsegError, match=r"^Plan.fit is 3; it must be a group of steps"):
        Plan(fit=3)  # without a group of its own a class goes by its name


def test_fields_that_contradict_each_other_are_named_with_their_place():
    with pytest.raises(RalsegError, match=r"^plan.fit.steps=3 must be at most plan.fit.most=2$"):
        settings(Plan, {"fit": {"most": 2}}, "plan")
    with pytest.raises(RalsegError, match=r"^steps=3 must be at most most=2$"):
        Fit(most=2)
